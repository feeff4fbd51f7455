//! Which programs are looked at again, and the edits that made one of them.

use std::collections::BTreeSet;

use crate::canonical::{CanonicalHash, canonical_hash};
use crate::dna::Dna;
use crate::error::Result;
use crate::mutate::Chain;
use crate::store::{Candidate, Store};

/// The `top` best distinct programs of the study by fitness, and every other one that reached the end within `margin`
/// nats a token of the best; best first, without the seed program. Programs are the same if their canonical forms are:
/// two workers may have measured one at the same time, and a probe's fingerprint expires.
///
/// # Errors
/// Those of the store.
pub fn shortlist(store: &Store, top: u32, margin: f64) -> Result<Vec<Candidate>> {
    let hurdles = store.spec().fitness.hurdles;
    let mut seen = BTreeSet::from([form(&store.spec().seed_dna.parse()?)?]);
    let mut found: Vec<Candidate> = Vec::new();
    let mut worst = f64::INFINITY;
    for candidate in store.top(u32::MAX)? {
        let Some(loss) = candidate.fitness.filter(|_| candidate.child_no != 0) else { continue };
        let is_close = candidate.passed == hurdles && loss <= worst;
        if (is_close || found.len() < top as usize) && seen.insert(form(&candidate.dna()?)?) {
            if found.is_empty() {
                worst = loss + margin;
            }
            found.push(candidate);
        }
    }
    Ok(found)
}

fn form(dna: &Dna) -> Result<CanonicalHash> {
    Ok(canonical_hash(dna)?)
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

/// The line from the seed program to the candidate, the seed program first. Edits that changed nothing, by the
/// canonical form, are joined with the next one that did.
///
/// # Errors
/// Those of the store.
pub fn edits(store: &Store, child_no: u64) -> Result<Vec<Edit>> {
    let mut line: Vec<Edit> = Vec::new();
    let mut last = None;
    let mut silent = Vec::new();
    for candidate in store.lineage(child_no)?.into_iter().rev() {
        let chain = candidate.parent.map(|_| candidate.mutations()).transpose()?;
        silent.extend(chain);
        let (child_no, fitness, dna) = (candidate.child_no, candidate.fitness, candidate.dna()?);
        let own = Some(form(&dna)?);
        if own == last {
            continue;
        }
        last = own;
        line.push(Edit { child_no, fitness, dna, chains: std::mem::take(&mut silent) });
    }
    Ok(line)
}
