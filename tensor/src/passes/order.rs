//! Topological order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// All of `0..after.len()`, each before those in `after[it]`; among what is ready the smallest key comes first. What
/// waits for itself is left out.
pub(super) fn topological<K: Ord>(after: &[Vec<usize>], key: impl Fn(usize) -> K) -> Vec<usize> {
    let mut waiting = vec![0usize; after.len()];
    after.iter().flatten().for_each(|&later| waiting[later] += 1);
    let ready = (0..after.len()).filter(|&one| waiting[one] == 0);
    let mut ready: BinaryHeap<_> = ready.map(|one| Reverse((key(one), one))).collect();
    let mut order = Vec::with_capacity(after.len());
    while let Some(Reverse((_, one))) = ready.pop() {
        order.push(one);
        for &later in &after[one] {
            waiting[later] -= 1;
            if waiting[later] == 0 {
                ready.push(Reverse((key(later), later)));
            }
        }
    }
    order
}
