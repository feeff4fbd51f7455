//! The crate's tests, one binary.

mod devices;
mod random_gradients;
mod rules;
mod support;
