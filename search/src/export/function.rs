//! One function of an exported file while it is written: its values, its statements, and what it needs.

use std::collections::{BTreeSet, HashMap};

use super::width::{Reference, Width, lcm};

/// A value's number in its function; 0 and 1 are the arguments.
pub(super) type Variable = usize;

/// One dimension of a shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Dim {
    /// `batch`
    Batch,
    /// `n`
    Positions,
    /// `batch * n`
    Rows,
    /// So many branches or taps.
    Count(u64),
    /// A width.
    Width(Width),
}

/// `let name = code;`. In the code stand, for the values in turn, `{.}` where a method is called on the value, `{&}`
/// where a reference to it is passed, and `{=}` for an operand of an operator.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub defines: Variable,
    pub code: String,
    pub reads: Vec<Variable>,
    pub comment: String,
    /// Whether it may stand in the place of its value, where that is read once.
    pub folds: bool,
}

/// A function of the file.
#[derive(Debug)]
pub(super) struct Function {
    /// Its name; empty until it has one.
    pub name: String,
    /// Its documentation, a line.
    pub doc: String,
    /// Which arguments it takes.
    pub arguments: [bool; 2],
    /// Whether it makes parameters.
    pub makes_parameters: bool,
    /// Whether it is given the sizes.
    pub takes_dims: bool,
    /// The helpers that it calls.
    pub helpers: BTreeSet<&'static str>,
    /// What d must be a multiple of.
    pub divisor: u64,
    /// Whether a width was compared with another.
    pub compares_widths: bool,
    /// The sizes for which widths are compared.
    pub reference: Reference,
    /// What the instruction's value is called.
    pub base: &'static str,
    /// For each value the base of its name.
    pub variables: Vec<String>,
    pub statements: Vec<Statement>,
    pub reads_batch: bool,
    pub reads_n: bool,
    pub reads_d: bool,
    /// Values in another form, made once.
    conversions: HashMap<(Variable, String), Variable>,
}

impl Function {
    pub fn new(doc: String, arguments: [bool; 2], reference: Reference) -> Function {
        Function {
            name: String::new(),
            doc,
            arguments,
            makes_parameters: false,
            takes_dims: false,
            helpers: BTreeSet::new(),
            divisor: 1,
            compares_widths: false,
            reference,
            base: "",
            // the only one is x, whichever it is
            variables: vec!["x".into(), if arguments[0] { "y" } else { "x" }.into()],
            statements: Vec::new(),
            reads_batch: false,
            reads_n: false,
            reads_d: false,
            conversions: HashMap::new(),
        }
    }

    /// A width as code.
    pub fn width(&mut self, width: Width) -> String {
        match width {
            Width::Model { .. } => self.reads_d = true,
            Width::Sequence(_) => self.reads_n = true,
            Width::Fixed(_) => {}
        }
        self.divisor = lcm(self.divisor, width.divisor());
        width.code()
    }

    /// A shape as code, without brackets around it.
    pub fn shape(&mut self, dims: &[Dim]) -> String {
        let codes: Vec<String> = dims
            .iter()
            .map(|&dim| {
                self.reads_batch |= matches!(dim, Dim::Batch | Dim::Rows);
                self.reads_n |= matches!(dim, Dim::Positions | Dim::Rows);
                match dim {
                    Dim::Batch => "batch".into(),
                    Dim::Positions => "n".into(),
                    Dim::Rows => "batch * n".into(),
                    Dim::Count(count) => count.to_string(),
                    Dim::Width(width) => self.width(width),
                }
            })
            .collect();
        codes.join(", ")
    }

    /// The name of a helper that is called.
    pub fn helper(&mut self, name: &'static str) -> &'static str {
        self.takes_dims |= matches!(name, "heads" | "windows" | "depthwise");
        self.helpers.insert(name);
        name
    }

    /// A new value named after `base`.
    pub fn define(&mut self, base: &str, code: impl Into<String>, reads: &[Variable]) -> Variable {
        self.variables.push(base.to_owned());
        let defines = self.variables.len() - 1;
        let (code, reads) = (code.into(), reads.to_vec());
        self.statements.push(Statement { defines, code, reads, comment: String::new(), folds: false });
        defines
    }

    /// A new value that needs no name where it is read once: a call, not an operator.
    pub fn define_folding(&mut self, base: &str, code: impl Into<String>, reads: &[Variable]) -> Variable {
        let defines = self.define(base, code, reads);
        if let Some(last) = self.statements.last_mut() {
            last.folds = true;
        }
        defines
    }

    /// A new value with the name that the instruction gives.
    pub fn define_result(&mut self, code: impl Into<String>, reads: &[Variable]) -> Variable {
        self.define(self.base, code, reads)
    }

    /// Another form of `x`, made where it is first needed.
    pub fn convert(&mut self, x: Variable, suffix: &str, code: String) -> Variable {
        if let Some(&made) = self.conversions.get(&(x, code.clone())) {
            return made;
        }
        let base = self.derived(x, suffix);
        let made = self.define_folding(&base, code.clone(), &[x]);
        self.conversions.insert((x, code), made);
        made
    }

    /// The name for another form of `x`.
    pub fn derived(&self, x: Variable, suffix: &str) -> String {
        let name = self.variables[x].strip_suffix("_out").unwrap_or(&self.variables[x]);
        if name.ends_with(suffix) { name.to_owned() } else { format!("{name}_{suffix}") }
    }

    /// The next parameter of the block.
    pub fn parameter(&mut self, base: &str, op: &str, shape: &[Dim], start: &str) -> Variable {
        self.makes_parameters = true;
        let shape = self.shape(shape);
        self.define_folding(base, format!("p.next(\"{op}\", &[{shape}], {start})"), &[])
    }

    /// Says what the last value is, if it is `x`.
    pub fn comment(&mut self, x: Variable, comment: String) {
        if let Some(last) = self.statements.last_mut().filter(|last| last.defines == x) {
            last.comment = comment;
            last.folds = false;
        }
    }

    /// Whether the function must be given the sizes.
    pub fn needs_dims(&self) -> bool {
        self.takes_dims || self.reads_batch || self.reads_n || self.reads_d
    }
}
