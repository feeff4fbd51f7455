//! What the runs of a test say.

use super::contest::{Field, name};
use super::plan::Retest;
use super::runs::Entry;
use super::{Rates, SEED};
use crate::failure::Outcome;
use crate::report::retest::data::{Pair, Row, Shortlisted, Table, Versus};
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
pub fn build(
    retest: &Retest,
    setting: Setting,
    field: &Field,
    rates: &Rates,
    shortlist: &[Shortlisted],
) -> Outcome<Table> {
    let tested = |is_of: fn(usize) -> bool| -> Vec<String> {
        shortlist.iter().filter(|listed| listed.finalist && is_of(listed.study)).map(name).collect()
    };
    let (finalists, controls) = (tested(|study| study == 0), tested(|study| study > 0));
    let losses = |name: &str| -> Vec<(u64, Option<f64>)> {
        let loss = |seed: u64| {
            let learning_rate = *rates.get(name)?;
            retest.measured(&Task::Test { setting, name: name.to_owned(), learning_rate, seed })?.loss
        };
        retest.plan.test_seeds().map(|seed| (seed, loss(seed))).collect()
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
            same_as: entry.same_as.clone(),
            left_out: None,
        });
    }
    let adjusted = adjusted(&rows.iter().filter(|row| row.finalist).map(|row| row.p).collect::<Vec<_>>());
    for (row, p_holm) in rows.iter_mut().filter(|row| row.finalist).zip(adjusted) {
        row.p_holm = p_holm;
    }
    let versus =
        controls.iter().filter_map(|control| Some(beside(&rows, rows.iter().find(|row| row.name == *control)?)));
    let versus = versus.collect();
    rows.extend(field.left_out.iter().map(|(name, why)| Row {
        name: name.clone(),
        finalist: finalists.contains(name),
        left_out: Some(why.clone()),
        ..Row::default()
    }));
    Ok(Table { setting: setting.name().into(), what: words(setting).into(), rows, versus })
}

/// The finalists among the rows beside the best of a control.
fn beside(rows: &[Row], control: &Row) -> Versus {
    let of_control = numbers(&control.losses);
    let mut pairs: Vec<Pair> = rows
        .iter()
        .filter(|row| row.finalist)
        .map(|row| {
            let difference = differences(&numbers(&row.losses), &of_control);
            let p = difference.and_then(|difference| difference.p_value());
            Pair { name: row.name.clone(), difference, p, p_holm: None }
        })
        .collect();
    let adjusted = adjusted(&pairs.iter().map(|pair| pair.p).collect::<Vec<_>>());
    for (pair, p_holm) in pairs.iter_mut().zip(adjusted) {
        pair.p_holm = p_holm;
    }
    Versus { control: control.name.clone(), pairs }
}

/// Losses by seed as numbers, what isn't finite or not measured as NaN.
fn numbers(losses: &[(u64, Option<f64>)]) -> Vec<f64> {
    losses.iter().map(|(_, loss)| loss.unwrap_or(f64::NAN)).collect()
}

/// The finalists' probabilities, adjusted for their number. One without a probability, such as a run that diverged,
/// counts as 1; where none has one, nothing is measured yet.
fn adjusted(p_values: &[Option<f64>]) -> Vec<Option<f64>> {
    if p_values.iter().all(Option::is_none) {
        return vec![None; p_values.len()];
    }
    let p_values: Vec<f64> = p_values.iter().map(|p| p.unwrap_or(1.0)).collect();
    holm(&p_values).into_iter().map(Some).collect()
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

    #[test]
    fn finalists_share_an_error_rate() {
        // Three finalists: 0.02 · 3, then 0.03 · 2, which is not below; the third counts as 1.
        assert_eq!(adjusted(&[Some(0.02), Some(0.03), None]), [Some(0.06), Some(0.06), Some(1.0)]);
        assert_eq!(adjusted(&[None, None]), [None, None]);
    }

    #[test]
    fn finalists_are_paired_by_seed_with_a_control() {
        let row = |name: &str, finalist: bool, losses: &[f64]| Row {
            name: name.into(),
            finalist,
            losses: (0..).zip(losses.iter().map(|&loss| Some(loss))).collect(),
            ..Row::default()
        };
        let rows =
            [row("a", true, &[1.0, 2.0, 3.0]), row("mdha", false, &[1.0; 3]), row("best", false, &[1.5, 2.5, 3.5])];
        let Versus { control, pairs } = beside(&rows, &rows[2]);
        assert_eq!((control.as_str(), pairs.len(), pairs[0].name.as_str()), ("best", 1, "a"));
        assert_eq!(pairs[0].difference.map(|d| (d.mean, d.n)), Some((-0.5, 3)));
        assert_eq!((pairs[0].p, pairs[0].p_holm), (Some(0.0), Some(0.0)), "no spread at all");
    }
}
