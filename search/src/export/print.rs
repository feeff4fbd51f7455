//! The text of a function: which statements stand in the place of their values, what the values are called, who takes
//! and who borrows them.

use std::collections::HashMap;

use super::function::{Function, Statement, Variable};
use super::names::Names;
use super::wrapped;

/// Longest line of the file.
const COLUMNS: usize = 120;

/// Longest statement that others are folded into.
const FOLDED_COLUMNS: usize = 115;

impl Function {
    /// The function's text, its last value being `output`.
    pub fn print(&self, output: Variable, functions: &Names) -> String {
        let statements = self.folded(output);
        let mut names = functions.clone();
        let mut named = self.variables.clone();
        for statement in &statements {
            named[statement.defines] = names.take(&self.variables[statement.defines]);
        }
        let mut text = format!("{}\n{} {{\n", wrapped("///", &self.doc), self.signature());
        text += &self.prologue();
        let last_reads = last_reads(&statements, output);
        for (at, statement) in statements.iter().enumerate() {
            let code = code(statement, at, &named, &last_reads);
            let is_tail = at + 1 == statements.len() && statement.defines == output;
            let line =
                if is_tail { format!("    {code}") } else { format!("    let {} = {code};", named[statement.defines]) };
            text += &commented(line, &statement.comment);
        }
        match statements.last() {
            Some(last) if last.defines == output => {}
            _ if output < 2 => text += &format!("    {}.clone()\n", named[output]),
            _ => text += &format!("    {}\n", named[output]),
        }
        text + "}\n"
    }

    /// The statements, with those in the place of their values that may be and leave a line short enough.
    fn folded(&self, output: Variable) -> Vec<Statement> {
        let mut uses: HashMap<Variable, usize> = HashMap::from([(output, 1)]);
        for read in self.statements.iter().flat_map(|statement| &statement.reads) {
            *uses.entry(*read).or_default() += 1;
        }
        let mut waiting: HashMap<Variable, Statement> = HashMap::new();
        let mut kept = Vec::new();
        for statement in &self.statements {
            let mut whole = Statement { code: String::new(), reads: Vec::new(), ..statement.clone() };
            let mut length = self.length(statement) + self.variables[statement.defines].len() + "    let _99 = ;".len();
            let (mut rest, mut before) = (statement.code.as_str(), Vec::new());
            for &read in &statement.reads {
                let Some((text, form, after)) = placeholder(rest) else { break };
                whole.code += text;
                rest = after;
                match waiting.remove(&read) {
                    Some(inner) if length + self.length(&inner) <= FOLDED_COLUMNS => {
                        length += self.length(&inner);
                        whole.code += &format!("{}{}", if form == "&" { "&" } else { "" }, inner.code);
                        whole.reads.extend(inner.reads);
                    }
                    inner => {
                        before.extend(inner);
                        whole.code += &format!("{{{form}}}");
                        whole.reads.push(read);
                    }
                }
            }
            whole.code += rest;
            kept.extend(before);
            if whole.folds && uses.get(&whole.defines) == Some(&1) && whole.defines != output {
                waiting.insert(whole.defines, whole);
            } else {
                kept.push(whole);
            }
        }
        kept
    }

    /// About how long a statement's code is, with names for its values in the place of `{=}`.
    fn length(&self, statement: &Statement) -> usize {
        let names: usize = statement.reads.iter().map(|&read| self.variables[read].len()).sum();
        statement.code.len() + names
    }

    fn signature(&self) -> String {
        if self.name == "block" {
            return "pub fn block(scope: Scope<'_>, dims: Dims, x: &Tensor) -> Tensor".into();
        }
        let taken = [
            (self.makes_parameters, "p: &mut Parameters<'_>"),
            (self.needs_dims(), "dims: Dims"),
            (self.arguments[0], "x: &Tensor"),
            (self.arguments[1], if self.arguments[0] { "y: &Tensor" } else { "x: &Tensor" }),
        ];
        let taken: Vec<&str> = taken.into_iter().filter(|(taken, _)| *taken).map(|(_, code)| code).collect();
        format!("fn {}({}) -> Tensor", self.name, taken.join(", "))
    }

    /// The sizes' names, and in a block its checks.
    fn prologue(&self) -> String {
        let mut text = String::new();
        let is_block = self.name == "block";
        let checks = is_block && self.divisor > 1;
        let fields = [(self.reads_batch, "batch"), (self.reads_n, "seq: n"), (self.reads_d || checks, "d_model: d")];
        let mut read: Vec<&str> = fields.into_iter().filter(|(read, _)| *read).map(|(_, code)| code).collect();
        match read[..] {
            [] => {}
            ["batch"] => text += "    let batch = dims.batch;\n",
            ["seq: n"] => text += "    let n = dims.seq;\n",
            ["d_model: d"] => text += "    let d = dims.d_model;\n",
            _ => {
                if read.len() < 3 {
                    read.push("..");
                }
                text += &format!("    let Dims {{ {} }} = dims;\n", read.join(", "));
            }
        }
        if checks {
            let divisor = self.divisor;
            text += &format!(
                "    assert!(d.is_multiple_of({divisor}), \"d_model is a multiple of {divisor}, not {{d}}\");\n"
            );
        }
        if is_block {
            text += "    let p = &mut Parameters { scope, made: 0 };\n";
        }
        text
    }
}

/// For each value, the statement that reads it last; an output is read after all of them.
fn last_reads(statements: &[Statement], output: Variable) -> HashMap<Variable, usize> {
    let mut last = HashMap::new();
    for (at, statement) in statements.iter().enumerate() {
        last.extend(statement.reads.iter().map(|&read| (read, at)));
    }
    last.insert(output, statements.len());
    last
}

/// The code before the next place of a value, that place's form, and the code after it.
fn placeholder(code: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = code.split_once('{')?;
    let (form, after) = rest.split_once('}')?;
    Some((before, form, after))
}

/// A statement's right-hand side. The last reader of a value takes it, where it can.
fn code(statement: &Statement, at: usize, names: &[String], last_reads: &HashMap<Variable, usize>) -> String {
    let (mut code, mut rest) = (String::new(), statement.code.as_str());
    for &read in &statement.reads {
        let Some((before, form, after)) = placeholder(rest) else { break };
        code += before;
        let once = statement.reads.iter().filter(|&&other| other == read).count() == 1;
        let is_last = once && last_reads.get(&read) == Some(&at);
        if read >= 2 && (form == "&" || form == "=" && !is_last) {
            code.push('&');
        }
        code += &names[read];
        rest = after;
    }
    code + rest
}

/// A line with its comment behind it, or before it where both together are too long.
fn commented(line: String, comment: &str) -> String {
    match comment {
        "" => format!("{line}\n"),
        _ if line.chars().count() + comment.chars().count() + 4 > COLUMNS => format!("    // {comment}\n{line}\n"),
        _ => format!("{line} // {comment}\n"),
    }
}
