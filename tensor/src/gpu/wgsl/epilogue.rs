//! What becomes of a matrix product before it leaves its kernel.

use super::contract::Width;
use super::express::declare;
use super::row::split;
use super::{sum, times};
use crate::DType;
use crate::gpu::writer::Writer;
use crate::plan::{self, Extent, MatMul, RowOp, RowProgram, View};

/// A row program as the function `epilogue(row, column, x)`, which gives what is stored for the element `x` of the
/// product.
pub(super) struct Epilogue {
    stores: Vec<Store>,
    /// Whether four neighbouring elements are stored at once, wherever whole rows are.
    vectors: bool,
}

struct Store {
    binding: usize,
    dtype: DType,
    extent: Extent,
    /// Where row `r` begins, in WGSL, and the distance of two elements of it.
    start: String,
    stride: isize,
}

impl Epilogue {
    /// Adds the function to the shader.
    pub fn declare(product: &MatMul, program: &RowProgram, width: Width, w: &mut Writer<'_>) -> Self {
        // Row values are stored by themselves, so their buffers can't be seen as vectors.
        let fits = |store: &plan::Store| {
            let value = &program.body[store.value];
            value.extent == Extent::Full
                && value.dtype == w.context.dtype(store.to.buffer)
                && in_vectors(&store.to, store.to.dims.len() - 1)
        };
        let vectors = width == Width::Vectors && program.stores.iter().all(fits);
        let stores = program.stores.iter().map(|store| {
            let binding = w.write(store.to.buffer);
            if vectors {
                w.use_vectors(binding);
            }
            let offset = w.param(store.to.offset as u32);
            let (start, stride) = split(&store.to);
            let start = sum(&[&offset, &start]);
            let value = &program.body[store.value];
            Store { binding, dtype: value.dtype, extent: value.extent, start, stride }
        });
        let stores: Vec<Store> = stores.collect();
        let members: Vec<String> = stores.iter().enumerate().map(|(i, s)| format!("s{i}: {},", s.dtype)).collect();
        w.global(&format!("struct Stored {{ {} }}", members.join(" ")));
        w.function("fn epilogue(r: u32, c: u32, x: f32) -> Stored", |w| {
            for (i, instruction) in program.body.iter().enumerate() {
                if let RowOp::Load(load) = instruction.op
                    && program.loads[load].buffer == product.out.buffer
                {
                    w.line(&format!("let v{i} = x;"));
                    continue;
                }
                let full = instruction.extent == Extent::Full;
                let linear = if full { format!("r * {}u + c", program.length) } else { "r".to_owned() };
                let text = declare(w, program, i, &linear, |w, view| {
                    let offset = w.param(view.offset as u32);
                    let (start, stride) = split(view);
                    sum(&[&offset, &start, &times("c", if full { stride } else { 0 })])
                });
                w.line(&text);
            }
            let values: Vec<String> = program.stores.iter().map(|store| format!("v{}", store.value)).collect();
            w.line(&format!("return Stored({});", values.join(", ")));
        });
        Self { stores, vectors }
    }

    /// Stores what becomes of the element `x` of the product at `row`, of all products, and `column`.
    pub fn store(&self, w: &mut Writer<'_>, row: &str, column: &str, x: &str) {
        w.line(&format!("let r = {row};"));
        w.line(&format!("let c = {column};"));
        w.line(&format!("let e = epilogue(r, c, {x});"));
        for (i, store) in self.stores.iter().enumerate() {
            if store.extent == Extent::Full {
                let at = sum(&[&store.start, &times("c", store.stride)]);
                w.store(store.binding, store.dtype, &at, &format!("e.s{i}"));
            } else {
                w.line("if (c == 0u) {");
                w.store(store.binding, store.dtype, &store.start, &format!("e.s{i}"));
                w.line("}");
            }
        }
    }

    /// Whether four neighbouring elements can be stored at once.
    pub fn takes_vectors(&self) -> bool {
        self.vectors
    }

    /// As [`Epilogue::store`] for the vector `x` of four elements from `column` on, a multiple of 4.
    pub fn store_four(&self, w: &mut Writer<'_>, row: &str, column: &str, x: &str) {
        w.line(&format!("let r = {row};"));
        w.line(&format!("let c = {column};"));
        for i in 0..4 {
            w.line(&format!("let e{i} = epilogue(r, c + {i}u, {x}[{i}]);"));
        }
        for (i, store) in self.stores.iter().enumerate() {
            let at = sum(&[&store.start, &times("c", store.stride)]);
            let four: Vec<String> = (0..4).map(|lane| format!("e{lane}.s{i}")).collect();
            w.store_four(store.binding, &at, &format!("vec4<{}>({})", store.dtype, four.join(", ")));
        }
    }
}

/// Whether each four elements along the axis are one aligned vector of the buffer.
pub(super) fn in_vectors(view: &View, axis: usize) -> bool {
    let apart = |(at, (&dim, &stride)): (usize, (&usize, &isize))| at == axis || dim == 1 || stride % 4 == 0;
    view.strides[axis] == 1
        && view.dims[axis].is_multiple_of(4)
        && view.offset.is_multiple_of(4)
        && view.dims.iter().zip(&view.strides).enumerate().all(apart)
}
