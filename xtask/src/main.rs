//! The project's own chores. `cargo xtask` lists them.
//!
//! No workspace crate is used here, so that this compiles in a second on a bare machine and can say
//! what is missing *before* the long compile starts.

#![allow(clippy::print_stdout, clippy::print_stderr)] // a command-line tool: it speaks to people

mod deps;
mod examples;
mod postgres;
mod setup;
mod test;
mod vulkan;

use std::process::{Command, ExitCode};

const HELP: &str = "\
The project's chores.

Usage: cargo xtask <COMMAND>

Commands:
  test           run every test: unit, integration, documentation, examples, each benchmark once
  test --setup   first install what the tests need and this machine lacks (a Vulkan driver, Postgres)
  deps-check     check that the dependency tree holds no fontconfig, onig, openssl or aws-lc
";

fn main() -> ExitCode {
    // Every chore is about the whole workspace, wherever it was started.
    if let Err(e) = std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")) {
        eprintln!("xtask: the workspace it was built in is gone: {e}");
        return ExitCode::FAILURE;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ["test"] => test::run(false),
        ["test", "--setup"] => test::run(true),
        ["deps-check"] => deps::run(),
        [vulkan::PROBE] => return vulkan::probe_here(),
        _ => {
            eprint!("xtask: no such command: {}\n\n{HELP}", args.join(" "));
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The cargo that runs this program.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
