//! Shaders ready to launch, and what their generator must know.

use super::{Granted, Variants};
use crate::plan::{BufferId, Kernel, Place, Plan};
use crate::{DType, Error, Result};

/// A buffer of an executable, or the scratch that launches of one kernel hand over in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Location {
    Data(usize),
    State(usize),
    Slot(usize),
    Auxiliary,
    /// In no memory: a product that goes into its epilogue.
    Nowhere,
}

/// A storage buffer as one shader sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Binding {
    pub at: Location,
    pub written: bool,
    pub dtype: DType,
    /// Whether its floats are stored in 16 bits.
    pub half: bool,
    /// Whether the shader sees vectors of four.
    pub vectors: bool,
}

impl Binding {
    /// The type of a stored element, in WGSL.
    pub fn stored(&self) -> &'static str {
        if self.half { "f16" } else { self.dtype.name() }
    }
}

/// One launch: its WGSL, what it binds, and how many workgroups it takes.
#[derive(Clone, Debug)]
pub(super) struct Shader {
    pub name: &'static str,
    pub source: String,
    pub bindings: Vec<Binding>,
    pub params: Vec<u32>,
    pub workgroups: u64,
    /// Words of auxiliary memory.
    pub auxiliary: usize,
    /// The most rounds of all loops together that an invocation runs, the last look at each condition included.
    pub rounds: u64,
}

impl Shader {
    pub fn has_params(&self) -> bool {
        !self.params.is_empty()
    }
}

/// What the generator must know of a plan and its device.
pub(super) struct Context<'a> {
    plan: &'a Plan,
    /// Where each buffer is.
    locations: Vec<Location>,
    data: Vec<&'a str>,
    states: Vec<&'a str>,
    pub granted: Granted,
    pub variants: Variants,
}

impl<'a> Context<'a> {
    /// # Errors
    /// [`Error::Device`] where the plan holds buffers for one tile at a time; that of a GPU has chunks instead.
    pub fn new(plan: &'a Plan, granted: Granted, variants: Variants) -> Result<Self> {
        fn position<'a>(names: &mut Vec<&'a str>, name: &'a str) -> usize {
            names.iter().position(|n| *n == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            })
        }
        let (mut data, mut states) = (Vec::new(), Vec::new());
        let mut locations = Vec::with_capacity(plan.buffers.len());
        if plan.kernels.iter().any(|kernel| matches!(kernel, Kernel::Tiled(tiled) if !tiled.locals.is_empty())) {
            return Err(Error::Device { message: "a plan for a GPU holds nothing by tiles".into() });
        }
        for buffer in &plan.buffers {
            locations.push(match &buffer.place {
                Place::Data(name) => Location::Data(position(&mut data, name)),
                Place::State(name) => Location::State(position(&mut states, name)),
                Place::Slot(slot) => Location::Slot(*slot),
                Place::Tile => Location::Nowhere,
            });
        }
        Ok(Self { plan, locations, data, states, granted, variants })
    }

    /// Names of the data inputs; [`Location::Data`] counts in them.
    pub fn data(&self) -> &[&'a str] {
        &self.data
    }

    /// Names of the state entries; [`Location::State`] counts in them.
    pub fn states(&self) -> &[&'a str] {
        &self.states
    }

    pub fn location(&self, buffer: BufferId) -> Location {
        self.locations[buffer.index()]
    }

    /// The most rounds of loops that an invocation may run on this device.
    pub fn rounds(&self) -> u64 {
        u64::from(self.granted.max_loop_rounds)
    }

    pub fn dtype(&self, buffer: BufferId) -> DType {
        self.plan.buffers[buffer.index()].dtype
    }

    /// Whether the buffer's floats are stored in 16 bits.
    pub fn is_half(&self, buffer: BufferId) -> bool {
        self.plan.buffers[buffer.index()].half
    }
}

/// `count` workgroups as three dimensions of at most `max` each, near a square so that few are left over.
pub(super) fn fold(name: &str, count: u64, max: u32) -> Result<[u32; 3]> {
    let limit = u64::from(max);
    let dims = if count <= limit {
        [count, 1, 1]
    } else if count <= limit * limit {
        let y = count.div_ceil(limit);
        [count.div_ceil(y), y, 1]
    } else {
        let z = count.div_ceil(limit * limit);
        let plane = count.div_ceil(z);
        let y = plane.div_ceil(limit);
        [plane.div_ceil(y), y, z]
    };
    if dims.iter().any(|&d| d > limit) || count > u64::from(u32::MAX) {
        let granted = limit.saturating_pow(3).min(u64::from(u32::MAX));
        return Err(Error::Limit { what: format!("kernel {name}"), needed: count, granted, unit: "workgroups" });
    }
    Ok(dims.map(|d| d as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_covers_the_count_within_the_limit() {
        for max in [1, 2, 7, 65_535] {
            for count in [1, 2, 6, 7, 8, 48, 49, 50, 342, 343, 65_535, 65_536, 70_000, 4_000_000_000u64] {
                match fold("k", count, max) {
                    Ok(dims) => {
                        assert!(dims.iter().all(|&d| d >= 1 && d <= max), "{count} in {max}: {dims:?}");
                        let covered: u64 = dims.iter().map(|&d| u64::from(d)).product();
                        assert!(covered >= count, "{count} in {max}: {dims:?}");
                    }
                    Err(_) => assert!(count > u64::from(max).pow(3), "{count} in {max}"),
                }
            }
        }
    }
}
