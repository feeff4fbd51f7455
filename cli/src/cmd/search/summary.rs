//! A study as the report shows it.

use super::describe;
use crate::failure::Outcome;
use crate::report::data::{Ancestor, Best, Candidate, Search};
use primer_search::retest::{Edit, edits};
use primer_search::store::{State, Store};
use primer_search::study::{Budget, Strategy, StudySpec};

/// Reads the whole study.
///
/// # Errors
/// A store that can't be read.
pub fn of(store: &Store) -> Outcome<Search> {
    let spec = store.spec();
    let mut spent = 0.0;
    let mut candidates = Vec::new();
    for finished in store.log()?.finished {
        if finished.state != State::Cached {
            spent += finished.cost.seconds;
        }
        candidates.push(Candidate {
            id: i64::try_from(finished.child_no).unwrap_or(i64::MAX),
            state: word(finished.state).to_owned(),
            loss: finished.fitness,
            cost: spent,
        });
    }
    let states = State::ALL
        .iter()
        .map(|&(state, _)| word(state).to_owned())
        .map(|name| {
            let count = candidates.iter().filter(|c| c.state == name).count() as u64;
            (name, count)
        })
        .filter(|(_, count)| *count > 0)
        .collect();
    let status = store.status()?;
    let best = match status.best {
        None => None,
        Some(best) => store.candidate(best.child_no)?.map(|found| (best, found)),
    };
    let end = spec.fitness.hurdles;
    let seed_runs =
        store.marks(0)?.into_iter().filter(|mark| mark.mark == end).filter_map(|mark| mark.loss).collect::<Vec<f64>>();
    let best = match best {
        None => None,
        Some((best, found)) => {
            let ancestor = |edit: &Edit| Ancestor {
                id: i64::try_from(edit.child_no).unwrap_or(i64::MAX),
                mutation: describe::edit(edit),
                loss: edit.fitness,
            };
            let lineage = edits(store, best.child_no)?.iter().map(ancestor).collect();
            Some(Best {
                id: i64::try_from(best.child_no).unwrap_or(i64::MAX),
                loss: best.fitness,
                lineage,
                program: found.dna()?,
                seed_program: spec.seed_dna.parse()?,
            })
        }
    };
    Ok(Search {
        rules: format!("{}; {}", strategy(spec), training(spec)),
        cost_unit: "seconds of evaluation".into(),
        seed_loss: seed_runs.first().copied(),
        seed_runs,
        candidates,
        states,
        best,
    })
}

/// What candidates may spend alike.
pub fn budget(budget: Budget) -> &'static str {
    match budget {
        Budget::Cost => "predicted cost",
        Budget::Tokens => "tokens",
        Budget::Flops => "FLOPs",
        Budget::Seconds => "measured seconds: a fitness depends on the machine and can't be had again",
    }
}

fn strategy(spec: &StudySpec) -> String {
    match spec.strategy {
        Strategy::Evolution => {
            format!("regularized evolution, population {}, tournament {}", spec.population, spec.tournament)
        }
        Strategy::Random1 => "each candidate one mutation of the seed program".into(),
        Strategy::Drift => format!("drift without selection, population {}", spec.population),
        Strategy::None => "the seed program again and again, with new seeds".into(),
    }
}

fn training(spec: &StudySpec) -> String {
    let fitness = spec.fitness;
    let end = fitness.marks().last().unwrap_or(1) as f64 * fitness.unit;
    let budget = match fitness.budget {
        Budget::Cost => format!("at the predicted cost of {end} steps of the seed program"),
        Budget::Tokens => format!("for {end} steps"),
        Budget::Flops => format!("for the FLOPs of {end} steps of the seed program"),
        Budget::Seconds => format!("for {end} seconds"),
    };
    match fitness.hurdles {
        0 => format!("each candidate trained {budget}"),
        hurdles => format!("each candidate trained {budget}, in {hurdles} halving hurdles"),
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Pending => "waiting",
        State::Leased => "running",
        State::Done => "evaluated",
        State::Cached => "the same program as an earlier one",
        State::Rejected => "rejected before training",
        State::Failed => "failed",
    }
}
