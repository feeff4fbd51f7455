//! Matrix products by tiles in shared memory, for GPUs.
//!
//! A workgroup of 16 × 16 invocations computes a square of outputs, each invocation 4 × 4 or 8 × 8 of them in
//! registers. While it multiplies one slice of the operands in shared memory, the next is on its way from device
//! memory. Shared memory holds vectors of four along whichever dimension the operand is dense in, so that a load from
//! device memory is one store there.

use super::contract::{Out, Problem, Sums, Width, count, prologue, store as store_one};
use super::epilogue::in_vectors;
use crate::DType;
use crate::gpu::launch::{Context, Shader};
use crate::gpu::writer::Writer;
use crate::plan::{MatMul, View};

/// Invocations along each side of a workgroup.
const WIDE: usize = 16;

/// Elements of a slice of one operand: a vector for each invocation.
const SLICE: usize = 4 * WIDE * WIDE;

const COMPONENTS: [&str; 4] = ["x", "y", "z", "w"];

/// `side` is 4 or 8: the outputs of an invocation along each dimension.
pub(super) fn matmul(matmul: &MatMul, side: usize, sums: Sums, context: &Context<'_>) -> Shader {
    let tile = WIDE * side;
    let mut w = Writer::new(context);
    w.workgroup = (WIDE * WIDE) as u32;
    let tiles = count(matmul, tile, tile);
    let limit = w.param(tiles as u32);
    w.line(&format!("if (group >= {limit}) {{ return; }}"));
    w.line("let tile = group;");
    let p = prologue(matmul, [tile, tile], sums, Width::Vectors, &mut w);
    let (a, b) = operands(matmul, &p, tile, &w);
    w.line(&format!("let row = lane / {WIDE}u;"));
    w.line(&format!("let column = lane % {WIDE}u;"));
    for i in 0..side {
        for j in 0..side / 4 {
            w.line(&format!("var c{i}_{j} = vec4<f32>();"));
        }
    }
    for operand in [&a, &b] {
        operand.declare(&mut w);
        operand.load(&mut w, "0u");
    }
    let depth = SLICE / tile;
    w.begin_loop(&format!("var k = 0u; k < {}; k += {depth}u", p.k), matmul.dims().3.div_ceil(depth));
    for operand in [&a, &b] {
        w.line(&format!("{0}_tile[{0}_put] = {0}_next;", operand.name));
    }
    w.line("workgroupBarrier();");
    for operand in [&a, &b] {
        operand.load(&mut w, &format!("(k + {depth}u)"));
    }
    for four in 0..depth / 4 {
        multiply(&mut w, &a, &b, side, four);
    }
    w.line("workgroupBarrier();");
    w.end_loop();
    store(&mut w, matmul, &p, side);
    w.finish_workgroups(if side == 8 { "matmul/tiles-8x8" } else { "matmul/tiles-4x4" }, tiles as u64)
}

/// One operand of the product as tiles of `tile` rows of the left or columns of the right one.
struct Operand {
    name: &'static str,
    binding: usize,
    /// Whether four elements are read at once.
    vectors: bool,
    /// Whether its elements are of 16 bits, in shared memory too.
    half: bool,
    /// Whether vectors lie along k, rather than along the rows or columns.
    along_k: bool,
    tile: usize,
    /// Names of the first row or column, their number, the length of k, and of the strides.
    origin: &'static str,
    size: String,
    k: String,
    stride: [&'static str; 2],
}

/// Whether vectors of an operand lie along k, rather than along its `side`.
fn lies_along_k(view: &View, side: usize, k: usize) -> bool {
    view.strides[k] == 1 && view.strides[side] != 1
}

/// Lets the shader see those of the operands a and b as vectors that lie in them, and says which.
pub(super) fn see_vectors(matmul: &MatMul, [a, b]: [usize; 2], w: &mut Writer<'_>) -> [bool; 2] {
    let r = matmul.out.dims.len();
    let lies = |view: &View, side, k| in_vectors(view, if lies_along_k(view, side, k) { k } else { side });
    let mut vectors = [lies(&matmul.a, r - 2, r - 1), lies(&matmul.b, r - 1, r - 2)];
    // One buffer is seen in one way.
    if a == b {
        vectors = [vectors[0] && vectors[1]; 2];
    }
    for (binding, vectors) in [a, b].into_iter().zip(vectors) {
        if vectors {
            w.use_vectors(binding);
        }
    }
    vectors
}

fn operands(matmul: &MatMul, p: &Problem, tile: usize, w: &Writer<'_>) -> (Operand, Operand) {
    let r = matmul.out.dims.len();
    let [in_a, in_b] = p.vectors;
    let make = |name, view: &View, binding, vectors, [side, k]: [usize; 2], origin, size: &String, stride| {
        let (along_k, half) = (lies_along_k(view, side, k), w.is_half(binding));
        Operand { name, binding, vectors, half, along_k, tile, origin, size: size.clone(), k: p.k.clone(), stride }
    };
    let a = make("a", &matmul.a, p.a, in_a, [r - 2, r - 1], "tile_m", &p.m, ["ar", "ac"]);
    let b = make("b", &matmul.b, p.b, in_b, [r - 1, r - 2], "tile_n", &p.n, ["bc", "br"]);
    (a, b)
}

impl Operand {
    /// The type of four elements in shared memory.
    fn vector(&self) -> &'static str {
        if self.half { "vec4<f16>" } else { "vec4<f32>" }
    }

    /// The f32 values of the vector `at` of the tile.
    fn tiled(&self, at: &str) -> String {
        let stored = format!("{}_tile[{at}]", self.name);
        if self.half { format!("vec4<f32>({stored})") } else { stored }
    }

    /// Vectors of a slice along k.
    fn fours(&self) -> usize {
        SLICE / self.tile / 4
    }

    /// The shared memory, and which vector of the slice this invocation brings: `S_side`, `S_k` and its place `S_put`.
    fn declare(&self, w: &mut Writer<'_>) {
        let (name, tile, fours) = (self.name, self.tile, self.fours());
        // One vector more a row keeps neighbouring invocations in different banks.
        let room = if self.along_k { tile * (fours + 1) } else { SLICE / 4 };
        w.global(&format!("var<workgroup> {name}_tile: array<{}, {room}>;", self.vector()));
        if self.along_k {
            w.line(&format!("let {name}_side = lane / {fours}u;"));
            w.line(&format!("let {name}_k = (lane % {fours}u) * 4u;"));
            let slot = format!("({name}_side % 4u) * {}u + {name}_side / 4u", tile / 4);
            w.line(&format!("let {name}_put = ({slot}) * {}u + lane % {fours}u;", fours + 1));
        } else {
            w.line(&format!("let {name}_side = (lane % {}u) * 4u;", tile / 4));
            w.line(&format!("let {name}_k = lane / {}u;", tile / 4));
            w.line(&format!("let {name}_put = lane;"));
        }
        w.line(&format!("var {name}_next: {};", self.vector()));
    }

    /// Reads this invocation's vector of the slice that begins at `k`, zeros past the ends.
    fn load(&self, w: &mut Writer<'_>, k: &str) {
        let Operand { name, binding, origin, size, stride: [side, deep], .. } = self;
        let at = |s: &str, d: &str| format!("{name}_at + ({s}) * {side} + ({d}) * {deep}");
        w.line("{");
        w.line(&format!("let s = {origin} + {name}_side;"));
        w.line(&format!("let d = {k} + {name}_k;"));
        w.line(&format!("{name}_next = {}();", self.vector()));
        if self.vectors {
            let value = w.stored_four(*binding, &at("s", "d"));
            w.line(&format!("if (s < {size} && d < {}) {{ {name}_next = {value}; }}", self.k));
        } else {
            for (i, component) in COMPONENTS.iter().enumerate() {
                let (s, d) =
                    if self.along_k { ("s".into(), format!("d + {i}u")) } else { (format!("s + {i}u"), "d".into()) };
                let value = w.element(*binding, DType::F32, &at(&s, &d));
                let value = if self.half { format!("f16({value})") } else { value };
                w.line(&format!("if ({s} < {size} && {d} < {}) {{ {name}_next.{component} = {value}; }}", self.k));
            }
        }
        w.line("}");
    }

    /// Declares what this invocation, `own` along its side, needs for steps 4·`four` to 4·`four` + 3 of a slice.
    fn fetch(&self, w: &mut Writer<'_>, own: &str, side: usize, four: usize) {
        let (name, quarter) = (self.name, self.tile / 4);
        if self.along_k {
            for i in 0..side {
                let slot = format!("{}u + {own}", (i % 4) * quarter + (i / 4) * WIDE);
                let value = self.tiled(&format!("({slot}) * {}u + {four}u", self.fours() + 1));
                w.line(&format!("let {name}_{i} = {value};"));
            }
            return;
        }
        for step in 0..4 {
            for i in 0..side / 4 {
                let at = (4 * four + step) * quarter + i * WIDE;
                let value = self.tiled(&format!("{at}u + {own}"));
                w.line(&format!("let {name}_{step}_{i} = {value};"));
            }
        }
    }

    /// Element `i` at a step, after [`Operand::fetch`].
    fn element(&self, i: usize, step: usize) -> String {
        match self.along_k {
            true => format!("{}_{i}.{}", self.name, COMPONENTS[step]),
            false => format!("{}_{step}_{}.{}", self.name, i / 4, COMPONENTS[i % 4]),
        }
    }

    /// Elements 4·`i` to 4·`i` + 3 at a step.
    fn four(&self, i: usize, step: usize) -> String {
        match self.along_k {
            true => {
                let elements: Vec<String> = (0..4).map(|j| self.element(4 * i + j, step)).collect();
                format!("vec4<f32>({})", elements.join(", "))
            }
            false => format!("{}_{step}_{i}", self.name),
        }
    }
}

/// Four steps of k.
fn multiply(w: &mut Writer<'_>, a: &Operand, b: &Operand, side: usize, four: usize) {
    w.line("{");
    a.fetch(w, "row", side, four);
    b.fetch(w, "column", side, four);
    for step in 0..4 {
        for j in 0..side / 4 {
            w.line(&format!("let r{step}_{j} = {};", b.four(j, step)));
        }
        for i in 0..side {
            for j in 0..side / 4 {
                w.line(&format!("c{i}_{j} += {} * r{step}_{j};", a.element(i, step)));
            }
        }
    }
    w.line("}");
}

fn store(w: &mut Writer<'_>, matmul: &MatMul, p: &Problem, side: usize) {
    let vectors = in_vectors(&matmul.out, matmul.out.dims.len() - 1);
    if let (Out::Memory { binding, .. }, true) = (&p.out, vectors) {
        w.use_vectors(*binding);
    }
    for i in 0..side {
        w.line("{");
        w.line(&format!("let m = tile_m + {}u + row * 4u;", (i / 4) * 4 * WIDE + i % 4));
        for j in 0..side / 4 {
            w.line("{");
            w.line(&format!("let n = tile_n + {}u + column * 4u;", j * 4 * WIDE));
            store_four(w, p, vectors, &format!("c{i}_{j}"));
            w.line("}");
        }
        w.line("}");
    }
}

/// Stores the vector `value` of the product's row `m` from column `n` on.
fn store_four(w: &mut Writer<'_>, p: &Problem, vectors: bool, value: &str) {
    match &p.out {
        Out::Memory { binding, adds } if vectors => {
            let at = "q_at + m * qr + n * qc";
            let before = if *adds { format!("{} + ", w.four(*binding, at)) } else { String::new() };
            w.line(&format!("if (m < {} && n < {}) {{", p.m, p.n));
            w.store_four(*binding, at, &format!("{before}{value}"));
            w.line("}");
        }
        Out::Epilogue(epilogue) if epilogue.takes_vectors() => {
            w.line(&format!("if (m < {} && n < {}) {{", p.m, p.n));
            epilogue.store_four(w, "first_row + m", "n", value);
            w.line("}");
        }
        _ => {
            for (x, component) in COMPONENTS.iter().enumerate() {
                store_one(w, p, "m", &format!("n + {x}u"), &format!("{value}.{component}"));
            }
        }
    }
}
