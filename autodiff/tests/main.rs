//! The crate's tests, one binary.

mod rules;
mod support;
