//! A slow and simple interpreter of programs, for comparison: one branch after the other, one
//! sequence after the other, plain loops, with the rules of the lowering written a second time.

use primer_search::dna::{Dna, Inlined, NodeKind, Primitive};
use primer_search::lower::loser_is_wider;

/// A value of one branch and one sequence: rows of channels, or rows of keys whose future half is
/// kept at 0 because nothing may look at it.
#[derive(Clone, Debug)]
struct Value {
    attention: bool,
    rows: Vec<Vec<f64>>,
}

impl Value {
    fn width(&self) -> usize {
        self.rows[0].len()
    }

    fn map(&self, f: impl Fn(f64) -> f64) -> Value {
        let rows = self.rows.iter().map(|row| row.iter().map(|&x| f(x)).collect()).collect();
        Value { rows, ..*self }.closed()
    }

    /// The future half of an attention matrix at 0.
    fn closed(mut self) -> Value {
        if self.attention {
            for (t, row) in self.rows.iter_mut().enumerate() {
                row.iter_mut().skip(t + 1).for_each(|x| *x = 0.0);
            }
        }
        self
    }

    fn read_as_v(&self) -> Value {
        Value { attention: false, rows: self.rows.clone() }
    }

    fn resized(&self, width: usize) -> Value {
        let from = self.width();
        let entry = |row: &Vec<f64>, c: usize| if from == 1 { row[0] } else { row.get(c).copied().unwrap_or(0.0) };
        let rows = self.rows.iter().map(|row| (0..width).map(|c| entry(row, c)).collect()).collect();
        Value { attention: false, rows }
    }

    fn called_a(&self) -> Value {
        if self.attention { self.clone() } else { Value { attention: true, ..self.resized(self.rows.len()) }.closed() }
    }
}

fn common(primitive: Primitive, a: usize, b: usize) -> usize {
    let (narrow, wide) = (a.min(b), a.max(b));
    if narrow == 1 || narrow == wide {
        wide
    } else if loser_is_wider(primitive, narrow as u64, wide as u64) {
        narrow
    } else {
        wide
    }
}

fn zip(a: &Value, b: &Value, f: impl Fn(f64, f64) -> f64) -> Value {
    let rows = a.rows.iter().zip(&b.rows).map(|(x, y)| x.iter().zip(y).map(|(&x, &y)| f(x, y)).collect()).collect();
    Value { attention: a.attention, rows }.closed()
}

/// A parameter as the lowering stores it.
pub struct Weights<'a> {
    pub shape: &'a [usize],
    pub values: &'a [f64],
}

/// One layer over one sequence `x` of rows.
pub fn block(
    dna: &Dna,
    x: &[Vec<f64>],
    unit: usize,
    parameters: &mut dyn Iterator<Item = Weights<'_>>,
) -> Vec<Vec<f64>> {
    let inlined: Inlined = dna.inline_live().unwrap();
    let mut values: Vec<Vec<Value>> = Vec::new();
    for node in &inlined.nodes {
        let input = |i: usize| &values[node.inputs[i]];
        let value = match node.kind {
            NodeKind::Input => vec![Value { attention: false, rows: x.to_vec() }],
            NodeKind::Split(b) => input(0).iter().flat_map(|v| std::iter::repeat_n(v.clone(), b as usize)).collect(),
            NodeKind::Merge(b) => input(0).chunks(b as usize).map(join).collect(),
            NodeKind::Primitive { primitive, constant, dim } => {
                let branches = node.branches as usize;
                let weights = primitive.parameter().map(|_| parameters.next().unwrap());
                (0..branches)
                    .map(|branch| {
                        let operand = |i: usize| node.inputs.get(i).map(|&n| &values[n][branch]);
                        match &weights {
                            Some(weights) => {
                                let out = unit * dim as usize / branches;
                                with_weights(primitive, operand(0).unwrap(), weights, (branch, branches), out)
                            }
                            None => without_weights(primitive, operand(0).unwrap(), operand(1), constant),
                        }
                    })
                    .collect()
            }
        };
        values.push(value);
    }
    values[inlined.output][0].read_as_v().resized(x[0].len()).rows
}

fn join(parts: &[Value]) -> Value {
    let rows = (0..parts[0].rows.len()).map(|t| parts.iter().flat_map(|p| p.rows[t].clone()).collect()).collect();
    Value { attention: false, rows }
}

fn with_weights(p: Primitive, x: &Value, w: &Weights<'_>, (branch, branches): (usize, usize), out: usize) -> Value {
    let (n, c) = (x.rows.len(), x.width());
    let vector = |i: usize| w.values[branch * c + i];
    let taps = match p.name().split('_').nth(1).and_then(|t| t.split('X').next()).map(str::parse::<usize>) {
        Some(Ok(taps)) => taps,
        _ => 1,
    };
    let past = |t: usize, back: usize, i: usize| if back <= t { x.rows[t - back][i] } else { 0.0 };
    match p {
        Primitive::Scale | Primitive::Shift => {
            let f = |x: f64, i| if p == Primitive::Scale { x * vector(i) } else { x + vector(i) };
            let rows = x.rows.iter().map(|row| row.iter().enumerate().map(|(i, &x)| f(x, i)).collect()).collect();
            Value { attention: x.attention, rows }.closed()
        }
        _ if p.name().starts_with('D') => {
            let tap = |back: usize, i: usize| w.values[back * branches * c + branch * c + i];
            let at = |t, i| (0..taps).map(|back| tap(back, i) * past(t, back, i)).sum();
            Value { attention: false, rows: (0..n).map(|t| (0..c).map(|i| at(t, i)).collect()).collect() }
        }
        _ => {
            let weight = |row: usize, o: usize| match w.shape {
                [_, full] => w.values[row * full + branch * out + o],
                _ => w.values[(branch * taps * c + row) * out + o],
            };
            let at = |t, o| {
                let terms = (0..taps * c).map(|row| weight(row, o) * past(t, row / c, row % c));
                terms.sum()
            };
            Value { attention: false, rows: (0..n).map(|t| (0..out).map(|o| at(t, o)).collect()).collect() }
        }
    }
}

fn without_weights(p: Primitive, a: &Value, b: Option<&Value>, c: f64) -> Value {
    let reduce =
        |f: &dyn Fn(&[f64]) -> f64| Value { attention: false, rows: a.rows.iter().map(|row| vec![f(row)]).collect() };
    match (p, b) {
        (Primitive::MatMul, Some(b)) => {
            let a = a.called_a();
            let at = |t: usize, i: usize| (0..=t).map(|s| a.rows[t][s] * b.rows[s][i]).sum();
            let rows = (0..a.rows.len()).map(|t| (0..b.width()).map(|i| at(t, i)).collect()).collect();
            Value { attention: b.attention, rows }.closed()
        }
        (Primitive::TMatMul, Some(b)) => {
            let width = common(p, a.width(), b.width());
            let (a, b) = (a.read_as_v().resized(width), b.read_as_v().resized(width));
            let dot = |t: usize, s: usize| (0..width).map(|i| a.rows[t][i] * b.rows[s][i]).sum();
            let n = a.rows.len();
            Value { attention: true, rows: (0..n).map(|t| (0..n).map(|s| dot(t, s)).collect()).collect() }.closed()
        }
        (_, Some(b)) => {
            let (a, b) = if a.attention || b.attention {
                (a.called_a(), b.called_a())
            } else {
                let width = common(p, a.width(), b.width());
                (a.resized(width), b.resized(width))
            };
            match p {
                Primitive::Add => zip(&a, &b, |x, y| x + y),
                Primitive::Difference => zip(&a, &b, |x, y| x - y),
                Primitive::Multiply => zip(&a, &b, |x, y| x * y),
                _ => zip(&a, &b, |x, y| x / y),
            }
        }
        (Primitive::AbsRoot, _) => a.map(|x| x.abs().sqrt()),
        (Primitive::Square, _) => a.map(|x| x * x),
        (Primitive::Exp, _) => a.map(f64::exp),
        (Primitive::Log, _) => a.map(|x| x.abs().ln()),
        (Primitive::CMul, _) => a.map(|x| x * c),
        (Primitive::Abs, _) => a.map(f64::abs),
        (Primitive::Sign, _) => a.map(|x| {
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                x
            }
        }),
        (Primitive::Cos, _) => a.map(f64::cos),
        (Primitive::Sin, _) => a.map(f64::sin),
        (Primitive::Tanh, _) => a.map(f64::tanh),
        (Primitive::Sigmoid, _) => a.map(|x| 1.0 / (1.0 + (-x).exp())),
        (Primitive::Recip, _) => a.map(|x| if x == 0.0 { 0.0 } else { 1.0 / x }),
        (Primitive::Max, _) => a.map(|x| if x < c { c } else { x }),
        (Primitive::Min, _) => a.map(|x| if x > c { c } else { x }),
        (Primitive::Mask, _) => {
            let v = Value { attention: true, rows: a.rows.clone() }.closed();
            Value { attention: a.attention, ..v }
        }
        (Primitive::RedMean, _) => reduce(&|row| row.iter().sum::<f64>() / row.len() as f64),
        (Primitive::RedSum, _) => reduce(&|row| row.iter().sum()),
        (Primitive::RedMin, _) => reduce(&|row| row.iter().copied().fold(f64::INFINITY, f64::min)),
        (Primitive::RedMax, _) => reduce(&|row| row.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        (Primitive::RedProd, _) => reduce(&|row| row.iter().product()),
        (Primitive::CumSum | Primitive::CumProd, _) => {
            let step = |before: f64, x: f64| if p == Primitive::CumSum { before + x } else { before * x };
            let mut rows = a.rows.clone();
            for t in 0..rows.len() {
                for i in 0..rows[t].len() {
                    if a.attention && i > 0 {
                        rows[t][i] = step(rows[t][i - 1], rows[t][i]);
                    } else if !a.attention && t > 0 {
                        rows[t][i] = step(rows[t - 1][i], rows[t][i]);
                    }
                }
            }
            Value { attention: a.attention, rows }.closed()
        }
        (p, _) => panic!("{p:?} has weights"),
    }
}
