//! Instructions of row programs as WGSL.

use super::math;
use crate::DType;
use crate::gpu::writer::Writer;
use crate::graph::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use crate::plan::{Instruction, RowOp, RowProgram, View};

/// One step of a reduction.
pub(super) fn combine(op: ReduceOp, a: &str, b: &str) -> String {
    match op {
        ReduceOp::Sum => format!("{a} + {b}"),
        ReduceOp::Prod => format!("{a} * {b}"),
        ReduceOp::Max => format!("max({a}, {b})"),
        ReduceOp::Min => format!("min({a}, {b})"),
    }
}

/// The declaration of value `i`, named `vI`, at row-major position `linear` of its extent. `load` gives a load's
/// position.
pub(super) fn declare<'c>(
    w: &mut Writer<'c>,
    program: &RowProgram,
    i: usize,
    linear: &str,
    load: impl Fn(&mut Writer<'c>, &View) -> String,
) -> String {
    let Instruction { op, operands, dtype, .. } = &program.body[i];
    let x = |k: usize| format!("v{}", operands[k]);
    let value = match *op {
        RowOp::Load(index) => {
            let view = &program.loads[index];
            let binding = w.read(view.buffer);
            let at = load(w, view);
            w.element(binding, *dtype, &at)
        }
        RowOp::Constant(value) => w.literal(value),
        RowOp::Index(value) => format!("{value}u"),
        RowOp::Iota { divisor, modulus } => {
            let index = format!("(({linear}) / {}u) % {}u", divisor.max(1), modulus.max(1));
            if *dtype == DType::F32 { format!("f32({index})") } else { index }
        }
        RowOp::Unary(UnaryOp::Neg) => format!("-{}", x(0)),
        RowOp::Unary(UnaryOp::Abs) => format!("abs({})", x(0)),
        RowOp::Unary(op) => match math::unary(op) {
            Some(name) => format!("{}({})", w.helper(name), x(0)),
            None => x(0),
        },
        RowOp::IsFinite => format!("{}({})", w.helper("is_finite_f32"), x(0)),
        RowOp::Cast => {
            let from = program.body[operands[0]].dtype;
            match (from, *dtype) {
                (a, b) if a == b => x(0),
                (DType::Bool, DType::U32) => format!("select(0u, 1u, {})", x(0)),
                (DType::Bool, _) => format!("select(0.0f, 1.0f, {})", x(0)),
                (_, DType::Bool) => format!("{} != {}(0)", x(0), from),
                (DType::F32, DType::U32) => format!("{}({})", w.helper("to_u32"), x(0)),
                (_, to) => format!("{to}({})", x(0)),
            }
        }
        RowOp::Binary(op) => match op {
            BinaryOp::Add => format!("{} + {}", x(0), x(1)),
            BinaryOp::Sub => format!("{} - {}", x(0), x(1)),
            BinaryOp::Mul => format!("{} * {}", x(0), x(1)),
            BinaryOp::Div => format!("{} / {}", x(0), x(1)),
            BinaryOp::Max => format!("max({}, {})", x(0), x(1)),
            BinaryOp::Min => format!("min({}, {})", x(0), x(1)),
        },
        RowOp::Compare(CompareOp::Less) => format!("{} < {}", x(0), x(1)),
        RowOp::Compare(CompareOp::Equal) => format!("{} == {}", x(0), x(1)),
        RowOp::Select => format!("select({}, {}, {})", x(2), x(1), x(0)),
        // Written where the pass over the row ends.
        RowOp::Reduce(_) => return String::new(),
    };
    format!("let v{i} = {value};")
}
