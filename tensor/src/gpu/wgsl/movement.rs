//! Gathers, scatters and scans.

use super::{position, sum, times};
use crate::DType;
use crate::gpu::launch::{Context, Location, Shader};
use crate::gpu::writer::Writer;
use crate::plan::View;

/// One invocation an element.
pub(super) fn gather(table: &View, indices: &View, out: &View, context: &Context<'_>) -> Shader {
    let mut w = Writer::new(context);
    let (rows, d) = (table.dims[0], table.dims[1]);
    let (from, index, to) = (w.read(table.buffer), w.read(indices.buffer), w.write(out.buffer));
    w.invocation_id(&format!("{}u", out.numel()));
    let at = w.element(index, DType::U32, &position(indices, &format!("(id / {d}u)")));
    w.line(&format!("let row = min({at}, {}u);", rows.saturating_sub(1)));
    let offset = format!("{}u", table.offset);
    let column = format!("id % {d}u");
    let place = sum(&[&offset, &times("row", table.strides[0]), &times(&column, table.strides[1])]);
    let value = w.element(from, DType::F32, &place);
    w.store(to, DType::F32, &position(out, "id"), &value);
    w.finish("gather", out.numel())
}

/// Two launches, and two more for each further part of the updates where an invocation may not run through all of them.
pub(super) fn scatter_add(indices: &View, updates: &View, out: &View, context: &Context<'_>) -> Vec<Shader> {
    let n = indices.dims[0];
    let length = (context.rounds() - 1).min(n.max(1) as u64) as usize;
    let part = |start: usize| {
        let end = (start + length).min(n);
        scatter_part(&indices.slice(0, start, end), &updates.slice(0, start, end), out, start > 0, context)
    };
    (0..n.max(1)).step_by(length).flat_map(part).collect()
}

/// First each row of the table links the updates that go to it, in their order; then each element adds along its row's
/// links, to what it holds where that `continues` an earlier part. In the links, word `row` and word `rows + i` hold
/// one more than the next update, or 0.
fn scatter_part(indices: &View, updates: &View, out: &View, continues: bool, context: &Context<'_>) -> [Shader; 2] {
    let (rows, d, n) = (out.dims[0], out.dims[1], indices.dims[0]);
    let mut w = Writer::new(context);
    let index = w.read(indices.buffer);
    let links = w.bind(Location::Auxiliary, DType::U32, true);
    w.invocation_id(&format!("{rows}u"));
    w.line("var last = id;");
    let count = w.param(n as u32);
    w.begin_loop(&format!("var i = 0u; i < {count}; i++"), n);
    let at = w.element(index, DType::U32, &position(indices, "i"));
    w.line(&format!("if (min({at}, {}u) == id) {{", rows - 1));
    w.line(&format!("b{links}[last] = i + 1u;"));
    w.line(&format!("last = {rows}u + i;"));
    w.line("}");
    w.end_loop();
    w.line(&format!("b{links}[last] = 0u;"));
    w.auxiliary = rows + n;
    let linking = w.finish("scatter/link", rows);

    let mut w = Writer::new(context);
    let links = w.bind(Location::Auxiliary, DType::U32, false);
    let (from, to) = (w.read(updates.buffer), w.write(out.buffer));
    w.invocation_id(&format!("{}u", out.numel()));
    let before = if continues { w.element(to, DType::F32, &position(out, "id")) } else { "0.0f".to_owned() };
    w.line(&format!("var total = {before};"));
    w.line(&format!("var next = b{links}[id / {d}u];"));
    // No list is longer than n: the count bounds the walk whatever the links say.
    w.begin_loop(&format!("var step = 0u; step < {n}u && next != 0u; step++"), n);
    w.line("let i = next - 1u;");
    let offset = format!("{}u", updates.offset);
    let column = format!("id % {d}u");
    let place = sum(&[&offset, &times("i", updates.strides[0]), &times(&column, updates.strides[1])]);
    let value = w.element(from, DType::F32, &place);
    w.line(&format!("total += {value};"));
    w.line(&format!("next = b{links}[{rows}u + i];"));
    w.end_loop();
    w.store(to, DType::F32, &position(out, "id"), "total");
    [linking, w.finish("scatter/add", out.numel())]
}

/// One invocation a recurrence; a launch for each part of the steps that it may run through at once, each but the first
/// going on from the state that the one before has stored.
pub(super) fn linrec(a: &View, b: &View, out: &View, reverse: bool, start: f32, context: &Context<'_>) -> Vec<Shader> {
    let (len, length) = (out.dims[1], (context.rounds() - 1) as usize);
    let part = |first: usize| {
        let steps = [first, (first + length).min(len)];
        linrec_part([a, b, out], reverse, start, steps, context)
    };
    (0..len).step_by(length).map(part).collect()
}

fn linrec_part(
    [a, b, out]: [&View; 3],
    reverse: bool,
    start: f32,
    [first, end]: [usize; 2],
    context: &Context<'_>,
) -> Shader {
    let mut w = Writer::new(context);
    let (outer, len, inner) = (out.dims[0], out.dims[1], out.dims[2]);
    let (gain, input, to) = (w.read(a.buffer), w.read(b.buffer), w.write(out.buffer));
    w.invocation_id(&format!("{}u", outer * inner));
    w.line(&format!("let o = id / {inner}u;"));
    w.line(&format!("let c = id % {inner}u;"));
    let time = |step: &str| if reverse { format!("({}u - {step})", len.saturating_sub(1)) } else { step.to_owned() };
    let place = |view: &View, t: &str| {
        let offset = format!("{}u", view.offset);
        sum(&[&offset, &times("o", view.strides[0]), &times(t, view.strides[1]), &times("c", view.strides[2])])
    };
    let [from, until] = [first, end].map(|step| w.param(step as u32));
    let before = match first {
        0 => w.literal(start),
        _ => w.element(to, DType::F32, &place(out, &time(&format!("({from} - 1u)")))),
    };
    w.line(&format!("var state = {before};"));
    w.begin_loop(&format!("var step = {from}; step < {until}; step++"), end - first);
    w.line(&format!("let t = {};", time("step")));
    let (x, y) = (w.element(gain, DType::F32, &place(a, "t")), w.element(input, DType::F32, &place(b, "t")));
    w.line(&format!("state = {x} * state + {y};"));
    w.store(to, DType::F32, &place(out, "t"), "state");
    w.end_loop();
    w.finish("linrec", outer * inner)
}
