//! Who is looked at again, who takes part in the test, and with what.

use super::SEED;
use super::plan::Retest;
use super::runs::Entry;
use crate::cmd::search::{describe, existing};
use crate::failure::{Failure, Outcome};
use crate::report::retest::data::Shortlisted;
use primer_models::Arch;
use primer_models::analysis::Summary;
use primer_models::text::Corpus;
use primer_search::dna::Dna;
use primer_search::retest::{Contestant, Setting, Task, is_fair, steps};
use std::collections::BTreeMap;

/// The hand-written models of every test.
const WRITTEN: [Arch; 4] = [Arch::Mdha, Arch::SquaredRelu, Arch::PrimerEz, Arch::TransformerPlusplus];

/// Who takes part in the test: the name and the model.
pub type Contestants = Vec<(String, Contestant)>;

/// A contestant's name.
pub fn name(listed: &Shortlisted) -> String {
    name_of(listed.study, listed.child)
}

/// What a candidate is called in the test.
pub fn name_of(study: usize, child: u64) -> String {
    match (study, child) {
        (0, 0) => SEED.to_owned(),
        (0, child) => format!("candidate {child}"),
        (study, child) => format!("control {study}, candidate {child}"),
    }
}

/// The shortlist with what is known of it, best first by the select runs where these are done, with the finalists
/// chosen.
///
/// # Errors
/// A store that can't be read.
pub fn shortlist(retest: &Retest, costs: &[Option<f64>], selected: bool) -> Outcome<Vec<Shortlisted>> {
    let protocol = &retest.plan.protocol;
    let mut listed = Vec::new();
    for (&(study, child), &ratio) in retest.plan.shortlist.iter().zip(costs) {
        let candidate = existing(&retest.stores[study], child)?;
        let losses = retest.plan.select_seeds().map(|seed| {
            let measured = retest.measured(&Task::Select { study, child, seed });
            measured.and_then(|m| m.loss).unwrap_or(f64::NAN)
        });
        listed.push(Shortlisted {
            study,
            child,
            fitness: candidate.fitness.unwrap_or(f64::NAN),
            passed: candidate.passed,
            measured_over_predicted: ratio.filter(|ratio| ratio.is_finite()),
            select: Summary::of(&losses.collect::<Vec<f64>>()),
            finalist: false,
            mutation: describe::origin(&candidate)?,
        });
    }
    let mean = |s: &Shortlisted| s.select.map_or(f64::INFINITY, |select| select.mean);
    listed.sort_by(|a, b| a.study.cmp(&b.study).then(mean(a).total_cmp(&mean(b))));
    if selected {
        for study in 0..retest.stores.len() {
            let places = if study == 0 { protocol.finalists as usize } else { 1 };
            let fair = |s: &&mut Shortlisted| {
                let budget = retest.stores[study].spec().fitness.budget;
                s.study == study && s.select.is_some() && is_fair(budget, s.measured_over_predicted)
            };
            listed.iter_mut().filter(fair).take(places).for_each(|s| s.finalist = true);
        }
    }
    Ok(listed)
}

/// The seed program, the finalists of the search and of its controls, and the hand-written models.
///
/// # Errors
/// A store that can't be read.
pub fn contestants(retest: &Retest, shortlist: &[Shortlisted]) -> Outcome<Contestants> {
    let seed: Dna = retest.stores[0].spec().seed_dna.parse()?;
    let mut all = vec![(name_of(0, 0), Contestant::Program(Box::new(seed)))];
    for listed in shortlist.iter().filter(|s| s.finalist) {
        let dna = retest.program(listed.study, listed.child)?;
        all.push((name(listed), Contestant::Program(Box::new(dna))));
    }
    all.extend(WRITTEN.map(|arch| (arch.name().to_owned(), Contestant::Written(arch))));
    Ok(all)
}

/// Who takes part in a setting.
pub struct Field {
    /// The contestants' runs, at equal cost.
    pub entries: Vec<Entry>,
    /// Who can't take part, and why.
    pub left_out: Vec<(String, String)>,
}

impl Field {
    /// # Errors
    /// A model that can't be planned.
    pub fn new(
        retest: &Retest,
        setting: Setting,
        contestants: &[(String, Contestant)],
        text: &Corpus,
    ) -> Outcome<Field> {
        let spec = retest.stores[0].spec();
        let vocab = match setting {
            Setting::BytePairs => text.tokenizer().vocab(),
            // As many byte pairs as the search may have learned need not be in the test's text, nor the other way round.
            _ => text.tokenizer().vocab().max(spec.model.vocab as usize),
        };
        let (mut entries, mut left_out) = (Vec::<Entry>::new(), Vec::new());
        let mut computations = BTreeMap::new();
        for (name, contestant) in contestants {
            match setting.config(spec, contestant, vocab) {
                Ok(config) => {
                    let same_as = match contestant {
                        Contestant::Program(dna) => {
                            let known = computations.entry(setting.computation(spec, dna, vocab)?);
                            Some(known.or_insert_with(|| name.clone()).clone()).filter(|known| known != name)
                        }
                        Contestant::Written(_) => None,
                    };
                    entries.push(Entry { setting, name: name.clone(), same_as, config });
                }
                Err(reason @ primer_search::Error::Rejected(_)) => left_out.push((name.clone(), reason.to_string())),
                Err(error) => return Err(error.into()),
            }
        }
        let first = seed_steps(retest)?;
        let configs: Vec<_> = entries.iter().map(|entry| entry.config.clone()).collect();
        for (entry, steps) in entries.iter_mut().zip(steps(spec, &configs, first, &retest.chosen.device)?) {
            entry.config.train.steps = steps;
        }
        Ok(Field { entries, left_out })
    }
}

/// Steps of the seed program in the search.
fn seed_steps(retest: &Retest) -> Outcome<u64> {
    let store = &retest.stores[0];
    let seed = store.candidate(0)?.ok_or_else(|| Failure::new("the study has no seed program"))?;
    Ok((seed.cost.steps / u64::from(store.spec().fitness.seed_runs)).max(1))
}
