//! The crate's tests, one binary.

mod conventions;
mod devices;
mod gradients;
mod in_place;
mod launches;
mod random_programs;
mod rules;
mod support;
