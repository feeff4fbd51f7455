//! Causal depthwise convolution and its adjoints.

use super::partials::{self, Partials};
use super::{collapse, row, sum, times, walk};
use crate::DType;
use crate::gpu::launch::{Context, Location, Shader};
use crate::gpu::writer::Writer;
use crate::plan::{DepthwiseConv, DepthwiseConvFilterGrad, View};

/// One invocation an output element.
pub(super) fn conv(conv: &DepthwiseConv, context: &Context<'_>) -> Shader {
    let mut w = Writer::new(context);
    let (x, taps, out) = (w.read(conv.x.buffer), w.read(conv.w.buffer), w.write(conv.out.buffer));
    let (n, c) = (conv.out.dims[1], conv.out.dims[2]);
    w.invocation_id(&format!("{}u", conv.out.numel()));
    w.line(&format!("let t = (id / {c}u) % {n}u;"));
    w.line(&format!("let c = id % {c}u;"));
    w.line(&format!("let first = {};", origin(&conv.x, &format!("id / {}u", n * c))));
    w.line("var total = 0.0f;");
    w.begin_loop(&format!("var j = 0u; j < {}u; j++", conv.w.dims[0]), conv.w.dims[0]);
    if conv.adjoint {
        w.line(&format!("if (t + j >= {n}u) {{ break; }}"));
        w.line("let s = t + j;");
    } else {
        w.line("if (j > t) { break; }");
        w.line("let s = t - j;");
    }
    let value =
        w.element(x, DType::F32, &sum(&["first", &times("s", conv.x.strides[1]), &times("c", conv.x.strides[2])]));
    let offset = format!("{}u", conv.w.offset);
    let tap =
        w.element(taps, DType::F32, &sum(&[&offset, &times("j", conv.w.strides[0]), &times("c", conv.w.strides[1])]));
    w.line(&format!("total += {tap} * {value};"));
    w.end_loop();
    w.store(out, DType::F32, &super::position(&conv.out, "id"), "total");
    w.finish("conv", conv.out.numel())
}

/// Partial sums over blocks of positions of the flattened (batch, position) space, one invocation a tap, channel and
/// block; then their sums.
pub(super) fn filter_grad(conv: &DepthwiseConvFilterGrad, context: &Context<'_>) -> Vec<Shader> {
    let (batch, n, c) = (conv.x.dims[0], conv.x.dims[1], conv.x.dims[2]);
    let width = conv.out.dims[0];
    let outputs = width * c;
    let wanted =
        (context.variants.invocations / outputs.max(1)).min(row::BLOCKS).clamp(1, (batch * n).div_ceil(16).max(1));
    let height = row::height(batch * n, wanted, context);
    let blocks = (batch * n).div_ceil(height);
    let mut shaders = Vec::new();
    if blocks * outputs > 0 {
        let mut w = Writer::new(context);
        let (x, dy) = (w.read(conv.x.buffer), w.read(conv.dy.buffer));
        w.invocation_id(&format!("{}u", blocks * outputs));
        w.line(&format!("let c = id % {c}u;"));
        w.line(&format!("let j = (id / {c}u) % {width}u;"));
        w.line(&format!("let begin = (id / {outputs}u) * {height}u;"));
        w.line("var total = 0.0f;");
        w.begin_loop(&format!("var i = begin; i < min(begin + {height}u, {}u); i++", batch * n), height);
        w.line(&format!("let t = i % {n}u;"));
        w.line("if (t >= j) {");
        for (name, view, at) in [("u", &conv.x, "(t - j)"), ("v", &conv.dy, "t")] {
            let first = origin(view, &format!("i / {n}u"));
            let binding = if name == "u" { x } else { dy };
            let element = w.element(
                binding,
                DType::F32,
                &sum(&[&first, &times(at, view.strides[1]), &times("c", view.strides[2])]),
            );
            w.line(&format!("let {name} = {element};"));
        }
        w.line("total += u * v;");
        w.line("}");
        w.end_loop();
        let partials = w.bind(Location::Auxiliary, DType::F32, true);
        w.auxiliary = blocks * outputs;
        w.line(&format!("b{partials}[id] = total;"));
        shaders.push(w.finish("conv/partials", blocks * outputs));
    }
    let partials = Partials { base: 0, blocks, length: outputs };
    shaders.push(partials::add(&[&conv.out], partials, context));
    shaders
}

/// Where batch `index` of a `[batch, n, c]` view begins.
fn origin(view: &View, index: &str) -> String {
    sum(&[&format!("{}u", view.offset), &walk(index, &collapse(&view.dims[..1], &view.strides[..1]))])
}
