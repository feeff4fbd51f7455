//! The six mutations (paper A.4) as records: drawn once, stored, and applied again by a replay.

use serde::{Deserialize, Serialize};

use crate::canonical::canonical_form;
use crate::dna::{BRANCHINGS, DIM_VOCABULARY, Dna, Instruction, Op, Primitive};
use crate::error::{Error, Result};
use crate::rng::{Rng, exp};

/// Inert mutations that one child may gather before it is begun again from the parent.
pub const MAX_INERT: usize = 64;

/// Chains of [`MAX_INERT`] inert mutations after which [`mutate`] gives up.
const MAX_CHAINS: usize = 1_000;

/// One mutation with everything that was drawn for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Mutation {
    /// Removes an instruction.
    Delete(Delete),
    /// Adds an instruction.
    Insert(Insert),
    /// Removes one, then adds one.
    DeleteInsert {
        /// What is removed.
        delete: Delete,
        /// What is added to the program without it.
        insert: Insert,
    },
    /// Gives one field of one instruction a new value.
    Field {
        /// The subprogram.
        subprogram: usize,
        /// Index of the instruction.
        position: usize,
        /// The field and its new value.
        value: Field,
    },
    /// Two instructions exchange op, constant, dim and branch; the inputs stay where they are.
    Swap {
        /// The subprogram.
        subprogram: usize,
        /// Index of one instruction.
        first: usize,
        /// Index of the other.
        second: usize,
    },
    /// A constant of the bank gets a new value.
    Constant {
        /// Index in the bank.
        slot: usize,
        /// c·10^X + Y with X, Y ~ N(0, 1).
        #[serde(with = "exact")]
        value: f64,
    },
    /// A relative dimension of the bank gets a new value.
    Dim {
        /// Index in the bank.
        slot: usize,
        /// Another value of the vocabulary.
        value: u32,
    },
}

/// Removes an instruction. References to it move; others keep their producer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delete {
    /// The subprogram.
    pub subprogram: usize,
    /// Index of the instruction.
    pub position: usize,
    /// For each reference to it, in order (input 1 before input 2): the earlier state to read now.
    pub redirects: Vec<usize>,
}

/// Adds an instruction. References of the others keep their producer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Insert {
    /// The subprogram.
    pub subprogram: usize,
    /// Its index there; at the end it becomes the output.
    pub position: usize,
    /// The new instruction.
    pub instruction: Instruction,
}

/// A field of an instruction with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// The operation.
    Op(Op),
    /// The first input's state.
    #[serde(rename = "input_1")]
    Input1(usize),
    /// The second input's state.
    #[serde(rename = "input_2")]
    Input2(usize),
    /// The constant's index.
    Constant(usize),
    /// The dimension's index.
    Dim(usize),
    /// The branching.
    Branch(u32),
}

/// All mutations between a parent and its child.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Chain {
    /// The mutations that make the child, in order: inert ones and, last, the effective one.
    pub mutations: Vec<Mutation>,
    /// Chains of inert mutations that were dropped before, each from the parent.
    pub dropped: Vec<Vec<Mutation>>,
}

impl Chain {
    /// The mutation that changed the resolved graph.
    pub fn effective(&self) -> Option<&Mutation> {
        self.mutations.last()
    }

    /// Makes the child again.
    ///
    /// # Errors
    ///
    /// As [`apply`].
    pub fn replay(&self, parent: &Dna) -> Result<Dna> {
        self.mutations.iter().try_fold(parent.clone(), |dna, mutation| apply(&dna, mutation))
    }
}

/// A float as its shortest decimal text: JSON readers may round a number's last bit.
mod exact {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{value:?}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| D::Error::custom(format!("{text:?} is not a number")))
    }
}

/// Draws one effective mutation of a valid program. Inert ones, which leave the resolved graph as
/// it is, stay in the child, so that silent genes drift.
///
/// # Errors
///
/// [`Error::NoEffectiveMutation`] in the practically impossible case that none is found.
pub fn mutate(parent: &Dna, rng: &mut Rng) -> Result<(Dna, Chain)> {
    let form = canonical_form(parent);
    let mut chain = Chain::default();
    for _ in 0..MAX_CHAINS {
        let mut child = parent.clone();
        for _ in 0..MAX_INERT {
            let mutation = draw(&child, rng);
            child = apply(&child, &mutation)?;
            chain.mutations.push(mutation);
            // A program too large to be inlined counts as changed: it is rejected later.
            if form.is_err() || canonical_form(&child) != form {
                return Ok((child, chain));
            }
        }
        chain.dropped.push(std::mem::take(&mut chain.mutations));
    }
    Err(Error::NoEffectiveMutation { attempts: MAX_CHAINS })
}

/// Draws one mutation of a valid program, effective or not: the type uniform over six, then every
/// choice uniform over what is possible.
pub fn draw(dna: &Dna, rng: &mut Rng) -> Mutation {
    loop {
        let drawn = match rng.below(6) {
            0 => draw_delete(dna, rng).map(Mutation::Delete),
            1 => Some(Mutation::Insert(draw_insert(dna, rng))),
            2 => draw_delete(dna, rng).map(|delete| {
                let mut without = dna.clone();
                remove(&mut without, &delete);
                Mutation::DeleteInsert { insert: draw_insert(&without, rng), delete }
            }),
            3 => Some(draw_field(dna, rng)),
            4 => draw_swap(dna, rng),
            _ => Some(draw_bank(dna, rng)),
        };
        // `None`: no subprogram is long enough for this type.
        if let Some(mutation) = drawn {
            return mutation;
        }
    }
}

/// A subprogram of at least `length` instructions, each equally likely.
fn draw_subprogram(dna: &Dna, length: usize, rng: &mut Rng) -> Option<usize> {
    let long: Vec<usize> =
        (0..dna.subprograms.len()).filter(|&s| dna.subprograms[s].instructions.len() >= length).collect();
    (!long.is_empty()).then(|| long[rng.below(long.len())])
}

fn draw_delete(dna: &Dna, rng: &mut Rng) -> Option<Delete> {
    let subprogram = draw_subprogram(dna, 2, rng)?;
    let instructions = &dna.subprograms[subprogram].instructions;
    let position = rng.below(instructions.len());
    let state = position + 2;
    let references = instructions.iter().flat_map(|i| [i.input_1, i.input_2]).filter(|&input| input == state);
    let redirects = references.map(|_| rng.below(state)).collect();
    Some(Delete { subprogram, position, redirects })
}

fn draw_insert(dna: &Dna, rng: &mut Rng) -> Insert {
    let subprogram = rng.below(dna.subprograms.len());
    let position = rng.below(dna.subprograms[subprogram].instructions.len() + 1);
    Insert { subprogram, position, instruction: draw_instruction(dna, subprogram, position, rng) }
}

/// An instruction for a position of a subprogram, every field uniform.
fn draw_instruction(dna: &Dna, subprogram: usize, position: usize, rng: &mut Rng) -> Instruction {
    Instruction {
        op: draw_op(dna, subprogram, rng),
        input_1: rng.below(position + 2),
        input_2: rng.below(position + 2),
        constant: rng.below(2),
        dim: rng.below(6),
        branch: BRANCHINGS[rng.below(BRANCHINGS.len())],
    }
}

/// A random program with as many subprograms and instructions as `like`, and its banks: what a search without a concept
/// to start from would start from (paper Fig. 3).
pub fn random_like(like: &Dna, rng: &mut Rng) -> Dna {
    let mut dna = like.clone();
    for subprogram in 0..dna.subprograms.len() {
        dna.subprograms[subprogram].label = String::new();
        for position in 0..dna.subprograms[subprogram].instructions.len() {
            let instruction = draw_instruction(&dna, subprogram, position, rng);
            dna.subprograms[subprogram].instructions[position] = instruction;
        }
    }
    dna
}

/// An operation that the subprogram may hold: a primitive or a call of a later subprogram.
fn draw_op(dna: &Dna, subprogram: usize, rng: &mut Rng) -> Op {
    let callable = dna.subprograms.len() - subprogram - 1;
    let choice = rng.below(Primitive::ALL.len() + callable);
    match Primitive::ALL.get(choice) {
        Some(&primitive) => Op::Primitive(primitive),
        None => Op::Call(subprogram + 1 + choice - Primitive::ALL.len()),
    }
}

/// Draws until the value differs from the old one.
fn draw_other<T: PartialEq>(old: &T, mut draw: impl FnMut() -> T) -> T {
    loop {
        let value = draw();
        if value != *old {
            return value;
        }
    }
}

fn draw_field(dna: &Dna, rng: &mut Rng) -> Mutation {
    let subprogram = rng.below(dna.subprograms.len());
    let position = rng.below(dna.subprograms[subprogram].instructions.len());
    let old = &dna.subprograms[subprogram].instructions[position];
    let value = match rng.below(6) {
        0 => Field::Op(draw_other(&old.op, || draw_op(dna, subprogram, rng))),
        1 => Field::Input1(draw_other(&old.input_1, || rng.below(position + 2))),
        2 => Field::Input2(draw_other(&old.input_2, || rng.below(position + 2))),
        3 => Field::Constant(draw_other(&old.constant, || rng.below(2))),
        4 => Field::Dim(draw_other(&old.dim, || rng.below(6))),
        _ => Field::Branch(draw_other(&old.branch, || BRANCHINGS[rng.below(BRANCHINGS.len())])),
    };
    Mutation::Field { subprogram, position, value }
}

fn draw_swap(dna: &Dna, rng: &mut Rng) -> Option<Mutation> {
    let subprogram = draw_subprogram(dna, 2, rng)?;
    let length = dna.subprograms[subprogram].instructions.len();
    let first = rng.below(length);
    let second = draw_other(&first, || rng.below(length));
    Some(Mutation::Swap { subprogram, first, second })
}

fn draw_bank(dna: &Dna, rng: &mut Rng) -> Mutation {
    let entry = rng.below(dna.constants.len() + dna.dims.len());
    if let Some(&old) = dna.constants.get(entry) {
        loop {
            let power = exp((rng.normal() * std::f64::consts::LN_10).clamp(-600.0, 600.0));
            let value = old * power + rng.normal();
            if value.is_finite() {
                return Mutation::Constant { slot: entry, value };
            }
        }
    }
    let slot = entry - dna.constants.len();
    let value = draw_other(&dna.dims[slot], || DIM_VOCABULARY[rng.below(DIM_VOCABULARY.len())]);
    Mutation::Dim { slot, value }
}

/// Applies a record; the result is valid.
///
/// # Errors
///
/// [`Error::Mutation`] if the record names something that the program doesn't have, or the errors of
/// [`Dna::validate`] if a value of the record isn't allowed.
pub fn apply(dna: &Dna, mutation: &Mutation) -> Result<Dna> {
    let mut child = dna.clone();
    match mutation {
        Mutation::Delete(delete) => apply_delete(&mut child, delete)?,
        Mutation::Insert(insert) => apply_insert(&mut child, insert)?,
        Mutation::DeleteInsert { delete, insert } => {
            apply_delete(&mut child, delete)?;
            apply_insert(&mut child, insert)?;
        }
        &Mutation::Field { subprogram, position, value } => {
            let instruction = instructions(&mut child, subprogram)?
                .get_mut(position)
                .ok_or_else(|| misfit(format!("S{subprogram} has no instruction {position}")))?;
            match value {
                Field::Op(op) => instruction.op = op,
                Field::Input1(state) => instruction.input_1 = state,
                Field::Input2(state) => instruction.input_2 = state,
                Field::Constant(constant) => instruction.constant = constant,
                Field::Dim(dim) => instruction.dim = dim,
                Field::Branch(branch) => instruction.branch = branch,
            }
        }
        &Mutation::Swap { subprogram, first, second } => {
            let instructions = instructions(&mut child, subprogram)?;
            if first >= instructions.len() || second >= instructions.len() {
                return Err(misfit(format!("S{subprogram} has no instructions {first} and {second}")));
            }
            let (a, b) = (instructions[first], instructions[second]);
            instructions[first] = Instruction { input_1: a.input_1, input_2: a.input_2, ..b };
            instructions[second] = Instruction { input_1: b.input_1, input_2: b.input_2, ..a };
        }
        &Mutation::Constant { slot, value } => {
            *child.constants.get_mut(slot).ok_or_else(|| misfit(format!("there is no constant c{slot}")))? = value;
        }
        &Mutation::Dim { slot, value } => {
            *child.dims.get_mut(slot).ok_or_else(|| misfit(format!("there is no dimension d{slot}")))? = value;
        }
    }
    child.validate()?;
    Ok(child)
}

fn misfit(reason: String) -> Error {
    Error::Mutation { reason }
}

fn instructions(dna: &mut Dna, subprogram: usize) -> Result<&mut Vec<Instruction>> {
    let found = dna.subprograms.get_mut(subprogram);
    found.map(|s| &mut s.instructions).ok_or_else(|| misfit(format!("there is no subprogram S{subprogram}")))
}

fn apply_delete(dna: &mut Dna, delete: &Delete) -> Result<()> {
    let &Delete { subprogram, position, .. } = delete;
    let instructions = instructions(dna, subprogram)?;
    if position >= instructions.len() || instructions.len() < 2 {
        return Err(misfit(format!("S{subprogram} has no instruction {position} to spare")));
    }
    let state = position + 2;
    let references = instructions.iter().flat_map(|i| [i.input_1, i.input_2]).filter(|&s| s == state).count();
    if references != delete.redirects.len() || delete.redirects.iter().any(|&target| target >= state) {
        return Err(misfit(format!("h{state} of S{subprogram} needs {references} redirects to earlier states")));
    }
    remove(dna, delete);
    Ok(())
}

/// Removes an instruction that exists, with redirects that fit.
fn remove(dna: &mut Dna, delete: &Delete) {
    let state = delete.position + 2;
    let mut redirects = delete.redirects.iter();
    let instructions = &mut dna.subprograms[delete.subprogram].instructions;
    for instruction in instructions.iter_mut() {
        for input in [&mut instruction.input_1, &mut instruction.input_2] {
            if *input == state {
                *input = redirects.next().copied().unwrap_or_default();
            } else if *input > state {
                *input -= 1;
            }
        }
    }
    instructions.remove(delete.position);
}

fn apply_insert(dna: &mut Dna, insert: &Insert) -> Result<()> {
    let &Insert { subprogram, position, instruction } = insert;
    let instructions = instructions(dna, subprogram)?;
    if position > instructions.len() {
        return Err(misfit(format!("S{subprogram} has no place {position}")));
    }
    for later in &mut instructions[position..] {
        for input in [&mut later.input_1, &mut later.input_2] {
            *input += usize::from(*input >= position + 2);
        }
    }
    instructions.insert(position, instruction);
    Ok(())
}
