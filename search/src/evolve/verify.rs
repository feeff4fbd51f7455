//! Replays a study from its log.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Child, Member, breed, select_parent};
use crate::error::Result;
use crate::store::{Candidate, Log, State, Store};

/// What a replay found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// Every selection and every mutation comes out as stored.
    Same {
        /// Children replayed.
        children: u64,
    },
    /// The first thing that doesn't.
    Different(Difference),
}

/// A value of the store that the replay doesn't arrive at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The candidate.
    pub child_no: u64,
    /// The field.
    pub field: &'static str,
    /// Its value in the store.
    pub stored: String,
    /// Its value in the replay.
    pub replayed: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { child_no, field, stored, replayed } = self;
        write!(f, "candidate {child_no}: the {field} is {stored} in the store, {replayed} in the replay")
    }
}

/// Replays all selections and mutations from the seed program and the log, without training. Safe
/// on a store that others are working on.
///
/// # Errors
///
/// Those of reading the store. A store that was changed from outside is a [`Difference`].
pub fn verify(store: &Store) -> Result<Verification> {
    let log = store.log()?;
    for (place, finished) in (0..).zip(&log.finished) {
        let gap = same(finished.child_no, "place in the log", finished.done_seq, place);
        if let Some(difference) = gap {
            return Ok(Verification::Different(difference));
        }
    }
    let places: BTreeMap<u64, usize> =
        (0..).zip(&log.finished).map(|(place, finished)| (finished.child_no, place)).collect();
    let mut next = 0;
    while next < log.candidates {
        let page = store.candidates(next)?;
        if page.is_empty() {
            let missing = same(next, "number", "missing".to_owned(), next.to_string());
            return Ok(missing.map_or(Verification::Same { children: 0 }, Verification::Different));
        }
        for candidate in page.iter().take_while(|c| c.child_no < log.candidates) {
            // Numbers have no gaps.
            let found = match same(next, "number", candidate.child_no, next) {
                None => check_origin(store, &log, candidate)?,
                gap => gap,
            };
            let found = found.or_else(|| check_twin(&log, &places, candidate));
            if let Some(difference) = found {
                return Ok(Verification::Different(difference));
            }
            next += 1;
        }
    }
    Ok(Verification::Same { children: log.candidates - 1 })
}

/// Whether a twin's result is the twin's.
fn check_twin(log: &Log, places: &BTreeMap<u64, usize>, candidate: &Candidate) -> Option<Difference> {
    let child_no = candidate.child_no;
    let twin_no = candidate.twin?;
    let Some(&place) = places.get(&twin_no) else {
        return same(child_no, "twin", twin_no.to_string(), "unfinished".into());
    };
    let twin = &log.finished[place];
    let shown = |canonical: &Option<String>| canonical.clone().unwrap_or_default();
    same(child_no, "twin's canonical form", shown(&twin.canonical), shown(&candidate.canonical)).or_else(|| {
        let (stored, replayed) = (candidate.fitness, twin.fitness);
        same(child_no, "fitness", loss(stored), loss(replayed))
    })
}

/// Whether the candidate is the child that the log leads to.
fn check_origin(store: &Store, log: &Log, candidate: &Candidate) -> Result<Option<Difference>> {
    let (spec, child_no) = (store.spec(), candidate.child_no);
    let Some(stored_parent) = candidate.parent else {
        let seed = spec.seed_dna.clone();
        return Ok(same(child_no, "program", candidate.program.clone(), seed)
            .or_else(|| same(child_no, "origin", child_no, 0)));
    };
    let watermark = candidate.watermark as usize;
    let oldest = watermark.saturating_sub(spec.population as usize) + 1;
    let Some(population) = log.finished.get(oldest..=watermark) else {
        let last = log.finished.len().saturating_sub(1);
        let wanted = format!("at most {last}");
        return Ok(same(child_no, "watermark", watermark.to_string(), wanted));
    };
    let recent: Vec<Member> =
        population.iter().map(|finished| Member { child_no: finished.child_no, fitness: finished.fitness }).collect();
    let seed_fitness = log.finished[0].fitness;
    let parent = select_parent(spec, child_no, seed_fitness, &recent);
    if let Some(difference) = same(child_no, "parent", stored_parent, parent) {
        return Ok(Some(difference));
    }
    let Some(parent) = store.candidate(parent)? else {
        return Ok(same(child_no, "parent", stored_parent.to_string(), "missing".into()));
    };
    let Child { program, canonical, mutation } = breed(spec, child_no, &parent.program)?;
    let (canonical, rejected) = match canonical {
        Ok(hash) => (Some(hash), false),
        Err(_) => (None, true),
    };
    let shown = |hash: Option<String>| hash.unwrap_or_else(|| "none".to_owned());
    Ok(same(child_no, "mutation", candidate.mutation.clone(), mutation)
        .or_else(|| same(child_no, "program", candidate.program.clone(), program))
        .or_else(|| {
            let stored = shown(candidate.canonical.clone());
            same(child_no, "canonical form", stored, shown(canonical))
        })
        .or_else(|| {
            let stored = candidate.state.to_string();
            (rejected && candidate.state != State::Rejected)
                .then(|| same(child_no, "state", stored, State::Rejected.to_string()))?
        }))
}

/// The difference between two values, if there is one.
fn same<T: PartialEq + ToString>(child_no: u64, field: &'static str, stored: T, replayed: T) -> Option<Difference> {
    (stored != replayed).then(|| Difference {
        child_no,
        field,
        stored: stored.to_string(),
        replayed: replayed.to_string(),
    })
}

fn loss(fitness: Option<f64>) -> String {
    fitness.map_or_else(|| "not finite".to_owned(), |fitness| fitness.to_string())
}
