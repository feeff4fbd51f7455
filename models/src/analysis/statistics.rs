//! Spread over seeds.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2};

use serde::{Deserialize, Serialize};

/// A mean and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many values.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Their sample standard deviation, with n − 1 in the denominator; one value has none.
    pub sd: Option<f64>,
    /// The 95% interval of the mean by Student's t with n − 1 degrees of freedom; one value has none.
    pub interval: Option<[f64; 2]>,
}

impl Summary {
    /// Of `values`; none where there is no value or one isn't finite, since a mean that leaves a diverged run out would
    /// flatter.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() || values.iter().any(|x| !x.is_finite()) {
            return None;
        }
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n as f64;
        let sd = (n > 1).then(|| {
            let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
            (squares / (n - 1) as f64).sqrt()
        });
        let interval = sd.map(|sd| {
            let half = t_quantile(n - 1) * sd / (n as f64).sqrt();
            [mean - half, mean + half]
        });
        Some(Self { n, mean, sd, interval })
    }
}

/// The same of the values with the other sign.
impl std::ops::Neg for Summary {
    type Output = Summary;

    fn neg(self) -> Summary {
        let interval = self.interval.map(|[low, high]| [-high, -low]);
        Summary { mean: -self.mean, interval, ..self }
    }
}

/// Paired differences a − b over seeds: what both share of a seed (text, windows, order) cancels.
///
/// None where the two have different numbers of values, or as [`Summary::of`].
pub fn differences(a: &[f64], b: &[f64]) -> Option<Summary> {
    if a.len() != b.len() {
        return None;
    }
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    Summary::of(&differences)
}

/// The probability that Student's t with `freedom` ≥ 1 degrees of freedom lies within ±√freedom · tan θ: a finite sum
/// for whole degrees (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4).
fn within(freedom: usize, theta: f64) -> f64 {
    let (sin, cos) = theta.sin_cos();
    let odd = freedom % 2 == 1;
    // Terms cosʲθ · 1·3··(j−1) / 2·4··j for even degrees, cosʲθ · 2·4··(j−1) / 3·5··j for odd ones.
    let mut term = if odd { cos } else { 1.0 };
    let mut sum = 0.0;
    let mut j = if odd { 1 } else { 0 };
    while j + 2 <= freedom {
        sum += term;
        term *= cos * cos * (j + 1) as f64 / (j + 2) as f64;
        j += 2;
    }
    if odd { FRAC_2_PI * (theta + sin * sum) } else { sin * sum }
}

/// The t beyond which, on both sides, lie 5% of Student's distribution with `freedom` ≥ 1 degrees of freedom.
pub fn t_quantile(freedom: usize) -> f64 {
    let freedom = freedom.max(1);
    let (mut low, mut high) = (0.0, FRAC_PI_2);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if within(freedom, middle) < 0.95 {
            low = middle;
        } else {
            high = middle;
        }
    }
    (freedom as f64).sqrt() * low.tan()
}

impl Summary {
    /// The two-sided probability of a mean so far from 0 or farther, where the values are independent, normal and of
    /// mean 0: Student's t-test of one sample, of paired differences the paired one. One value has none; without any
    /// spread it is 0, or 1 for a mean of 0.
    pub fn p_value(&self) -> Option<f64> {
        let error = self.sd? / (self.n as f64).sqrt();
        if error == 0.0 {
            return Some(if self.mean == 0.0 { 1.0 } else { 0.0 });
        }
        let freedom = self.n - 1;
        let theta = (self.mean.abs() / error / (freedom as f64).sqrt()).atan();
        Some((1.0 - within(freedom, theta)).clamp(0.0, 1.0))
    }
}

/// The probabilities of several tests together, adjusted so that each below α may be taken for an effect with a chance
/// of at most α that any of these is none (Holm 1979): the k-th smallest of m times m − k, counted from 0, and none
/// below those before it.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut least = 0f64;
    for (k, &i) in order.iter().enumerate() {
        least = least.max(p_values[i] * (p_values.len() - k) as f64).min(1.0);
        adjusted[i] = least;
    }
    adjusted
}

/// The share `q` (0 to 1) of the sorted values, interpolated linearly between neighbours; none without values.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = q.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

/// The middle value, or the mean of the two in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_students_distribution_are_those_of_the_tables() {
        for (freedom, t) in [
            (1, 12.706_205),
            (2, 4.302_653),
            (3, 3.182_446),
            (4, 2.776_445),
            (9, 2.262_157),
            (10, 2.228_139),
            (30, 2.042_272),
            (1000, 1.962_339),
        ] {
            assert!((t_quantile(freedom) - t).abs() < 2e-6, "{freedom}: {} and not {t}", t_quantile(freedom));
        }
    }

    #[test]
    fn a_summary_of_known_values() {
        let s = Summary::of(&[2.0, 4.0, 9.0]).unwrap();
        assert_eq!((s.n, s.mean, s.sd), (3, 5.0, Some(13f64.sqrt())));
        let half = 4.302_653 * (13f64 / 3.0).sqrt();
        let [low, high] = s.interval.unwrap();
        assert!((low - (5.0 - half)).abs() < 1e-5 && (high - (5.0 + half)).abs() < 1e-5, "{s:?}");
        let one = Summary::of(&[7.0]).unwrap();
        assert_eq!((one.mean, one.sd, one.interval), (7.0, None, None));
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn p_values_are_those_of_the_tables() {
        // A t at a quantile has that probability; t = 2.776445 with four degrees of freedom.
        let at = |t: f64, n: usize| {
            let sd = (n as f64).sqrt();
            Summary { n, mean: t, sd: Some(sd), interval: None }.p_value().unwrap()
        };
        for (t, n, p) in
            [(2.776_445, 5, 0.05), (4.604_095, 5, 0.01), (12.706_205, 2, 0.05), (-2.262_157, 10, 0.05), (0.0, 3, 1.0)]
        {
            assert!((at(t, n) - p).abs() < 1e-6, "{t} {n}: {}", at(t, n));
        }
        assert_eq!(Summary::of(&[3.0]).unwrap().p_value(), None);
        assert_eq!(
            (Summary::of(&[2.0, 2.0]).unwrap().p_value(), Summary::of(&[0.0, 0.0]).unwrap().p_value()),
            (Some(0.0), Some(1.0))
        );
    }

    #[test]
    fn holm_adjusts_the_smallest_most() {
        assert_eq!(holm(&[0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02]);
        assert_eq!(holm(&[0.5, 0.6]), [1.0, 1.0]);
        assert_eq!(holm(&[]), [0.0; 0]);
    }

    #[test]
    fn what_both_share_of_a_seed_cancels() {
        let base = [10.0, 20.0, 40.0];
        let arm = [9.5, 19.4, 39.5];
        let paired = differences(&arm, &base).unwrap();
        assert!((paired.mean + 1.6 / 3.0).abs() < 1e-12);
        assert!(paired.interval.unwrap()[1] < 0.0, "surely better: {paired:?}");
        assert_eq!(differences(&arm, &base[..2]), None);
    }

    #[test]
    fn the_interval_covers_the_truth_in_nineteen_of_twenty_samples() {
        let stream = crate::rng::Stream::new(5, "coverage");
        let covered = (0..2000u64)
            .filter(|i| {
                let sample: Vec<f64> = (0..3).map(|j| 1.0 + 0.1 * stream.normal(3 * i + j)).collect();
                let [low, high] = Summary::of(&sample).unwrap().interval.unwrap();
                (low..=high).contains(&1.0)
            })
            .count();
        // Standard error of the share: 0.5%.
        assert!((1870..=1930).contains(&covered), "{covered} of 2000");
    }

    #[test]
    fn quantiles_interpolate_between_neighbours() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(quantile(&[0.0, 10.0], 0.25), Some(2.5));
        assert_eq!(quantile(&[5.0], 0.9), Some(5.0));
        assert_eq!(median(&[]), None);
    }
}
