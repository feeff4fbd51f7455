//! Mutations in words.

use crate::failure::Outcome;
use primer_search::mutate::{Chain, Field, Mutation};
use primer_search::retest::Edit;
use primer_search::store::Candidate;

/// What made a candidate, in words.
///
/// # Errors
/// A record that was changed from outside.
pub fn origin(candidate: &Candidate) -> Outcome<String> {
    if candidate.parent.is_none() {
        return Ok("the seed program".into());
    }
    Ok(chain(&candidate.mutations()?))
}

/// The mutations of a step, one child after the other; none of the seed program.
pub fn edit(edit: &Edit) -> String {
    let words: Vec<String> = edit.chains.iter().map(chain).filter(|words| !words.is_empty()).collect();
    words.join("; then ")
}

/// The mutations of a child, the effective one first.
pub fn chain(chain: &Chain) -> String {
    let Some(effective) = chain.effective() else {
        return String::new();
    };
    let silent = chain.mutations.len() - 1;
    match silent {
        0 => mutation(effective),
        n => format!("{} (and {n} without effect)", mutation(effective)),
    }
}

/// One mutation. States are counted as in the listing: an instruction at index i makes h(i+2).
fn mutation(mutation: &Mutation) -> String {
    match mutation {
        Mutation::Delete(d) => format!("delete h{} of S{}", d.position + 2, d.subprogram),
        Mutation::Insert(i) => format!("insert {} as h{} of S{}", i.instruction, i.position + 2, i.subprogram),
        Mutation::DeleteInsert { delete, insert } => format!(
            "delete h{} of S{}, insert {} as h{} of S{}",
            delete.position + 2,
            delete.subprogram,
            insert.instruction,
            insert.position + 2,
            insert.subprogram
        ),
        Mutation::Field { subprogram, position, value } => {
            let what = match value {
                Field::Op(op) => format!("operation to {op}"),
                Field::Input1(state) => format!("first input to h{state}"),
                Field::Input2(state) => format!("second input to h{state}"),
                Field::Constant(slot) => format!("constant to c{slot}"),
                Field::Dim(slot) => format!("dimension to d{slot}"),
                Field::Branch(branch) => format!("branching to {branch}"),
            };
            format!("change h{} of S{subprogram}: {what}", position + 2)
        }
        Mutation::Swap { subprogram, first, second } => {
            format!("swap h{} and h{} of S{subprogram}", first + 2, second + 2)
        }
        Mutation::Constant { slot, value } => format!("set constant c{slot} to {value:.4}"),
        Mutation::Dim { slot, value } => format!("set dimension d{slot} to {value}"),
    }
}
