//! The text form: readable like the paper's listings, and exact.
//!
//! ```text
//! constants 0.0 0.25
//! dims 2 8 1 1 4 16
//!
//! S0 MAIN:
//!   h2 = S5(h0, h0)          # a call
//!   h3 = S1(h2, h2) b8       # eight branches
//!   h4 = CONV_1X1(h3) d0 ~ h1 c1
//! ```
//!
//! In the parentheses stand the inputs that the operation reads, after them the constant (`c`) or
//! dimension (`d`) that it reads and its branching (`b`, absent for 1). After `~` stand the silent
//! genes; one that is absent is `h0`, `c0` or `d2`. `#` starts a comment.

use std::fmt;
use std::str::FromStr;

use super::types::is_label;
use super::{Dna, Instruction, Op, Primitive, Subprogram};
use crate::error::{Error, Result};

/// The silent genes that the text form leaves out. The filler dimension is the seed's slot 2, as
/// in the paper's listings (128 beside a width of 512).
pub(crate) const SILENT_INPUT: usize = 0;
pub(crate) const SILENT_CONSTANT: usize = 0;
pub(crate) const SILENT_DIM: usize = 2;

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Primitive(primitive) => f.write_str(primitive.name()),
            Op::Call(callee) => write!(f, "S{callee}"),
        }
    }
}

impl fmt::Display for Instruction {
    /// The right-hand side of an instruction's line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = self.op;
        write!(f, "{op}(h{}", self.input_1)?;
        if op.uses_input_2() {
            write!(f, ", h{}", self.input_2)?;
        }
        write!(f, ")")?;
        if op.uses_constant() {
            write!(f, " c{}", self.constant)?;
        }
        if op.uses_dim() {
            write!(f, " d{}", self.dim)?;
        }
        if self.branch != 1 {
            write!(f, " b{}", self.branch)?;
        }
        let mut separator = " ~";
        let silent = [
            ('h', !op.uses_input_2() && self.input_2 != SILENT_INPUT, self.input_2),
            ('c', !op.uses_constant() && self.constant != SILENT_CONSTANT, self.constant),
            ('d', !op.uses_dim() && self.dim != SILENT_DIM, self.dim),
        ];
        for (kind, shown, value) in silent {
            if shown {
                write!(f, "{separator} {kind}{value}")?;
                separator = "";
            }
        }
        Ok(())
    }
}

impl fmt::Display for Dna {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "constants {:?} {:?}", self.constants[0], self.constants[1])?;
        write!(f, "dims")?;
        for dim in self.dims {
            write!(f, " {dim}")?;
        }
        writeln!(f)?;
        for (s, subprogram) in self.subprograms.iter().enumerate() {
            match subprogram.label.as_str() {
                "" => writeln!(f, "\nS{s}:")?,
                label => writeln!(f, "\nS{s} {label}:")?,
            }
            for (i, instruction) in subprogram.instructions.iter().enumerate() {
                writeln!(f, "  h{} = {instruction}", i + 2)?;
            }
        }
        Ok(())
    }
}

impl FromStr for Dna {
    type Err = Error;

    /// Reads the text form and validates the program.
    ///
    /// # Errors
    ///
    /// [`Error::Parse`] with line and column, or the errors of [`Dna::validate`].
    fn from_str(text: &str) -> Result<Dna> {
        let mut constants = None;
        let mut dims = None;
        let mut subprograms: Vec<Subprogram> = Vec::new();
        let mut last_line = 1;
        for (index, line) in text.lines().enumerate() {
            last_line = index + 1;
            let mut cursor = Cursor::new(line, index + 1);
            if cursor.at_end() {
                continue;
            }
            let start = cursor.column();
            let word = cursor.word();
            match word.as_str() {
                "constants" if constants.is_none() => constants = Some([cursor.float()?, cursor.float()?]),
                "dims" if dims.is_none() => {
                    let mut values = [0; 6];
                    for value in &mut values {
                        *value = cursor.integer("a dimension")?;
                    }
                    dims = Some(values);
                }
                "constants" | "dims" => {
                    return Err(cursor.error_at(start, format!("a second line of {word}")));
                }
                _ if word.starts_with('S') => {
                    let number = cursor.index(&word, 'S', start)?;
                    if number != subprograms.len() {
                        let reason = format!("found S{number}, the next subprogram is S{}", subprograms.len());
                        return Err(cursor.error_at(start, reason));
                    }
                    subprograms.push(Subprogram { label: cursor.label()?, instructions: Vec::new() });
                }
                _ if word.starts_with('h') => {
                    let state = cursor.index(&word, 'h', start)?;
                    let Some(subprogram) = subprograms.last_mut() else {
                        return Err(cursor.error_at(start, "an instruction before the first subprogram".into()));
                    };
                    let next = subprogram.instructions.len() + 2;
                    if state != next {
                        return Err(cursor.error_at(start, format!("found h{state}, the next state is h{next}")));
                    }
                    cursor.expect('=')?;
                    subprogram.instructions.push(cursor.instruction()?);
                }
                _ => {
                    let reason = format!("found {}, expected constants, dims, S0: or h2 = …", cursor.found(&word));
                    return Err(cursor.error_at(start, reason));
                }
            }
            if !cursor.at_end() {
                let column = cursor.column();
                return Err(cursor.error_at(column, "unexpected text after the end of the statement".into()));
            }
        }
        let missing = |what: &str| Error::Parse { line: last_line, column: 1, reason: format!("no line of {what}") };
        let dna = Dna {
            subprograms,
            constants: constants.ok_or_else(|| missing("constants"))?,
            dims: dims.ok_or_else(|| missing("dims"))?,
        };
        dna.validate()?;
        Ok(dna)
    }
}

/// A position in one line.
struct Cursor {
    line: usize,
    chars: Vec<char>,
    at: usize,
}

impl Cursor {
    /// Starts a line; what follows `#` is not there.
    fn new(text: &str, line: usize) -> Cursor {
        Cursor { line, chars: text.chars().take_while(|&c| c != '#').collect(), at: 0 }
    }

    fn error_at(&self, column: usize, reason: String) -> Error {
        Error::Parse { line: self.line, column, reason }
    }

    fn skip_space(&mut self) {
        while self.chars.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
    }

    fn at_end(&mut self) -> bool {
        self.skip_space();
        self.at == self.chars.len()
    }

    /// 1-based column of the next character that isn't space.
    fn column(&mut self) -> usize {
        self.skip_space();
        self.at + 1
    }

    /// The next run of characters up to a space or punctuation; empty if there is none.
    fn word(&mut self) -> String {
        self.skip_space();
        let rest = &self.chars[self.at..];
        let length = rest.iter().take_while(|c| !c.is_whitespace() && !"=(),:~".contains(**c)).count();
        let word = rest[..length].iter().collect();
        self.at += length;
        word
    }

    /// What to call the thing found where `word` was expected.
    fn found(&self, word: &str) -> String {
        match (word, self.chars.get(self.at)) {
            ("", None) => "the end of the line".into(),
            ("", Some(c)) => format!("{c:?}"),
            _ => format!("{word:?}"),
        }
    }

    fn expect(&mut self, wanted: char) -> Result<()> {
        let column = self.column();
        if self.chars.get(self.at) == Some(&wanted) {
            self.at += 1;
            return Ok(());
        }
        let word = self.word();
        Err(self.error_at(column, format!("found {}, expected {wanted:?}", self.found(&word))))
    }

    /// The index in a word like `h12`.
    fn index(&self, word: &str, prefix: char, column: usize) -> Result<usize> {
        let digits = word.strip_prefix(prefix).filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()));
        digits
            .and_then(|d| d.parse().ok())
            .ok_or_else(|| self.error_at(column, format!("found {}, expected {prefix} and a number", self.found(word))))
    }

    fn integer(&mut self, what: &str) -> Result<u32> {
        let column = self.column();
        let word = self.word();
        let digits = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
        word.parse()
            .ok()
            .filter(|_| digits)
            .ok_or_else(|| self.error_at(column, format!("found {}, expected {what}", self.found(&word))))
    }

    fn float(&mut self) -> Result<f64> {
        let column = self.column();
        let word = self.word();
        word.parse()
            .ok()
            .filter(|v: &f64| v.is_finite())
            .ok_or_else(|| self.error_at(column, format!("found {}, expected a finite number", self.found(&word))))
    }

    /// The rest of a subprogram's header: an optional label and a colon.
    fn label(&mut self) -> Result<String> {
        let column = self.column();
        let label = self.word();
        if !is_label(&label) {
            let reason = format!("a label holds letters, digits, '_' and '-', not {label:?}");
            return Err(self.error_at(column, reason));
        }
        self.expect(':')?;
        Ok(label)
    }

    fn state(&mut self) -> Result<usize> {
        let column = self.column();
        let word = self.word();
        self.index(&word, 'h', column)
    }

    /// The right-hand side of an instruction.
    fn instruction(&mut self) -> Result<Instruction> {
        let column = self.column();
        let name = self.word();
        let op = match Primitive::from_name(&name) {
            Some(primitive) => Op::Primitive(primitive),
            None if name.starts_with('S') && name[1..].bytes().all(|b| b.is_ascii_digit()) => {
                Op::Call(self.index(&name, 'S', column)?)
            }
            None => {
                let reason = format!("found {}, expected a primitive or a call", self.found(&name));
                return Err(self.error_at(column, reason));
            }
        };
        self.expect('(')?;
        let input_1 = self.state()?;
        let mut genes = Genes::default();
        if op.uses_input_2() {
            self.expect(',')?;
            genes.input_2 = Some(self.state()?);
        }
        self.expect(')')?;
        self.genes(op, &mut genes)?;
        for (used, given, what) in [
            (op.uses_constant(), genes.constant.is_some(), "constant, c0 or c1"),
            (op.uses_dim(), genes.dim.is_some(), "dimension, d0 to d5"),
        ] {
            if used && !given {
                let column = self.column();
                return Err(self.error_at(column, format!("{op} needs a {what}")));
            }
        }
        Ok(Instruction {
            op,
            input_1,
            input_2: genes.input_2.unwrap_or(SILENT_INPUT),
            constant: genes.constant.unwrap_or(SILENT_CONSTANT),
            dim: genes.dim.unwrap_or(SILENT_DIM),
            branch: genes.branch.unwrap_or(1),
        })
    }

    /// The genes after the parentheses, before and after `~`.
    fn genes(&mut self, op: Op, genes: &mut Genes) -> Result<()> {
        let mut silent = false;
        while !self.at_end() {
            let column = self.column();
            if !silent && self.chars[self.at] == '~' {
                self.at += 1;
                silent = true;
                continue;
            }
            let word = self.word();
            let (slot, used) = match word.chars().next() {
                Some('c') => (&mut genes.constant, op.uses_constant()),
                Some('d') => (&mut genes.dim, op.uses_dim()),
                Some('h') => (&mut genes.input_2, op.uses_input_2()),
                Some('b') if !silent => {
                    let value = u32::try_from(self.index(&word, 'b', column)?).unwrap_or(u32::MAX);
                    if genes.branch.replace(value).is_some() {
                        return Err(self.error_at(column, "a second branching".into()));
                    }
                    continue;
                }
                _ => {
                    let reason = format!("found {}, expected a gene such as c0, d2 or b8", self.found(&word));
                    return Err(self.error_at(column, reason));
                }
            };
            let prefix = word.chars().next().unwrap_or_default();
            if used == silent {
                let reason = match used {
                    true => format!("{op} reads {word}, so it stands before '~'"),
                    false => format!("{op} doesn't read {word}, so it stands after '~'"),
                };
                return Err(self.error_at(column, reason));
            }
            if slot.replace(self.index(&word, prefix, column)?).is_some() {
                return Err(self.error_at(column, format!("a second gene {prefix:?}")));
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Genes {
    input_2: Option<usize>,
    constant: Option<usize>,
    dim: Option<usize>,
    branch: Option<u32>,
}
