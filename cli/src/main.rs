//! The `primer` command: arguments, progress, printing, the report. Everything else is in the
//! libraries.

mod architecture;
mod args;
mod cmd;
mod failure;
mod folder;
mod output;
mod report;
mod stop;
mod terminal;
mod tuned;
mod typed;
mod units;

use args::{Cli, Command};
use failure::Outcome;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::from_command_line() {
        Ok(cli) => cli,
        Err(e) => {
            // `--help` and `--version` arrive here too, with exit code 0.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
        }
    };
    quiet_headless_vulkan();
    log_to_stderr();
    primer_search::register();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Quickstart(args) => cmd::quickstart::run(&args),
        Command::Devices(args) => cmd::devices::run(&args),
        Command::Ops(args) => cmd::ops::run(&args),
        Command::Train(args) => cmd::train::run(&args),
        Command::Eval(args) => cmd::eval::run(&args),
        Command::Logits(args) => cmd::logits::run(&args),
        Command::Sample(args) => cmd::sample::run(&args),
        Command::Compare(args) => cmd::compare::run(&args),
        Command::Scaling(args) => cmd::scaling::run(&args),
        Command::Info(args) => cmd::info::run(&args),
        Command::Bench(args) => cmd::bench::run(&args),
        Command::Export(args) => cmd::export::run(&args),
        Command::Search(args) => cmd::search::run(args.command),
    }
}

/// Without a desktop session, a Vulkan layer of Mesa's that sorts devices for one complains on stderr
/// about the session's missing folder. It serves nothing here: devices are sorted by their kind.
fn quiet_headless_vulkan() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: no other thread runs yet that could read the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

/// The libraries' diagnostics, where `RUST_LOG` asks for them.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A closed stderr is no place to complain of it. Fails only if a subscriber is already set, which none is.
    let _ = log.log_internal_errors(false).try_init();
}
