//! The 39 primitives as Rust, in the order of [`crate::lower`]: whoever changes one of the two changes the other.

use super::function::{Dim, Function};
use super::value::{Kind, Known, Layout, Value};
use super::width::Width;
use crate::dna::{ParameterKind, Primitive};
use crate::lower::common_width;

/// What an instruction is given beside its inputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bank {
    pub constant: f64,
    /// The width of a convolution's result over all branches.
    pub width: Width,
    /// The branches that run side by side.
    pub branches: u64,
}

/// What a value is called that the primitive makes.
fn noun(primitive: Primitive) -> &'static str {
    match primitive {
        Primitive::Add => "sum",
        Primitive::Difference => "difference",
        Primitive::Divide => "quotient",
        Primitive::Multiply => "product",
        Primitive::AbsRoot => "root",
        Primitive::Square => "square",
        Primitive::Exp => "exponential",
        Primitive::Log => "logarithm",
        Primitive::CMul => "multiple",
        Primitive::Abs => "magnitude",
        Primitive::Sign => "sign",
        Primitive::Cos => "cosine",
        Primitive::Sin => "sine",
        Primitive::Tanh => "tangent",
        Primitive::Sigmoid => "sigmoid",
        Primitive::Recip => "reciprocal",
        Primitive::Max => "rectified",
        Primitive::Min => "capped",
        Primitive::Scale => "scaled",
        Primitive::Shift => "shifted",
        Primitive::Mask => "masked",
        Primitive::CumProd => "running_product",
        Primitive::CumSum => "running_sum",
        Primitive::RedMean => "mean",
        Primitive::RedSum => "total",
        Primitive::RedMin => "least",
        Primitive::RedMax => "largest",
        Primitive::RedProd => "total_product",
        Primitive::MatMul => "mixed",
        Primitive::TMatMul => "scores",
        Primitive::Conv1x1 => "projected",
        Primitive::Conv3x1 | Primitive::Conv7x1 | Primitive::Conv15x1 | Primitive::Conv31x1 => "convolved",
        Primitive::DConv3x1 | Primitive::DConv7x1 | Primitive::DConv15x1 | Primitive::DConv31x1 => "convolved",
    }
}

impl Function {
    /// One primitive.
    pub fn primitive(&mut self, primitive: Primitive, inputs: &[Value], bank: Bank) -> Value {
        self.base = noun(primitive);
        let x = inputs[0];
        let second = inputs.get(1).copied().unwrap_or(x);
        match primitive.parameter() {
            Some(ParameterKind::Scale) => self.vector(true, x, bank.branches),
            Some(ParameterKind::Shift) => self.vector(false, x, bank.branches),
            Some(ParameterKind::DepthwiseConv(taps)) => self.depthwise(primitive, x, taps, bank.branches),
            Some(ParameterKind::Conv(taps)) => self.conv(primitive, x, taps, bank),
            None => match primitive {
                Primitive::MatMul => self.product(x, second),
                Primitive::TMatMul => self.transposed_product(x, second),
                Primitive::Add | Primitive::Difference | Primitive::Multiply | Primitive::Divide => {
                    self.elementwise(primitive, x, second)
                }
                _ => self.unary(primitive, x, bank.constant),
            },
        }
    }

    fn unary(&mut self, primitive: Primitive, x: Value, c: f64) -> Value {
        let (code, zero_stays) = match primitive {
            Primitive::Square => ("{.}.square()".into(), true),
            Primitive::CMul => (format!("{{=}} * {c:?}"), true),
            Primitive::Max if c == 0.0 && c.is_sign_positive() => ("{.}.relu()".into(), true),
            Primitive::Max if c == 0.0 => ("{.}.maximum(&Tensor::constant(-0.0))".into(), true),
            Primitive::Max => (format!("{}({{&}}, {c:?})", self.helper("at_least")), c <= 0.0),
            Primitive::Min => (format!("{}({{&}}, {c:?})", self.helper("at_most")), c >= 0.0),
            Primitive::AbsRoot => ("{.}.abs().sqrt()".into(), true),
            Primitive::Log => ("{.}.abs().log()".into(), false),
            Primitive::Mask => return self.masked(x),
            Primitive::CumSum => return self.cumulative(x, "cumsum"),
            Primitive::CumProd => return self.cumulative(x, "cumprod"),
            Primitive::RedMean | Primitive::RedSum => return self.reduction(primitive, x),
            Primitive::RedMin | Primitive::RedMax | Primitive::RedProd => return self.reduction(primitive, x),
            Primitive::Exp => ("{.}.exp()".into(), false),
            Primitive::Abs => ("{.}.abs()".into(), true),
            Primitive::Sign => ("{.}.unary(UnaryOp::Sign)".into(), true),
            Primitive::Cos => ("{.}.cos()".into(), false),
            Primitive::Sin => ("{.}.sin()".into(), true),
            Primitive::Tanh => ("{.}.tanh()".into(), true),
            Primitive::Sigmoid => ("{.}.sigmoid()".into(), false),
            _ => ("{.}.recip()".into(), true),
        };
        let variable = self.define_result(code, &[x.variable]);
        Known { zero_above: x.known.zero_above && zero_stays, ..x.known }.of(variable)
    }

    /// MASK: of an A the future, of a V the channels j > t of position t.
    fn masked(&mut self, x: Value) -> Value {
        if x.known.kind == Kind::A {
            return self.mask(x);
        }
        let x = self.heads(x);
        let code = format!("{}({{&}}, 0.0)", self.helper("causal"));
        x.known.of(self.define_result(code, &[x.variable]))
    }

    /// Inclusive sums or products: of a V over the sequence, of a masked A over the keys.
    fn cumulative(&mut self, x: Value, method: &str) -> Value {
        match x.known.kind {
            Kind::A => {
                let x = self.mask(x);
                let code = format!("{}(&{{.}}.{method}(3), 0.0)", self.helper("causal"));
                Known::a(x.known.axis, true).of(self.define_result(code, &[x.variable]))
            }
            Kind::V(_) => {
                let x = self.heads(x);
                x.known.of(self.define_result(format!("{{.}}.{method}(2)"), &[x.variable]))
            }
        }
    }

    /// A reduction over the last axis, which stays as 1; of a masked A over all n keys.
    fn reduction(&mut self, primitive: Primitive, x: Value) -> Value {
        let x = self.v_of(x);
        let last = x.known.last();
        let code = match primitive {
            Primitive::RedMean => format!("{{.}}.mean_axis({last})"),
            Primitive::RedSum => format!("{{.}}.sum_axis({last})"),
            Primitive::RedMax => format!("{{.}}.max_axis({last})"),
            Primitive::RedMin => format!("{{.}}.reduce(ReduceOp::Min, {last})"),
            _ => format!("{{.}}.reduce(ReduceOp::Prod, {last})"),
        };
        Known { kind: Kind::V(Width::ONE), ..x.known }.of(self.define_result(code, &[x.variable]))
    }

    /// The common width of two operands, by the lowering's rule at the reference's sizes.
    fn common(&mut self, primitive: Primitive, a: Width, b: Width) -> Width {
        let (at_a, at_b) = (a.at(self.reference), b.at(self.reference));
        match (a, b) {
            _ if a == b || b == Width::ONE => a,
            _ if a == Width::ONE => b,
            _ => {
                self.compares_widths = true;
                if common_width(primitive, at_a, at_b) == at_a { a } else { b }
            }
        }
    }

    /// ADD, DIFFERENCE, MULTIPLY or DIVIDE.
    fn elementwise(&mut self, primitive: Primitive, a: Value, b: Value) -> Value {
        let sign = match primitive {
            Primitive::Add => "+",
            Primitive::Difference => "-",
            Primitive::Multiply => "*",
            _ => "/",
        };
        let code = format!("{{=}} {sign} {{=}}");
        let axis = a.known.axis.max(b.known.axis);
        if let (Kind::V(left), Kind::V(right)) = (a.known.kind, b.known.kind) {
            let width = self.common(primitive, left, right);
            // one channel is repeated by the operator
            let a = if left == Width::ONE { a } else { self.resize(a, width) };
            let b = if right == Width::ONE { b } else { self.resize(b, width) };
            if (a.known.layout, b.known.layout) == (Layout::Heads, Layout::Heads) {
                return Known::v_heads(width, axis).of(self.define_result(code, &[a.variable, b.variable]));
            }
            let (a, b) = (self.rows_aligned(a, axis), self.rows_aligned(b, axis));
            return Known::v_rows(width, axis).of(self.define_result(code, &[a.variable, b.variable]));
        }
        let (x, y) = (self.a_of(a, 1.0), self.a_of(b, 1.0));
        let [a_enters, b_enters] = [a, b].map(|value| value.known.kind != Kind::A);
        let [left, right] = [x, y].map(|value| value.known.zero_above);
        let zero_above = match primitive {
            Primitive::Divide => left && b_enters,
            Primitive::Multiply => left && b_enters || right && a_enters || left && right,
            _ => left && right,
        };
        Known::a(axis, zero_above).of(self.define_result(code, &[x.variable, y.variable]))
    }

    /// T_MAT_MUL: a·bᵀ over the channels, an A.
    fn transposed_product(&mut self, a: Value, b: Value) -> Value {
        let (a, b) = (self.v_of(a), self.v_of(b));
        let width = self.common(Primitive::TMatMul, a.known.width(), b.known.width());
        let (a, b) = (self.resize(a, width), self.resize(b, width));
        let axis = a.known.axis.max(b.known.axis);
        let (x, y) = (self.heads_repeated(a, axis), self.heads_repeated(b, axis));
        let code = format!("{}(&{{.}}.matmul_t(false, {{&}}, true), 0.0)", self.helper("causal"));
        Known::a(axis, true).of(self.define_result(code, &[x.variable, y.variable]))
    }

    /// MAT_MUL: mask(a)·b over the positions.
    fn product(&mut self, a: Value, b: Value) -> Value {
        let a = self.a_of(a, 0.0);
        let a = self.mask(a);
        let b = if b.known.kind == Kind::A { self.mask(b) } else { b };
        let axis = a.known.axis.max(b.known.axis);
        let (x, y) = (self.heads_repeated(a, axis), self.heads_repeated(b, axis));
        let mix = self.helper("mix");
        match b.known.kind {
            Kind::A => {
                let code = format!("{}(&{mix}({{&}}, {{&}}), 0.0)", self.helper("causal"));
                Known::a(axis, true).of(self.define_result(code, &[x.variable, y.variable]))
            }
            Kind::V(width) => {
                let code = format!("{mix}({{&}}, {{&}})");
                Known::v_heads(width, axis).of(self.define_result(code, &[x.variable, y.variable]))
            }
        }
    }

    /// SCALE or SHIFT with a vector of `branches`·(last axis) entries.
    fn vector(&mut self, scale: bool, x: Value, branches: u64) -> Value {
        let (name, sign, start) = if scale { ("scale", "*", "1.0") } else { ("shift", "+", "0.0") };
        let code = format!("{{=}} {sign} {{=}}");
        let width = x.known.width();
        let start = format!("Init::Constant({start})");
        if x.known.kind == Kind::A {
            let vector = self.parameter(name, name, &[Dim::Width(width.times(branches))], &start);
            let one_row = self.shape(&[Dim::Count(branches), Dim::Count(1), Dim::Positions]);
            let repeated = self.shape(&Known::a(branches, false).dims());
            let code_of_keys = format!("{{.}}.reshape([{one_row}]).broadcast_to([{repeated}])");
            let keys = self.convert(vector, "of_keys", code_of_keys);
            let keys = self.enter(keys, branches, 1.0);
            let variable = self.define_result(code, &[x.variable, keys.variable]);
            return Known::a(branches, x.known.zero_above && scale).of(variable);
        }
        let x = self.rows_aligned(x, branches);
        let mut vector = self.parameter(name, name, &[Dim::Width(width.times(branches))], &start);
        if branches > 1 {
            let shape = self.shape(&[Dim::Count(branches), Dim::Width(width)]);
            vector = self.convert(vector, "by_branch", format!("{{.}}.reshape([{shape}])"));
        }
        Known::v_rows(width, branches).of(self.define_result(code, &[x.variable, vector]))
    }

    /// A dense layer (`taps` 1) or a causal convolution over the sequence.
    fn conv(&mut self, primitive: Primitive, x: Value, taps: usize, bank: Bank) -> Value {
        let Bank { width: full, branches, .. } = bank;
        let out = full.over(branches);
        let x = self.v_of(x);
        let mut rows = self.rows(x);
        if taps > 1 {
            let code = format!("{}(dims, {{&}}, {taps})", self.helper("windows"));
            let variable = self.convert(rows.variable, "windows", code);
            rows = Known::v_rows(rows.known.width().times(taps as u64), rows.known.axis).of(variable);
        }
        let fan_in = rows.known.width();
        let start = format!("{}({})", self.helper("fan_in"), self.width(fan_in));
        let op = primitive.name().to_lowercase();
        if rows.known.axis == 1 {
            let w = self.parameter("w", &op, &[Dim::Width(fan_in), Dim::Width(full)], &start);
            let mut code = "{.}.matmul({&})".to_owned();
            if branches > 1 {
                code += &format!(".reshape([{}])", self.shape(&Known::v_rows(out, branches).dims()));
            }
            return Known::v_rows(out, branches).of(self.define_result(code, &[rows.variable, w]));
        }
        let w = self.parameter("w", &op, &[Dim::Count(branches), Dim::Width(fan_in), Dim::Width(out)], &start);
        let code = format!("{}({{&}}, {{&}})", self.helper("dense_by_branch"));
        Known::v_rows(out, branches).of(self.define_result(code, &[rows.variable, w]))
    }

    /// A causal depthwise convolution with taps `[k, branches·c]`, the present position first.
    fn depthwise(&mut self, primitive: Primitive, x: Value, taps: usize, branches: u64) -> Value {
        let x = self.v_of(x);
        let width = x.known.width();
        let mut rows = self.rows_aligned(x, branches);
        if rows.known.axis != branches {
            let code = format!("{}({{&}}, {branches})", self.helper("repeat_branches"));
            rows = Known::v_rows(width, branches).of(self.convert(rows.variable, "repeated", code));
        }
        let shape = [Dim::Count(taps as u64), Dim::Width(width.times(branches))];
        let taps = self.parameter("taps", &primitive.name().to_lowercase(), &shape, "Init::Taps");
        let code = format!("{}(dims, {{&}}, {{&}})", self.helper("depthwise"));
        Known::v_rows(width, branches).of(self.define_result(code, &[rows.variable, taps]))
    }

    /// Gives each of `branch` branches the whole input; equal branches stay one.
    pub fn split(&mut self, x: Value, branch: u64) -> Value {
        if x.known.axis == 1 {
            return x;
        }
        let code = format!("{}({{&}}, {branch})", self.helper("repeat_branches"));
        let variable = self.convert(x.variable, "repeated", code);
        Known { axis: x.known.axis * branch, ..x.known }.of(variable)
    }

    /// Joins `branch` branches on the channels, inside `outer` other ones.
    pub fn merge(&mut self, x: Value, branch: u64, outer: u64) -> Value {
        let joined = x.known.width().times(branch);
        let base = self.derived(x.variable, "joined");
        let x = self.rows(x);
        let (axis, code) = if x.known.axis == 1 {
            (1, format!("{}({{&}}, {branch})", self.helper("repeat_channels")))
        } else {
            (outer, format!("{{.}}.reshape([{}])", self.shape(&Known::v_rows(joined, outer).dims())))
        };
        Known::v_rows(joined, axis).of(self.define(&base, code, &[x.variable]))
    }
}
