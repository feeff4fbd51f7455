//! Whole commands, run as a user runs them.

mod bad_input;
#[cfg(unix)]
#[path = "../../search/tests/cluster.rs"]
#[allow(dead_code)] // the search's own tests do more with it
mod cluster;
mod commands;
mod compare;
mod dump;
mod export;
mod kill;
mod kit;
mod programs;
mod progress;
mod quickstart;
mod retest;
mod scaling;
mod search;
mod tune;
