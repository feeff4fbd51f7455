//! From a program to the functions of a file: one for each subprogram, and for each form of its inputs where they
//! differ.

use std::collections::HashMap;

use super::function::{Function, Variable};
use super::names::{Names, identifier};
use super::ops::Bank;
use super::value::{Known, Value};
use super::width::{Reference, Width};
use crate::dna::{Dna, Instruction, Op, Primitive, Summary, summaries};

/// What a function of the file is made for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Signature {
    subprogram: usize,
    /// The inputs that it reads.
    inputs: [Option<Known>; 2],
    /// Branches that run side by side around it.
    branches: u64,
}

/// A function that is done.
#[derive(Debug)]
pub(super) struct Written {
    pub function: Function,
    pub output: Value,
    pub subprogram: usize,
}

/// A program while it is written.
pub(super) struct Walk<'a> {
    dna: &'a Dna,
    summaries: Vec<Summary>,
    reference: Reference,
    /// The names that functions may not take, and those that they have.
    pub names: Names,
    written: HashMap<Signature, usize>,
    pub functions: Vec<Written>,
}

impl<'a> Walk<'a> {
    /// Before the first function of a valid program; `names` are those of the helpers.
    pub fn new(dna: &'a Dna, reference: Reference, names: Names) -> Walk<'a> {
        let summaries = summaries(dna);
        Walk { dna, summaries, reference, names, written: HashMap::new(), functions: Vec::new() }
    }

    /// MAIN, between rows `[batch·n, d]`, and whatever it calls.
    pub fn block(&mut self) {
        let doc = "The block, from rows `[batch·n, d]` to the same.".to_owned();
        let mut function = Function::new(doc, [true, false], self.reference);
        function.name = "block".into();
        let input = Known::v_rows(Width::MODEL, 1).of(0);
        let output = self.body(&mut function, 0, [Some(input); 2], 1);
        let output = function.v_of(output);
        let output = function.resize(output, Width::MODEL);
        let output = function.rows(output);
        self.functions.push(Written { function, output, subprogram: 0 });
    }

    /// The only live instruction of a subprogram, if it is a primitive: too little for a function.
    fn only(&self, subprogram: usize) -> Option<&'a Instruction> {
        let instructions = self.dna.subprograms[subprogram].instructions.iter();
        let mut live = instructions.zip(&self.summaries[subprogram].live).filter(|(_, live)| **live);
        let (only, _) = live.next()?;
        (live.next().is_none() && matches!(only.op, Op::Primitive(_))).then_some(only)
    }

    /// Writes the instructions of a subprogram into `function` and returns its output.
    fn body(&mut self, function: &mut Function, subprogram: usize, inputs: [Option<Value>; 2], branches: u64) -> Value {
        let dna = self.dna;
        let mut states: Vec<Option<Value>> = inputs.to_vec();
        for (i, instruction) in dna.subprograms[subprogram].instructions.iter().enumerate() {
            let live = self.summaries[subprogram].live[i];
            let state = live.then(|| self.instruction(function, instruction, &states, branches));
            if let Some(value) = state {
                let place = match instruction.op {
                    Op::Call(callee) if self.only(callee).is_some() => format!("h{} = {}", i + 2, self.title(callee)),
                    _ => format!("h{}", i + 2),
                };
                function.comment(value.variable, format!("{place}: {}", value.known.shape()));
            }
            states.push(state);
        }
        // A valid subprogram has an instruction, and its last one is live.
        states.into_iter().next_back().flatten().unwrap_or(Known::v_rows(Width::MODEL, 1).of(0))
    }

    /// Writes one instruction.
    fn instruction(
        &mut self,
        function: &mut Function,
        instruction: &Instruction,
        states: &[Option<Value>],
        branches: u64,
    ) -> Value {
        let branch = u64::from(instruction.branch);
        let inner = branches * branch;
        let reads = match instruction.op {
            Op::Primitive(primitive) => [true, primitive.uses_input_2()],
            Op::Call(callee) => self.summaries[callee].reads,
        };
        let read = |(state, read): (usize, bool)| if read { states.get(state).copied().flatten() } else { None };
        let inputs = [(instruction.input_1, reads[0]), (instruction.input_2, reads[1])].map(read);
        let inputs = inputs.map(|input| input.map(|x| if branch == 1 { x } else { function.split(x, branch) }));
        let output = match instruction.op {
            Op::Primitive(primitive) => self.primitive(function, primitive, instruction, inputs, inner),
            Op::Call(callee) => self.call(function, callee, inputs, inner),
        };
        if branch == 1 { output } else { function.merge(output, branch, branches) }
    }

    fn primitive(
        &self,
        function: &mut Function,
        primitive: Primitive,
        instruction: &Instruction,
        inputs: [Option<Value>; 2],
        branches: u64,
    ) -> Value {
        let [dim, width] = [self.dna.dims[instruction.dim], self.dna.dims[0]].map(u64::from);
        let constant = self.dna.constants[instruction.constant];
        let bank = Bank { constant, width: Width::of_model(dim, width), branches };
        let inputs: Vec<Value> = inputs.into_iter().flatten().collect();
        function.primitive(primitive, &inputs, bank)
    }

    fn call(&mut self, function: &mut Function, callee: usize, inputs: [Option<Value>; 2], branches: u64) -> Value {
        if let Some(instruction) = self.only(callee) {
            return self.instruction(function, instruction, &inputs, branches);
        }
        let signature = Signature { subprogram: callee, inputs: inputs.map(|input| input.map(|x| x.known)), branches };
        let index = match self.written.get(&signature) {
            Some(&index) => index,
            None => self.write(signature),
        };
        let Written { function: called, output, .. } = &self.functions[index];
        function.makes_parameters |= called.makes_parameters;
        function.takes_dims |= called.needs_dims();
        let given = [(called.makes_parameters, "p"), (called.needs_dims(), "dims")];
        let read = inputs.map(|input| (input.is_some(), "{&}"));
        let given: Vec<&str> =
            given.into_iter().chain(read).filter(|(given, _)| *given).map(|(_, code)| code).collect();
        let code = format!("{}({})", called.name, given.join(", "));
        let reads: Vec<Variable> = inputs.into_iter().flatten().map(|x| x.variable).collect();
        let base = format!("{}_out", self.label(callee));
        output.known.of(function.define_folding(&base, code, &reads))
    }

    /// What a subprogram is called in the program.
    fn title(&self, subprogram: usize) -> String {
        format!("S{subprogram} {}", self.dna.subprograms[subprogram].label).trim_end().to_owned()
    }

    /// A subprogram's label as a name.
    fn label(&self, subprogram: usize) -> String {
        identifier(&self.dna.subprograms[subprogram].label, &format!("s{subprogram}"))
    }

    /// Writes the function of a signature and returns its number.
    fn write(&mut self, signature: Signature) -> usize {
        let Signature { subprogram, inputs, branches } = signature;
        let mut function = Function::new(String::new(), inputs.map(|input| input.is_some()), self.reference);
        function.name = self.names.take(&self.label(subprogram));
        let arguments = [0, 1].map(|i| inputs[i].map(|known| known.of(i)));
        let output = self.body(&mut function, subprogram, arguments, branches);
        let name = self.title(subprogram);
        let side_by_side = if branches == 1 { String::new() } else { format!(" in {branches} branches") };
        let shapes: Vec<String> = inputs.into_iter().flatten().map(|known| format!("`{}`", known.shape())).collect();
        let to = format!("`{}`", output.known.shape());
        function.doc = match &shapes[..] {
            [from] if *from == to => format!("{}{side_by_side}, on {to}.", name),
            _ => format!("{}{side_by_side}, from {} to {to}.", name, shapes.join(" and ")),
        };
        self.functions.push(Written { function, output, subprogram });
        self.written.insert(signature, self.functions.len() - 1);
        self.functions.len() - 1
    }
}
