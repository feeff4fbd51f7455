//! The genome (paper §2, Fig. 1, A.2) and the rules that make it well formed.

use serde::{Deserialize, Serialize};

use super::Primitive;
use crate::error::{Error, InstructionProblem, ProgramProblem, Result};

/// The values that an entry of the dimension bank may take (paper A.2).
pub const DIM_VOCABULARY: [u32; 10] = [1, 2, 4, 8, 12, 16, 24, 32, 48, 64];

/// The values that an instruction's branching may take (paper A.2).
pub const BRANCHINGS: [u32; 5] = [1, 2, 4, 8, 16];

/// A program of the search space: one stackable decoder block and its two banks. Its serde form is
/// its text form, which keeps every bit of the constants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Dna {
    /// S0 is MAIN; the others are the subprogram bank. A subprogram calls only later ones.
    pub subprograms: Vec<Subprogram>,
    /// The bank of constants, all finite.
    pub constants: [f64; 2],
    /// The bank of relative dimensions, out of [`DIM_VOCABULARY`]. Slot 0 is the model's width.
    pub dims: [u32; 6],
}

impl From<Dna> for String {
    fn from(dna: Dna) -> String {
        dna.to_string()
    }
}

impl TryFrom<String> for Dna {
    type Error = Error;

    fn try_from(text: String) -> Result<Dna> {
        text.parse()
    }
}

/// An ordered list of instructions; its output is that of the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subprogram {
    /// A label for readers; it means nothing to the program.
    pub label: String,
    /// Instruction i produces state h(i+2); h0 and h1 are the inputs.
    pub instructions: Vec<Instruction>,
}

/// One instruction. Fields that its operation doesn't read are silent genes: kept, printed and
/// mutated like the others, and active once the operation mutates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    /// What is done.
    pub op: Op,
    /// Index of the first input's state.
    pub input_1: usize,
    /// Index of the second input's state.
    pub input_2: usize,
    /// Index into the bank of constants.
    pub constant: usize,
    /// Index into the bank of dimensions.
    pub dim: usize,
    /// Parallel executions with their own variables, concatenated along the channels.
    pub branch: u32,
}

/// What an instruction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// One of the 39 primitives.
    Primitive(Primitive),
    /// A call of the subprogram with that index, which gets both inputs.
    Call(usize),
}

impl Op {
    /// Whether the second input is read; a call passes it on.
    pub fn uses_input_2(self) -> bool {
        match self {
            Op::Primitive(primitive) => primitive.uses_input_2(),
            Op::Call(_) => true,
        }
    }

    /// Whether the constant is read.
    pub fn uses_constant(self) -> bool {
        matches!(self, Op::Primitive(primitive) if primitive.uses_constant())
    }

    /// Whether the dimension is read.
    pub fn uses_dim(self) -> bool {
        matches!(self, Op::Primitive(primitive) if primitive.uses_dim())
    }
}

impl Instruction {
    /// Checks the instruction at `position` of subprogram `subprogram` out of `subprograms`.
    fn validate(&self, subprogram: usize, position: usize, subprograms: usize) -> Result<(), InstructionProblem> {
        let available = position + 2;
        for (input, state) in [(1, self.input_1), (2, self.input_2)] {
            if state >= available {
                return Err(InstructionProblem::Input { input, state, available });
            }
        }
        if let Op::Call(callee) = self.op
            && (callee <= subprogram || callee >= subprograms)
        {
            return Err(InstructionProblem::Callee { callee, last: subprograms - 1 });
        }
        if self.constant >= 2 {
            return Err(InstructionProblem::Constant(self.constant));
        }
        if self.dim >= 6 {
            return Err(InstructionProblem::Dim(self.dim));
        }
        if !BRANCHINGS.contains(&self.branch) {
            return Err(InstructionProblem::Branch(self.branch));
        }
        Ok(())
    }
}

impl Dna {
    /// Checks every rule of the program space.
    ///
    /// # Errors
    ///
    /// [`Error::Instruction`] or [`Error::Program`] with the first rule that is broken.
    pub fn validate(&self) -> Result<()> {
        if self.subprograms.is_empty() {
            return Err(Error::Program(ProgramProblem::NoMain));
        }
        if let Some(slot) = self.constants.iter().position(|c| !c.is_finite()) {
            return Err(Error::Program(ProgramProblem::NotFinite(slot)));
        }
        if let Some(slot) = self.dims.iter().position(|d| !DIM_VOCABULARY.contains(d)) {
            return Err(Error::Program(ProgramProblem::Dim { slot, value: self.dims[slot] }));
        }
        for (s, subprogram) in self.subprograms.iter().enumerate() {
            if subprogram.instructions.is_empty() {
                return Err(Error::Program(ProgramProblem::Empty(s)));
            }
            if !is_label(&subprogram.label) {
                return Err(Error::Program(ProgramProblem::Label { subprogram: s, label: subprogram.label.clone() }));
            }
            for (i, instruction) in subprogram.instructions.iter().enumerate() {
                instruction.validate(s, i, self.subprograms.len()).map_err(|problem| Error::Instruction {
                    subprogram: s,
                    instruction: i,
                    problem,
                })?;
            }
        }
        Ok(())
    }
}

/// Whether a label can be written and read back.
pub(crate) fn is_label(label: &str) -> bool {
    label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}
