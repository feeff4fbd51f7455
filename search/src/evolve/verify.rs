//! Replays a study from its log.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Child, Member, Windows, breed, population, select_parent};
use crate::error::Result;
use crate::store::{Candidate, Log, Mark, State, Store};
use crate::study::{Fitness, Strategy, StudySpec};

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

/// Replays all selections, mutations and bars from the seed program and the log, without training,
/// and checks that every result is what its losses at the marks make of it. Safe on a store that
/// others are working on: what they finish meanwhile is not looked at.
///
/// # Errors
///
/// Those of reading the store. A store that was changed from outside is a [`Difference`].
pub fn verify(store: &Store) -> Result<Verification> {
    verify_log(store, &store.log()?)
}

/// The same up to the moment at which `log` was read.
///
/// # Errors
///
/// As [`verify`].
pub fn verify_log(store: &Store, log: &Log) -> Result<Verification> {
    for (place, finished) in (0..).zip(&log.finished) {
        let gap = same(finished.child_no, "place in the log", finished.done_seq, place);
        if let Some(difference) = gap {
            return Ok(Verification::Different(difference));
        }
    }
    let twins = Twins::new(log);
    let marks = Marks::new(store)?;
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
                None => check_origin(store, log, candidate)?,
                gap => gap,
            };
            let found = found.or_else(|| marks.check_bars(store.spec(), candidate));
            // The page is younger than the log: a result that the log lacks may lean on others that it lacks.
            let known = candidate.done_seq.is_some_and(|place| place < log.finished.len() as u64);
            let found = found.or_else(|| {
                let result = || marks.check_result(store.spec(), candidate);
                known.then(|| twins.check(store.spec(), candidate).or_else(result)).flatten()
            });
            if let Some(difference) = found {
                return Ok(Verification::Different(difference));
            }
            next += 1;
        }
    }
    Ok(Verification::Same { children: log.candidates.saturating_sub(1) })
}

/// The losses at all marks.
struct Marks {
    /// Of each candidate by its place in the log.
    by_place: BTreeMap<u64, Vec<Mark>>,
    windows: Windows,
}

impl Marks {
    fn new(store: &Store) -> Result<Self> {
        let mut marks = Marks { by_place: BTreeMap::new(), windows: Windows::default() };
        for (place, mark) in store.all_marks()? {
            marks.windows.add(place, &mark);
            marks.by_place.entry(place).or_default().push(mark);
        }
        Ok(marks)
    }

    /// Whether a child's bars are the medians of the windows that it saw.
    fn check_bars(&self, spec: &StudySpec, candidate: &Candidate) -> Option<Difference> {
        candidate.parent?;
        let bars = self.windows.bars(&spec.fitness, candidate.watermark);
        let shown = |bars: &[Option<f64>]| bars.iter().map(|&bar| loss(bar)).collect::<Vec<_>>().join(", ");
        same(candidate.child_no, "bars", shown(&candidate.bars), shown(&bars))
    }

    /// Whether a measured candidate's fitness and hurdles follow from its losses and bars.
    fn check_result(&self, spec: &StudySpec, candidate: &Candidate) -> Option<Difference> {
        let (child_no, Fitness { hurdles, seed_runs, .. }) = (candidate.child_no, spec.fitness);
        if candidate.state != State::Done {
            return None;
        }
        let marks = self.by_place.get(&candidate.done_seq?).map_or(&[][..], Vec::as_slice);
        let at_end = |run| marks.iter().find(|mark| (mark.run, mark.mark) == (run, hurdles)).and_then(|mark| mark.loss);
        if candidate.parent.is_none() {
            let sum: Option<f64> = (0..seed_runs).map(at_end).sum();
            let mean = sum.map(|sum| sum / f64::from(seed_runs));
            return same(child_no, "fitness", loss(candidate.fitness), loss(mean));
        }
        let passes = |mark: &&Mark| {
            let bar = candidate.bars.get(mark.mark as usize).copied().flatten();
            mark.mark < hurdles && mark.loss.is_some_and(|loss| bar.is_none_or(|bar| loss <= bar))
        };
        let passed = marks.iter().take_while(passes).count() as u32;
        // Without a mark after the last hurdle passed, it diverged on the way.
        let fitness = marks.get(passed as usize).and_then(|mark| mark.loss);
        same(child_no, "number of hurdles passed", candidate.passed, passed)
            .or_else(|| same(child_no, "fitness", loss(candidate.fitness), loss(fitness)))
    }
}

/// Who may have taken whose result.
struct Twins<'a> {
    log: &'a Log,
    places: BTreeMap<u64, usize>,
    /// Of each canonical form the first place with a result of its own.
    first: BTreeMap<&'a str, usize>,
}

impl<'a> Twins<'a> {
    fn new(log: &'a Log) -> Self {
        let mut twins = Twins { log, places: BTreeMap::new(), first: BTreeMap::new() };
        for (place, finished) in log.finished.iter().enumerate() {
            twins.places.insert(finished.child_no, place);
            let has_own = matches!(finished.state, State::Done | State::Rejected) && finished.twin.is_none();
            if let (true, Some(canonical)) = (has_own, &finished.canonical) {
                twins.first.entry(canonical).or_insert(place);
            }
        }
        twins
    }

    /// Whether the candidate took the result of the twin that it had, as it was, and has none otherwise that nobody
    /// measured.
    fn check(&self, spec: &StudySpec, candidate: &Candidate) -> Option<Difference> {
        let (child_no, stored) = (candidate.child_no, candidate.twin);
        let number = |twin: Option<u64>| twin.map_or("none".to_owned(), |twin| twin.to_string());
        // With a probe it depends on how often a score was passed on.
        if spec.probe_hits == 0 && candidate.parent.is_some() {
            let first = candidate.canonical.as_deref().and_then(|canonical| self.first.get(canonical));
            let seen = first.filter(|&&place| place as u64 <= candidate.watermark && spec.strategy != Strategy::None);
            let twin = seen.map(|&place| self.log.finished[place].child_no);
            if let Some(difference) = same(child_no, "twin", number(stored), number(twin)) {
                return Some(difference);
            }
        }
        let Some(twin_no) = stored else {
            let state = candidate.state;
            return match state {
                State::Cached => same(child_no, "state", state.to_string(), "one without a twin".to_owned()),
                State::Rejected | State::Failed => same(child_no, "number of hurdles passed", candidate.passed, 0)
                    .or_else(|| same(child_no, "fitness", loss(candidate.fitness), loss(None))),
                _ => None,
            };
        };
        let place = self.places.get(&twin_no).filter(|&&place| place as u64 <= candidate.watermark);
        let Some(twin) = place.map(|&place| &self.log.finished[place]) else {
            return same(child_no, "twin", twin_no.to_string(), "unfinished".into());
        };
        let shown = |canonical: &Option<String>| canonical.clone().unwrap_or_default();
        let state = if twin.state == State::Rejected { State::Rejected } else { State::Cached };
        same(child_no, "twin's canonical form", shown(&twin.canonical), shown(&candidate.canonical))
            .or_else(|| same(child_no, "state", candidate.state.to_string(), state.to_string()))
            .or_else(|| same(child_no, "number of hurdles passed", candidate.passed, twin.passed))
            .or_else(|| same(child_no, "fitness", loss(candidate.fitness), loss(twin.fitness)))
    }
}

/// Whether the candidate is the child that the log leads to.
fn check_origin(store: &Store, log: &Log, candidate: &Candidate) -> Result<Option<Difference>> {
    let (spec, child_no) = (store.spec(), candidate.child_no);
    let Some(stored_parent) = candidate.parent else {
        let seed = spec.seed_dna.clone();
        return Ok(same(child_no, "program", candidate.program.clone(), seed)
            .or_else(|| same(child_no, "origin", child_no, 0)));
    };
    let (oldest, youngest) = population(spec, candidate.watermark).into_inner();
    let Some(population) = log.finished.get(oldest as usize..=youngest as usize) else {
        let last = log.finished.len().saturating_sub(1);
        let wanted = format!("at most {last}");
        return Ok(same(child_no, "watermark", youngest.to_string(), wanted));
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
    let Child { program, canonical, mutation } = breed(spec, store.forms(), child_no, &parent.program)?;
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
