//! `primer search`

pub mod describe;
mod dump;
mod look;
pub mod options;
mod report;
mod retest;
pub mod summary;
pub mod work;

pub use look::existing;

use crate::args::SearchCommand;
use crate::failure::{Failure, Outcome};
use primer_search::store::{Location, Store};

/// Runs a subcommand.
///
/// # Errors
/// A store or option that can't be used, a device that fails.
pub fn run(command: SearchCommand) -> Outcome {
    match command {
        SearchCommand::Init(args) => work::init(&args),
        SearchCommand::Run(args) => work::run(&args),
        SearchCommand::Worker(args) => work::worker(&args),
        SearchCommand::Status(args) => look::status(&args),
        SearchCommand::Top(args) => look::top(&args),
        SearchCommand::Show(args) => look::show(&args),
        SearchCommand::Diff(args) => look::diff(&args),
        SearchCommand::Lineage(args) => look::lineage(&args),
        SearchCommand::Report(args) => report::run(&args),
        SearchCommand::Dump(args) => dump::dump(&args),
        SearchCommand::Restore(args) => dump::restore(&args),
        SearchCommand::Retest(args) => retest::run(&args),
        SearchCommand::Verify(args) => look::verify(&args),
    }
}

/// The study in a store that must be there.
///
/// # Errors
/// One that isn't, or can't be read.
pub fn open(location: &Location) -> Outcome<Store> {
    if !Store::exists(location)? {
        return Err(
            Failure::usage(format!("there is no study in {location}")).hint("Make one with `primer search init`.")
        );
    }
    Ok(Store::open(location)?)
}

/// Refuses a place where a store is already.
///
/// # Errors
/// Such a place, and those of [`place`].
pub fn vacant(location: &Location) -> Outcome {
    if Store::exists(location)? {
        return Err(Failure::usage(format!("the store {location} is already there"))
            .hint("Go on with it by `primer search run`, or give another --store."));
    }
    place(location)
}

/// Refuses a place where no store can be made, before anything is measured for it.
///
/// # Errors
/// A folder that isn't there.
pub fn place(location: &Location) -> Outcome {
    let Location::Sqlite(path) = location else { return Ok(()) };
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) if !folder.is_dir() => {
            Err(Failure::usage(format!("the store {location} can't be made: there is no folder {}", folder.display()))
                .hint("Make the folder, or give another --store."))
        }
        _ => Ok(()),
    }
}
