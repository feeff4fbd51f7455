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
    let hurdles = store.spec().fitness.hurdles;
    let seed = store.forms().computation(&store.spec().seed_dna.parse()?)?;
    let best = |found: &[Candidate]| found.first().and_then(|best| best.fitness).unwrap_or(f64::INFINITY);
    distinct(store, BTreeSet::from([seed]), |candidate, found| {
        let is_close =
            candidate.passed == hurdles && candidate.fitness.is_some_and(|loss| loss <= best(found) + margin);
        is_close || found.len() < top as usize
    })
}

/// The `count` best distinct programs of the study by fitness, best first.
///
/// # Errors
/// Those of the store.
pub fn best(store: &Store, count: u32) -> Result<Vec<Candidate>> {
    distinct(store, BTreeSet::new(), |_, found| found.len() < count as usize)
}

/// The measured programs that are wanted, of those found before them, best first, but none whose form has been seen:
/// two workers may have measured one at the same time, a probe's fingerprint expires, and a study's own canonical form
/// may tell apart what its sizes make equal.
fn distinct(
    store: &Store,
    mut seen: BTreeSet<CanonicalHash>,
    is_wanted: impl Fn(&Candidate, &[Candidate]) -> bool,
) -> Result<Vec<Candidate>> {
    let mut found: Vec<Candidate> = Vec::new();
    for candidate in store.top(u32::MAX)?.into_iter().filter(|candidate| candidate.fitness.is_some()) {
        if is_wanted(&candidate, &found) && seen.insert(store.forms().computation(&candidate.dna()?)?) {
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
