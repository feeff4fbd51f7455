//! Which marks each figure of the page is made of.

use super::chart::{Chart, Ink, Mark};
use super::data::{Point, Report, Search};
use super::derive::Derived;
use super::html::ink;
use primer_models::analysis::Speedup;

fn arms(report: &Report, of: impl Fn(&Point) -> (f64, f64)) -> Vec<Mark> {
    report
        .arms
        .iter()
        .enumerate()
        .flat_map(|(i, arm)| {
            let ink = ink(i);
            // A logarithmic axis has no place for the evaluation before the first step.
            let points: Vec<_> = arm.points.iter().map(&of).filter(|p| p.0 > 0.0).collect();
            [Mark::Line(points.clone(), ink), Mark::Dots(points, ink)]
        })
        .collect()
}

/// Loss against seconds, with the target and the place where it is reached.
pub fn loss_by_time(report: &Report, derived: &Derived) -> Chart {
    let mut marks = arms(report, |p| (p.seconds, p.validation_loss));
    for (i, comparison) in derived.comparisons.iter().enumerate() {
        let Some(target) = comparison.target_loss else {
            continue;
        };
        if i == 0 {
            let caption = "the baseline's final loss".to_owned();
            marks.insert(0, Mark::Level(target, caption, Ink::Series(0)));
        }
        if let Speedup::Reached { at, .. } = comparison.time {
            marks.push(Mark::Ring((at, target), ink(i + 1)));
        }
    }
    Chart {
        title: "Held-out loss against seconds of training".into(),
        x: "seconds of training".into(),
        y: "held-out loss (nats a token)".into(),
        log_x: true,
        log_y: false,
        y_top: None,
        marks,
    }
}

/// Loss against tokens.
pub fn loss_by_tokens(report: &Report) -> Chart {
    Chart {
        title: "Held-out loss against tokens".into(),
        x: "tokens".into(),
        y: "held-out loss (nats a token)".into(),
        log_x: true,
        log_y: false,
        y_top: None,
        marks: arms(report, |p| (p.tokens as f64, p.validation_loss)),
    }
}

/// The best fitness so far against what the search had spent.
pub fn best_so_far(search: &Search, derived: &Derived) -> Chart {
    let end = search.candidates.iter().map(|c| c.cost).fold(0.0, f64::max);
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for &(cost, loss) in &derived.best_so_far {
        if let Some(&(_, before)) = steps.last() {
            steps.push((cost, before));
        }
        steps.push((cost, loss));
    }
    if let Some(&(_, last)) = steps.last() {
        steps.push((end, last));
    }
    let mut marks = vec![Mark::Line(steps, Ink::Series(1)), Mark::Dots(derived.best_so_far.clone(), Ink::Series(1))];
    if let Some(seed) = search.seed_loss {
        marks.insert(0, Mark::Level(seed, "seed program".into(), Ink::Series(0)));
    }
    Chart {
        title: "Best fitness so far against cost".into(),
        x: search.cost_unit.clone(),
        y: "best loss so far (nats a token)".into(),
        log_x: false,
        log_y: false,
        y_top: None,
        marks,
    }
}

/// Every candidate by the order in which it was finished.
pub fn population(search: &Search) -> Chart {
    let measured: Vec<(f64, f64)> = search
        .candidates
        .iter()
        .enumerate()
        .filter_map(|(i, c)| c.loss.filter(|l| l.is_finite()).map(|l| ((i + 1) as f64, l)))
        .collect();
    // A diverged program would press the rest flat: it is drawn on the upper edge.
    let mut losses: Vec<f64> = measured.iter().map(|&(_, l)| l).collect();
    losses.sort_by(f64::total_cmp);
    let y_top = losses.first().zip(losses.get(losses.len() / 2)).map(|(best, middle)| {
        let level = search.seed_loss.map_or(*middle, |seed| seed.max(*middle));
        level + (level - best).max(0.05)
    });
    let better = |l: f64| search.seed_loss.is_some_and(|seed| l < seed);
    let (good, rest): (Vec<_>, Vec<_>) = measured.into_iter().partition(|&(_, l)| better(l));
    let mut marks = vec![Mark::Dots(rest, Ink::Series(0)), Mark::Dots(good, Ink::Series(1))];
    if let Some(seed) = search.seed_loss {
        marks.insert(0, Mark::Level(seed, "seed program".into(), Ink::Series(0)));
    }
    Chart {
        title: "Fitness of every candidate".into(),
        x: "candidate, in order of finishing".into(),
        y: "loss (nats a token)".into(),
        log_x: false,
        log_y: false,
        y_top,
        marks,
    }
}
