//! How many random programs, and from which seed.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use proptest::prelude::ProptestConfig;
use proptest::test_runner::{FileFailurePersistence, RngAlgorithm, TestRng, TestRunner};

/// `PRIMER_SOAK` times as many as usual.
pub const SOAK: &str = "PRIMER_SOAK";
/// `PRIMER_SEED` instead of the seed that every run takes, or a soak draws anew.
pub const SEED: &str = "PRIMER_SEED";

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text:?} is no whole number")))
}

/// A runner of `programs` programs, of more in a soak; what a test rejects is drawn anew and doesn't count. It prints its
/// seed; a failure is shrunk and kept beside `source_file`.
pub fn runner(test: &str, source_file: &'static str, programs: u32) -> TestRunner {
    let soak = number(SOAK);
    let times = u32::try_from(soak.unwrap_or(1)).unwrap_or_else(|_| panic!("{SOAK} is too large"));
    let programs = programs.saturating_mul(times);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    let seed = number(SEED).unwrap_or_else(|| if soak.is_some() { now() } else { 2026 });
    // Straight to stderr: the harness would hide it.
    let _ = writeln!(std::io::stderr(), "{test}: {programs} programs from {SEED}={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = ProptestConfig {
        cases: programs,
        // More than a test may reject: it says which share that is, and fails for it.
        max_global_rejects: programs,
        source_file: Some(source_file),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        max_shrink_iters: 2000,
        ..ProptestConfig::default()
    };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}
