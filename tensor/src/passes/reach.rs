//! Which kernel depends on which, kept transitively closed while kernels are still growing.

/// Transitive dependencies between numbered units.
#[derive(Default)]
pub(super) struct Reach {
    rows: Vec<Vec<u64>>,
}

impl Reach {
    /// A new unit that depends on nothing.
    pub(super) fn add(&mut self) -> usize {
        self.rows.push(Vec::new());
        self.rows.len() - 1
    }

    /// Whether `a` depends on `b`, directly or not.
    pub(super) fn depends(&self, a: usize, b: usize) -> bool {
        self.rows[a].get(b / 64).is_some_and(|word| word >> (b % 64) & 1 == 1)
    }

    /// Records that `a` depends on `b`. The caller has checked that `b` does not depend on `a`.
    pub(super) fn link(&mut self, a: usize, b: usize) {
        debug_assert!(a != b && !self.depends(b, a), "a cycle of kernels");
        if self.depends(a, b) {
            return;
        }
        let mut gained = self.rows[b].clone();
        set(&mut gained, b);
        for unit in 0..self.rows.len() {
            if unit == a || self.depends(unit, a) {
                merge(&mut self.rows[unit], &gained);
            }
        }
    }

    /// Gives `a` everything that `b` depends on and lets everything that depends on `b` depend on `a`: `b` is now part
    /// of `a`.
    pub(super) fn absorb(&mut self, a: usize, b: usize) {
        let gained = self.rows[b].clone();
        for unit in 0..self.rows.len() {
            if unit == a || self.depends(unit, a) {
                merge(&mut self.rows[unit], &gained);
            }
        }
        let mut with_a = self.rows[a].clone();
        set(&mut with_a, a);
        for unit in 0..self.rows.len() {
            if self.depends(unit, b) {
                merge(&mut self.rows[unit], &with_a);
            }
        }
    }
}

fn set(row: &mut Vec<u64>, bit: usize) {
    if row.len() <= bit / 64 {
        row.resize(bit / 64 + 1, 0);
    }
    row[bit / 64] |= 1 << (bit % 64);
}

fn merge(into: &mut Vec<u64>, from: &[u64]) {
    if into.len() < from.len() {
        into.resize(from.len(), 0);
    }
    for (a, b) in into.iter_mut().zip(from) {
        *a |= b;
    }
}
