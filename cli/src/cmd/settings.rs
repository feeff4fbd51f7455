//! Settings of a run from the options that several commands have.

use crate::failure::{Failure, Outcome};
use primer_models::RunConfig;

/// Changes `config` as --set, then --seq and --batch say: what has an option of its own is decided by that.
///
/// # Errors
/// A key or value that can't be used.
pub fn set_all(config: &mut RunConfig, set: &[String], seq: Option<u64>, batch: Option<u64>) -> Outcome {
    for assignment in set {
        config.set(assignment)?;
    }
    if let Some(seq) = seq {
        config.model.seq = whole(seq, "--seq")?;
    }
    if let Some(batch) = batch {
        config.train.batch = whole(batch, "--batch")?;
    }
    Ok(())
}

/// A count that this machine can hold.
fn whole(value: u64, name: &str) -> Outcome<usize> {
    usize::try_from(value).map_err(|_| Failure::usage(format!("{name} {value} is more than this machine can hold")))
}
