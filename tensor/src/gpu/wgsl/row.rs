//! Row programs.
//!
//! Without a reduction, an invocation computes one element (`flat`) or, where columns are summed, one column of a block
//! of rows (`columns`). With reductions, a row is walked once a pass by one invocation or by a workgroup (`rows`); what
//! a later pass needs of an earlier one is computed again from the loads, so a row of any length fits. Few long rows
//! are cut into parts that workgroups share, with a launch a pass (`long`).
//!
//! Sums over rows leave as one partial a block of rows, added up in order by a second launch. Blocks depend on the
//! shapes and the variants only.

use super::express::declare;
use super::partials::{self, Partials};
use super::{collapse, long, rows, sum, times, walk};
use crate::DType;
use crate::gpu::launch::{Context, Location, Shader};
use crate::gpu::writer::Writer;
use crate::plan::{Extent, RowProgram, Store, StoreKind, View};

/// The most blocks of rows that leave partial sums.
pub(super) const BLOCKS: usize = 4096;

pub(super) fn lower(program: &RowProgram, context: &Context<'_>) -> Vec<Shader> {
    let sums: Vec<&Store> = program.stores.iter().filter(|s| s.kind == StoreKind::ColumnSum).collect();
    let by_element = !program.has_reduction() && !replaces_row_values(program, context);
    if by_element && sums.is_empty() {
        return vec![flat(program, context)];
    }
    let (mut shaders, partials) = if by_element { columns(program, context) } else { reductions(program, context) };
    if !sums.is_empty() {
        let to: Vec<&View> = sums.iter().map(|store| &store.to).collect();
        shaders.push(partials::add(&to, partials, context));
    }
    shaders
}

/// Whole rows or parts of them, in as many parts as it takes for no invocation to run through too many elements.
fn reductions(program: &RowProgram, context: &Context<'_>) -> (Vec<Shader>, Partials) {
    let mut parts = long::parts(program, context);
    loop {
        let (shaders, partials) = match parts {
            Some(parts) => long::lower(program, parts, context),
            None => rows::lower(program, context),
        };
        let more = 2 * parts.unwrap_or(1);
        if shaders.iter().all(|shader| shader.rounds <= context.rounds()) || more > program.length {
            return (shaders, partials);
        }
        parts = Some(more);
    }
}

/// Rows of a block where `wanted` blocks share `rows` and an invocation runs through one row a round.
pub(super) fn height(rows: usize, wanted: usize, context: &Context<'_>) -> usize {
    rows.div_ceil(wanted).clamp(1, (context.rounds() - 1) as usize)
}

/// Whether a row value goes to a buffer that is read: then no other invocation may still need the old value.
pub(super) fn replaces_row_values(program: &RowProgram, context: &Context<'_>) -> bool {
    let read: Vec<Location> = program.loads.iter().map(|view| context.location(view.buffer)).collect();
    let row_stores = program.stores.iter().filter(|s| program.body[s.value].extent == Extent::Row);
    program.length != 1 && row_stores.into_iter().any(|s| read.contains(&context.location(s.to.buffer)))
}

/// One invocation an element; row values are computed by each element of the row and stored by its first.
fn flat(program: &RowProgram, context: &Context<'_>) -> Shader {
    let mut w = Writer::new(context);
    // Of the whole space where full values are stored, else of one element a row.
    let full = program.length > 0 && program.stores.iter().any(|s| program.body[s.value].extent == Extent::Full);
    let length = if full { program.length } else { 1 };
    let count = program.rows * length;
    let count_param = w.param(count as u32);
    w.invocation_id(&count_param);
    let row = if length == 1 { "id".to_owned() } else { format!("id / {}u", length.max(1)) };
    for (i, instruction) in program.body.iter().enumerate() {
        let needs_full = instruction.extent == Extent::Full;
        if needs_full && !full {
            continue;
        }
        let load = |w: &mut Writer<'_>, view: &View| {
            let mut dims = view.dims.clone();
            let mut strides = view.strides.clone();
            match (dims.last_mut(), strides.last_mut()) {
                (Some(dim), Some(stride)) if *dim == 1 => (*dim, *stride) = (length, 0),
                (None, _) => (dims, strides) = (vec![length], vec![0]),
                _ => {}
            }
            let offset = w.param(view.offset as u32);
            sum(&[&offset, &walk("id", &collapse(&dims, &strides))])
        };
        let linear = if needs_full { "id" } else { &row };
        let text = declare(&mut w, program, i, linear, load);
        w.line(&text);
    }
    for store in &program.stores {
        let instruction = &program.body[store.value];
        if instruction.extent == Extent::Full && !full {
            continue;
        }
        let binding = w.write(store.to.buffer);
        let offset = w.param(store.to.offset as u32);
        let value = format!("v{}", store.value);
        let blocks = collapse(&store.to.dims, &store.to.strides);
        if instruction.extent == Extent::Full || length == 1 {
            let at = sum(&[&offset, &walk("id", &blocks)]);
            w.store(binding, instruction.dtype, &at, &value);
        } else {
            let at = sum(&[&offset, &walk(&row, &blocks)]);
            w.line(&format!("if (id % {length}u == 0u) {{"));
            w.store(binding, instruction.dtype, &at, &value);
            w.line("}");
        }
    }
    w.finish("row/flat", count)
}

/// One invocation a column and block of rows: its sums stay in registers.
fn columns(program: &RowProgram, context: &Context<'_>) -> (Vec<Shader>, Partials) {
    let target = context.variants.invocations;
    let wanted = (target / program.length.max(1)).min(BLOCKS).clamp(1, program.rows.div_ceil(16).max(1));
    let height = height(program.rows, wanted, context);
    let blocks = program.rows.div_ceil(height);
    let layout = Partials { base: 0, blocks, length: program.length };
    if blocks * program.length == 0 {
        return (Vec::new(), layout);
    }
    let mut w = Writer::new(context);
    let length = program.length;
    w.invocation_id(&format!("{}u", blocks * length));
    w.line(&format!("let block = id / {length}u;"));
    w.line(&format!("let c = id % {length}u;"));
    let sums = column_sums(program);
    for (i, _) in sums.iter().enumerate() {
        w.line(&format!("var sum{i} = 0.0f;"));
    }
    w.line(&format!("let end = min(block * {height}u + {height}u, {}u);", program.rows));
    w.begin_loop(&format!("var r = block * {height}u; r < end; r++"), height);
    for (i, instruction) in program.body.iter().enumerate() {
        let linear = if instruction.extent == Extent::Full { format!("r * {length}u + c") } else { "r".to_owned() };
        let text = declare(&mut w, program, i, &linear, |_, view| {
            let (row, stride) = split(view);
            sum(&[
                &format!("{}u", view.offset),
                &row,
                &times("c", if instruction.extent == Extent::Full { stride } else { 0 }),
            ])
        });
        w.line(&text);
    }
    for store in program.stores.iter().filter(|s| s.kind == StoreKind::Elements) {
        let (row, stride) = split(&store.to);
        let row = sum(&[&format!("{}u", store.to.offset), &row]);
        let instruction = &program.body[store.value];
        let binding = w.write(store.to.buffer);
        let value = format!("v{}", store.value);
        if instruction.extent == Extent::Full {
            w.store(binding, instruction.dtype, &sum(&[&row, &times("c", stride)]), &value);
        } else {
            w.line("if (c == 0u) {");
            w.store(binding, instruction.dtype, &row, &value);
            w.line("}");
        }
    }
    for (i, store) in sums.iter().enumerate() {
        w.line(&format!("sum{i} += v{};", store.value));
    }
    w.end_loop();
    let partials = w.bind(Location::Auxiliary, DType::F32, true);
    w.auxiliary = layout.end(sums.len());
    for i in 0..sums.len() {
        w.line(&format!("b{partials}[{}u + id] = sum{i};", layout.start(i)));
    }
    (vec![w.finish("row/columns", blocks * length)], layout)
}

pub(super) fn column_sums(program: &RowProgram) -> Vec<&Store> {
    program.stores.iter().filter(|s| s.kind == StoreKind::ColumnSum).collect()
}

/// Where row `r` of a view begins, counted from the view's offset, and the distance between its elements.
pub(super) fn split(view: &View) -> (String, isize) {
    let Some((_, lead)) = view.dims.split_last() else { return ("0u".to_owned(), 0) };
    let stride = view.strides[lead.len()];
    (walk("r", &collapse(lead, &view.strides[..lead.len()])), stride)
}
