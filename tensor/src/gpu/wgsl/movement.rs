//! Gathers, scatters and scans.

use super::{position, sum, times};
use crate::DType;
use crate::gpu::launch::{Context, Location, Shader, Writer};
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

/// First each row of the table links the updates that go to it, in their order; then each element adds along its row's links.
/// In the links, word `row` and word `rows + i` hold one more than the next update, or 0.
pub(super) fn scatter_add(indices: &View, updates: &View, out: &View, context: &Context<'_>) -> Vec<Shader> {
    let (rows, d, n) = (out.dims[0], out.dims[1], indices.dims[0]);
    let mut w = Writer::new(context);
    let index = w.read(indices.buffer);
    let links = w.bind(Location::Auxiliary, DType::U32, true);
    w.invocation_id(&format!("{rows}u"));
    w.line("var last = id;");
    let count = w.param(n as u32);
    w.line(&format!("for (var i = 0u; i < {count}; i++) {{"));
    let at = w.element(index, DType::U32, &position(indices, "i"));
    w.line(&format!("if (min({at}, {}u) == id) {{", rows - 1));
    w.line(&format!("b{links}[last] = i + 1u;"));
    w.line(&format!("last = {rows}u + i;"));
    w.line("}");
    w.line("}");
    w.line(&format!("b{links}[last] = 0u;"));
    w.auxiliary = rows + n;
    let linking = w.finish("scatter/link", rows);

    let mut w = Writer::new(context);
    let links = w.bind(Location::Auxiliary, DType::U32, false);
    let (from, to) = (w.read(updates.buffer), w.write(out.buffer));
    w.invocation_id(&format!("{}u", out.numel()));
    w.line("var total = 0.0f;");
    w.line(&format!("var next = b{links}[id / {d}u];"));
    // No list is longer than n: the count bounds the walk whatever the links say.
    w.line(&format!("for (var step = 0u; step < {n}u && next != 0u; step++) {{"));
    w.line("let i = next - 1u;");
    let offset = format!("{}u", updates.offset);
    let column = format!("id % {d}u");
    let place = sum(&[&offset, &times("i", updates.strides[0]), &times(&column, updates.strides[1])]);
    let value = w.element(from, DType::F32, &place);
    w.line(&format!("total += {value};"));
    w.line(&format!("next = b{links}[{rows}u + i];"));
    w.line("}");
    w.store(to, DType::F32, &position(out, "id"), "total");
    vec![linking, w.finish("scatter/add", out.numel())]
}

/// One invocation a recurrence.
pub(super) fn linrec(a: &View, b: &View, out: &View, reverse: bool, start: f32, context: &Context<'_>) -> Shader {
    let mut w = Writer::new(context);
    let (outer, len, inner) = (out.dims[0], out.dims[1], out.dims[2]);
    let (gain, input, to) = (w.read(a.buffer), w.read(b.buffer), w.write(out.buffer));
    w.invocation_id(&format!("{}u", outer * inner));
    w.line(&format!("let o = id / {inner}u;"));
    w.line(&format!("let c = id % {inner}u;"));
    let start = w.literal(start);
    w.line(&format!("var state = {start};"));
    let count = w.param(len as u32);
    w.line(&format!("for (var step = 0u; step < {count}; step++) {{"));
    w.line(&if reverse { format!("let t = {}u - step;", len.saturating_sub(1)) } else { "let t = step;".to_owned() });
    let place = |view: &View| {
        let offset = format!("{}u", view.offset);
        sum(&[&offset, &times("o", view.strides[0]), &times("t", view.strides[1]), &times("c", view.strides[2])])
    };
    let (x, y) = (w.element(gain, DType::F32, &place(a)), w.element(input, DType::F32, &place(b)));
    w.line(&format!("state = {x} * state + {y};"));
    w.store(to, DType::F32, &place(out), "state");
    w.line("}");
    w.finish("linrec", outer * inner)
}
