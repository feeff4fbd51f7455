//! A study as text: its options and what was measured, without the programs. These are bred again, which shows that
//! they follow from the rest, and keeps a study of thousands of children small enough to be published.
//!
//! The first line says what the study is, each further one what became of a candidate, in the order of their numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::{Candidate, Cost, Kind, Mark, State};
use super::{Entry, Location, NewStudy, Store, made};
use crate::error::{Error, Result};
use crate::evolve::{Child, Forms, Member, Windows, breed, population, select_parent};
use crate::mutate::Chain;
use crate::study::{Fitness, StudySpec, sha256_hex};

/// Version of the text.
const VERSION: u32 = 1;

/// Attempts that no candidate comes near.
const MOST_ATTEMPTS: u32 = 1 << 30;

/// A study as text.
#[derive(Debug, Clone, PartialEq)]
pub struct Dump {
    head: Head,
    lines: Vec<Line>,
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    /// Version of the text.
    primer_study: u32,
    /// The study's options as they are hashed.
    spec: String,
    spec_sha256: String,
    /// Candidates, thus further lines, the seed program's included.
    candidates: u64,
}

/// What became of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    child_no: u64,
    watermark: u64,
    /// The first 16 digits of the SHA-256 of the program's text.
    program_sha256: String,
    /// `pending` where it has no result yet.
    state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    done_seq: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    twin: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fitness: Option<f64>,
    #[serde(default)]
    passed: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished_ms: Option<i64>,
    /// Run, mark and loss.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    marks: Vec<(u32, u32, Option<f64>)>,
    /// The last attempt.
    #[serde(default)]
    attempt: u32,
    /// Attempts that were not given back.
    #[serde(default)]
    spent: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ledger: Vec<Attempt>,
}

/// What an attempt has spent, if it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Attempt {
    /// Its number.
    pub attempt: u32,
    /// What it came to.
    pub kind: Kind,
    /// What it spent.
    #[serde(flatten)]
    pub cost: Cost,
}

impl Dump {
    /// The study as it is at one moment. Others may go on with it meanwhile: what they are at has no result here.
    ///
    /// # Errors
    ///
    /// Those of reading the store.
    pub fn of(store: &Store) -> Result<Dump> {
        let log = store.log()?;
        let finished = log.finished.len() as u64;
        let damaged = |reason: String| Error::StoreContent { location: store.location().clone(), reason };
        if let Some((place, _)) = (0..).zip(&log.finished).find(|(place, candidate)| candidate.done_seq != *place) {
            return Err(damaged(format!("place {place} of its log is empty")));
        }
        let mut marks = BTreeMap::<u64, Vec<_>>::new();
        for (place, Mark { run, mark, loss }) in store.all_marks()? {
            marks.entry(place).or_default().push((run, mark, loss));
        }
        let mut ledger = BTreeMap::<u64, Vec<Attempt>>::new();
        for (child_no, attempt) in store.ledger()? {
            ledger.entry(child_no).or_default().push(attempt);
        }
        let mut lines = Vec::new();
        while (lines.len() as u64) < log.candidates {
            let page = store.candidates(lines.len() as u64)?;
            if page.is_empty() {
                return Err(damaged(format!("candidate {} is missing", lines.len())));
            }
            let left = (log.candidates - lines.len() as u64) as usize;
            for candidate in page.into_iter().take(left) {
                let attempts = ledger.remove(&candidate.child_no).unwrap_or_default();
                let place = candidate.done_seq.filter(|&place| place < finished);
                lines.push(match place {
                    Some(place) => {
                        Line { marks: marks.remove(&place).unwrap_or_default(), ..Line::of(candidate, attempts) }
                    }
                    None => Line::unfinished(candidate, attempts),
                });
            }
        }
        let (spec, spec_sha256) = (store.stored_spec()?, store.spec_sha256().to_owned());
        Ok(Dump { head: Head { primer_study: VERSION, spec, spec_sha256, candidates: log.candidates }, lines })
    }

    /// The text, a JSON object a line.
    ///
    /// # Errors
    ///
    /// None that can happen: all of it has a form in JSON.
    pub fn to_jsonl(&self) -> Result<String> {
        let mut text = serde_json::to_string(&self.head)? + "\n";
        for line in &self.lines {
            text += &serde_json::to_string(line)?;
            text.push('\n');
        }
        Ok(text)
    }

    /// Reads what [`Dump::to_jsonl`] writes.
    ///
    /// # Errors
    ///
    /// [`Error::Dump`], which names the line.
    pub fn from_jsonl(text: &str) -> Result<Dump> {
        let mut texts = (1..).zip(text.trim_end().lines());
        let parse = |number: usize, e: serde_json::Error| {
            let said = e.to_string();
            // Each line is the first one to the parser.
            let reason = said.split(" at line 1 ").next().unwrap_or_default();
            wrong(number, format!("column {}: {reason}", e.column()))
        };
        let (_, first) = texts.next().ok_or_else(|| wrong(1, "there is none"))?;
        // A version that is not this one's may have other fields.
        let version = serde_json::from_str::<serde_json::Value>(first).map_err(|e| parse(1, e))?;
        match version.get("primer_study").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            Some(other) => return Err(wrong(1, format!("it has version {other}, this program reads {VERSION}"))),
            None => return Err(wrong(1, "it is no study: `primer_study` is missing")),
        }
        let head: Head = serde_json::from_str(first).map_err(|e| parse(1, e))?;
        if sha256_hex(&head.spec) != head.spec_sha256 {
            return Err(wrong(1, "the study's options don't match their hash"));
        }
        let lines = texts.map(|(number, text)| serde_json::from_str(text).map_err(|e| parse(number, e)));
        let lines = lines.collect::<Result<Vec<Line>>>()?;
        if lines.len() as u64 != head.candidates {
            let (found, wanted) = (lines.len(), head.candidates);
            return Err(wrong(lines.len() + 1, format!("it is the last, with {found} of {wanted} candidates")));
        }
        Ok(Dump { head, lines })
    }

    /// SHA-256 of the study's options.
    pub fn study_sha256(&self) -> &str {
        &self.head.spec_sha256
    }

    /// Candidates, the seed program included.
    pub fn candidates(&self) -> u64 {
        self.head.candidates
    }

    /// Breeds the study again in a new store. Who was at work on a candidate isn't any more; the store's workers go on.
    ///
    /// # Errors
    ///
    /// [`Error::Dump`] where the text contradicts itself, or a program comes out otherwise; those of
    /// [`Store::create`].
    pub fn restore(&self, location: &Location) -> Result<Store> {
        let spec: StudySpec = serde_json::from_str(&self.head.spec).map_err(|e| wrong(1, e.to_string()))?;
        spec.validate()?;
        let (text, spec_sha256) = (self.head.spec.clone(), self.head.spec_sha256.clone());
        made(location, NewStudy { spec: text, spec_sha256, entries: self.entries(&spec)? })
    }

    /// The store's rows.
    fn entries(&self, spec: &StudySpec) -> Result<Vec<Entry>> {
        let forms = Forms::of(spec)?;
        for (number, line) in (2..).zip(&self.lines) {
            line.check(&spec.fitness).map_err(|reason| wrong(number, reason))?;
        }
        let log = self.log()?;
        let seed_fitness = log.first().and_then(|line| line.fitness);
        let members: Vec<Member> =
            log.iter().map(|line| Member { child_no: line.child_no, fitness: line.fitness }).collect();
        // The youngest child of the log up to each place: who saw that place is younger still.
        let youngest: Vec<u64> = log
            .iter()
            .scan(0, |youngest, line| {
                *youngest = line.child_no.max(*youngest);
                Some(*youngest)
            })
            .collect();
        let mut windows = Windows::default();
        for (place, line) in (0..).zip(&log) {
            line.marks().iter().for_each(|mark| windows.add(place, mark));
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(self.lines.len());
        for (number, line) in (2..).zip(&self.lines) {
            let child_no = entries.len() as u64;
            if line.child_no != child_no {
                return Err(wrong(number, format!("it is candidate {}, not {child_no}", line.child_no)));
            }
            let (parent, child, bars) = if child_no == 0 {
                let (program, mutation) = (spec.seed_dna.clone(), serde_json::to_string(&Chain::default())?);
                (None, Child { canonical: forms.identity(&program.parse()?)?, program, mutation }, Vec::new())
            } else {
                let (oldest, last) = population(spec, line.watermark).into_inner();
                let sees_older = youngest.get(last as usize).is_some_and(|&youngest| youngest < child_no);
                if !sees_older || line.done_seq.is_some_and(|place| place <= last) {
                    return Err(wrong(number, format!("its watermark can't be {last}")));
                }
                let recent = &members[oldest as usize..=last as usize];
                let parent = select_parent(spec, child_no, seed_fitness, recent);
                let child = breed(spec, &forms, child_no, &entries[parent as usize].candidate.program)?;
                (Some(parent), child, windows.bars(&spec.fitness, last))
            };
            if line.program_sha256 != digest(&child.program) {
                return Err(wrong(
                    number,
                    "the lines before it lead to another program: they were changed, or another version of primer made \
                     the study",
                ));
            }
            entries.push(line.entry(parent, child, bars));
        }
        Ok(entries)
    }

    /// The finished candidates in the order of the log.
    fn log(&self) -> Result<Vec<&Line>> {
        let mut places = BTreeMap::new();
        for (number, line) in (2..).zip(&self.lines) {
            if line.done_seq.is_some_and(|place| places.insert(place, (number, line)).is_some()) {
                return Err(wrong(number, "its place in the log is another one's"));
            }
        }
        let mut log = Vec::with_capacity(places.len());
        for (place, (number, line)) in places {
            if place != log.len() as u64 || (place == 0) != (line.child_no == 0) {
                return Err(wrong(number, format!("its place in the log can't be {place}")));
            }
            log.push(line);
        }
        Ok(log)
    }
}

impl Line {
    fn of(candidate: Candidate, ledger: Vec<Attempt>) -> Line {
        let Candidate { child_no, watermark, state, done_seq, twin, fitness, passed, attempt, spent, .. } = candidate;
        Line {
            child_no,
            watermark,
            program_sha256: digest(&candidate.program),
            state,
            done_seq,
            twin,
            fitness,
            passed,
            error: candidate.error,
            finished_ms: candidate.finished_ms,
            marks: Vec::new(),
            attempt,
            spent,
            // Nothing is lost with what cost nothing.
            ledger: ledger.into_iter().filter(|attempt| attempt.cost != Cost::default()).collect(),
        }
    }

    /// One without a result, whatever it has got since. What its worker has spent by its last sign of life is spent.
    fn unfinished(candidate: Candidate, mut ledger: Vec<Attempt>) -> Line {
        ledger.retain(|attempt| attempt.kind == Kind::Wasted);
        if candidate.state == State::Leased {
            ledger.push(Attempt { attempt: candidate.attempt, kind: Kind::Wasted, cost: candidate.cost });
        }
        let error = candidate.error.clone().filter(|_| !candidate.state.is_finished());
        Line::of(
            Candidate {
                state: State::Pending,
                done_seq: None,
                twin: None,
                fitness: None,
                passed: 0,
                error,
                finished_ms: None,
                ..candidate
            },
            ledger,
        )
    }

    /// Whether it is what a line can be.
    fn check(&self, fitness: &Fitness) -> Result<(), String> {
        let ascending = |mut numbers: Vec<(u32, u32)>| {
            let all = numbers.len();
            numbers.dedup();
            numbers.len() == all && numbers.is_sorted()
        };
        let is_finished = self.done_seq.is_some();
        if is_finished != self.state.is_finished() || self.state == State::Leased {
            return Err(format!("its state can't be {}", self.state));
        }
        let has_result = self.fitness.is_some() || self.twin.is_some() || self.passed > 0 || !self.marks.is_empty();
        if is_finished != self.finished_ms.is_some() || !is_finished && has_result {
            return Err("it has a result and is not finished, or the other way round".to_owned());
        }
        if self.twin.is_some_and(|twin| twin >= self.child_no) {
            return Err("its twin is younger than itself".to_owned());
        }
        if self.child_no == 0 && self.watermark > 0 {
            return Err("nothing comes before the seed program".to_owned());
        }
        let runs = if self.child_no == 0 { fitness.seed_runs } else { 1 };
        let known = self.marks.iter().all(|&(run, mark, _)| run < runs && mark <= fitness.hurdles);
        if !known || !ascending(self.marks.iter().map(|&(run, mark, _)| (run, mark)).collect()) {
            return Err("its marks are not those of the study, each once and in order".to_owned());
        }
        let possible = self.ledger.iter().all(|attempt| attempt.attempt <= self.attempt && attempt.is_possible());
        if !possible
            || self.attempt.max(self.spent) > MOST_ATTEMPTS
            || !ascending(self.ledger.iter().map(|attempt| (attempt.attempt, 0)).collect())
        {
            return Err("its attempts are not possible ones, each once and in order".to_owned());
        }
        Ok(())
    }

    fn marks(&self) -> Vec<Mark> {
        self.marks.iter().map(|&(run, mark, loss)| Mark { run, mark, loss }).collect()
    }

    fn entry(&self, parent: Option<u64>, child: Child, bars: Vec<Option<f64>>) -> Entry {
        let mut ledger = self.ledger.clone();
        let last = ledger.iter().find(|attempt| attempt.attempt == self.attempt).map(|attempt| attempt.cost);
        if last.is_none() && self.done_seq.is_some() {
            // It has a line there all the same.
            let kind = match (self.twin, self.state) {
                (Some(_), _) => Kind::Cached,
                (None, State::Failed) => Kind::Wasted,
                (None, _) => Kind::Useful,
            };
            ledger.push(Attempt { attempt: self.attempt, kind, cost: Cost::default() });
        }
        Entry {
            candidate: Candidate {
                child_no: self.child_no,
                parent,
                mutation: child.mutation,
                program: child.program,
                canonical: child.canonical.ok(),
                watermark: self.watermark,
                bars,
                state: self.state,
                worker: None,
                attempt: self.attempt,
                done_seq: self.done_seq,
                twin: self.twin,
                fitness: self.fitness,
                passed: self.passed,
                cost: last.unwrap_or_default(),
                spent: self.spent,
                error: self.error.clone(),
                finished_ms: self.finished_ms,
            },
            marks: self.marks(),
            ledger,
        }
    }
}

impl Attempt {
    /// Whether its numbers leave room for sums.
    fn is_possible(&self) -> bool {
        let Cost { steps, tokens, flops, predicted_seconds, training_seconds, seconds } = self.cost;
        let counts = [steps, tokens].iter().all(|&count| count < 1 << 53);
        counts && [flops, predicted_seconds, training_seconds, seconds].iter().all(|part| (0.0..1e18).contains(part))
    }
}

fn digest(program: &str) -> String {
    let mut digest = sha256_hex(program);
    digest.truncate(16);
    digest
}

fn wrong(line: usize, reason: impl Into<String>) -> Error {
    Error::Dump { line, reason: reason.into() }
}
