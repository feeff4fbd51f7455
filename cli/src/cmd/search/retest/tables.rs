//! What the runs of a test say.

use super::contest::Field;
use super::plan::Retest;
use super::runs::Entry;
use super::{Rates, SEED};
use crate::failure::Outcome;
use crate::report::retest::data::{Row, Table};
use primer_models::analysis::{Summary, differences, holm, median};
use primer_models::arch::Model;
use primer_search::retest::{Setting, Task};

/// The losses of a contestant with each learning rate on the seed for that.
fn tuning(retest: &Retest, entry: &Entry) -> Vec<(f64, Option<f64>)> {
    let seed = retest.plan.tuning_seed();
    let of = |&learning_rate: &f64| {
        let task = Task::Tune { setting: entry.setting, name: entry.name.clone(), learning_rate, seed };
        (learning_rate, retest.measured(&task).and_then(|m| m.loss))
    };
    retest.plan.protocol.learning_rates.iter().map(of).collect()
}

/// The median time of a contestant's finished runs.
fn seconds(retest: &Retest, entry: &Entry) -> Option<f64> {
    let of_entry = |task: &Task| match task {
        Task::Tune { setting, name, .. } | Task::Test { setting, name, .. } => {
            (*setting, name) == (entry.setting, &entry.name)
        }
        Task::Select { .. } => false,
    };
    let all = retest.all().into_iter().filter(|measurement| of_entry(&measurement.task));
    median(&all.map(|measurement| measurement.seconds).collect::<Vec<f64>>())
}

/// The learning rate with the lowest loss of each contestant that has one.
pub fn best_rates(retest: &Retest, entries: &[Entry]) -> Rates {
    let best = |entry: &Entry| {
        let tried = tuning(retest, entry).into_iter().filter_map(|(rate, loss)| Some((rate, loss?)));
        tried.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(rate, _)| (entry.name.clone(), rate))
    };
    entries.iter().filter_map(best).collect()
}

/// The table of a setting, as far as it is measured.
///
/// # Errors
/// A model that can't be built.
pub fn build(retest: &Retest, setting: Setting, field: &Field, rates: &Rates, finalists: &[String]) -> Outcome<Table> {
    let losses = |name: &str| -> Vec<(u64, Option<f64>)> {
        let loss = |seed: u64| {
            let learning_rate = *rates.get(name)?;
            retest.measured(&Task::Test { setting, name: name.to_owned(), learning_rate, seed })?.loss
        };
        retest.plan.test_seeds().map(|seed| (seed, loss(seed))).collect()
    };
    let numbers = |losses: &[(u64, Option<f64>)]| -> Vec<f64> {
        losses.iter().map(|(_, loss)| loss.unwrap_or(f64::NAN)).collect()
    };
    let base = numbers(&losses(SEED));
    let mut rows = Vec::new();
    for entry in &field.entries {
        let losses = losses(&entry.name);
        let own = numbers(&losses);
        let difference = if entry.name == SEED { None } else { differences(&own, &base) };
        rows.push(Row {
            name: entry.name.clone(),
            finalist: finalists.contains(&entry.name),
            parameters: Model::build(&entry.config.model, 1)?.parameters() as u64,
            d_model: entry.config.model.d_model,
            steps: entry.config.train.steps,
            seconds: seconds(retest, entry),
            tuning: tuning(retest, entry),
            learning_rate: rates.get(&entry.name).copied(),
            loss: Summary::of(&own),
            losses,
            p: difference.and_then(|d| d.p_value()),
            difference,
            p_holm: None,
            left_out: None,
        });
    }
    adjust(&mut rows);
    rows.extend(field.left_out.iter().map(|(name, why)| Row {
        name: name.clone(),
        finalist: finalists.contains(name),
        left_out: Some(why.clone()),
        ..Row::default()
    }));
    Ok(Table { setting: setting.name().into(), what: words(setting).into(), rows })
}

/// The finalists' probabilities, adjusted for their number. One without a probability, such as a run that diverged,
/// counts as 1.
fn adjust(rows: &mut [Row]) {
    let places: Vec<usize> = (0..rows.len()).filter(|&i| rows[i].finalist).collect();
    if places.iter().all(|&i| rows[i].p.is_none()) {
        return;
    }
    let p_values: Vec<f64> = places.iter().map(|&i| rows[i].p.unwrap_or(1.0)).collect();
    for (&i, p) in places.iter().zip(holm(&p_values)) {
        rows[i].p_holm = Some(p);
    }
}

fn words(setting: Setting) -> &'static str {
    match setting {
        Setting::Same => "the search's model",
        Setting::FourTimes => "twice the width, blocks of four times the parameters",
        Setting::Sequence256 => "sequences of 256 tokens",
        Setting::BytePairs => "byte pairs instead of bytes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, finalist: bool, p: Option<f64>) -> Row {
        Row { name: name.into(), finalist, p, ..Row::default() }
    }

    #[test]
    fn finalists_share_an_error_rate_and_others_have_none() {
        let mut rows = [
            row("a", true, Some(0.02)),
            row("mdha", false, Some(0.001)),
            row("b", true, Some(0.03)),
            row("c", true, None),
        ];
        adjust(&mut rows);
        // Three finalists: 0.02 · 3, then 0.03 · 2, which is not below; the third counts as 1.
        let adjusted = rows.map(|row| row.p_holm);
        assert_eq!(adjusted, [Some(0.06), None, Some(0.06), Some(1.0)]);
        let mut none = [row("a", true, None), row("b", true, None)];
        adjust(&mut none);
        assert_eq!(none.map(|row| row.p_holm), [None, None]);
    }
}
