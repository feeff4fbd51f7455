//! Numbers with their spread, or with what it means, as text.

use primer_models::analysis::{Speedup, Speedups, Summary};
use primer_search::retest::FAIR;

/// `1.234 ± 0.012` (mean and sample standard deviation), or the mean alone where there is one value.
pub fn with_sd(summary: Option<&Summary>, places: usize) -> String {
    match summary {
        None => "n/a".into(),
        Some(Summary { mean, sd: Some(sd), .. }) => format!("{mean:.places$} ± {sd:.places$}"),
        Some(Summary { mean, .. }) => format!("{mean:.places$}"),
    }
}

/// `1.220 to 1.248`, the 95% interval of the mean.
pub fn interval(summary: Option<&Summary>, places: usize) -> String {
    match summary.and_then(|s| s.interval) {
        None => "n/a".into(),
        Some([low, high]) => format!("{low:.places$} to {high:.places$}"),
    }
}

/// `1.72× ± 0.05`, and how many of the seeds reached the target where not all did.
pub fn short_speedups(speedups: &Speedups) -> (String, String) {
    let of = speedups.seeds.iter().filter(|s| **s != Speedup::NoData).count();
    let Some(factor) = &speedups.factor else {
        return (if of == 0 { "n/a".into() } else { "not reached".into() }, String::new());
    };
    let sign = if speedups.at_least { "≥ " } else { "" };
    let sd = factor.sd.map_or(String::new(), |sd| format!(" ± {sd:.2}"));
    let part = if speedups.reached < of { format!(" ({} of {of})", speedups.reached) } else { String::new() };
    (format!("{sign}{:.2}×{sd}", factor.mean), part)
}

/// Both in one.
pub fn speedups(speedups: &Speedups) -> String {
    let (factor, part) = short_speedups(speedups);
    factor + &part
}

/// What a program's steps took over what was predicted, and whether that disqualifies it.
pub fn measured_over_predicted(ratio: Option<f64>) -> String {
    match ratio {
        Some(ratio) if !FAIR.contains(&ratio) => format!("{ratio:.2}, outside"),
        Some(ratio) => format!("{ratio:.2}"),
        None => "n/a".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_say_what_is_known() {
        let three = Summary::of(&[1.0, 2.0, 3.0]);
        assert_eq!(with_sd(three.as_ref(), 2), "2.00 ± 1.00");
        assert_eq!(interval(three.as_ref(), 1), "-0.5 to 4.5");
        assert_eq!(with_sd(Summary::of(&[1.0]).as_ref(), 1), "1.0");
        assert_eq!((with_sd(None, 1), interval(None, 1)), ("n/a".into(), "n/a".into()));
        let at = |factor| Speedup::Reached { factor, at: 1.0, at_least: false };
        assert_eq!(speedups(&Speedups::of(vec![at(1.5), at(2.5)])), "2.00× ± 0.71");
        assert_eq!(speedups(&Speedups::of(vec![at(1.5), Speedup::NotReached])), "1.50× (1 of 2)");
        assert_eq!(speedups(&Speedups::of(vec![Speedup::NotReached])), "not reached");
        assert_eq!(speedups(&Speedups::of(vec![])), "n/a");
    }
}
