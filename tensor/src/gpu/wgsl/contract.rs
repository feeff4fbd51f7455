//! Matrix products.
//!
//! Sizes, strides and offsets are launch parameters, so that all products of a program share a handful of pipelines.
//! The variants: registers alone, for lanes of a CPU, where each load is a loop over the lanes and must feed many
//! multiplications; the same with the left operand spread over the lanes of a subgroup and handed round; and tiles in
//! shared memory for GPUs (`tiles`). Every element is summed in the order of k by one invocation; where there are too few
//! elements for that to keep a GPU busy, k is cut into parts, of which each element has one invocation.

use super::epilogue::Epilogue;
use super::partials::{self, Partials};
use super::tiles;
use crate::DType;
use crate::gpu::MatMulVariant;
use crate::gpu::launch::{Context, Location, Shader};
use crate::gpu::writer::Writer;
use crate::plan::{MatMul, View};

/// Names of the launch parameters, in WGSL.
pub(super) struct Problem {
    pub m: String,
    pub n: String,
    pub k: String,
    pub a: usize,
    pub b: usize,
    /// Whether a and b are seen as vectors.
    pub vectors: [bool; 2],
    pub out: Out,
}

/// How a kernel reads its operands and stores what its epilogue makes: in vectors of four where they lie so, or element
/// by element.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Width {
    Elements,
    Vectors,
}

/// What a launch does with its sums.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Sums {
    /// They are the product.
    Whole,
    /// They are added to those of the launches before.
    Added,
    /// They go to the auxiliary memory, to be added up by another launch.
    Partial,
}

/// Where elements of the product go.
pub(super) enum Out {
    /// Into this binding, added to what it holds or in its place.
    Memory { binding: usize, adds: bool },
    /// Through an epilogue.
    Epilogue(Epilogue),
}

/// One launch; two where parts of k are summed at once; several where an invocation may not run through all of k, each
/// but the first adding to the ones before.
pub(super) fn matmul(matmul: &MatMul, context: &Context<'_>) -> Vec<Shader> {
    let at_once = parts_at_once(matmul, context);
    if at_once > 1 {
        return split(matmul, at_once, context);
    }
    let first = if matmul.adds { Sums::Added } else { Sums::Whole };
    let whole = part(matmul, first, context);
    // A product with an epilogue is in no memory that another launch could add to; plans give none to a very long one.
    if whole.rounds <= context.rounds() || matmul.epilogue.is_some() {
        return vec![whole];
    }
    let (r, (.., k)) = (matmul.out.dims.len(), matmul.dims());
    // Some rounds to spare, since a part is rounded up to whole vectors and its last round may be incomplete.
    let parts = whole.rounds.div_ceil(context.rounds().saturating_sub(4).max(1)) as usize;
    let length = k.div_ceil(parts).next_multiple_of(4);
    let cut = |start: usize| {
        let end = (start + length).min(k);
        let (a, b) = (matmul.a.slice(r - 1, start, end), matmul.b.slice(r - 2, start, end));
        part(&MatMul { a, b, ..matmul.clone() }, if start > 0 { Sums::Added } else { first }, context)
    };
    (0..k).step_by(length).map(cut).collect()
}

/// Shortest part of k that is worth a second launch.
const PART: usize = 256;

/// Most words of partial sums.
const PARTIAL_WORDS: usize = 1 << 24;

/// Into how many parts k is cut so that a product with few outputs, such as a gradient of weights, keeps a GPU busy.
fn parts_at_once(matmul: &MatMul, context: &Context<'_>) -> usize {
    let (_, m, n, k) = matmul.dims();
    // What follows in an epilogue needs the whole sum, and parts are added up in its place.
    if !context.variants.matmul.is_tiled() || matmul.epilogue.is_some() || matmul.adds || !matmul.out.is_contiguous() {
        return 1;
    }
    let invocations = if m.min(n) < 8 { count(matmul, 2, 2) } else { 256 * count(matmul, 64, 64) };
    let outputs: usize = matmul.out.dims.iter().product();
    let fits = |parts: usize| {
        let whole_vectors = k % (4 * parts) == 0;
        whole_vectors && k / parts >= PART && (k / parts) as u64 <= context.rounds() && parts * outputs <= PARTIAL_WORDS
    };
    let mut parts = 1;
    while outputs > 0 && 2 * parts * invocations <= context.variants.invocations && fits(2 * parts) {
        parts *= 2;
    }
    parts
}

/// The parts of k as a batch, and their sum.
fn split(matmul: &MatMul, parts: usize, context: &Context<'_>) -> Vec<Shader> {
    let (r, (.., k)) = (matmul.out.dims.len(), matmul.dims());
    let batched = |view: &View, axis: usize| {
        let mut part = view.slice(axis, 0, k / parts);
        part.dims.insert(0, parts);
        part.strides.insert(0, (k / parts) as isize * view.strides[axis]);
        part
    };
    let outputs: Vec<usize> = [parts].into_iter().chain(matmul.out.dims.iter().copied()).collect();
    let partial = MatMul {
        a: batched(&matmul.a, r - 1),
        b: batched(&matmul.b, r - 2),
        out: View::contiguous(matmul.out.buffer, &outputs.into()),
        ..matmul.clone()
    };
    let sums = Partials { base: 0, blocks: parts, length: matmul.out.dims.iter().product() };
    vec![part(&partial, Sums::Partial, context), partials::add(&[&matmul.out], sums, context)]
}

fn part(matmul: &MatMul, sums: Sums, context: &Context<'_>) -> Shader {
    let (_, m, n, _) = matmul.dims();
    match context.variants.matmul {
        MatMulVariant::Subgroups => {
            let rows = if m >= 32 { 32 } else { 8 };
            // The more columns, the fewer loads: on llvmpipe with AVX2 8 are a third faster than 4, and compile as
            // fast.
            let lanes = context.granted.subgroup as usize;
            let columns = match n.div_ceil(lanes) {
                0..=2 => 1,
                3..=4 => 4,
                _ => 8,
            };
            subgroups(matmul, [rows, columns], sums, context)
        }
        MatMulVariant::Registers => registers(matmul, if m.min(n) >= 8 { 8 } else { 2 }, sums, context),
        // A tile with few rows would be mostly padding.
        _ if m.min(n) < 8 => registers(matmul, 2, sums, context),
        // Large tiles where they are a quarter of what keeps the device busy.
        MatMulVariant::Tiles8
            if m.min(n) >= 128 && 4 * 256 * count(matmul, 128, 128) >= context.variants.invocations =>
        {
            tiles::matmul(matmul, 8, sums, context)
        }
        MatMulVariant::Tiles4 | MatMulVariant::Tiles8 => tiles::matmul(matmul, 4, sums, context),
    }
}

/// Declares the parameters, this tile's indices `tile_m` and `tile_n` from its number `tile`, and the offsets `a_at`,
/// `b_at`, `q_at` and strides of its matrices; with an epilogue, instead of the latter, the number `first_row` of the
/// product's first row.
pub(super) fn prologue(
    matmul: &MatMul,
    [rows, columns]: [usize; 2],
    sums: Sums,
    width: Width,
    w: &mut Writer<'_>,
) -> Problem {
    let (_, m, n, k) = matmul.dims();
    let batch = batch_axes(matmul);
    let r = matmul.out.dims.len();
    let [pm, pn, pk] = [m, n, k].map(|size| w.param(size as u32));
    let tiles = [m.div_ceil(rows), n.div_ceil(columns)].map(|count| w.param(count as u32));
    w.line(&format!("let tile_n = (tile % {}) * {columns}u;", tiles[1]));
    w.line(&format!("let tile_m = ((tile / {}) % {}) * {rows}u;", tiles[1], tiles[0]));
    let all = [("a", &matmul.a), ("b", &matmul.b), ("q", &matmul.out)];
    let views = if matmul.epilogue.is_some() { &all[..2] } else { &all };
    for &(name, view) in views {
        let offset = w.param(view.offset as u32);
        w.line(&format!("var {name}_at = {offset};"));
        for (axis, suffix) in [(r - 2, "r"), (r - 1, "c")] {
            let stride = w.param(view.strides[axis] as u32);
            w.line(&format!("let {name}{suffix} = {stride};"));
        }
    }
    if matmul.epilogue.is_some() {
        w.line(&format!("let first_row = tile / ({} * {}) * {pm};", tiles[0], tiles[1]));
    }
    if !batch.is_empty() {
        w.line(&format!("var rest = tile / ({} * {});", tiles[0], tiles[1]));
    }
    for (i, (dim, strides)) in batch.iter().rev().enumerate() {
        let size = w.param(*dim as u32);
        w.line(&format!("let i{i} = rest % {size};"));
        w.line(&format!("rest = rest / {size};"));
        for ((name, _), &stride) in views.iter().zip(strides) {
            let stride = w.param(stride as u32);
            w.line(&format!("{name}_at += i{i} * {stride};"));
        }
    }
    let (a, b) = (w.read(matmul.a.buffer), w.read(matmul.b.buffer));
    // Before the epilogue's text is written, which may read an operand too: one buffer is seen in one way.
    let vectors = if width == Width::Vectors { tiles::see_vectors(matmul, [a, b], w) } else { [false; 2] };
    let out = match &matmul.epilogue {
        Some(program) => Out::Epilogue(Epilogue::declare(matmul, program, width, w)),
        None if sums == Sums::Partial => {
            w.auxiliary = matmul.out.dims.iter().product();
            Out::Memory { binding: w.bind(Location::Auxiliary, DType::F32, true), adds: false }
        }
        None => Out::Memory { binding: w.write(matmul.out.buffer), adds: sums == Sums::Added },
    };
    Problem { m: pm, n: pn, k: pk, a, b, vectors, out }
}

/// The batch dimensions with the strides of a, b and out, neighbours merged where all three allow it.
fn batch_axes(matmul: &MatMul) -> Vec<(usize, [isize; 3])> {
    let mut merged: Vec<(usize, [isize; 3])> = Vec::new();
    for axis in 0..matmul.out.dims.len() - 2 {
        let dim = matmul.out.dims[axis];
        let strides = [&matmul.a, &matmul.b, &matmul.out].map(|view| view.strides[axis]);
        match merged.last_mut() {
            _ if dim == 1 => {}
            Some((outer, held)) if (0..3).all(|i| held[i] == strides[i] * dim as isize) => {
                *outer *= dim;
                *held = strides;
            }
            _ => merged.push((dim, strides)),
        }
    }
    merged
}

pub(super) fn count(matmul: &MatMul, rows: usize, columns: usize) -> usize {
    let (batch, m, n, _) = matmul.dims();
    batch * m.div_ceil(rows) * n.div_ceil(columns)
}

/// A square of outputs an invocation.
fn registers(matmul: &MatMul, side: usize, sums: Sums, context: &Context<'_>) -> Shader {
    let mut w = Writer::new(context);
    let count = count(matmul, side, side);
    let limit = w.param(count as u32);
    w.invocation_id(&limit);
    w.line("let tile = id;");
    let p = prologue(matmul, [side, side], sums, Width::Elements, &mut w);
    for i in 0..side {
        w.line(&format!("let x{i} = a_at + min(tile_m + {i}u, {} - 1u) * ar;", p.m));
        w.line(&format!("let y{i} = b_at + min(tile_n + {i}u, {} - 1u) * bc;", p.n));
        for j in 0..side {
            w.line(&format!("var c{i}_{j} = 0.0f;"));
        }
    }
    w.begin_loop(&format!("var k = 0u; k < {}; k++", p.k), matmul.dims().3);
    for i in 0..side {
        let left = w.element(p.a, DType::F32, &format!("x{i} + k * ac"));
        let right = w.element(p.b, DType::F32, &format!("y{i} + k * br"));
        w.line(&format!("let l{i} = {left};"));
        w.line(&format!("let r{i} = {right};"));
    }
    for i in 0..side {
        for j in 0..side {
            w.line(&format!("c{i}_{j} += l{i} * r{j};"));
        }
    }
    w.end_loop();
    for i in 0..side {
        for j in 0..side {
            store(&mut w, &p, &format!("tile_m + {i}u"), &format!("tile_n + {j}u"), &format!("c{i}_{j}"));
        }
    }
    w.finish("matmul/registers", count)
}

/// `rows` × (lanes·`columns`) outputs a subgroup. A load of the left operand brings a block of (lanes/4 rows) × (4
/// steps of k), a load of the right one a step of k for as many columns as there are lanes.
fn subgroups(matmul: &MatMul, [rows, columns]: [usize; 2], sums: Sums, context: &Context<'_>) -> Shader {
    let mut w = Writer::new(context);
    let lanes = context.granted.subgroup as usize;
    w.workgroup = lanes as u32;
    w.use_one_subgroup();
    let count = count(matmul, rows, lanes * columns);
    let limit = w.param(count as u32);
    w.line(&format!("if (group >= {limit}) {{ return; }}"));
    w.line("let tile = group;");
    let p = prologue(matmul, [rows, lanes * columns], sums, Width::Elements, &mut w);
    let height = lanes / 4;
    let loads = rows.div_ceil(height);
    for g in 0..loads {
        w.line(&format!("let x{g} = a_at + min(tile_m + {}u + lane / 4u, {} - 1u) * ar;", g * height, p.m));
    }
    for j in 0..columns {
        w.line(&format!("let y{j} = b_at + min(tile_n + {}u + lane, {} - 1u) * bc;", j * lanes, p.n));
    }
    for i in 0..rows {
        for j in 0..columns {
            w.line(&format!("var c{i}_{j} = 0.0f;"));
        }
    }
    w.begin_loop(&format!("var k = 0u; k < {}; k += 4u", p.k), matmul.dims().3.div_ceil(4));
    w.line("let ka = k + lane % 4u;");
    w.line(&format!("let fa = ka < {};", p.k));
    w.line(&format!("let wa = min(ka, {} - 1u) * ac;", p.k));
    for g in 0..loads {
        let left = w.element(p.a, DType::F32, &format!("x{g} + wa"));
        w.line(&format!("let l{g} = select(0.0f, {left}, fa);"));
    }
    for step in 0..4 {
        w.line("{");
        w.line(&format!("let kb = k + {step}u;"));
        w.line(&format!("let fb = kb < {};", p.k));
        w.line(&format!("let wb = min(kb, {} - 1u) * br;", p.k));
        for j in 0..columns {
            let right = w.element(p.b, DType::F32, &format!("y{j} + wb"));
            w.line(&format!("let r{j} = select(0.0f, {right}, fb);"));
        }
        for i in 0..rows {
            let (g, lane) = (i / height, (i % height) * 4 + step);
            w.line(&format!("let s{i} = subgroupBroadcast(l{g}, {lane}u);"));
            for j in 0..columns {
                w.line(&format!("c{i}_{j} += s{i} * r{j};"));
            }
        }
        w.line("}");
    }
    w.end_loop();
    for i in 0..rows {
        for j in 0..columns {
            let column = format!("tile_n + {}u + lane", j * lanes);
            store(&mut w, &p, &format!("tile_m + {i}u"), &column, &format!("c{i}_{j}"));
        }
    }
    w.finish_workgroups("matmul/subgroups", count as u64)
}

/// Stores the element at a row and a column of the product, if it has that.
pub(super) fn store(w: &mut Writer<'_>, p: &Problem, row: &str, column: &str, value: &str) {
    w.line(&format!("if ({row} < {} && {column} < {}) {{", p.m, p.n));
    match &p.out {
        Out::Memory { binding, adds } => {
            let at = format!("q_at + ({row}) * qr + ({column}) * qc");
            let before = if *adds { format!("{} + ", w.element(*binding, DType::F32, &at)) } else { String::new() };
            w.store(*binding, DType::F32, &at, &format!("{before}{value}"));
        }
        Out::Epilogue(epilogue) => epilogue.store(w, &format!("first_row + {row}"), column, value),
    }
    w.line("}");
}
