//! The text form: one line a node.

use std::fmt;

use super::{Graph, InputKind, Op};

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for id in self.ids() {
            let node = self.node(id);
            write!(f, "{id:?}: {}{} = {}", node.dtype, node.shape, node.op.name())?;
            for (i, operand) in node.operands.iter().enumerate() {
                write!(f, "{}{operand:?}", if i == 0 { " " } else { ", " })?;
            }
            match &node.op {
                Op::Input(index) => {
                    let info = &self.inputs()[*index];
                    let kind = if info.kind == InputKind::State { "state" } else { "data" };
                    write!(f, " {kind} {:?}", info.name)?;
                }
                Op::Constant(value, _) => write!(f, " {value:?}")?,
                Op::Iota { axis, .. } | Op::Reduce { axis, .. } | Op::Concat { axis } | Op::Reverse { axis } => {
                    write!(f, " axis={axis}")?;
                }
                Op::Random { stream, .. } => write!(f, " stream={stream}")?,
                Op::LinRec { axis, reverse, start } => {
                    write!(f, " axis={axis} reverse={reverse} start={start:?}")?;
                }
                Op::Permute(perm) => write!(f, " {perm:?}")?,
                Op::Slice { axis, start, end } => write!(f, " axis={axis} {start}..{end}")?,
                Op::Pad { axis, before, after } => write!(f, " axis={axis} +{before} +{after}")?,
                Op::MatMul { transpose_a, transpose_b } => {
                    let t = |on: &bool| if *on { "t" } else { "n" };
                    write!(f, " {}{}", t(transpose_a), t(transpose_b))?;
                }
                Op::DepthwiseConvFilterGrad { width } => write!(f, " width={width}")?,
                Op::ScatterAdd { rows } => write!(f, " rows={rows}")?,
                Op::Unary(_)
                | Op::IsFinite
                | Op::StopGradient
                | Op::Barrier
                | Op::Cast(_)
                | Op::Binary(_)
                | Op::Compare(_)
                | Op::Select
                | Op::Reshape(_)
                | Op::Broadcast(_)
                | Op::DepthwiseConv
                | Op::DepthwiseConvInputGrad
                | Op::Gather => {}
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
