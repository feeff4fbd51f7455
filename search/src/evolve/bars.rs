//! The losses above which a mark ends a candidate.

use std::collections::BTreeMap;

use crate::store::Mark;
use crate::study::Fitness;

/// The bar of a hurdle, given the losses in its window: their lower median, so that of an even number
/// the better half passes. None where the window is empty.
pub(crate) fn bar(losses: &[f64]) -> Option<f64> {
    let mut sorted = losses.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(losses.len().checked_sub(1)? / 2).copied()
}

/// The finite losses at each mark with their candidates' places in the log, in the order of the log.
#[derive(Debug, Clone, Default)]
pub struct Windows(BTreeMap<u32, Vec<(u64, f64)>>);

impl Windows {
    /// Adds a loss of the candidate at `place`, which is not before the last one added.
    pub fn add(&mut self, place: u64, mark: &Mark) {
        if let Some(loss) = mark.loss {
            self.0.entry(mark.mark).or_default().push((place, loss));
        }
    }

    /// The bars of a child that sees the log up to `watermark`, of each hurdle.
    pub fn bars(&self, fitness: &Fitness, watermark: u64) -> Vec<Option<f64>> {
        let of = |mark: u32| {
            let window = self.0.get(&mark).map_or(&[][..], Vec::as_slice);
            let seen = &window[..window.partition_point(|&(place, _)| place <= watermark)];
            let last = &seen[seen.len().saturating_sub(fitness.window as usize)..];
            bar(&last.iter().map(|&(_, loss)| loss).collect::<Vec<_>>())
        };
        (0..fitness.hurdles).map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_the_lower_median() {
        assert_eq!(bar(&[]), None);
        assert_eq!(bar(&[3.0]), Some(3.0));
        assert_eq!(bar(&[3.0, 1.0]), Some(1.0));
        assert_eq!(bar(&[5.0, 1.0, 4.0, 2.0, 3.0]), Some(3.0));
        assert_eq!(bar(&[4.0, 1.0, 3.0, 2.0]), Some(2.0));
    }

    #[test]
    fn a_window_is_the_last_finite_losses_seen() {
        let mut windows = Windows::default();
        for (place, loss) in [Some(5.0), Some(1.0), None, Some(2.0), Some(3.0)].into_iter().enumerate() {
            windows.add(place as u64, &Mark { run: 0, mark: 1, loss });
        }
        let fitness = Fitness { hurdles: 2, window: 2, ..Fitness::steps(1) };
        // Of the places 0 to 2 the window holds 5 and 1, of all 2 and 3.
        assert_eq!(windows.bars(&fitness, 2), [None, Some(1.0)]);
        assert_eq!(windows.bars(&fitness, 4), [None, Some(2.0)]);
        assert_eq!(windows.bars(&fitness, 0), [None, Some(5.0)]);
    }
}
