//! A program without calls: every instruction that runs, once for each call, in order.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Dna, Op, Primitive};
use crate::rejection::{MAX_CALL_DEPTH, MAX_INSTRUCTIONS, Rejection};

/// An instruction's place in the genome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Source {
    /// The subprogram.
    pub subprogram: usize,
    /// 0-based index of the instruction.
    pub instruction: usize,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S{} h{}", self.subprogram, self.instruction + 2)
    }
}

/// What a node of an inlined program does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NodeKind {
    /// MAIN's first or second input; both are the block's input.
    Input,
    /// Gives the whole input to each of the branches.
    Split(u32),
    /// Concatenates the branches on the last axis.
    Merge(u32),
    /// A primitive with its bank values; what the primitive doesn't read is still there.
    Primitive {
        /// Which one.
        primitive: Primitive,
        /// The constant.
        constant: f64,
        /// The relative dimension, not yet divided by the branches.
        dim: u32,
    },
}

/// One executed instruction.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it does.
    pub kind: NodeKind,
    /// Numbers of the nodes it reads: none, one or two.
    pub inputs: Vec<usize>,
    /// Product of the branchings around it: how often it runs, side by side.
    pub branches: u64,
    /// Where it stands in the genome; `None` for the inputs.
    pub source: Option<Source>,
    /// Whether the output depends on it.
    pub live: bool,
}

impl Node {
    /// What it is called in the resolved view.
    pub fn name(&self) -> String {
        match self.kind {
            NodeKind::Input => "INPUT".to_owned(),
            NodeKind::Split(branch) => format!("BRANCH_{branch}"),
            NodeKind::Merge(branch) => format!("MERGE_{branch}"),
            NodeKind::Primitive { primitive, .. } => primitive.name().to_owned(),
        }
    }

    /// The values from the banks that it reads: ` C 0.25`, ` dim 2/8`, or nothing.
    pub fn bank_values(&self) -> String {
        let NodeKind::Primitive { primitive, constant, dim } = self.kind else { return String::new() };
        let mut values = String::new();
        if primitive.uses_constant() {
            values += &format!(" C {constant}");
        }
        if primitive.uses_dim() {
            values += &format!(" dim {dim}");
            if self.branches != 1 {
                values += &format!("/{}", self.branches);
            }
        }
        values
    }
}

/// A program without calls; inputs of a node have smaller numbers than the node.
#[derive(Debug, Clone)]
pub struct Inlined {
    /// Nodes 0 and 1 are MAIN's inputs.
    pub nodes: Vec<Node>,
    /// Number of the output's node.
    pub output: usize,
}

/// Sizes of a program after inlining, found without inlining it; all counts saturate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Primitives that run, the dead ones too.
    pub total: u64,
    /// Primitives on which the output depends.
    pub live: u64,
    /// Depth of nested calls; 0 without any.
    pub depth: u64,
}

/// What is known of a subprogram before it is inlined.
pub(crate) struct Summary {
    /// For each instruction, whether the output depends on it.
    pub live: Vec<bool>,
    /// Whether the output depends on h0 and h1.
    pub reads: [bool; 2],
    size: Size,
}

/// A summary of each subprogram of a valid program.
pub(crate) fn summaries(dna: &Dna) -> Vec<Summary> {
    let mut later: Vec<Summary> = Vec::with_capacity(dna.subprograms.len());
    // From the last subprogram up, so that callees are known; `later` is in reverse order.
    for subprogram in dna.subprograms.iter().rev() {
        let count = dna.subprograms.len();
        let callee = |index: usize| &later[count - 1 - index];
        let length = subprogram.instructions.len();
        let mut needed = vec![false; length + 2];
        needed[length + 1] = true;
        let mut size = Size { total: 0, live: 0, depth: 0 };
        for (i, instruction) in subprogram.instructions.iter().enumerate().rev() {
            let (reads, inner) = match instruction.op {
                Op::Primitive(primitive) => ([true, primitive.uses_input_2()], Size { total: 1, live: 1, depth: 0 }),
                Op::Call(index) => (callee(index).reads, callee(index).size),
            };
            size.total = size.total.saturating_add(inner.total);
            if needed[i + 2] {
                needed[instruction.input_1] |= reads[0];
                needed[instruction.input_2] |= reads[1];
                size.live = size.live.saturating_add(inner.live);
            }
            let calls = matches!(instruction.op, Op::Call(_));
            size.depth = size.depth.max(inner.depth + u64::from(calls));
        }
        later.push(Summary { live: needed[2..].to_vec(), reads: [needed[0], needed[1]], size });
    }
    later.reverse();
    later
}

impl Dna {
    /// The program's sizes after inlining. The program must be valid.
    pub fn inlined_size(&self) -> Size {
        summaries(self)[0].size
    }

    /// Inlines the instructions on which the output depends. The program must be valid.
    ///
    /// # Errors
    ///
    /// [`Rejection::TooManyInstructions`] or [`Rejection::TooDeep`], before anything is inlined.
    pub fn inline_live(&self) -> Result<Inlined, Rejection> {
        self.inline(false)
    }

    /// Inlines everything, dead instructions included, numbered as in the paper's listings.
    ///
    /// # Errors
    ///
    /// As [`Dna::inline_live`], the limit being four times as many instructions, dead or live.
    pub fn inline_all(&self) -> Result<Inlined, Rejection> {
        self.inline(true)
    }

    fn inline(&self, dead_too: bool) -> Result<Inlined, Rejection> {
        let summaries = summaries(self);
        let size = summaries[0].size;
        let (count, limit) = if dead_too { (size.total, 4 * MAX_INSTRUCTIONS) } else { (size.live, MAX_INSTRUCTIONS) };
        if count > limit {
            return Err(Rejection::TooManyInstructions { count, limit });
        }
        if size.depth > MAX_CALL_DEPTH {
            return Err(Rejection::TooDeep { depth: size.depth, limit: MAX_CALL_DEPTH });
        }
        let input = Node { kind: NodeKind::Input, inputs: vec![], branches: 1, source: None, live: false };
        let mut inliner = Inliner { dna: self, summaries, dead_too, nodes: vec![input.clone(), input] };
        let output = inliner.call(0, [Some(0), Some(1)], 1);
        let mut nodes = inliner.nodes;
        nodes[output].live = true;
        for i in (0..nodes.len()).rev() {
            if nodes[i].live {
                for input in nodes[i].inputs.clone() {
                    nodes[input].live = true;
                }
            }
        }
        Ok(Inlined { nodes, output })
    }
}

struct Inliner<'a> {
    dna: &'a Dna,
    summaries: Vec<Summary>,
    dead_too: bool,
    nodes: Vec<Node>,
}

impl Inliner<'_> {
    fn push(&mut self, kind: NodeKind, inputs: Vec<usize>, branches: u64, source: Source) -> usize {
        self.nodes.push(Node { kind, inputs, branches, source: Some(source), live: false });
        self.nodes.len() - 1
    }

    /// Inlines a call and returns the output's number. An argument that no live instruction reads
    /// may be absent. The depth of the recursion was checked.
    fn call(&mut self, subprogram: usize, arguments: [Option<usize>; 2], branches: u64) -> usize {
        let dna = self.dna;
        let mut states: Vec<Option<usize>> = arguments.to_vec();
        for (i, instruction) in dna.subprograms[subprogram].instructions.iter().enumerate() {
            if !self.dead_too && !self.summaries[subprogram].live[i] {
                states.push(None);
                continue;
            }
            let source = Source { subprogram, instruction: i };
            let mut inputs = [states[instruction.input_1], states[instruction.input_2]];
            let reads = match instruction.op {
                Op::Primitive(primitive) => [true, primitive.uses_input_2()],
                Op::Call(callee) => self.summaries[callee].reads,
            };
            let inner = branches.saturating_mul(u64::from(instruction.branch));
            if instruction.branch != 1 {
                for (input, read) in inputs.iter_mut().zip(reads) {
                    *input = match *input {
                        Some(node) if read || self.dead_too => {
                            Some(self.push(NodeKind::Split(instruction.branch), vec![node], inner, source))
                        }
                        _ => None,
                    };
                }
            }
            let mut output = match instruction.op {
                Op::Call(callee) => self.call(callee, inputs, inner),
                Op::Primitive(primitive) => {
                    let read = inputs.iter().zip(reads).filter(|(_, read)| *read);
                    let inputs = read.filter_map(|(input, _)| *input).collect();
                    let constant = dna.constants[instruction.constant];
                    let dim = dna.dims[instruction.dim];
                    self.push(NodeKind::Primitive { primitive, constant, dim }, inputs, inner, source)
                }
            };
            if instruction.branch != 1 {
                output = self.push(NodeKind::Merge(instruction.branch), vec![output], branches, source);
            }
            states.push(Some(output));
        }
        // A valid subprogram has an instruction, and its last one is live.
        states.last().copied().flatten().unwrap_or_default()
    }
}

impl fmt::Display for Inlined {
    /// The resolved view: one line a node, numbered as in the paper's Figs. 24 and 25.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, node) in self.nodes.iter().enumerate() {
            write!(f, "{number:>4} {}", node.name())?;
            for (i, input) in node.inputs.iter().enumerate() {
                write!(f, "{}{input}", if i == 0 { "(" } else { ", " })?;
            }
            if !node.inputs.is_empty() {
                write!(f, ")")?;
            }
            write!(f, "{}", node.bank_values())?;
            if let Some(source) = node.source {
                write!(f, "   # {source}")?;
            }
            if number == self.output {
                write!(f, " output")?;
            } else if !node.live {
                write!(f, " dead")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
