//! How far a plan reaches: within its buffers, and into the device's memory.

use std::collections::HashMap;

use super::{Place, Plan, View};
use crate::{Error, Result};

impl Plan {
    /// Checks that every view lies within its buffer.
    ///
    /// # Errors
    /// [`Error::Device`] where one doesn't.
    pub fn check_views(&self) -> Result<()> {
        for (position, kernel) in self.kernels.iter().enumerate() {
            for view in kernel.reads().into_iter().chain(kernel.writes()) {
                self.check_view(position, view)?;
            }
        }
        Ok(())
    }

    fn check_view(&self, position: usize, view: &View) -> Result<()> {
        let fail = |message: String| Err(Error::Device { message: format!("kernel {position}: {message}") });
        let Some(spec) = self.buffers.get(view.buffer.index()) else {
            return fail(format!("there is no buffer {}", view.buffer.index()));
        };
        if view.dims.len() != view.strides.len() {
            return fail(format!("{view:?} has not one stride a dimension"));
        }
        let numel = spec.shape.numel() as i128;
        if view.reach().is_some_and(|(low, high)| low < 0 || high >= numel) {
            return fail(format!("{view:?} reaches past a buffer of shape {}", spec.shape));
        }
        Ok(())
    }

    /// Bytes of the state entries, inputs and scratch that a run holds at once; without what is held for tiles.
    pub fn memory(&self) -> u64 {
        let named = self.named_bytes(|place| matches!(place, Place::State(_) | Place::Data(_)));
        named + self.slots.iter().map(|&words| 4 * words as u64).sum::<u64>()
    }

    /// Bytes at the places that `counts` admits, each place once.
    pub(super) fn named_bytes(&self, counts: impl Fn(&Place) -> bool) -> u64 {
        let mut named: HashMap<&Place, u64> = HashMap::new();
        for buffer in self.buffers.iter().filter(|b| counts(&b.place)) {
            let bytes = named.entry(&buffer.place).or_default();
            *bytes = (*bytes).max(buffer.size());
        }
        named.values().sum()
    }
}
