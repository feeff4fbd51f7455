//! Blocks that are programs of the search.
//!
//! The search depends on this crate, not the other way round, so it hands over how the text of a program becomes a
//! block.

use std::sync::OnceLock;

use primer_tensor::Tensor;

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::nn::{Dims, Params, Scope};

/// Records the block of a program, given in its text form: from rows `[batch·seq, d]` to the same, with parameters in
/// the scope. An error says why there is no such block.
pub type Lowering = fn(&str, Dims, Scope<'_>, &Tensor) -> std::result::Result<Tensor, String>;

static LOWERING: OnceLock<Lowering> = OnceLock::new();

/// Makes models with programs possible in this process. The first call counts.
pub fn register(lowering: Lowering) {
    // Set already: by an earlier call.
    let _ = LOWERING.set(lowering);
}

/// Records one block.
pub(super) fn block(config: &ModelConfig, dims: Dims, scope: Scope<'_>, x: &Tensor) -> Result<Tensor> {
    let refused = |reason: String| Error::BadValue { key: "model.program".into(), value: config.label(), reason };
    if config.program.is_empty() {
        return Err(refused("there is no program".into()));
    }
    let Some(lowering) = LOWERING.get() else {
        return Err(refused("programs can't be read here: primer_search::register() has not been called".into()));
    };
    lowering(&config.program, dims, scope, x).map_err(refused)
}

/// Checks that the program is one, and has a block of the model's width.
///
/// # Errors
/// [`Error::BadValue`].
pub(crate) fn check(config: &ModelConfig) -> Result<()> {
    let dims = Dims { batch: 1, seq: config.seq, d_model: config.d_model };
    let x = Tensor::constant(0.0).broadcast_to([config.seq, config.d_model]);
    block(config, dims, Params::new().root(), &x).map(|_| ())
}
