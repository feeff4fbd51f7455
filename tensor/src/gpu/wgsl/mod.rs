//! The generator: each kernel of a plan becomes one shader or several, launched in order.
//!
//! Every shader counts its workgroups along one line, whatever dimensions they are launched in, so that the limit on
//! workgroups a dimension is the launcher's business alone. Index arithmetic is in u32 and wraps, so a negative stride
//! is a large one.

mod contract;
mod convolve;
mod epilogue;
mod express;
mod long;
pub(super) mod math;
mod movement;
mod partials;
mod random;
mod row;
mod rows;
mod team;
mod tiles;

use super::launch::{Context, Shader};
use crate::plan::{Kernel, View};

/// The launches of one kernel, in order; none where it has nothing to write.
pub(super) fn lower(kernel: &Kernel, context: &Context<'_>) -> Vec<Shader> {
    if kernel.writes().iter().all(|view| view.numel() == 0) {
        return Vec::new();
    }
    match kernel {
        Kernel::MatMul(matmul) => contract::matmul(matmul, context),
        Kernel::Row(program) => row::lower(program, context),
        Kernel::DepthwiseConv(conv) => vec![convolve::conv(conv, context)],
        Kernel::DepthwiseConvFilterGrad(conv) => convolve::filter_grad(conv, context),
        Kernel::Gather { table, indices, out } => vec![movement::gather(table, indices, out, context)],
        Kernel::ScatterAdd { indices, updates, out } => movement::scatter_add(indices, updates, out, context),
        Kernel::Random { key, out, stream } => vec![random::random(key, out, *stream, context)],
        Kernel::LinRec { a, b, out, reverse, start } => movement::linrec(a, b, out, *reverse, *start, context),
        // All tiles at once. Where there are local values, the plan has chunks instead.
        Kernel::Tiled(tiled) => tiled.kernels.iter().flat_map(|kernel| lower(kernel, context)).collect(),
    }
}

/// Dimensions and strides with neighbours that are walked with one stride merged, and without dimensions of 1.
fn collapse(dims: &[usize], strides: &[isize]) -> Vec<(usize, isize)> {
    let mut merged: Vec<(usize, isize)> = Vec::new();
    for (&dim, &stride) in dims.iter().zip(strides) {
        match merged.last_mut() {
            _ if dim == 1 => {}
            Some((outer, outer_stride)) if *outer_stride == stride * dim as isize => {
                *outer *= dim;
                *outer_stride = stride;
            }
            _ => merged.push((dim, stride)),
        }
    }
    merged
}

/// `linear`, a row-major position in `blocks`, times their strides; without the view's offset.
fn walk(linear: &str, blocks: &[(usize, isize)]) -> String {
    let mut terms = Vec::new();
    let mut inner: usize = blocks.iter().map(|(dim, _)| dim).product();
    for (i, &(dim, stride)) in blocks.iter().enumerate() {
        inner = inner.checked_div(dim).unwrap_or(0);
        if stride == 0 || dim == 0 {
            continue;
        }
        let mut index = linear.to_owned();
        if inner > 1 {
            index = format!("{index} / {inner}u");
        }
        if i > 0 {
            index = format!("({index}) % {dim}u");
        }
        terms.push(times(&index, stride));
    }
    if terms.is_empty() { "0u".to_owned() } else { terms.join(" + ") }
}

/// `index` times a constant stride.
fn times(index: &str, stride: isize) -> String {
    match stride {
        0 => "0u".to_owned(),
        1 => format!("({index})"),
        _ => format!("({index}) * {}u", stride as u32),
    }
}

/// `terms` added up, zeros left out.
fn sum(terms: &[&str]) -> String {
    let kept: Vec<&str> = terms.iter().copied().filter(|term| *term != "0u").collect();
    if kept.is_empty() { "0u".to_owned() } else { kept.join(" + ") }
}

/// The expression for an element of a view at a row-major position in it.
fn position(view: &View, linear: &str) -> String {
    sum(&[&format!("{}u", view.offset), &walk(linear, &collapse(&view.dims, &view.strides))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Granted, Variants};
    use crate::passes::{PlanLimits, plan};
    use crate::{DType, Program, Tensor};

    /// The shaders of a program for a device of WebGPU's default limits, with subgroups of 32.
    fn shaders(outputs: &[Tensor], variants: Variants) -> Vec<Shader> {
        let program = Program::trace(outputs, &[]).expect("traces");
        let plan = plan(&program, PlanLimits { buffers: 7, ..PlanLimits::default() }).expect("plans");
        let granted = Granted { subgroup: 32, smallest_subgroup: 32, ..Granted::WEBGPU };
        let context = Context::new(&plan, granted, variants.within(&granted)).expect("no tiles");
        plan.kernels.iter().flat_map(|kernel| lower(kernel, &context)).collect()
    }

    #[test]
    fn a_large_sum_is_the_work_of_many_invocations() {
        let count = 1usize << 22;
        let x = Tensor::data("x", [count], DType::F32);
        let column = Tensor::data("column", [count, 1], DType::F32);
        let rows = Tensor::data("rows", [4, count / 4], DType::F32);
        for variants in [Variants::SOFTWARE, Variants::INTEGRATED, Variants::DISCRETE] {
            for sum in [x.sum(), column.square().sum_axis(0), rows.softmax().sum()] {
                let first = &shaders(&[sum], variants)[0];
                let size = first.source.split("@workgroup_size(").nth(1).and_then(|rest| rest.split(')').next());
                let lanes: u64 = size.and_then(|size| size.parse().ok()).expect("a workgroup size");
                assert!(first.workgroups * lanes >= 512, "{}: {} of {lanes}", first.name, first.workgroups);
            }
        }
    }

    #[test]
    fn walking_merges_what_has_one_stride() {
        assert_eq!(walk("e", &collapse(&[2, 3, 4], &[12, 4, 1])), "(e)");
        assert_eq!(walk("e", &collapse(&[2, 1, 4], &[4, 77, 1])), "(e)");
        assert_eq!(walk("e", &collapse(&[2, 3, 4], &[0, 0, 0])), "0u");
        assert_eq!(walk("e", &collapse(&[2, 3], &[1, 2])), "(e / 3u) + ((e) % 3u) * 2u");
        assert_eq!(walk("e", &collapse(&[5], &[-1])), "(e) * 4294967295u");
        assert_eq!(walk("e", &collapse(&[2, 3, 4], &[0, 1, 5])), "((e / 4u) % 3u) + ((e) % 4u) * 5u");
    }
}
