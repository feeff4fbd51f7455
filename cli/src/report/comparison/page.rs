//! The page of a comparison.

use super::data::{Arm, Comparison, Row, Table};
use crate::args::Equal;
use crate::report::chart::{Chart, Mark, short};
use crate::report::html::{card, details, document, duration, escape, grid, heading, ink, key, pretty};
use crate::report::spread::{interval, short_speedups, speedups, with_sd};

/// More models than that get no cards: the tables say it better.
const CARDS: usize = 4;
/// Where the middle half of a step's blocks spans more of their median than that, it is said.
const BUSY: f64 = 0.15;

/// The whole page.
///
/// # Errors
/// Passes on what the charts report.
pub fn page(c: &Comparison) -> Result<String, String> {
    let mut body = heading(&c.origin);
    body += &cards(c);
    body += &speed(c);
    body += &tuning(c);
    for table in &c.tables {
        body += &section(c, table)?;
    }
    body += &runs(c);
    body += &definitions(c);
    body += &details(&c.origin);
    Ok(document(&c.origin.title, &body))
}

fn cards(c: &Comparison) -> String {
    let table = c.tables.iter().find(|t| t.equal == Equal::Time).or(c.tables.first());
    let Some(table) = table.filter(|t| t.rows.len() <= CARDS) else { return String::new() };
    let mut html = String::from("<div class=\"cards\">\n");
    for (row, arm) in table.rows.iter().zip(&c.arms).skip(1) {
        let name = pretty(&row.arch);
        if let Some(speedup) = &row.speedup {
            let (factor, reached) = short_speedups(speedup);
            html += &card(
                "Speedup factor",
                &factor,
                &format!("{name}, in {}, to the baseline's final loss{reached}", table.unit),
            );
        }
        html += &card("Cost of a step", &format!("{:.2}×", arm.slowdown), &format!("{name} against the baseline"));
        html += &card(
            "Final loss",
            &row.difference.map_or("n/a".into(), |d| format!("{:+.4}", d.mean)),
            &format!("{name} less the baseline, nats a token, at equal {}", what(table.equal)),
        );
    }
    html + "</div>\n"
}

fn speed(c: &Comparison) -> String {
    if c.arms.is_empty() {
        return String::new();
    }
    let row = |arm: &Arm| {
        let [fast, slow] = arm.step_time.quartiles;
        vec![
            escape(&pretty(&arm.arch)),
            short(arm.parameters as f64),
            short(arm.flops_per_token),
            format!("{:.2}", 1e3 * arm.step_time.median),
            format!("{:.2} to {:.2}", 1e3 * fast, 1e3 * slow),
            short(arm.steps_per_second),
            short(arm.tokens_per_second.round()),
            format!("{:.3}", arm.relative_speed),
            format!("{:.3}×", arm.slowdown),
        ]
    };
    let head = [
        "model",
        "parameters",
        "training FLOPs a token",
        "ms a step",
        "middle half of the blocks",
        "steps/s",
        "tokens/s",
        "relative to the baseline",
        "slowdown of a step",
    ];
    let blocks = c.arms[0].step_time.blocks.len();
    let wide = |arm: &Arm| arm.step_time.quartiles[1] - arm.step_time.quartiles[0] > BUSY * arm.step_time.median;
    let busy = if c.arms.iter().any(wide) {
        "<p class=\"notice\">The machine was busy with something else while steps were timed: half of some model's \
         blocks lie far apart. Ratios of these times, and so the table of equal time, are not to be trusted.</p>\n"
    } else {
        ""
    };
    format!(
        "<h2>Speed at equal size</h2>\n{}{busy}<p class=\"small soft\">Each model's training step was timed in \
         {blocks} blocks of {} steps, the models taking turns block by block in an order that favours none; the median \
         block counts. These times are what \u{201C}calibrated seconds\u{201D} means below.</p>\n",
        grid(&head, c.arms.iter().map(row)),
        primer_models::train::BLOCK_STEPS
    )
}

fn tuning(c: &Comparison) -> String {
    let tried: Vec<f64> = c.arms.first().map_or(Vec::new(), |arm| arm.tuning.iter().map(|t| t.learning_rate).collect());
    if tried.is_empty() {
        let rates: Vec<String> = c.arms.iter().map(taken).collect();
        let same = rates.windows(2).all(|pair| pair[0] == pair[1]);
        let shown = if same { rates.first().cloned().unwrap_or_default() } else { rates.join(", ") };
        return format!(
            "<p>No learning rate was tuned: all models were trained with the peak learning rate {}, and what suits one \
             may not suit another.</p>\n",
            escape(&shown)
        );
    }
    let mut head = vec!["model".to_owned()];
    head.extend(tried.iter().map(|rate| format!("{rate}")));
    head.push("taken".into());
    let row = |arm: &Arm| {
        let mut cells = vec![escape(&pretty(&arm.arch))];
        cells.extend(arm.tuning.iter().map(|t| t.final_loss.map_or("n/a".into(), |loss| format!("{loss:.4}"))));
        let edge = if arm.rate_at_edge { ", at the edge" } else { "" };
        cells.push(format!("{}{edge}", taken(arm)));
        cells
    };
    let edge = if c.arms.iter().any(|arm| arm.rate_at_edge) {
        "<p class=\"notice\">A best rate lies at the edge of those tried: a better one may lie beyond it, and the \
         comparison is not yet one of models at their best.</p>\n"
    } else {
        ""
    };
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let taken = if c.arms.iter().all(|arm| arm.learning_rate.is_some()) {
        "its best one was taken"
    } else {
        "its best one will be taken. This was stopped before all had been tried"
    };
    format!(
        "<h2>Learning rates</h2>\n<p>Every model is trained with every peak learning rate, for as many steps as the \
         baseline, on a seed that the comparison does not use; {taken}. Final held-out loss, nats a token:</p>\n{}{edge}",
        grid(&head, c.arms.iter().map(row))
    )
}

fn taken(arm: &Arm) -> String {
    arm.learning_rate.map_or("n/a".into(), |rate| rate.to_string())
}

fn what(equal: Equal) -> &'static str {
    match equal {
        Equal::Steps => "steps",
        Equal::Time => "calibrated time",
        Equal::Flops => "FLOPs",
    }
}

fn section(c: &Comparison, table: &Table) -> Result<String, String> {
    let explained = match table.equal {
        Equal::Steps => {
            "Every model takes the same number of steps, and so reads the same text in the same order. What a step \
             costs does not count: this is what each makes of its data."
        }
        Equal::Time => {
            "Every model takes as many steps as fit into the baseline's time, by the calibrated time of its step. The \
             schedule of the learning rate spans those steps. This is the paper's comparison."
        }
        Equal::Flops => {
            "Every model takes as many steps as the baseline's floating-point operations allow, counted on its planned \
             training step."
        }
    };
    let key = key(table.rows.iter().map(|row| pretty(&row.arch)));
    let losses = ["model", "steps", "final loss", "95% interval", "less the baseline", "95% interval", "speedup"];
    let costs = ["model", "perplexity", "bits a byte", "tokens", "FLOPs", "calibrated s", "wall s", "runs"];
    Ok(format!(
        "<h2>Equal {}</h2>\n<p>{explained}</p>\n<figure><div class=\"key\">{key}</div>{}<figcaption \
         class=\"small\">Held-out loss against {}. Thin lines are seeds, thick ones their means; the dashed line is \
         the baseline's mean final loss.</figcaption></figure>\n{}{}",
        what(table.equal),
        chart(table).svg()?,
        escape(&table.unit),
        grid(&losses, table.rows.iter().map(loss_cells)),
        grid(&costs, table.rows.iter().zip(&c.arms).map(|(row, arm)| cost_cells(c, row, arm)))
    ))
}

fn chart(table: &Table) -> Chart {
    let mut marks = Vec::new();
    if let Some(base) = table.rows.first().and_then(|row| row.final_loss) {
        marks.push(Mark::Level(base.mean, "the baseline's final loss".into(), ink(0)));
    }
    for (i, row) in table.rows.iter().enumerate() {
        marks.extend(row.curves.iter().map(|curve| Mark::Thin(curve.clone(), ink(i))));
    }
    for (i, row) in table.rows.iter().enumerate() {
        marks.push(Mark::Line(row.mean_curve.clone(), ink(i)));
    }
    Chart {
        title: format!("Held-out loss against {}", table.unit),
        x: table.unit.clone(),
        y: "held-out loss (nats a token)".into(),
        log_x: true,
        log_y: false,
        y_top: None,
        marks,
    }
}

fn loss_cells(row: &Row) -> Vec<String> {
    let difference = row.difference.as_ref();
    let base = difference.is_none() && row.speedup.is_none();
    let against = |text: String| if base { String::new() } else { text };
    vec![
        escape(&pretty(&row.arch)),
        row.steps.to_string(),
        with_sd(row.final_loss.as_ref(), 4),
        interval(row.final_loss.as_ref(), 3),
        against(with_sd(difference, 4)),
        against(interval(difference, 3)),
        row.speedup.as_ref().map_or("1".into(), speedups),
    ]
}

fn cost_cells(c: &Comparison, row: &Row, arm: &Arm) -> Vec<String> {
    let diverged = if row.diverged > 0 { format!(", {} diverged", row.diverged) } else { String::new() };
    vec![
        escape(&pretty(&row.arch)),
        with_sd(row.perplexity.as_ref(), 3),
        with_sd(row.bits_per_byte.as_ref(), 4),
        short(row.steps as f64 * arm.flops_per_step / arm.flops_per_token),
        format!("{:.3e}", row.flops),
        format!("{:.1}", row.calibrated_seconds),
        with_sd(row.wall_seconds.as_ref(), 1),
        format!("{} of {}{diverged}", row.runs.len(), c.seeds.len()),
    ]
}

fn runs(c: &Comparison) -> String {
    if c.runs.is_empty() {
        return "<p class=\"empty\">No run is finished yet.</p>\n".into();
    }
    let rows = c.runs.iter().map(|run| {
        let r = &run.record;
        let loss = r.final_loss.map_or("not finite".into(), |loss| format!("{loss:.4}"));
        let mut notes = Vec::new();
        if r.diverged {
            notes.push("diverged".to_owned());
        }
        if r.non_finite_readings > 0 {
            notes.push(format!("gradients not finite at {} readings", r.non_finite_readings));
        }
        vec![
            escape(&r.folder),
            r.seed.to_string(),
            r.steps.to_string(),
            loss,
            format!("{:.1}", r.wall_seconds),
            notes.join(", "),
        ]
    });
    let head = ["run", "seed", "steps", "final loss", "wall s", ""];
    format!("<h2>Every run</h2>\n{}", grid(&head, rows))
}

fn definitions(c: &Comparison) -> String {
    let decay = if c.decaying {
        " Here the learning rate decays over each run, so a loss on the way is higher than that of a run of that \
         length would be, and factors above 1 are too low rather than too high."
    } else {
        ""
    };
    format!(
        "<h2>What the columns say</h2>\n<p class=\"small soft\">Losses are means of {} fixed batches of held-out text, \
         the same for all. Mean ± sample standard deviation over seeds; the 95% interval of a mean is by Student's t. \
         Differences to the baseline are taken seed by seed. The speedup factor is the baseline's whole budget over \
         what a model needs to reach the final loss of the baseline's run of the same seed, interpolated in the \
         logarithm of the budget on the running minimum (section 4 of the paper); what was not reached is not \
         extrapolated, and the mean is that of the seeds that did, with their number.{decay} Wall seconds are those of \
         training steps by the clock, evaluations and files not counted, however busy the machine was. A run has \
         diverged where its final loss is not finite, or above that of a model that knows nothing; a row with a loss \
         that is not finite has no mean. Longer definitions are in docs/analysis.md. {} of wall time in all.</p>\n",
        c.origin.settings.iter().find(|(name, _)| name == "evaluation batches").map_or("", |(_, value)| value),
        duration(c.runs.iter().map(|run| run.record.wall_seconds).sum())
    )
}
