//! The page of a retest.

use super::data::{Ablation, Pair, Retest, Row, Shortlisted, Table, Versus};
use crate::report::chart::short;
use crate::report::html::{details, document, escape, grid, heading, pretty, wordy};
use crate::report::spread::{interval, measured_over_predicted, with_sd};
use primer_models::analysis::Summary;
use primer_search::retest::FAIR;
use primer_search::study::Budget;

/// A difference is taken for an effect below this probability.
const ALPHA: f64 = 0.05;

/// The whole page.
pub fn page(r: &Retest) -> String {
    let mut body = heading(&r.origin);
    body +=
        &format!("<p class=\"soft\">{} training runs of {:.0} s in all.</p>\n", r.measurements.len(), r.run_seconds);
    body += &findings(r);
    body += &r.tables.iter().map(table).collect::<String>();
    body += &r.ablation.as_ref().map(ablation).unwrap_or_default();
    body += &shortlist(r);
    body += &studies(r);
    body += &definitions(r.equal);
    body += &details(&r.origin);
    document(&r.origin.title, &body)
}

/// What holds, in a sentence a setting.
fn findings(r: &Retest) -> String {
    let sentence = |table: &Table| {
        let finalists: Vec<&Row> = table.rows.iter().filter(|row| row.finalist).collect();
        let sure = finalists.iter().filter(|row| is_better(row.difference.as_ref(), row.p_holm)).count();
        // In the order of the second stage: the best of the test itself would be flattered by it.
        let first = finalists.iter().find_map(|row| Some((row, row.difference.as_ref()?)));
        let found = match first {
            None => "not yet measured".to_owned(),
            Some((row, difference)) => format!(
                "better than the seed program, beyond chance, are {sure} of {} finalists; the one that was best before the test, {}, \
                 by {} nats per token (95%: {})",
                finalists.len(),
                escape(&row.name),
                with_sd(Some(&-*difference), 4),
                interval(Some(&-*difference), 4)
            ),
        };
        let controls: String = table.versus.iter().filter_map(beside).collect();
        format!("<li>{}: {found}.{controls}</li>\n", escape(&table.what))
    };
    if r.tables.is_empty() {
        return "<p class=\"empty\">Nothing has been tested yet.</p>\n".into();
    }
    format!("<h2>What holds</h2>\n<ul>\n{}</ul>\n", r.tables.iter().map(sentence).collect::<String>())
}

/// Whether a loss is lower, beyond chance.
fn is_better(difference: Option<&Summary>, p_holm: Option<f64>) -> bool {
    p_holm.is_some_and(|p| p < ALPHA) && difference.is_some_and(|difference| difference.mean < 0.0)
}

/// How the finalist that was best before the test stands beside the best of a control, in a sentence.
fn beside(versus: &Versus) -> Option<String> {
    let better = |pair: &&Pair| is_better(pair.difference.as_ref(), pair.p_holm);
    let (pair, difference) = versus.pairs.iter().find_map(|pair| Some((pair, pair.difference.as_ref()?)))?;
    // Of what is not better, how much worse it is.
    let (ahead, by) = if difference.mean > 0.0 { ("behind by", *difference) } else { ("by", -*difference) };
    Some(format!(
        " Better than {} are {} of {}, {} {ahead} {} (95%: {}).",
        escape(&versus.control),
        versus.pairs.iter().filter(better).count(),
        versus.pairs.len(),
        escape(&pair.name),
        with_sd(Some(&by), 4),
        interval(Some(&by), 4)
    ))
}

fn table(table: &Table) -> String {
    let rates: Vec<f64> = table.rows.first().map_or(Vec::new(), |row| row.tuning.iter().map(|t| t.0).collect());
    let at_edge = |rate: f64| {
        let outer = rates.iter().all(|&other| other >= rate) || rates.iter().all(|&other| other <= rate);
        outer && rates.len() > 1
    };
    let runs = table.rows.iter().filter(|row| row.left_out.is_none()).map(|row| {
        let edge = |rate: f64| if at_edge(rate) { "*" } else { "" };
        let difference = row.difference.as_ref().map(mean_and_interval);
        vec![
            escape(&pretty(&row.name)),
            short(row.parameters as f64),
            row.steps.to_string(),
            row.seconds.map_or("n/a".into(), |seconds| format!("{seconds:.0}")),
            row.learning_rate.map_or("n/a".into(), |rate| format!("{rate}{}", edge(rate))),
            with_sd(row.loss.as_ref(), 4),
            difference.unwrap_or_else(|| if row.name == table.rows[0].name { String::new() } else { "n/a".into() }),
            probability(row.p),
            probability(row.p_holm),
        ]
    });
    let head =
        ["", "params", "steps", "seconds", "rate", "held-out loss", "less the seed program's (95%)", "p", "p, Holm"];
    let out = table.rows.iter().filter_map(|row| Some((row, row.left_out.as_ref()?)));
    let out: String = out
        .map(|(row, why)| {
            format!("<p class=\"small\">{} is not in this test: {}.</p>\n", escape(&row.name), escape(why))
        })
        .collect();
    let same = table.rows.iter().filter_map(|row| Some((row, row.same_as.as_ref()?)));
    let same: String = same
        .map(|(row, other)| {
            let (name, other) = (escape(&row.name), escape(other));
            format!("<p class=\"small\">{name} is the same computation as {other} in this test.</p>\n")
        })
        .collect();
    let note = if table.rows.iter().any(|row| row.learning_rate.is_some_and(at_edge)) {
        "<p class=\"small\">* The best rate lies at the edge of those tried: a better one may lie beyond it.</p>\n"
    } else {
        ""
    };
    let measured = |versus: &&Versus| versus.pairs.iter().any(|pair| pair.difference.is_some());
    let versus: String = table.versus.iter().filter(measured).map(versus).collect();
    format!("<h2>Test: {}</h2>\n{}{note}{same}{out}{versus}", escape(&table.what), grid(&head, runs))
}

fn versus(versus: &Versus) -> String {
    let lines = versus.pairs.iter().map(|pair| {
        let difference = pair.difference.as_ref();
        vec![
            escape(&pair.name),
            difference.map_or("n/a".into(), mean_and_interval),
            probability(pair.p),
            probability(pair.p_holm),
        ]
    });
    let what = format!("less {} (95%)", escape(&versus.control));
    format!("<h3>Beside the best of a control</h3>\n{}", grid(&["", &what, "p", "p, Holm"], lines))
}

fn mean_and_interval(difference: &Summary) -> String {
    format!("{:+.3} ({})", difference.mean, interval(Some(difference), 3))
}

fn probability(p: Option<f64>) -> String {
    p.map_or(String::new(), |p| if p < 0.001 { "&lt; 0.001".into() } else { format!("{p:.3}") })
}

fn ablation(a: &Ablation) -> String {
    let rows = a.steps.iter().map(|step| {
        vec![
            step.child.to_string(),
            with_sd(step.loss.as_ref(), 4),
            step.difference.as_ref().map_or(String::new(), mean_and_interval),
            escape(step.left_out.as_ref().unwrap_or(&step.edit)),
        ]
    });
    let diffs = a
        .steps
        .iter()
        .skip(1)
        .map(|step| format!("<h4>candidate {}</h4>\n<pre>{}</pre>\n", step.child, escape(step.diff.trim_end())));
    format!(
        "<h2>Edit by edit</h2>\n<p>From the seed program to {}, the finalist that was best before the test: each program on the way in the test's first \
         setting, with the peak learning rate {} and the same seeds. Edits that don't change what a program computes are \
         joined with the next one that does; those that were taken back are left out.</p>\n{}<details><summary>The edits as text</summary>\n{}</details>\n",
        escape(&a.name),
        a.learning_rate,
        wordy(&["candidate", "held-out loss", "less the one before (95%)", "edit"], rows),
        diffs.collect::<String>()
    )
}

fn shortlist(r: &Retest) -> String {
    if r.shortlist.is_empty() {
        return String::new();
    }
    let rows = r.shortlist.iter().map(|s: &Shortlisted| {
        let cost = measured_over_predicted(s.measured_over_predicted);
        vec![
            if s.study == 0 { s.child.to_string() } else { format!("{} of control {}", s.child, s.study) },
            format!("{:.4}", s.fitness),
            s.passed.to_string(),
            with_sd(s.select.as_ref(), 4),
            cost,
            if s.finalist { "yes".into() } else { String::new() },
            escape(&s.mutation),
        ]
    });
    let head = ["candidate", "in the search", "hurdles", "with new seeds", "cost", "tested", "made by"];
    format!(
        "<h2>Trained again</h2>\n<p>The best programs of the search, one seed each, trained again with new seeds and measured on \
         held-out windows that the search did not read. <i>Cost</i> is the time of a step over the predicted one, \
         the seed program's 1; outside {} to {} a program is out, since its budget was not what the study promised.</p>\n{}",
        FAIR.start(),
        FAIR.end(),
        wordy(&head, rows)
    )
}

fn studies(r: &Retest) -> String {
    let rows = r.studies.iter().enumerate().map(|(i, study)| {
        let loss = |loss: Option<f64>| loss.map_or("n/a".into(), |loss| format!("{loss:.4}"));
        vec![
            if i == 0 { "the search".into() } else { format!("control {i}") },
            escape(&study.strategy),
            study.seed.to_string(),
            study.candidates.to_string(),
            format!("{:.0} s", study.predicted_seconds),
            loss(study.seed_fitness),
            loss(study.best_fitness),
            format!("{:.12}", study.study_sha256),
            format!("{:.12}", study.corpus_sha256),
        ]
    });
    let head = [
        "",
        "strategy",
        "seed",
        "candidates",
        "predicted cost",
        "seed program",
        "best",
        "study SHA-256",
        "text SHA-256",
    ];
    format!(
        "<h2>The searches</h2>\n{}<p>{}: what one found that another did not is descriptive. The tests above are of the programs, \
         with {} seeds each, and not of the strategies.</p>\n",
        grid(&head, rows),
        searches(r),
        r.tables.first().and_then(|t| t.rows.first()).map_or(0, |row| row.losses.len())
    )
}

/// How many searches each strategy has.
fn searches(r: &Retest) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for study in &r.studies {
        match counts.iter_mut().find(|(strategy, _)| *strategy == study.strategy) {
            Some((_, count)) => *count += 1,
            None => counts.push((&study.strategy, 1)),
        }
    }
    let counts: Vec<String> =
        counts.iter().map(|(strategy, count)| format!("{} n = {count}", escape(strategy))).collect();
    format!("Searches of each strategy: {}", counts.join(", "))
}

fn definitions(equal: Budget) -> String {
    let equal = match equal {
        Budget::Tokens => "for as many tokens as the seed program",
        Budget::Flops => "for as many FLOPs as the seed program's steps have",
        Budget::Cost | Budget::Seconds => "at the predicted cost that the seed program's steps have",
    };
    format!(
        "<h2>What the columns say</h2>\n<p class=\"small soft\">All are trained on the same text in the same order with the same \
     seeds, {equal}, and measured on the second half of the held-out text. \
     The seconds are the median of its runs by the clock, with whatever else the machine did. \
     Each took its best learning rate of those tried, by the first half and on a seed that the test doesn't use. Mean ± sample standard deviation \
     over seeds; differences are taken seed by seed, with the 95% interval of their mean by Student's t. <i>p</i> is the \
     probability of such a mean difference by chance, two-sided; <i>p, Holm</i> is adjusted for all finalists, so that the \
     chance that any of those below 0.05 is luck is at most 5%. Hand-written models and the control's best are beside them \
     for comparison and not part of that family. Finalists less a control's best are a family of their own.</p>\n"
    )
}
