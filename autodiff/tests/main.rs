//! The crate's tests, one binary.

mod conventions;
mod devices;
mod gradients;
mod launches;
mod random_gradients;
mod rules;
mod support;
