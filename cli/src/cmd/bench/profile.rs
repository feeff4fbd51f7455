//! What each kernel of a training step takes.

use super::median;
use crate::failure::Outcome;
use primer_models::Trainer;
use serde::Serialize;

/// Steps that are timed kernel by kernel; the median of each kernel counts.
const STEPS: usize = 15;

/// Rows of the table that is printed; the rest is added up.
const ROWS: usize = 16;

/// Kernels of one kind and size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What they are, with the sizes that they work on.
    pub kernel: String,
    /// How many a step has.
    pub count: usize,
    /// What they take together, in milliseconds.
    pub ms: f64,
    /// Their part of all kernels' time.
    pub share: f64,
}

/// The kernels of a step, the costliest first; none where the device has no clock for them.
///
/// # Errors
/// A device that fails.
pub fn of(trainer: &mut Trainer) -> Outcome<Vec<Row>> {
    let mut kernels: Vec<(String, Vec<f64>)> = Vec::new();
    for _ in 0..STEPS {
        for (i, (kernel, time)) in trainer.profile_step()?.into_iter().enumerate() {
            match kernels.get_mut(i) {
                Some((_, times)) => times.push(1e3 * time.as_secs_f64()),
                None => kernels.push((kernel, vec![1e3 * time.as_secs_f64()])),
            }
        }
    }
    let times = kernels.into_iter().map(|(kernel, mut times)| (kernel, median(&mut times))).collect::<Vec<_>>();
    Ok(grouped(&times))
}

/// Kernels with the time of each, added up by what they are.
fn grouped(times: &[(String, f64)]) -> Vec<Row> {
    let all: f64 = times.iter().map(|(_, ms)| ms).sum();
    let mut rows: Vec<Row> = Vec::new();
    for (kernel, ms) in times {
        match rows.iter_mut().find(|row| row.kernel == *kernel) {
            Some(row) => (row.count, row.ms) = (row.count + 1, row.ms + ms),
            None => rows.push(Row { kernel: kernel.clone(), count: 1, ms: *ms, share: 0.0 }),
        }
    }
    for row in &mut rows {
        row.share = row.ms / all;
    }
    rows.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    rows
}

/// The lines of a table: the costliest rows, and the rest in one.
pub fn lines(rows: &[Row]) -> Vec<String> {
    let line = |count: usize, ms: f64, share: f64, kernel: &str| {
        format!("  {ms:>9.3} ms {:>5.1}% {count:>4} × {kernel}", 100.0 * share)
    };
    let (first, rest) = rows.split_at(rows.len().min(ROWS));
    let mut lines: Vec<String> = first.iter().map(|row| line(row.count, row.ms, row.share, &row.kernel)).collect();
    if !rest.is_empty() {
        let sum = |of: fn(&Row) -> f64| rest.iter().map(of).sum::<f64>();
        let count = rest.iter().map(|row| row.count).sum();
        lines.push(line(count, sum(|row| row.ms), sum(|row| row.share), "others"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_of_one_kind_are_one_row_and_the_rest_is_added_up() {
        let mut times = vec![("product".to_owned(), 1.0), ("row".to_owned(), 5.0), ("product".to_owned(), 2.0)];
        let rows = grouped(&times);
        let found: Vec<_> = rows.iter().map(|row| (row.kernel.as_str(), row.count, row.ms, row.share)).collect();
        assert_eq!(found, [("row", 1, 5.0, 0.625), ("product", 2, 3.0, 0.375)]);
        times.extend((0..20).map(|i| (format!("small {i}"), 0.1)));
        let lines = lines(&grouped(&times));
        assert_eq!(lines.len(), ROWS + 1);
        assert!(lines[ROWS].contains("0.600 ms") && lines[ROWS].ends_with("6 × others"), "{}", lines[ROWS]);
    }
}
