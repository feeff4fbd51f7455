//! Matrix products.
//!
//! Sizes, strides and offsets are launch parameters, so that all products of a program share a handful of pipelines. Three
//! variants: registers alone, for lanes of a CPU, where each load is a loop over the lanes and must feed many multiplications;
//! the same with the left operand spread over the lanes of a subgroup and handed round; and tiles in shared memory for GPUs.
//! Every element is summed in the order of k by one invocation.

use crate::DType;
use crate::gpu::adapter::Variants;
use crate::gpu::launch::{Context, Shader, Writer};
use crate::plan::MatMul;

/// Names of the launch parameters, in WGSL.
struct Problem {
    m: String,
    n: String,
    k: String,
    a: usize,
    b: usize,
    out: usize,
}

pub(super) fn matmul(matmul: &MatMul, context: &Context<'_>) -> Shader {
    let (_, m, n, _) = matmul.dims();
    match context.variants {
        Variants::Discrete if context.granted.max_invocations >= 256 => shared(matmul, context),
        _ if matches!(context.granted.subgroup, 4 | 8 | 16) => {
            let rows = if m >= 32 { 32 } else { 8 };
            let columns = if n > 2 * context.granted.subgroup as usize { 4 } else { 1 };
            subgroups(matmul, rows, columns, context)
        }
        _ => registers(matmul, if m.min(n) >= 8 { 8 } else { 2 }, context),
    }
}

/// Declares the parameters, this tile's indices `tile_m` and `tile_n` from its number `tile`, and the offsets `a_at`, `b_at`, `q_at`
/// and strides of its matrices.
fn prologue(matmul: &MatMul, rows: usize, columns: usize, w: &mut Writer<'_>) -> Problem {
    let (_, m, n, k) = matmul.dims();
    let batch = batch_axes(matmul);
    let r = matmul.out.dims.len();
    let [pm, pn, pk] = [m, n, k].map(|size| w.param(size as u32));
    let tiles = [m.div_ceil(rows), n.div_ceil(columns)].map(|count| w.param(count as u32));
    w.line(&format!("let tile_n = (tile % {}) * {columns}u;", tiles[1]));
    w.line(&format!("let tile_m = ((tile / {}) % {}) * {rows}u;", tiles[1], tiles[0]));
    let views = [("a", &matmul.a), ("b", &matmul.b), ("q", &matmul.out)];
    for (name, view) in views {
        let offset = w.param(view.offset as u32);
        w.line(&format!("var {name}_at = {offset};"));
        for (axis, suffix) in [(r - 2, "r"), (r - 1, "c")] {
            let stride = w.param(view.strides[axis] as u32);
            w.line(&format!("let {name}{suffix} = {stride};"));
        }
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
    let (a, b, out) = (w.read(matmul.a.buffer), w.read(matmul.b.buffer), w.write(matmul.out.buffer));
    Problem { m: pm, n: pn, k: pk, a, b, out }
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

fn tiles(matmul: &MatMul, rows: usize, columns: usize) -> usize {
    let (batch, m, n, _) = matmul.dims();
    batch * m.div_ceil(rows) * n.div_ceil(columns)
}

/// A square of outputs an invocation.
fn registers(matmul: &MatMul, side: usize, context: &Context<'_>) -> Shader {
    let mut w = Writer::new(context);
    let count = tiles(matmul, side, side);
    let limit = w.param(count as u32);
    w.invocation_id(&limit);
    w.line("let tile = id;");
    let p = prologue(matmul, side, side, &mut w);
    for i in 0..side {
        w.line(&format!("let x{i} = a_at + min(tile_m + {i}u, {} - 1u) * ar;", p.m));
        w.line(&format!("let y{i} = b_at + min(tile_n + {i}u, {} - 1u) * bc;", p.n));
        for j in 0..side {
            w.line(&format!("var c{i}_{j} = 0.0f;"));
        }
    }
    w.line(&format!("for (var k = 0u; k < {}; k++) {{", p.k));
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
    w.line("}");
    for i in 0..side {
        for j in 0..side {
            store(&mut w, &p, &format!("tile_m + {i}u"), &format!("tile_n + {j}u"), &format!("c{i}_{j}"));
        }
    }
    w.finish("matmul/registers", count)
}

/// `rows` × (lanes·`columns`) outputs a subgroup. A load of the left operand brings a block of (lanes/4 rows) × (4 steps of k), a
/// load of the right one a step of k for as many columns as there are lanes.
fn subgroups(matmul: &MatMul, rows: usize, columns: usize, context: &Context<'_>) -> Shader {
    let mut w = Writer::new(context);
    let lanes = context.granted.subgroup as usize;
    w.workgroup = lanes as u32;
    w.use_subgroups();
    let count = tiles(matmul, rows, lanes * columns);
    let limit = w.param(count as u32);
    w.line(&format!("if (group >= {limit}) {{ return; }}"));
    w.line("let tile = group;");
    let p = prologue(matmul, rows, lanes * columns, &mut w);
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
    w.line(&format!("for (var k = 0u; k < {}; k += 4u) {{", p.k));
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
    w.line("}");
    for i in 0..rows {
        for j in 0..columns {
            let column = format!("tile_n + {}u + lane", j * lanes);
            store(&mut w, &p, &format!("tile_m + {i}u"), &column, &format!("c{i}_{j}"));
        }
    }
    w.finish_workgroups("matmul/subgroups", count as u64)
}

/// 64 × 64 outputs a workgroup of 256, 4 × 4 an invocation, 16 steps of k at a time through shared memory.
fn shared(matmul: &MatMul, context: &Context<'_>) -> Shader {
    const TILE: usize = 64;
    const DEPTH: usize = 16;
    let mut w = Writer::new(context);
    w.workgroup = 256;
    let count = tiles(matmul, TILE, TILE);
    let limit = w.param(count as u32);
    w.line(&format!("if (group >= {limit}) {{ return; }}"));
    w.line("let tile = group;");
    let p = prologue(matmul, TILE, TILE, &mut w);
    for name in ["left", "right"] {
        w.global(&format!("var<workgroup> {name}: array<f32, {}>;", TILE * DEPTH));
    }
    w.line("let row = lane / 16u;");
    w.line("let column = lane % 16u;");
    for i in 0..4 {
        for j in 0..4 {
            w.line(&format!("var c{i}_{j} = 0.0f;"));
        }
    }
    // Neighbouring invocations read neighbouring elements where one of the strides is 1.
    let r = matmul.out.dims.len();
    let a_along_k = matmul.a.strides[r - 1] == 1;
    let b_along_k = matmul.b.strides[r - 1] != 1 && matmul.b.strides[r - 2] == 1;
    let split = |along_k: bool, i: usize| {
        let e = format!("(lane + {}u)", i * 256);
        if along_k {
            (format!("{e} / 16u"), format!("{e} % 16u"))
        } else {
            (format!("{e} % 64u"), format!("{e} / 64u"))
        }
    };
    w.line(&format!("for (var k = 0u; k < {}; k += {DEPTH}u) {{", p.k));
    for i in 0..4 {
        let (at, step) = split(a_along_k, i);
        w.line(&format!("let am{i} = {at}; let ak{i} = {step};"));
        let left = w.element(
            p.a,
            DType::F32,
            &format!("a_at + min(tile_m + am{i}, {} - 1u) * ar + min(k + ak{i}, {} - 1u) * ac", p.m, p.k),
        );
        w.line(&format!("left[ak{i} * {TILE}u + am{i}] = select(0.0f, {left}, k + ak{i} < {});", p.k));
        let (at, step) = split(b_along_k, i);
        w.line(&format!("let bn{i} = {at}; let bk{i} = {step};"));
        let right = w.element(
            p.b,
            DType::F32,
            &format!("b_at + min(tile_n + bn{i}, {} - 1u) * bc + min(k + bk{i}, {} - 1u) * br", p.n, p.k),
        );
        w.line(&format!("right[bk{i} * {TILE}u + bn{i}] = select(0.0f, {right}, k + bk{i} < {});", p.k));
    }
    w.line("workgroupBarrier();");
    w.line(&format!("for (var s = 0u; s < {}u; s += {}u) {{", TILE * DEPTH, TILE * 4));
    for step in 0..4 {
        w.line("{");
        for i in 0..4 {
            w.line(&format!("let l{i} = left[s + {}u + row * 4u];", step * TILE + i));
            w.line(&format!("let r{i} = right[s + {}u + column];", step * TILE + i * 16));
        }
        for i in 0..4 {
            for j in 0..4 {
                w.line(&format!("c{i}_{j} += l{i} * r{j};"));
            }
        }
        w.line("}");
    }
    w.line("}");
    w.line("workgroupBarrier();");
    w.line("}");
    for i in 0..4 {
        for j in 0..4 {
            let column = format!("tile_n + {}u + column", j * 16);
            store(&mut w, &p, &format!("tile_m + row * 4u + {i}u"), &column, &format!("c{i}_{j}"));
        }
    }
    w.finish_workgroups("matmul/shared", count as u64)
}

fn store(w: &mut Writer<'_>, p: &Problem, row: &str, column: &str, value: &str) {
    w.line(&format!("if ({row} < {} && {column} < {}) {{", p.m, p.n));
    w.store(p.out, DType::F32, &format!("q_at + ({row}) * qr + ({column}) * qc"), value);
    w.line("}");
}
