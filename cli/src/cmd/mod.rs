//! One file a command.

pub mod bench;
pub mod device;
pub mod devices;
pub mod eval;
pub mod export;
pub mod info;
pub mod logits;
pub mod ops;
pub mod quickstart;
pub mod sample;
pub mod search;
pub mod train;
mod train_progress;
