//! What each edit brought, from the seed program to the best finalist.

use super::contest::{Contestants, Field, name, name_of};
use super::plan::Retest;
use super::runs::Bench;
use crate::cmd::search::describe;
use crate::failure::Outcome;
use crate::report::retest::data::{Ablation, AblationStep, Retest as Report};
use primer_models::analysis::{Summary, differences};
use primer_search::dna::diff;
use primer_search::retest::{Contestant, Task, edits};

/// The programs between the seed program and the best finalist, in the first setting; whether all is done.
///
/// # Errors
/// A store, device or file that fails.
pub fn ablate(retest: &Retest, report: &mut Report) -> Outcome<bool> {
    let Some(table) = report.tables.first() else { return Ok(true) };
    let setting = retest.plan.protocol.settings[0];
    // The best by the select runs, whose test doesn't know of it.
    let listed = report.shortlist.iter().filter(|s| s.finalist && s.study == 0).find_map(|s| {
        let row = table.rows.iter().find(|row| row.name == name(s))?;
        Some((s.child, row.name.clone(), row.learning_rate?))
    });
    let Some((child, best, learning_rate)) = listed else { return Ok(true) };
    let line = edits(&retest.stores[0], child)?;
    let contestants: Contestants =
        line.iter().map(|edit| (name_of(0, edit.child_no), Contestant::Program(Box::new(edit.dna.clone())))).collect();
    let text = retest.tokens(setting)?;
    let Field { entries, left_out } = Field::new(retest, setting, &contestants, &text)?;
    let seeds: Vec<u64> = retest.plan.test_seeds().collect();
    let task = |name: &str, seed: u64| Task::Test { setting, name: name.to_owned(), learning_rate, seed };
    let tasks = seeds.iter().flat_map(|&seed| entries.iter().map(move |entry| task(&entry.name, seed)));
    let whole = retest.run("ablation", &tasks.collect::<Vec<Task>>(), &Bench { entries: &entries, corpus: &text })?;
    let losses: Vec<Vec<f64>> = contestants
        .iter()
        .map(|(name, _)| {
            let loss = |&seed: &u64| retest.measured(&task(name, seed)).and_then(|m| m.loss).unwrap_or(f64::NAN);
            seeds.iter().map(loss).collect()
        })
        .collect();
    let mut steps = Vec::new();
    for (i, edit) in line.iter().enumerate() {
        steps.push(AblationStep {
            child: edit.child_no,
            edit: if i == 0 { "the seed program".into() } else { describe::edit(edit) },
            diff: i.checked_sub(1).map_or(String::new(), |before| diff::diff(&line[before].dna, &edit.dna).to_string()),
            loss: Summary::of(&losses[i]),
            difference: i.checked_sub(1).and_then(|before| differences(&losses[i], &losses[before])),
            left_out: left_out.iter().find(|(name, _)| *name == contestants[i].0).map(|(_, why)| why.clone()),
        });
    }
    report.ablation = Some(Ablation { name: best, learning_rate, steps });
    Ok(whole)
}
