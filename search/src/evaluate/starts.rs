//! The starting values of parameters, which most candidates of a study share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::lower::{Init, Parameter, initial_values};

/// Values that are kept at most, 64 MiB; fewer in this module's test.
const MOST: usize = if cfg!(test) { 1 << 10 } else { 1 << 24 };

/// What the values follow from: the seed, and layer, op, shape, ordinal and spread of the parameter.
type Key = (u64, Option<usize>, &'static str, Vec<usize>, usize, u64);

/// Values by what they follow from. Full, it begins anew.
#[derive(Default)]
pub(super) struct Starts(Mutex<Known>);

#[derive(Default)]
struct Known {
    values: HashMap<Key, Arc<[f32]>>,
    /// Their elements in all.
    elements: usize,
}

impl Starts {
    /// The values of [`initial_values`].
    pub(super) fn get(&self, parameter: &Parameter, seed: u64) -> Arc<[f32]> {
        let Init::Normal(std) = parameter.init else { return initial_values(parameter, seed).into() };
        let key = (seed, parameter.layer, parameter.op, parameter.shape.clone(), parameter.ordinal, std.to_bits());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.values.get(&key) {
            return Arc::clone(found);
        }
        let new: Arc<[f32]> = initial_values(parameter, seed).into();
        if known.elements + new.len() > MOST {
            *known = Known::default();
        }
        known.elements += new.len();
        known.values.insert(key, Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_would_be_drawn() {
        let parameter = |shape: &[usize], ordinal| Parameter {
            name: "any".into(),
            shape: shape.to_vec(),
            init: Init::Normal(0.5),
            layer: Some(1),
            op: "CONV_1X1",
            ordinal,
            source: None,
        };
        let starts = Starts::default();
        for seed in [1, 2, 1] {
            for (shape, ordinal) in [([3, 5], 0), ([5, 3], 0), ([3, 5], 1)] {
                let parameter = parameter(&shape, ordinal);
                assert_eq!(*starts.get(&parameter, seed), *initial_values(&parameter, seed));
            }
        }
        assert_eq!(starts.0.lock().unwrap().elements, 2 * 3 * 15);
        // More than it keeps.
        let large = parameter(&[MOST / 2 + 1, 1], 0);
        for seed in [3, 4] {
            starts.get(&large, seed);
        }
        assert_eq!(starts.0.lock().unwrap().values.len(), 1);
    }
}
