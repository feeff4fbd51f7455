//! Which programs are looked at again, and the edits that made one of them.

use std::collections::BTreeSet;

use crate::canonical::CanonicalHash;
use crate::dna::Dna;
use crate::error::Result;
use crate::mutate::Chain;
use crate::store::{Candidate, Store};

/// The `top` best distinct programs of the study by fitness, and every other one that reached the end within `margin`
/// nats a token of the best; best first, without the seed program.
///
/// # Errors
/// Those of the store.
pub fn shortlist(store: &Store, top: u32, margin: f64) -> Result<Vec<Candidate>> {
    let (hurdles, form) = (store.spec().fitness.hurdles, |dna: &Dna| store.forms().computation(dna));
    let mut seen = BTreeSet::from([form(&store.spec().seed_dna.parse()?)?]);
    let mut found: Vec<Candidate> = Vec::new();
    for candidate in store.ranking() {
        let candidate = candidate?;
        let is_close = match found.first() {
            Some(best) => candidate.fitness.zip(best.fitness).is_some_and(|(loss, best)| loss <= best + margin),
            None => true,
        };
        let is_full = found.len() >= top as usize;
        if is_full && !is_close {
            break;
        }
        if (!is_full || candidate.passed == hurdles) && seen.insert(form(&candidate.dna()?)?) {
            found.push(candidate);
        }
    }
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

/// The line from the seed program to the candidate, the seed program first. Edits that changed nothing at the study's
/// sizes are joined with the next one that did; where the line comes back to what it computed before, what lies between is
/// left out. So no two of its programs are the same.
///
/// # Errors
/// Those of the store.
pub fn edits(store: &Store, child_no: u64) -> Result<Vec<Edit>> {
    let mut line: Vec<(CanonicalHash, Edit)> = Vec::new();
    let mut chains = Vec::new();
    for candidate in store.lineage(child_no)?.into_iter().rev() {
        let chain = candidate.parent.map(|_| candidate.mutations()).transpose()?;
        chains.extend(chain);
        let (child_no, fitness, dna) = (candidate.child_no, candidate.fitness, candidate.dna()?);
        let form = store.forms().computation(&dna)?;
        match line.iter().position(|(known, _)| *known == form) {
            None => line.push((form, Edit { child_no, fitness, dna, chains: std::mem::take(&mut chains) })),
            Some(last) if last + 1 == line.len() => {}
            Some(place) => {
                line.truncate(place + 1);
                chains.clear();
            }
        }
    }
    Ok(line.into_iter().map(|(_, edit)| edit).collect())
}
