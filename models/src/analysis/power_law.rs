//! The power law of loss against compute (Kaplan et al. 2020; section 4 and figure 7 of the paper): l = a·c^−k on the
//! compute-optimal frontier.

use serde::{Deserialize, Serialize};

use super::{Frontier, FrontierPoint, NoFrontier, quantile};
use crate::rng::Stream;

/// How often the seeds are drawn anew for the interval.
pub const RESAMPLES: usize = 1000;
/// The seed of those draws: the same numbers give the same interval.
const SEED: u64 = 0;

/// l = a·c^−k, with l in nats a token and c in training FLOPs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PowerLaw {
    /// The loss at one FLOP, far outside of what was measured: it places the line and predicts nothing.
    pub a: f64,
    /// The exponent.
    pub k: f64,
    /// Share of the variance of ln l that the line explains.
    pub r_squared: f64,
    /// The computes fitted.
    pub flops: [f64; 2],
    /// The sizes that hold a part of the frontier, in the order given.
    pub sizes: Vec<String>,
    /// 95% interval of `k`; none where a size has a single seed.
    pub k_interval: Option<[f64; 2]>,
    /// 95% interval of `a`.
    pub a_interval: Option<[f64; 2]>,
}

impl PowerLaw {
    /// Least squares of ln l over ln c on the points of `frontier`, with percentile intervals of the bootstrap over
    /// seeds (Efron & Tibshirani 1993, chapter 13): each of [`RESAMPLES`] times as many seeds as there are of each size
    /// are drawn with replacement, and the frontier of their means is fitted.
    ///
    /// # Errors
    /// [`NoFrontier::OneSize`], [`NoFrontier::Flat`].
    pub fn fit(frontier: &Frontier) -> Result<Self, NoFrontier> {
        let points = frontier.points();
        let on_it = |size: &usize| points.iter().any(|point| point.size == *size);
        let names = frontier.sizes();
        let sizes: Vec<String> = (0..names.len()).filter(on_it).map(|size| names[size].clone()).collect();
        if let [size] = sizes.as_slice() {
            return Err(NoFrontier::OneSize { size: size.clone() });
        }
        let line = Line::through(&points).ok_or(NoFrontier::Flat)?;
        let resampled = resample(frontier);
        let interval = |of: &dyn Fn(&Line) -> f64| {
            let values: Vec<f64> = resampled.iter().map(of).collect();
            Some([quantile(&values, 0.025)?, quantile(&values, 0.975)?])
        };
        Ok(Self {
            a: line.a,
            k: line.k,
            r_squared: line.r_squared,
            flops: [points[0].flops, points[points.len() - 1].flops],
            sizes,
            k_interval: interval(&|line| line.k),
            a_interval: interval(&|line| line.a),
        })
    }

    /// The loss at a compute.
    pub fn loss(&self, flops: f64) -> f64 {
        self.a * flops.powf(-self.k)
    }
}

/// The lines of [`RESAMPLES`] draws of seeds; none where a size has only one.
fn resample(frontier: &Frontier) -> Vec<Line> {
    let seeds = frontier.seeds();
    // Sizes that are still to be trained have none, and no part in it.
    if seeds.contains(&1) {
        return Vec::new();
    }
    let stream = Stream::new(SEED, "bootstrap");
    let mut draw = 0;
    let mut one = |n: usize| {
        draw += 1;
        stream.below(draw, n as u64) as usize
    };
    let mut chosen = || -> Vec<Vec<usize>> { seeds.iter().map(|&n| (0..n).map(|_| one(n)).collect()).collect() };
    (0..RESAMPLES).filter_map(|_| Line::through(&frontier.points_of(&chosen()))).collect()
}

struct Line {
    a: f64,
    k: f64,
    r_squared: f64,
}

impl Line {
    /// None where there are fewer than two points, a loss isn't positive, or all are the same.
    fn through(points: &[FrontierPoint]) -> Option<Self> {
        if points.len() < 2 || points.iter().any(|p| p.loss.is_nan() || p.loss <= 0.0) {
            return None;
        }
        let n = points.len() as f64;
        let logs: Vec<(f64, f64)> = points.iter().map(|p| (p.flops.ln(), p.loss.ln())).collect();
        let x0 = logs.iter().map(|(x, _)| x).sum::<f64>() / n;
        let y0 = logs.iter().map(|(_, y)| y).sum::<f64>() / n;
        let sum = |of: &dyn Fn(f64, f64) -> f64| logs.iter().map(|&(x, y)| of(x - x0, y - y0)).sum::<f64>();
        let (xx, xy, yy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
        if xx <= 0.0 || yy <= 0.0 {
            return None;
        }
        let slope = xy / xx;
        Some(Self { a: (y0 - slope * x0).exp(), k: -slope, r_squared: xy * xy / (xx * yy) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::SizeCurves;

    /// Sizes whose curves touch 6·c^−0.06 each at a compute of its own and lie above it elsewhere; a seed moves a whole
    /// curve by `noise` standard deviations of ln l.
    fn sizes(count: usize, seeds: u64, noise: f64, draw: u64) -> Vec<SizeCurves> {
        let stream = Stream::new(draw, "noise");
        let curve = |best: f64, shift: f64| -> Vec<(f64, f64)> {
            let loss = |c: f64| 6.0 * c.powf(-0.06) * (0.01 * (c / best).ln().powi(2) + shift).exp();
            (0..80).map(|i| 1e9 * 1.2f64.powi(i)).map(|c| (c, loss(c))).collect()
        };
        let one = |i: usize| {
            let shift = |seed: u64| noise * stream.normal(seed * 100 + i as u64);
            let seeds = (0..seeds).map(|seed| curve(1e10 * 4f64.powi(i as i32), shift(seed))).collect();
            SizeCurves { size: format!("size{i}"), seeds }
        };
        (0..count).map(one).collect()
    }

    /// The sizes' frontier between the computes at which the first and the last of them are best.
    fn frontier(sizes: &[SizeCurves]) -> Frontier {
        let ends = (1e10, 1e10 * 4f64.powi(sizes.len() as i32 - 1));
        let inside = |curve: &Vec<(f64, f64)>| -> Vec<(f64, f64)> {
            curve.iter().copied().filter(|p| (ends.0..=ends.1).contains(&p.0)).collect()
        };
        let cut = |s: &SizeCurves| SizeCurves { seeds: s.seeds.iter().map(inside).collect(), ..s.clone() };
        Frontier::new(&sizes.iter().map(cut).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn the_law_behind_synthetic_sizes_is_found() {
        let law = PowerLaw::fit(&frontier(&sizes(6, 1, 0.0, 1))).unwrap();
        assert!((law.k - 0.06).abs() < 0.002, "{law:?}");
        assert!(law.r_squared > 0.999, "{law:?}");
        assert!((law.loss(1e12) / (6.0 * 1e12f64.powf(-0.06)) - 1.0).abs() < 0.005, "{law:?}");
        assert_eq!((law.sizes.len(), law.k_interval, law.a_interval), (6, None, None), "one seed has no interval");
    }

    #[test]
    fn the_interval_covers_the_law_in_most_draws_and_is_the_same_each_time() {
        let covered = (0..40)
            .filter(|&draw| {
                let law = PowerLaw::fit(&frontier(&sizes(5, 8, 0.005, draw))).unwrap();
                let [low, high] = law.k_interval.unwrap();
                assert!(low <= law.k && law.k <= high, "{law:?}");
                assert!(law.a_interval.unwrap()[0] < law.a, "{law:?}");
                (low..=high).contains(&0.06)
            })
            .count();
        // A percentile interval of eight seeds is somewhat narrow: nine of ten rather than nineteen of twenty.
        assert!(covered >= 32, "{covered} of 40");
        let again = || PowerLaw::fit(&frontier(&sizes(5, 3, 0.005, 7))).unwrap();
        assert_eq!(again(), again());
    }

    #[test]
    fn one_size_that_is_always_best_is_no_frontier() {
        let better = SizeCurves { size: "good".into(), seeds: vec![vec![(1e9, 3.0), (1e12, 2.0)]] };
        let worse = SizeCurves { size: "bad".into(), seeds: vec![vec![(1e9, 5.0), (1e12, 4.0)]] };
        let found = PowerLaw::fit(&Frontier::new(&[worse, better]).unwrap());
        assert_eq!(found, Err(NoFrontier::OneSize { size: "good".into() }));
        let flat = |size: &str, at: f64| SizeCurves { size: size.into(), seeds: vec![vec![(at, 3.0), (1e12, 3.0)]] };
        let mixed = [flat("a", 1e9), flat("b", 1e10), SizeCurves { size: "c".into(), seeds: vec![] }];
        let found = PowerLaw::fit(&Frontier::new(&mixed).unwrap());
        assert!(found.is_err(), "{found:?}");
    }
}
