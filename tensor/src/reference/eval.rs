//! The meaning of each primitive.

use super::{Value, layout};
use crate::graph::{BinaryOp, CompareOp, Op, ReduceOp, UnaryOp};
use crate::{Shape, philox};

pub(super) fn apply(op: &Op, shape: &Shape, x: &[&Value]) -> Value {
    let data = match op {
        Op::Input(_) => unreachable!("inputs are bound by the caller"),
        Op::Constant(value, _) => vec![value.get()],
        Op::Iota { shape, axis, .. } => layout::gather(shape, |index| Some(index[*axis] as f64)),
        Op::Random { shape, stream } => random(shape.numel(), x[0], *stream),
        Op::Unary(op) => x[0].data.iter().map(|&a| unary(*op, a)).collect(),
        Op::IsFinite => x[0].data.iter().map(|a| f64::from(u8::from(a.is_finite()))).collect(),
        Op::StopGradient | Op::Barrier => x[0].data.clone(),
        Op::Cast(to) => x[0].data.iter().map(|&a| cast(*to, a)).collect(),
        Op::Binary(op) => x[0].data.iter().zip(&x[1].data).map(|(&a, &b)| binary(*op, a, b)).collect(),
        Op::Compare(op) => {
            x[0].data.iter().zip(&x[1].data).map(|(&a, &b)| f64::from(u8::from(compare(*op, a, b)))).collect()
        }
        Op::Select => {
            let sides = x[1].data.iter().zip(&x[2].data);
            x[0].data.iter().zip(sides).map(|(&cond, (&a, &b))| if cond != 0.0 { a } else { b }).collect()
        }
        Op::Reduce { op, axis } => reduce(*op, x[0], *axis),
        Op::LinRec { axis, reverse, start } => linrec(x[0], x[1], *axis, *reverse, start.get()),
        Op::MatMul { transpose_a, transpose_b } => matmul(x[0], *transpose_a, x[1], *transpose_b, shape),
        Op::DepthwiseConv => conv(x[0], x[1], shape, |t, j| t.checked_sub(j)),
        Op::DepthwiseConvInputGrad => conv(x[0], x[1], shape, |t, j| (t + j < shape[1]).then_some(t + j)),
        Op::DepthwiseConvFilterGrad { .. } => conv_filter_grad(x[0], x[1], shape),
        Op::Gather => {
            let (rows, d) = (x[0].shape[0], x[0].shape[1]);
            x[1].data.iter().flat_map(|&i| x[0].data[row(i, rows) * d..][..d].to_vec()).collect()
        }
        Op::ScatterAdd { rows } => {
            let d = shape[1];
            let mut out = vec![0.0; shape.numel()];
            for (i, &index) in x[0].data.iter().enumerate() {
                for c in 0..d {
                    out[row(index, *rows) * d + c] += x[1].data[i * d + c];
                }
            }
            out
        }
        Op::Reshape(_) => x[0].data.clone(),
        Op::Permute(perm) => layout::gather_from(x[0], shape, |index, from| {
            for (to, &axis) in perm.iter().enumerate() {
                from[axis] = index[to];
            }
            Some(())
        }),
        Op::Broadcast(_) => layout::gather_from(x[0], shape, |index, from| {
            for (axis, i) in from.iter_mut().enumerate() {
                *i = if x[0].shape[axis] == 1 { 0 } else { index[axis] };
            }
            Some(())
        }),
        Op::Slice { axis, start, .. } => layout::gather_axis(x[0], shape, *axis, |i| Some(i + start)),
        Op::Pad { axis, before, .. } => {
            let len = x[0].shape[*axis];
            layout::gather_axis(x[0], shape, *axis, |i| i.checked_sub(*before).filter(|&i| i < len))
        }
        Op::Reverse { axis } => layout::gather_axis(x[0], shape, *axis, |i| Some(shape[*axis] - 1 - i)),
        Op::Concat { axis } => layout::concat(x, shape, *axis),
    };
    Value { shape: shape.clone(), data }
}

fn random(count: usize, key: &Value, stream: u32) -> Vec<f64> {
    let key = [key.data[0] as u32, key.data[1] as u32];
    let element = |i: usize| philox::philox([(i / 4) as u32, 0, stream, 0], key)[i % 4];
    (0..count).map(|i| f64::from(philox::uniform(element(i)))).collect()
}

fn row(index: f64, rows: usize) -> usize {
    (index as usize).min(rows - 1)
}

fn cast(to: crate::DType, a: f64) -> f64 {
    match to {
        crate::DType::U32 => f64::from(a as u32),
        _ => f64::from(a as f32),
    }
}

/// One elementwise function, as every device must compute it up to rounding.
pub fn unary(op: UnaryOp, a: f64) -> f64 {
    match op {
        UnaryOp::Neg => -a,
        UnaryOp::Abs => a.abs(),
        UnaryOp::Sign if a == 0.0 => 0.0,
        UnaryOp::Sign if a.is_nan() => a,
        UnaryOp::Sign => a.signum(),
        UnaryOp::Sqrt => a.sqrt(),
        UnaryOp::Exp => a.exp(),
        UnaryOp::Log => a.ln(),
        UnaryOp::Sin => a.sin(),
        UnaryOp::Cos => a.cos(),
        UnaryOp::Tanh => a.tanh(),
        UnaryOp::Sigmoid => 1.0 / (1.0 + (-a).exp()),
        UnaryOp::Recip if a == 0.0 => 0.0,
        UnaryOp::Recip => 1.0 / a,
    }
}

/// One elementwise function of two operands, as every device must compute it up to rounding.
pub fn binary(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Max | BinaryOp::Min if a.is_nan() || b.is_nan() => f64::NAN,
        BinaryOp::Max => a.max(b),
        BinaryOp::Min => a.min(b),
    }
}

pub(super) fn compare(op: CompareOp, a: f64, b: f64) -> bool {
    match op {
        CompareOp::Less => a < b,
        CompareOp::Equal => a == b,
    }
}

fn reduce(op: ReduceOp, x: &Value, axis: usize) -> Vec<f64> {
    let (outer, len, inner) = x.shape.around(axis);
    let mut out = vec![op.identity(); outer * inner];
    for o in 0..outer {
        for k in 0..len {
            for i in 0..inner {
                let a = x.data[(o * len + k) * inner + i];
                let acc = &mut out[o * inner + i];
                *acc = match op {
                    ReduceOp::Sum => *acc + a,
                    ReduceOp::Prod => *acc * a,
                    ReduceOp::Max => binary(BinaryOp::Max, *acc, a),
                    ReduceOp::Min => binary(BinaryOp::Min, *acc, a),
                };
            }
        }
    }
    out
}

fn linrec(a: &Value, b: &Value, axis: usize, reverse: bool, start: f64) -> Vec<f64> {
    let (outer, len, inner) = a.shape.around(axis);
    let mut out = vec![0.0; a.data.len()];
    for o in 0..outer {
        for i in 0..inner {
            let mut s = start;
            for step in 0..len {
                let k = if reverse { len - 1 - step } else { step };
                let at = (o * len + k) * inner + i;
                s = a.data[at] * s + b.data[at];
                out[at] = s;
            }
        }
    }
    out
}

fn matmul(a: &Value, transpose_a: bool, b: &Value, transpose_b: bool, shape: &Shape) -> Vec<f64> {
    let r = shape.rank();
    let (m, n) = (shape[r - 2], shape[r - 1]);
    let k = if transpose_a { a.shape[r - 2] } else { a.shape[r - 1] };
    let batch: usize = shape[..r - 2].iter().product();
    let mut out = Vec::with_capacity(shape.numel());
    for s in 0..batch {
        let (a, b) = (&a.data[s * m * k..][..m * k], &b.data[s * k * n..][..k * n]);
        for i in 0..m {
            for j in 0..n {
                let at = |p: usize| if transpose_a { a[p * m + i] } else { a[i * k + p] };
                let bt = |p: usize| if transpose_b { b[j * k + p] } else { b[p * n + j] };
                out.push((0..k).map(|p| at(p) * bt(p)).sum());
            }
        }
    }
    out
}

/// Σⱼ w[j]·x[source(t, j)] per channel.
fn conv(x: &Value, w: &Value, shape: &Shape, source: impl Fn(usize, usize) -> Option<usize>) -> Vec<f64> {
    let (n, c) = (shape[1], shape[2]);
    layout::gather(shape, |index| {
        let taps = (0..w.shape[0]).filter_map(|j| {
            let t = source(index[1], j)?;
            Some(w.data[j * c + index[2]] * x.data[(index[0] * n + t) * c + index[2]])
        });
        Some(taps.sum())
    })
}

fn conv_filter_grad(x: &Value, dy: &Value, shape: &Shape) -> Vec<f64> {
    let (batch, n, c) = (x.shape[0], x.shape[1], x.shape[2]);
    layout::gather(shape, |index| {
        let (j, ch) = (index[0], index[1]);
        let pairs = (0..batch).flat_map(|b| (j..n).map(move |t| (b, t)));
        Some(pairs.map(|(b, t)| dy.data[(b * n + t) * c + ch] * x.data[(b * n + t - j) * c + ch]).sum())
    })
}
