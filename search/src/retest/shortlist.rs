//! Which programs are looked at again, and the edits that made one of them.

use crate::dna::Dna;
use crate::error::Result;
use crate::mutate::Chain;
use crate::store::{Candidate, Store};

/// The `top` best distinct programs of the study by fitness, and every other one that reached the end within `margin` nats a token
/// of the best; best first, without the seed program.
///
/// # Errors
/// Those of the store.
pub fn shortlist(store: &Store, top: u32, margin: f64) -> Result<Vec<Candidate>> {
    // Twins are not among them.
    let all = store.top(u32::MAX)?;
    let hurdles = store.spec().fitness.hurdles;
    let mut found: Vec<Candidate> = all.into_iter().filter(|c| c.child_no != 0 && c.fitness.is_some()).collect();
    let best = found.first().and_then(|c| c.fitness).unwrap_or(f64::INFINITY);
    let mut place = 0;
    found.retain(|candidate| {
        place += 1;
        let close = candidate.passed == hurdles && candidate.fitness.is_some_and(|loss| loss <= best + margin);
        place <= top || close
    });
    Ok(found)
}

/// One step of a line from the seed program to a candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// The candidate after it.
    pub child_no: u64,
    /// Its loss in the search, nats a token.
    pub fitness: Option<f64>,
    /// Its program.
    pub dna: Dna,
    /// What made it of the one before, as far as it changed the program's meaning; empty for the seed program.
    pub chains: Vec<Chain>,
}

/// The line from the seed program to the candidate, the seed program first. Edits that changed nothing, by the canonical form, are
/// joined with the next one that did.
///
/// # Errors
/// Those of the store.
pub fn edits(store: &Store, child_no: u64) -> Result<Vec<Edit>> {
    let mut line: Vec<Edit> = Vec::new();
    let mut last: Option<String> = None;
    let mut silent = Vec::new();
    for candidate in store.lineage(child_no)?.into_iter().rev() {
        let chain = candidate.parent.map(|_| candidate.mutations()).transpose()?;
        silent.extend(chain);
        if last.is_some() && candidate.canonical == last {
            continue;
        }
        last.clone_from(&candidate.canonical);
        let (child_no, fitness, dna) = (candidate.child_no, candidate.fitness, candidate.dna()?);
        line.push(Edit { child_no, fitness, dna, chains: std::mem::take(&mut silent) });
    }
    Ok(line)
}
