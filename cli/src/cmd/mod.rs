//! One file a command.

pub mod bench;
pub mod compare;
pub mod device;
pub mod devices;
pub mod eval;
pub mod experiment;
pub mod export;
pub mod info;
pub mod logits;
pub mod ops;
pub mod quickstart;
pub mod sample;
pub mod scaling;
pub mod search;
mod settings;
mod step_cost;
pub mod train;
mod train_progress;
