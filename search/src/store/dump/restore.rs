//! A study's way from its text back into a store.

use std::collections::BTreeMap;

use super::line::{Line, digest};
use super::{Dump, wrong};
use crate::error::Result;
use crate::evolve::{Child, Forms, Member, Windows, breed, population, select_parent};
use crate::mutate::Chain;
use crate::store::{Entry, Location, NewStudy, Store, made};
use crate::study::StudySpec;

/// What selections see: the finished candidates in the order of the log.
struct Seen {
    members: Vec<Member>,
    /// The highest number up to each place of the log: a child that saw that place has a higher one.
    youngest: Vec<u64>,
    windows: Windows,
}

impl Dump {
    /// Breeds the study again in a new store. Who was at work on a candidate isn't any more; the store's workers go on.
    ///
    /// # Errors
    ///
    /// [`Error::Dump`](crate::Error::Dump) where the text contradicts itself, or a program comes out otherwise; those
    /// of [`Store::create`].
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
        let seen = Seen::of(&self.log()?);
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
                let parent = seen.parent(spec, line).map_err(|reason| wrong(number, reason))?;
                let child = breed(spec, &forms, child_no, &entries[parent as usize].candidate.program)?;
                (Some(parent), child, seen.windows.bars(&spec.fitness, line.watermark))
            };
            if line.program_sha256 != digest(&child.program) {
                let reason = "the lines before it lead to another program: they were changed, or another version of \
                              primer made the study";
                return Err(wrong(number, reason));
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

impl Seen {
    fn of(log: &[&Line]) -> Seen {
        let mut seen = Seen { members: Vec::new(), youngest: Vec::new(), windows: Windows::default() };
        for (place, line) in (0..).zip(log) {
            let Line { child_no, fitness, .. } = **line;
            seen.members.push(Member { child_no, fitness });
            seen.youngest.push(seen.youngest.last().map_or(child_no, |&youngest| youngest.max(child_no)));
            line.marks().iter().for_each(|mark| seen.windows.add(place, mark));
        }
        seen
    }

    /// The parent of a child.
    fn parent(&self, spec: &StudySpec, line: &Line) -> Result<u64, String> {
        let (oldest, last) = population(spec, line.watermark).into_inner();
        let is_younger = self.youngest.get(last as usize).is_some_and(|&youngest| youngest < line.child_no);
        if !is_younger || line.done_seq.is_some_and(|place| place <= last) {
            return Err(format!("its watermark can't be {last}"));
        }
        let recent = &self.members[oldest as usize..=last as usize];
        Ok(select_parent(spec, line.child_no, self.members[0].fitness, recent))
    }
}
