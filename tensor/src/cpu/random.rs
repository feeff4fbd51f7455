//! Random numbers by counter.

use super::Bases;
use super::isa::{Isa, Simd, Vectorised};
use super::team::Team;
use crate::philox::{ROUNDS, next_key, round, uniform};
use crate::plan::View;

/// Blocks of four numbers that are computed side by side.
const LANES: usize = 16;
/// Blocks of one task.
const TASK: usize = 1 << 12;

/// A compiled draw.
#[derive(Debug)]
pub(super) struct RandomKernel {
    key: (usize, usize),
    out: (usize, usize),
    count: usize,
    stream: u32,
}

impl RandomKernel {
    pub(super) fn new(key: &View, out: &View, stream: u32) -> Self {
        let place = |view: &View| (view.buffer.index(), view.offset);
        Self { key: place(key), out: place(out), count: out.numel(), stream }
    }

    /// Executes it.
    ///
    /// # Safety
    /// `bases` points to the buffers of the plan, which the views lie within; no one else uses `out`.
    pub(super) unsafe fn run(&self, bases: &Bases, team: &Team, isa: Isa) {
        // SAFETY: the key is two words within its buffer.
        let key = unsafe {
            let key = bases.get(self.key.0).add(self.key.1).cast_const().cast::<u32>();
            [*key, *key.add(1)]
        };
        team.run(self.count.div_ceil(4 * TASK), &|task, _| {
            let first = task * TASK;
            let from = 4 * first;
            // SAFETY: each task writes its own elements of the view.
            let out = unsafe {
                let to = bases.get(self.out.0).add(self.out.1 + from);
                std::slice::from_raw_parts_mut(to, (self.count - from).min(4 * TASK))
            };
            isa.dispatch(Blocks { first: first as u32, stream: self.stream, key, out });
        });
    }
}

/// Neighbouring blocks.
struct Blocks<'a> {
    first: u32,
    stream: u32,
    key: [u32; 2],
    out: &'a mut [f32],
}

impl Vectorised for Blocks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let mut block = self.first;
        for out in self.out.chunks_mut(4 * LANES) {
            let mut counters = [[0u32; 4]; LANES];
            for (lane, counter) in counters.iter_mut().enumerate() {
                *counter = [block.wrapping_add(lane as u32), 0, self.stream, 0];
            }
            let mut key = self.key;
            for _ in 0..ROUNDS {
                for counter in &mut counters {
                    *counter = round(*counter, key);
                }
                key = next_key(key);
            }
            for (to, &word) in out.iter_mut().zip(counters.as_flattened()) {
                *to = uniform(word);
            }
            block = block.wrapping_add(LANES as u32);
        }
    }
}
