//! How two programs differ, instruction by instruction.
//!
//! An inserted instruction moves the numbers of all states after it; a diff of the texts would show every later line.
//! Here instructions are aligned by what they do, and inputs are compared by the instruction that produces them.

use std::fmt;

use super::{Dna, Instruction, Subprogram};

/// What became of one instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// In both, with the same producers.
    Same,
    /// In both, with other fields or inputs.
    Changed,
    /// Only in the old program.
    Removed,
    /// Only in the new one.
    Added,
}

/// An instruction of either program or of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// What became of it.
    pub change: Change,
    /// Its 0-based index and what it was.
    pub old: Option<(usize, Instruction)>,
    /// Its index and what it is.
    pub new: Option<(usize, Instruction)>,
}

/// The difference of two programs.
#[derive(Debug, Clone, PartialEq)]
pub struct Diff {
    /// The bank of constants, old and new.
    pub constants: [[f64; 2]; 2],
    /// The bank of dimensions, old and new.
    pub dims: [[u32; 6]; 2],
    /// For each subprogram its label and instructions. Mutations neither add nor remove subprograms; those of a program
    /// that has more are all added or removed.
    pub subprograms: Vec<(String, Vec<Line>)>,
}

/// Compares two valid programs.
pub fn diff(old: &Dna, new: &Dna) -> Diff {
    let nothing = Subprogram { label: String::new(), instructions: Vec::new() };
    let count = old.subprograms.len().max(new.subprograms.len());
    let subprograms = (0..count).map(|s| {
        let old = old.subprograms.get(s).unwrap_or(&nothing);
        let new = new.subprograms.get(s).unwrap_or(&nothing);
        let label = if new.label.is_empty() { &old.label } else { &new.label };
        (label.clone(), lines(&old.instructions, &new.instructions))
    });
    Diff { constants: [old.constants, new.constants], dims: [old.dims, new.dims], subprograms: subprograms.collect() }
}

/// How well two instructions fit; none for those that are no version of one another.
fn likeness(old: &Instruction, new: &Instruction) -> Option<u32> {
    let fields = [old.constant == new.constant, old.dim == new.dim, old.branch == new.branch];
    let inputs = [old.input_1 == new.input_1, old.input_2 == new.input_2];
    let equal = fields.iter().chain(&inputs).filter(|&&same| same).count() as u32;
    match old.op == new.op {
        true => Some(8 + equal),
        // Another operation in the same place: worth less than two that stay.
        false => (equal == 5).then_some(4),
    }
}

/// Aligns two lists, then compares what is aligned.
fn lines(old: &[Instruction], new: &[Instruction]) -> Vec<Line> {
    // best[i][j]: the most likeness that old[i..] and new[j..] can have in order.
    let mut best = vec![vec![0u32; new.len() + 1]; old.len() + 1];
    let matched = |best: &[Vec<u32>], i: usize, j: usize| {
        likeness(&old[i], &new[j]).map(|likeness| likeness + best[i + 1][j + 1])
    };
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            let apart = best[i + 1][j].max(best[i][j + 1]);
            best[i][j] = matched(&best, i, j).map_or(apart, |both| both.max(apart));
        }
    }
    // For each state of the old list, the state of the new one that it has become; the two inputs are the same.
    let mut became: Vec<Option<usize>> = vec![None; old.len() + 2];
    (became[0], became[1]) = (Some(0), Some(1));
    let mut lines = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        let both = i < old.len() && j < new.len() && matched(&best, i, j) == Some(best[i][j]);
        if both {
            became[i + 2] = Some(j + 2);
            let (from, to) = (&old[i], &new[j]);
            let read = |state: usize| became[state];
            let same_inputs = read(from.input_1) == Some(to.input_1)
                && (!to.op.uses_input_2() || read(from.input_2) == Some(to.input_2));
            let moved = Instruction { input_1: to.input_1, input_2: to.input_2, ..*from };
            let change = if same_inputs && moved == *to { Change::Same } else { Change::Changed };
            lines.push(Line { change, old: Some((i, *from)), new: Some((j, *to)) });
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && best[i + 1][j] >= best[i][j + 1]) {
            lines.push(Line { change: Change::Removed, old: Some((i, old[i])), new: None });
            i += 1;
        } else {
            lines.push(Line { change: Change::Added, old: None, new: Some((j, new[j])) });
            j += 1;
        }
    }
    lines
}

impl Diff {
    /// Whether there is no difference.
    pub fn is_empty(&self) -> bool {
        self.banks().iter().all(|(change, _)| *change == Change::Same)
            && self.subprograms.iter().all(|(_, lines)| !is_changed(lines))
    }

    /// The whole listing, line by line: what became of the line, and its text. A changed instruction is two lines, one
    /// removed and one added.
    pub fn listing(&self) -> Vec<(Change, String)> {
        let mut listing = self.banks();
        for number in 0..self.subprograms.len() {
            listing.push((Change::Same, String::new()));
            listing.extend(self.subprogram(number));
        }
        listing
    }

    fn banks(&self) -> Vec<(Change, String)> {
        let constants = self.constants.map(|bank| format!("constants {:?} {:?}", bank[0], bank[1]));
        let dims = self.dims.map(|bank| format!("dims {}", bank.map(|dim| dim.to_string()).join(" ")));
        let mut lines = Vec::new();
        for [old, new] in [constants, dims] {
            if old != new {
                lines.push((Change::Removed, old));
                lines.push((Change::Added, new));
            } else {
                lines.push((Change::Same, new));
            }
        }
        lines
    }

    fn subprogram(&self, number: usize) -> Vec<(Change, String)> {
        let (label, lines) = &self.subprograms[number];
        let separator = if label.is_empty() { "" } else { " " };
        let mut listing = vec![(Change::Same, format!("S{number}{separator}{label}:"))];
        let text = |(index, instruction): (usize, Instruction)| format!("  h{} = {instruction}", index + 2);
        for line in lines {
            let (old, new) = (line.old.map(text), line.new.map(text));
            // A line that reads the same is shown once, even if what it reads has changed.
            if old == new {
                listing.extend(new.map(|new| (Change::Same, new)));
            } else {
                listing.extend(old.filter(|_| line.change != Change::Same).map(|old| (Change::Removed, old)));
                let change = if line.change == Change::Same { Change::Same } else { Change::Added };
                listing.extend(new.map(|new| (change, new)));
            }
        }
        listing
    }
}

fn is_changed(lines: &[Line]) -> bool {
    lines.iter().any(|line| line.change != Change::Same)
}

impl fmt::Display for Diff {
    /// Changed banks and subprograms, with `-` before what is gone and `+` before what is new.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown: Vec<_> = self.banks().into_iter().filter(|(change, _)| *change != Change::Same).collect();
        for (number, (_, lines)) in self.subprograms.iter().enumerate() {
            if is_changed(lines) {
                shown.extend(self.subprogram(number));
            }
        }
        for (change, text) in shown {
            let sign = match change {
                Change::Removed => '-',
                Change::Added => '+',
                Change::Same | Change::Changed => ' ',
            };
            writeln!(f, "{sign} {text}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dna(text: &str) -> Dna {
        text.parse().unwrap()
    }

    const OLD: &str = "constants 0.0 0.25\ndims 2 8 1 1 4 16\n\nS0 MAIN:\n  h2 = RELU(h0)\n  h3 = CONV_1X1(h2) d0\n  \
                       h4 = ADD(h3, h0)\n";

    #[test]
    fn an_insertion_moves_states_and_changes_nothing_else() {
        let old = OLD.replace("RELU", "ABS");
        let new = "constants 0.0 0.25\ndims 2 8 1 1 4 16\n\nS0 MAIN:\n  h2 = ABS(h0)\n  h3 = SQUARE(h1)\n  \
                   h4 = CONV_1X1(h2) d0\n  h5 = ADD(h4, h0)\n";
        let diff = diff(&dna(&old), &dna(new));
        assert_eq!(
            diff.to_string(),
            "  S0 MAIN:\n    h2 = ABS(h0)\n+   h3 = SQUARE(h1)\n    h4 = CONV_1X1(h2) d0\n    \
                                      h5 = ADD(h4, h0)\n"
        );
        assert!(!diff.is_empty());
    }

    #[test]
    fn another_producer_another_operation_and_another_bank_are_changes() {
        let old = OLD.replace("RELU", "ABS");
        let new = old.replace("ADD(h3, h0)", "ADD(h3, h2)").replace("ABS", "SQUARE").replace("dims 2 8", "dims 2 4");
        assert_eq!(
            diff(&dna(&old), &dna(&new)).to_string(),
            "- dims 2 8 1 1 4 16\n+ dims 2 4 1 1 4 16\n  S0 MAIN:\n-   h2 = ABS(h0)\n+   h2 = SQUARE(h0)\n    \
             h3 = CONV_1X1(h2) d0\n-   h4 = ADD(h3, h0)\n+   h4 = ADD(h3, h2)\n"
        );
        let same = diff(&dna(&old), &dna(&old));
        assert!(same.is_empty() && same.to_string().is_empty());
        assert!(same.listing().len() > 5);
    }
}
