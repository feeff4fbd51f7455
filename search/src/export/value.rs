//! Values of an exported function: the same kinds, layouts and masks as in the lowering, with widths in symbols.

use super::function::{Dim, Function, Variable};
use super::width::Width;

/// The kind of a value; see [`crate::lower`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// `[batch, n, c]`
    V(Width),
    /// `[batch, n, n]`
    A,
}

/// How a V lies; an A is always in heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Layout {
    /// `[batch·n, c]`, or `[batch·n, branches, c]` where the branches differ.
    Rows,
    /// `[batch, branches, n, c]`
    Heads,
}

/// What is known of a value; it decides the code of whatever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Known {
    pub kind: Kind,
    /// Number of different branches; 1 where all are equal.
    pub axis: u64,
    pub layout: Layout,
    /// For A: whether the half above the diagonal is known to be 0.
    pub zero_above: bool,
}

impl Known {
    pub fn v_rows(width: Width, axis: u64) -> Known {
        Known { kind: Kind::V(width), axis, layout: Layout::Rows, zero_above: false }
    }

    pub fn v_heads(width: Width, axis: u64) -> Known {
        Known { kind: Kind::V(width), axis, layout: Layout::Heads, zero_above: false }
    }

    pub fn a(axis: u64, zero_above: bool) -> Known {
        Known { kind: Kind::A, axis, layout: Layout::Heads, zero_above }
    }

    pub fn of(self, variable: Variable) -> Value {
        Value { variable, known: self }
    }

    /// Last axis.
    pub fn width(self) -> Width {
        match self.kind {
            Kind::V(width) => width,
            Kind::A => Width::SEQUENCE,
        }
    }

    /// Number of the last axis.
    pub fn last(self) -> usize {
        match (self.layout, self.axis) {
            (Layout::Heads, _) => 3,
            (Layout::Rows, 1) => 1,
            (Layout::Rows, _) => 2,
        }
    }

    pub fn dims(self) -> Vec<Dim> {
        let width = Dim::Width(self.width());
        match (self.layout, self.axis) {
            (Layout::Heads, axis) => vec![Dim::Batch, Dim::Count(axis), Dim::Positions, width],
            (Layout::Rows, 1) => vec![Dim::Rows, width],
            (Layout::Rows, axis) => vec![Dim::Rows, Dim::Count(axis), width],
        }
    }

    /// Its shape, for a reader.
    pub fn shape(self) -> String {
        let width = self.width().code().replace(" * ", "·").replace(" / ", "/");
        match (self.layout, self.axis) {
            (Layout::Heads, axis) => format!("[batch, {axis}, n, {width}]"),
            (Layout::Rows, 1) => format!("[batch·n, {width}]"),
            (Layout::Rows, axis) => format!("[batch·n, {axis}, {width}]"),
        }
    }
}

/// A value of a function.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value {
    pub variable: Variable,
    pub known: Known,
}

impl Function {
    /// The V in rows.
    pub fn rows(&mut self, x: Value) -> Value {
        let Known { layout, axis, .. } = x.known;
        if layout == Layout::Rows {
            return x;
        }
        let width = x.known.width();
        let code = match axis {
            1 => format!("{{.}}.reshape([{}])", self.shape(&[Dim::Rows, Dim::Width(width)])),
            _ => format!("{}({{&}})", self.helper("rows")),
        };
        Known::v_rows(width, axis).of(self.convert(x.variable, "rows", code))
    }

    /// The value in heads.
    pub fn heads(&mut self, x: Value) -> Value {
        let Known { layout, axis, .. } = x.known;
        if layout == Layout::Heads {
            return x;
        }
        let width = x.known.width();
        let code = match axis {
            1 => {
                let shape = self.shape(&[Dim::Batch, Dim::Count(1), Dim::Positions, Dim::Width(width)]);
                format!("{{.}}.reshape([{shape}])")
            }
            _ => format!("{}(dims, {{&}})", self.helper("heads")),
        };
        Known::v_heads(width, axis).of(self.convert(x.variable, "heads", code))
    }

    /// The V in rows, with an axis for the branches where another operand has one.
    pub fn rows_aligned(&mut self, x: Value, axis: u64) -> Value {
        let x = self.rows(x);
        if x.known.axis == axis {
            return x;
        }
        let width = x.known.width();
        let shape = self.shape(&[Dim::Rows, Dim::Count(1), Dim::Width(width)]);
        let variable = self.convert(x.variable, "rows", format!("{{.}}.reshape([{shape}])"));
        Value { variable, ..x }
    }

    /// The value in heads, its branches repeated to `axis`.
    pub fn heads_repeated(&mut self, x: Value, axis: u64) -> Value {
        let x = self.heads(x);
        if x.known.axis == axis {
            return x;
        }
        let shape = self.shape(&[Dim::Batch, Dim::Count(axis), Dim::Positions, Dim::Width(x.known.width())]);
        let variable = self.convert(x.variable, "heads", format!("{{.}}.broadcast_to([{shape}])"));
        Known { axis, ..x.known }.of(variable)
    }

    /// V(c) as V(m): 1 is repeated, else the first channels are kept or zeros are added.
    pub fn resize(&mut self, x: Value, width: Width) -> Value {
        if x.known.width() == width {
            return x;
        }
        let known = Known { kind: Kind::V(width), ..x.known };
        let code = if x.known.width() == Width::ONE {
            let shape = self.shape(&known.dims());
            format!("{{.}}.broadcast_to([{shape}])")
        } else {
            format!("{}({{&}}, {})", self.helper("resize"), self.width(width))
        };
        known.of(self.convert(x.variable, "resized", code))
    }

    /// `[batch, axis, n, n]` as an A: above the diagonal stands `fill`.
    pub fn enter(&mut self, x: Variable, axis: u64, fill: f64) -> Value {
        let code = format!("{}({{&}}, {fill:?})", self.helper("causal"));
        let variable = self.convert(x, "masked", code);
        Known::a(axis, fill == 0.0).of(variable)
    }

    /// mask(A): 0 above the diagonal, whatever stood there.
    pub fn mask(&mut self, x: Value) -> Value {
        if x.known.zero_above { x } else { self.enter(x.variable, x.known.axis, 0.0) }
    }

    /// toV: a V is itself, an A is masked and read as V(n).
    pub fn v_of(&mut self, x: Value) -> Value {
        match x.known.kind {
            Kind::V(_) => x,
            Kind::A => {
                let masked = self.mask(x);
                Known::v_heads(Width::SEQUENCE, masked.known.axis).of(masked.variable)
            }
        }
    }

    /// V resized to n and called A, with `fill` above the diagonal; an A is itself.
    pub fn a_of(&mut self, x: Value, fill: f64) -> Value {
        if x.known.kind == Kind::A {
            return x;
        }
        let resized = self.resize(x, Width::SEQUENCE);
        let heads = self.heads(resized);
        self.enter(heads.variable, heads.known.axis, fill)
    }
}
