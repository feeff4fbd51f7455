//! The page of a sweep over sizes.

use super::data::{Arch, Scaling, Size};
use crate::report::chart::{Chart, Ink, Mark, short};
use crate::report::html::{details, document, escape, grid, heading, ink, key, pretty};
use crate::report::spread::with_sd;
use primer_models::analysis::RESAMPLES;

/// Points of a fitted line as drawn: enough that it looks straight on both logarithmic axes.
const LINE: usize = 24;

/// The whole page.
///
/// # Errors
/// Passes on what the charts report.
pub fn page(s: &Scaling) -> Result<String, String> {
    let mut body = heading(&s.origin);
    body += &laws(s)?;
    body += &savings(s)?;
    for arch in &s.archs {
        body += &sizes(s, arch)?;
    }
    body += &runs(s);
    body += &definitions();
    body += &details(&s.origin);
    Ok(document(&s.origin.title, &body))
}

fn arch_key(s: &Scaling) -> String {
    key(s.archs.iter().map(|arch| pretty(&arch.arch)))
}

fn interval(range: Option<[f64; 2]>, show: impl Fn(f64) -> String) -> String {
    range.map_or("n/a".into(), |[low, high]| format!("{} to {}", show(low), show(high)))
}

fn laws(s: &Scaling) -> Result<String, String> {
    let mut marks = Vec::new();
    for (i, arch) in s.archs.iter().enumerate() {
        marks.push(Mark::Dots(arch.frontier.iter().map(|p| (p.flops, p.loss)).collect(), ink(i)));
        if let Some(law) = &arch.law {
            let [low, high] = law.flops;
            let at = |i: usize| low * (high / low).powf(i as f64 / (LINE - 1) as f64);
            marks.push(Mark::Line((0..LINE).map(|i| (at(i), law.loss(at(i)))).collect(), ink(i)));
        }
    }
    let chart = Chart {
        title: "Compute-optimal frontiers".into(),
        x: "training FLOPs".into(),
        y: "held-out loss (nats a token)".into(),
        log_x: true,
        log_y: true,
        y_top: None,
        marks,
    };
    let row = |arch: &Arch| {
        let name = escape(&pretty(&arch.arch));
        match &arch.law {
            Some(law) => vec![
                name,
                format!("{:.4}", law.k),
                interval(law.k_interval, |k| format!("{k:.4}")),
                format!("{:.4}", law.a),
                interval(law.a_interval, |a| format!("{a:.3}")),
                format!("{:.4}", law.r_squared),
                format!("{} to {}", flops(law.flops[0]), flops(law.flops[1])),
                escape(&law.sizes.join(", ")),
            ],
            None => {
                let why = arch.no_law.as_ref().map_or("no run is finished".into(), ToString::to_string);
                vec![name, escape(&format!("no power law: {why}"))]
            }
        }
    };
    let head = ["model", "k", "95% interval", "a", "95% interval", "R²", "FLOPs fitted", "sizes on the frontier"];
    let (fitted, rest): (Vec<&Arch>, Vec<&Arch>) = s.archs.iter().partition(|arch| arch.law.is_some());
    let mut html = format!(
        "<h2>Loss against compute</h2>\n<figure><div class=\"key\">{}</div>{}<figcaption class=\"small\">Dots: the \
         lowest held-out loss that any size has at that training compute. Lines: the power law l = a·c<sup>−k</sup> \
         fitted to them. Both axes are logarithmic.</figcaption></figure>\n",
        arch_key(s),
        chart.svg()?
    );
    if !fitted.is_empty() {
        html += &grid(&head, fitted.into_iter().map(row));
    }
    for arch in rest {
        html += &format!("<p class=\"notice\">{}</p>\n", row(arch).join(": "));
    }
    Ok(html)
}

fn savings(s: &Scaling) -> Result<String, String> {
    let (Some(base), true) = (s.archs.first(), s.archs.len() > 1) else { return Ok(String::new()) };
    let base = escape(&pretty(&base.arch));
    let mut html = format!("<h2>Compute saved at equal loss, against {base}</h2>\n");
    let mut marks = Vec::new();
    for (i, arch) in s.archs.iter().enumerate().skip(1) {
        let name = escape(&pretty(&arch.arch));
        match &arch.saving {
            Some(saving) => {
                marks.push(Mark::Line(saving.ratios.clone(), ink(i)));
                let ends = (saving.ratios.first().map_or(0.0, |r| r.0), saving.ratios.last().map_or(0.0, |r| r.0));
                html += &format!(
                    "<p>{base} takes {:.2} times the compute of {name} to the same loss, on the geometric mean over \
                     losses from {:.3} to {:.3} nats a token, which both frontiers have.</p>\n",
                    saving.mean, ends.0, ends.1
                );
            }
            None => html += &format!("<p>{name} and {base} have no loss in common on their frontiers.</p>\n"),
        }
    }
    if marks.is_empty() {
        return Ok(html);
    }
    marks.insert(0, Mark::Level(1.0, "no saving".into(), Ink::Series(0)));
    let chart = Chart {
        title: "Compute saved at equal loss".into(),
        x: "held-out loss (nats a token)".into(),
        y: "baseline's FLOPs over this model's".into(),
        log_x: false,
        log_y: false,
        y_top: None,
        marks,
    };
    Ok(html
        + &format!(
            "<figure><div class=\"key\">{}</div>{}<figcaption class=\"small\">Ratio of the frontiers' computes at \
             equal loss, interpolated between their points; training goes from right to left. Above 1 the model needs \
             less than the baseline.</figcaption></figure>\n",
            arch_key(s),
            chart.svg()?
        ))
}

fn sizes(s: &Scaling, arch: &Arch) -> Result<String, String> {
    let mut marks = Vec::new();
    for (i, size) in arch.sizes.iter().enumerate() {
        marks.extend(size.curves.iter().map(|curve| Mark::Thin(curve.clone(), ink(i))));
    }
    marks.push(Mark::Line(arch.frontier.iter().map(|p| (p.flops, p.loss)).collect(), Ink::Text));
    let chart = Chart {
        title: format!("Held-out loss of each size of {}", pretty(&arch.arch)),
        x: "training FLOPs".into(),
        y: "held-out loss (nats a token)".into(),
        log_x: true,
        log_y: true,
        y_top: None,
        marks,
    };
    let row = |size: &Size| {
        let diverged = if size.diverged > 0 { format!(", {} diverged", size.diverged) } else { String::new() };
        vec![
            escape(&size.size),
            short(size.parameters as f64),
            flops(size.flops_per_token),
            format!("{:.2}", 1e3 * size.seconds_per_step),
            size.steps.to_string(),
            flops(size.flops),
            with_sd(size.final_loss.as_ref(), 4),
            format!("{} of {}{diverged}", size.runs.len(), s.seeds.len()),
        ]
    };
    let head =
        ["size", "parameters", "training FLOPs a token", "ms a step", "steps", "FLOPs of a run", "final loss", "runs"];
    Ok(format!(
        "<h2>{}</h2>\n<figure><div class=\"key\">{}</div>{}<figcaption class=\"small\">Thin lines are runs, one a \
         seed; the thick one is the frontier.</figcaption></figure>\n{}",
        escape(&pretty(&arch.arch)),
        key(arch.sizes.iter().map(|size| size.size.clone())),
        chart.svg()?,
        grid(&head, arch.sizes.iter().map(row))
    ))
}

/// FLOPs with a power of ten where they are many.
fn flops(value: f64) -> String {
    if value < 1e6 { short(value) } else { format!("{value:.2e}") }
}

fn runs(s: &Scaling) -> String {
    if s.runs.is_empty() {
        return "<p class=\"empty\">No run is finished yet.</p>\n".into();
    }
    let rows = s.runs.iter().map(|run| {
        let r = &run.record;
        let loss = r.final_loss.map_or("not finite".into(), |loss| format!("{loss:.4}"));
        let diverged = if r.diverged { "diverged" } else { "" };
        let wall = format!("{:.1}", r.wall_seconds);
        vec![escape(&r.folder), r.seed.to_string(), r.steps.to_string(), loss, wall, diverged.into()]
    });
    format!("<h2>Every run</h2>\n{}", grid(&["run", "seed", "steps", "final loss", "wall s", ""], rows))
}

fn definitions() -> String {
    format!(
        "<h2>What the columns say</h2>\n<p class=\"small soft\">Training FLOPs are counted on the planned training \
         step. Of each run, the running minimum of the held-out loss is taken; of each size, the mean of these over \
         seeds; of each architecture, the lowest of its sizes, at 50 computes evenly spaced in their logarithm, as far \
         as at least two sizes were measured there. The power law is fitted by least squares to the logarithms. Its \
         95% intervals are percentiles of {RESAMPLES} fits to as many seeds, drawn with replacement for each size; \
         with few seeds they are somewhat too narrow. a is the loss at one FLOP, far from anything measured: it places \
         the line and predicts nothing. Nothing is extrapolated. Longer definitions are in docs/analysis.md.</p>\n"
    )
}
