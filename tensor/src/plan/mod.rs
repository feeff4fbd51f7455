//! What devices execute: kernels over views of buffers, in order.
//!
//! A plan is made once per program by [`passes`](crate::passes) and is the same for every device. Invariants:
//! a kernel reads only inputs, state and what earlier kernels wrote; a kernel writes no buffer that it reads, except
//! that a row program, also one that is an epilogue, may replace a state entry element by element (equal views), and a
//! product may be added to what its output holds; all loads of a row precede its stores. Inside a [`Tiled`] kernel this holds for each of its kernels.

mod extent;
mod report;
mod row;
mod tiled;
mod view;

pub use report::{KernelCost, PlanReport};
pub use row::{Extent, Instruction, RowOp, RowProgram, Store, StoreKind};
pub use tiled::Tiled;
pub use view::View;

use crate::{DType, Shape};

/// A buffer of one [`Plan`], by its position.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BufferId(pub u32);

impl BufferId {
    /// The buffer's position.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a buffer lives.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Place {
    /// Filled from the data input of that name before each run.
    Data(String),
    /// The state entry of that name.
    State(String),
    /// Scratch: a part of slot `slot`, shared with other buffers whose lifetimes do not overlap.
    Slot(usize),
    /// Inside one kernel: scratch of a [`Tiled`] kernel, held for one tile at a time, or a product that goes into its
    /// [`epilogue`](MatMul::epilogue) and needs no memory.
    Tile,
}

/// A row-major array of elements.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BufferSpec {
    /// The tensor's shape.
    pub shape: Shape,
    /// `F32` or `U32`.
    pub dtype: DType,
    /// Where it lives.
    pub place: Place,
    /// Whether its floats are rounded to 16 bits when they are stored. Kernels compute in f32 all the same.
    pub half: bool,
}

impl BufferSpec {
    /// A buffer whose elements are stored as they are.
    pub fn new(shape: Shape, dtype: DType, place: Place) -> Self {
        Self { shape, dtype, place, half: false }
    }

    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.bytes(self.shape.numel())
    }

    /// Bytes of `elements` of its elements.
    pub fn bytes(&self, elements: usize) -> u64 {
        let width = if self.half { 2 } else { 4 };
        width * elements as u64
    }
}

/// Kernels in execution order over a set of buffers.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// All buffers.
    pub buffers: Vec<BufferSpec>,
    /// Length in words of four bytes of each scratch slot. The slots of outputs are theirs alone.
    pub slots: Vec<usize>,
    /// What is executed, in order.
    pub kernels: Vec<Kernel>,
    /// For each output of the program, the contiguous buffer that holds it after a run.
    pub outputs: Vec<BufferId>,
    /// What a run costs.
    pub report: PlanReport,
}

/// One launch.
#[derive(Clone, Debug)]
pub enum Kernel {
    /// out = a·b over the last two dimensions, one product per index of the leading ones.
    MatMul(MatMul),
    /// Elementwise bodies and reductions over rows.
    Row(RowProgram),
    /// Causal depthwise convolution or its adjoint in x.
    DepthwiseConv(DepthwiseConv),
    /// Its adjoint in the taps.
    DepthwiseConvFilterGrad(DepthwiseConvFilterGrad),
    /// `out[i] = table[min(index[i], v − 1)]`, rows of d.
    Gather {
        /// `[v, d]`, contiguous.
        table: View,
        /// `[n]` u32, contiguous.
        indices: View,
        /// `[n, d]`, contiguous.
        out: View,
    },
    /// `out = 0; out[min(index[i], rows − 1)] += updates[i]`, in the order of i.
    ScatterAdd {
        /// `[n]` u32, contiguous.
        indices: View,
        /// `[n, d]`, contiguous.
        updates: View,
        /// `[rows, d]`, contiguous.
        out: View,
    },
    /// Element i is word i mod 4 of the Philox block (i / 4, 0, stream, 0), as a number in (0, 1).
    Random {
        /// `[2]` u32, contiguous.
        key: View,
        /// `[n]`, contiguous.
        out: View,
        /// Third word of the counter.
        stream: u32,
    },
    /// The linear recurrence sᵢ = aᵢ·sᵢ₋₁ + bᵢ along the middle dimension.
    LinRec {
        /// `[outer, len, inner]`.
        a: View,
        /// `[outer, len, inner]`.
        b: View,
        /// `[outer, len, inner]`.
        out: View,
        /// From the last index to the first.
        reverse: bool,
        /// The state before the first element.
        start: f32,
    },
    /// Several kernels, tile by tile.
    Tiled(Tiled),
}

/// A batched matrix product. Transposes are in the strides.
#[derive(Clone, Debug)]
pub struct MatMul {
    /// `[batch.., m, k]`
    pub a: View,
    /// `[batch.., k, n]`
    pub b: View,
    /// `[batch.., m, n]`
    pub out: View,
    /// Whether the product is added to what `out` holds. Such a product has no epilogue.
    pub adds: bool,
    /// What becomes of the product before it leaves the kernel: a row program over `batch·m` rows of length n, without
    /// reductions and column sums. It reads the product as `out`'s buffer, which is written only where a store of the
    /// program does so.
    pub epilogue: Option<Box<RowProgram>>,
}

/// `out[b, t, c] = Σⱼ w[j, c]·x[b, t∓j, c]`.
#[derive(Clone, Debug)]
pub struct DepthwiseConv {
    /// `[batch, n, c]`
    pub x: View,
    /// `[k, c]`
    pub w: View,
    /// `[batch, n, c]`
    pub out: View,
    /// False: `x[t − j]`, zeros before the start. True: the adjoint, `x[t + j]`, zeros past the end.
    pub adjoint: bool,
}

/// `out[j, c] = Σ_{b,t} dy[b, t, c]·x[b, t−j, c]`.
#[derive(Clone, Debug)]
pub struct DepthwiseConvFilterGrad {
    /// `[batch, n, c]`
    pub x: View,
    /// `[batch, n, c]`
    pub dy: View,
    /// `[width, c]`
    pub out: View,
}

impl MatMul {
    /// Number of products, rows, columns and inner length.
    pub fn dims(&self) -> (usize, usize, usize, usize) {
        let r = self.out.dims.len();
        let batch = self.out.dims[..r - 2].iter().product();
        (batch, self.out.dims[r - 2], self.out.dims[r - 1], self.a.dims[r - 1])
    }

    /// Operations of the product alone, 2 for each multiply-add.
    pub fn product_flops(&self) -> u64 {
        let (batch, m, n, inner) = self.dims();
        2 * (batch * m * n) as u64 * inner as u64
    }

    fn reads(&self) -> Vec<&View> {
        let epilogue = self.epilogue.iter().flat_map(|program| &program.loads);
        [&self.a, &self.b].into_iter().chain(epilogue.filter(|view| view.buffer != self.out.buffer)).collect()
    }

    fn writes(&self) -> Vec<&View> {
        match &self.epilogue {
            Some(program) => program.stores.iter().map(|store| &store.to).collect(),
            None => vec![&self.out],
        }
    }
}

impl Kernel {
    /// The views read, in a fixed order.
    pub fn reads(&self) -> Vec<&View> {
        match self {
            Kernel::MatMul(k) => k.reads(),
            Kernel::Row(k) => k.loads.iter().collect(),
            Kernel::DepthwiseConv(k) => vec![&k.x, &k.w],
            Kernel::DepthwiseConvFilterGrad(k) => vec![&k.x, &k.dy],
            Kernel::Gather { table, indices, .. } => vec![table, indices],
            Kernel::ScatterAdd { indices, updates, .. } => vec![indices, updates],
            Kernel::Random { key, .. } => vec![key],
            Kernel::LinRec { a, b, .. } => vec![a, b],
            Kernel::Tiled(k) => k.outer(Kernel::reads).collect(),
        }
    }

    /// The views written, in a fixed order.
    pub fn writes(&self) -> Vec<&View> {
        match self {
            Kernel::MatMul(k) => k.writes(),
            Kernel::Row(k) => k.stores.iter().map(|store| &store.to).collect(),
            Kernel::DepthwiseConv(k) => vec![&k.out],
            Kernel::DepthwiseConvFilterGrad(k) => vec![&k.out],
            Kernel::Gather { out, .. }
            | Kernel::ScatterAdd { out, .. }
            | Kernel::Random { out, .. }
            | Kernel::LinRec { out, .. } => vec![out],
            Kernel::Tiled(k) => k.outer(Kernel::writes).collect(),
        }
    }

    /// All views, local ones too, in a fixed order.
    pub fn views_mut(&mut self) -> Vec<&mut View> {
        match self {
            Kernel::MatMul(k) => {
                let epilogue = k.epilogue.iter_mut().flat_map(|program| program.views_mut());
                [&mut k.a, &mut k.b, &mut k.out].into_iter().chain(epilogue).collect()
            }
            Kernel::Row(k) => k.views_mut().collect(),
            Kernel::DepthwiseConv(k) => vec![&mut k.x, &mut k.w, &mut k.out],
            Kernel::DepthwiseConvFilterGrad(k) => vec![&mut k.x, &mut k.dy, &mut k.out],
            Kernel::Gather { table, indices, out } => vec![table, indices, out],
            Kernel::ScatterAdd { indices, updates, out } => vec![indices, updates, out],
            Kernel::Random { key, out, .. } => vec![key, out],
            Kernel::LinRec { a, b, out, .. } => vec![a, b, out],
            Kernel::Tiled(k) => k.kernels.iter_mut().flat_map(Kernel::views_mut).collect(),
        }
    }

    /// The distinct buffers that it binds, in ascending order.
    pub fn buffers(&self) -> Vec<BufferId> {
        let mut bound: Vec<BufferId> = self.reads().into_iter().chain(self.writes()).map(|view| view.buffer).collect();
        bound.sort_unstable();
        bound.dedup();
        bound
    }

    /// Floating-point operations of one launch: 2 for each multiply-add of a contraction, 1 for each elementwise
    /// function.
    pub fn flops(&self) -> u64 {
        let n = |view: &View| view.numel() as u64;
        match self {
            Kernel::MatMul(k) => k.product_flops() + k.epilogue.as_ref().map_or(0, |program| program.flops()),
            Kernel::Row(k) => k.flops(),
            Kernel::DepthwiseConv(k) => 2 * n(&k.out) * k.w.dims[0] as u64,
            Kernel::DepthwiseConvFilterGrad(k) => 2 * n(&k.dy) * k.out.dims[0] as u64,
            Kernel::Gather { .. } | Kernel::Random { .. } => 0,
            Kernel::ScatterAdd { updates, .. } => n(updates),
            Kernel::LinRec { out, .. } => 2 * n(out),
            Kernel::Tiled(k) => k.kernels.iter().map(Kernel::flops).sum(),
        }
    }

    /// The part of [`Kernel::flops`] that matrix products do.
    pub fn matmul_flops(&self) -> u64 {
        match self {
            Kernel::MatMul(k) => k.product_flops(),
            Kernel::Tiled(k) => k.kernels.iter().map(Kernel::matmul_flops).sum(),
            _ => 0,
        }
    }

    /// Bytes that one launch must move between these buffers of its plan: each distinct element of each view once, also
    /// where a product is added to it.
    pub fn bytes(&self, buffers: &[BufferSpec]) -> u64 {
        let bytes = |view: &View| buffers[view.buffer.index()].bytes(view.distinct());
        self.reads().into_iter().chain(self.writes()).map(bytes).sum()
    }
}
