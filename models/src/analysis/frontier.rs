//! The compute-optimal frontier: the lowest loss that any size reaches at a given training compute.

use serde::{Deserialize, Serialize};

use super::running_minimum;

/// Computes at which a frontier is evaluated, evenly spaced in their logarithm, so that each decade weighs the same.
const POINTS: usize = 50;
/// Losses at which two frontiers are compared.
const LEVELS: usize = 20;

/// One size's training runs.
#[derive(Debug, Clone, PartialEq)]
pub struct SizeCurves {
    /// The size's name.
    pub size: String,
    /// One curve a seed, of (training FLOPs, loss in nats a token), in order of FLOPs.
    pub seeds: Vec<Vec<(f64, f64)>>,
}

/// A point of a frontier.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FrontierPoint {
    /// Training FLOPs.
    pub flops: f64,
    /// The lowest loss at that compute, a mean over seeds, nats a token.
    pub loss: f64,
    /// The size that has it, counted from 0.
    pub size: usize,
}

/// Why there is no frontier, or no power law on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum NoFrontier {
    /// The best of one size is no optimum over sizes.
    #[error("an optimum over sizes takes at least 2 of them with finite losses, and there is {have}")]
    TooFewSizes {
        /// Sizes with at least two evaluations.
        have: usize,
    },
    /// Nowhere were two sizes measured at the same compute.
    #[error(
        "no two sizes were measured at the same compute: train them for equal FLOPs, or take sizes nearer to each other"
    )]
    NoOverlap,
    /// The frontier is one size's curve, and its optimum over sizes isn't known to lie among them.
    #[error(
        "{size} is the best size at every compute, so this is its curve and no frontier: give sizes on both sides of \
         it, or train for longer"
    )]
    OneSize {
        /// The size's name.
        size: String,
    },
    /// The loss is the same all over, or a logarithm has nothing to be taken of.
    #[error("the frontier's losses do not vary, so there is no slope")]
    Flat,
}

/// The lower envelope over sizes of the running minimum of loss against compute, each a mean over seeds, at computes
/// where at least two sizes were measured. Between evaluations the loss is interpolated linearly in the logarithm of
/// the compute; nothing is extrapolated.
#[derive(Debug, Clone, PartialEq)]
pub struct Frontier {
    names: Vec<String>,
    computes: Vec<f64>,
    /// By size, seed and compute; none outside of what was measured.
    losses: Vec<Vec<Vec<Option<f64>>>>,
}

impl Frontier {
    /// The frontier of these sizes.
    ///
    /// # Errors
    /// [`NoFrontier::TooFewSizes`], [`NoFrontier::NoOverlap`].
    pub fn new(sizes: &[SizeCurves]) -> Result<Self, NoFrontier> {
        let smooth = |size: &SizeCurves| -> Vec<Vec<(f64, f64)>> {
            size.seeds.iter().map(|curve| running_minimum(curve.iter().copied())).collect()
        };
        let curves: Vec<Vec<Vec<(f64, f64)>>> = sizes.iter().map(smooth).collect();
        // Where all seeds of a size were measured: from the latest start to the earliest end.
        let range = |seeds: &Vec<Vec<(f64, f64)>>| -> Option<(f64, f64)> {
            let ends =
                seeds.iter().map(|curve| Some((curve.first()?.0, curve.last()?.0))).collect::<Option<Vec<_>>>()?;
            let both = ends.into_iter().reduce(|a, b| (a.0.max(b.0), a.1.min(b.1)))?;
            (both.0 < both.1).then_some(both)
        };
        let ranges: Vec<(f64, f64)> = curves.iter().filter_map(range).collect();
        if ranges.len() < 2 {
            return Err(NoFrontier::TooFewSizes { have: ranges.len() });
        }
        let (mut starts, mut ends): (Vec<f64>, Vec<f64>) = ranges.into_iter().unzip();
        starts.sort_by(f64::total_cmp);
        ends.sort_by(|a, b| b.total_cmp(a));
        let (low, high) = (starts[1], ends[1]);
        if low >= high {
            return Err(NoFrontier::NoOverlap);
        }
        let spread = |i: usize| low * (high / low).powf(i as f64 / (POINTS - 1) as f64);
        let mut computes: Vec<f64> = (0..POINTS).map(spread).collect();
        // Rounding must not lead past the last evaluation.
        computes[POINTS - 1] = high;
        let measured = |compute: f64| curves.iter().filter(|seeds| covers(seeds, compute)).count();
        computes.retain(|&compute| measured(compute) >= 2);
        if computes.len() < 2 {
            return Err(NoFrontier::NoOverlap);
        }
        let table = |curve: &Vec<(f64, f64)>| computes.iter().map(|&compute| at(curve, compute)).collect();
        let losses = curves.iter().map(|seeds| seeds.iter().map(table).collect()).collect();
        Ok(Self { names: sizes.iter().map(|s| s.size.clone()).collect(), computes, losses })
    }

    /// The names of the sizes.
    pub fn sizes(&self) -> &[String] {
        &self.names
    }

    /// Seeds of each size.
    pub fn seeds(&self) -> Vec<usize> {
        self.losses.iter().map(Vec::len).collect()
    }

    /// The frontier's points by compute.
    pub fn points(&self) -> Vec<FrontierPoint> {
        let all: Vec<Vec<usize>> = self.losses.iter().map(|seeds| (0..seeds.len()).collect()).collect();
        self.points_of(&all)
    }

    /// The same for a choice of seeds of each size, which may hold one more than once.
    pub(super) fn points_of(&self, chosen: &[Vec<usize>]) -> Vec<FrontierPoint> {
        let mean = |size: usize, i: usize| -> Option<f64> {
            let seeds = &chosen[size];
            let sum = seeds.iter().map(|&seed| self.losses[size][seed][i]).sum::<Option<f64>>()?;
            (!seeds.is_empty()).then(|| sum / seeds.len() as f64)
        };
        let best = |(i, &flops): (usize, &f64)| {
            let of = |size| mean(size, i).map(|loss| FrontierPoint { flops, loss, size });
            (0..self.losses.len()).filter_map(of).min_by(|a, b| a.loss.total_cmp(&b.loss))
        };
        self.computes.iter().enumerate().filter_map(best).collect()
    }
}

/// Whether there are runs, and all were measured at a compute.
fn covers(seeds: &[Vec<(f64, f64)>], compute: f64) -> bool {
    !seeds.is_empty() && seeds.iter().all(|curve| at(curve, compute).is_some())
}

/// The loss of a running minimum at a compute; none outside of what was measured.
fn at(curve: &[(f64, f64)], compute: f64) -> Option<f64> {
    let after = curve.iter().position(|&(cost, _)| cost >= compute)?;
    let (cost, loss) = curve[after];
    if cost == compute {
        return Some(loss);
    }
    let (cost0, loss0) = curve[after.checked_sub(1)?];
    Some(loss0 + (loss - loss0) * (compute / cost0).ln() / (cost / cost0).ln())
}

/// How much less compute one frontier needs than another for the same loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saving {
    /// (loss, the base's compute over the other's), from the highest loss to the lowest that both reach; above 1 the
    /// other needs less.
    pub ratios: Vec<(f64, f64)>,
    /// Their geometric mean.
    pub mean: f64,
}

/// The ratio of two frontiers' computes at equal losses, interpolated in log–log between their points; only losses that
/// both have are compared. None where there is no such loss.
pub fn saving(base: &[FrontierPoint], other: &[FrontierPoint]) -> Option<Saving> {
    let curve = |points: &[FrontierPoint]| running_minimum(points.iter().map(|p| (p.flops, p.loss)));
    let (base, other) = (curve(base), curve(other));
    let high = base.first()?.1.min(other.first()?.1);
    let low = base.last()?.1.max(other.last()?.1);
    if !(low > 0.0 && low < high) {
        return None;
    }
    let level = |i: usize| match LEVELS - 1 - i {
        0 => low,
        left => low * (high / low).powf(left as f64 / (LEVELS - 1) as f64),
    };
    let ratio = |loss: f64| Some((loss, compute_at(&base, loss)? / compute_at(&other, loss)?));
    let ratios: Vec<(f64, f64)> = (0..LEVELS).map(level).filter_map(ratio).collect();
    let mean = (ratios.iter().map(|(_, ratio)| ratio.ln()).sum::<f64>() / ratios.len().max(1) as f64).exp();
    (!ratios.is_empty()).then_some(Saving { ratios, mean })
}

/// The compute at which a running minimum reaches `loss`, interpolated in log–log; none where it lies outside.
fn compute_at(curve: &[(f64, f64)], loss: f64) -> Option<f64> {
    let after = curve.iter().position(|&(_, l)| l <= loss)?;
    let (cost, reached) = curve[after];
    let Some(before) = after.checked_sub(1) else {
        return (reached == loss).then_some(cost);
    };
    let (cost0, loss0) = curve[before];
    let share = (loss0 / loss).ln() / (loss0 / reached).ln();
    Some(cost0 * (cost / cost0).powf(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(name: &str, points: &[(f64, f64)]) -> SizeCurves {
        SizeCurves { size: name.into(), seeds: vec![points.to_vec()] }
    }

    #[test]
    fn the_envelope_takes_the_better_size_at_each_compute_and_nothing_beyond_what_was_measured() {
        // In log10 of compute: small falls from 4 to 3 over 0..4, large from 6 to 2 over 1..5. They cross at x = 3.
        let small = size("small", &[(1.0, 4.0), (1e4, 3.0)]);
        let large = size("large", &[(1e1, 6.25), (1e5, 2.25)]);
        let frontier = Frontier::new(&[small, large]).unwrap();
        let points = frontier.points();
        assert_eq!((points[0].flops, points[points.len() - 1].flops), (1e1, 1e4));
        assert!((points[0].loss - 3.75).abs() < 1e-12, "{:?}", points[0]);
        for p in &points {
            let x = p.flops.log10();
            let (small, large) = (4.0 - 0.25 * x, 6.25 - (x - 1.0));
            assert!((p.loss - small.min(large)).abs() < 1e-9, "{p:?}");
            assert_eq!(p.size, usize::from(large < small), "{p:?}");
        }
    }

    #[test]
    fn seeds_are_averaged_after_their_running_minimum() {
        let curves = SizeCurves {
            size: "a".into(),
            seeds: vec![vec![(1.0, 4.0), (10.0, 2.0), (100.0, 3.0)], vec![(1.0, 6.0), (10.0, 4.0), (100.0, 4.0)]],
        };
        let worse = size("b", &[(1.0, 9.0), (100.0, 8.0)]);
        let points = Frontier::new(&[curves, worse]).unwrap().points();
        assert_eq!((points[0].loss, points[points.len() - 1].loss), (5.0, 3.0));
    }

    #[test]
    fn what_cannot_be_compared_has_a_reason() {
        let a = size("a", &[(1.0, 4.0), (10.0, 3.0)]);
        let apart = size("b", &[(20.0, 3.0), (30.0, 2.0)]);
        let lost = size("c", &[(1.0, f64::NAN), (10.0, f64::NAN)]);
        assert_eq!(Frontier::new(std::slice::from_ref(&a)), Err(NoFrontier::TooFewSizes { have: 1 }));
        assert_eq!(Frontier::new(&[a.clone(), lost]), Err(NoFrontier::TooFewSizes { have: 1 }));
        assert_eq!(Frontier::new(&[a.clone(), apart]), Err(NoFrontier::NoOverlap));
        // A size that is still to be trained is as if it weren't there.
        let todo = SizeCurves { size: "d".into(), seeds: Vec::new() };
        assert_eq!(Frontier::new(&[a.clone(), todo.clone()]), Err(NoFrontier::TooFewSizes { have: 1 }));
        let [b, d] = [[(2.0, 3.0), (20.0, 2.0)], [(40.0, 1.0), (50.0, 0.5)]].map(|curve| size("", &curve));
        let points = Frontier::new(&[a, b, d, todo]).unwrap().points();
        assert!(points.iter().all(|p| (2.0..=10.0).contains(&p.flops)), "{points:?}");
    }

    #[test]
    fn the_saving_of_a_frontier_three_times_as_early_is_three() {
        let law = |scale: f64| -> Vec<FrontierPoint> {
            let point = |i: i32| {
                let flops = 1e6 * 2f64.powi(i);
                FrontierPoint { flops, loss: 5.0 * (flops * scale).powf(-0.05), size: 0 }
            };
            (0..12).map(point).collect()
        };
        let saved = saving(&law(1.0), &law(3.0)).unwrap();
        assert_eq!(saved.ratios.len(), LEVELS);
        assert!(saved.ratios.iter().all(|(_, ratio)| (ratio - 3.0).abs() < 1e-9), "{saved:?}");
        assert!((saved.mean - 3.0).abs() < 1e-9);
        // Losses that only one of them has are not compared.
        let [first, last] = [saved.ratios[0].0, saved.ratios[LEVELS - 1].0];
        assert!((first - law(3.0)[0].loss).abs() < 1e-12 && (last - law(1.0)[11].loss).abs() < 1e-12);
        let other: Vec<_> = law(1.0).into_iter().map(|p| FrontierPoint { loss: p.loss + 3.0, ..p }).collect();
        assert_eq!(saving(&law(1.0), &other), None, "no loss that both have");
    }
}
