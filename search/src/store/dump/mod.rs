//! A study as text: its options and what was measured, without the programs. These are bred again, which shows that
//! they follow from the rest, and keeps a study of thousands of children small enough to be published.
//!
//! The first line says what the study is, each further one what became of a candidate, in the order of their numbers.

mod line;
mod restore;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Store;
use super::record::Mark;
use crate::error::{Error, Result};
use crate::study::sha256_hex;

pub(super) use line::Attempt;
use line::Line;

/// Version of the text.
const VERSION: u32 = 1;

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
}

fn wrong(line: usize, reason: impl Into<String>) -> Error {
    Error::Dump { line, reason: reason.into() }
}
