//! Whole commands, run as a user runs them.

mod bad_input;
mod commands;
mod compare;
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
