//! How a command fails: one sentence with its cause, what to do, and the exit code.

use crate::terminal;
use std::process::ExitCode;

/// What a command returns.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why a command ended without doing its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// The work failed: exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: 1 }
    }

    /// The command was used wrongly: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, ..Self::new(message) }
    }

    /// Nobody reads any more; there is nothing to say and nothing went wrong.
    pub fn quiet() -> Self {
        Self { code: 0, ..Self::new("") }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says it on stderr and gives the exit code.
    pub fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            terminal::note(&format!("error: {}", self.message));
        }
        if let Some(hint) = &self.hint {
            terminal::note(&format!("  {hint}"));
        }
        ExitCode::from(self.code)
    }
}

impl From<primer_tensor::Error> for Failure {
    fn from(e: primer_tensor::Error) -> Self {
        use primer_tensor::Error as E;
        let failure = Self::new(e.to_string());
        match e {
            E::NoDevice { .. } => failure.hint("See what there is with `primer devices`; `--device cpu` always works."),
            E::Limit { .. } | E::TensorSize { .. } | E::MemoryBudget { .. } | E::OutOfMemory { .. } => {
                failure.hint("Try a smaller --batch, --seq or --size.")
            }
            E::Device { .. } | E::DeviceLost { .. } | E::Kernel { .. } | E::Timeout { .. } => {
                failure.hint("Try `--device cpu`, which needs no driver.")
            }
            _ => failure,
        }
    }
}

impl From<primer_models::Error> for Failure {
    fn from(e: primer_models::Error) -> Self {
        use primer_models::Error as E;
        let failure = Self::new(e.to_string());
        match e {
            E::UnknownName { .. } | E::UnknownKey { .. } | E::BadValue { .. } | E::BadConfig { .. } => {
                Self::usage(e.to_string())
            }
            E::Read { .. } => failure.hint("Check the path and its permissions."),
            E::Write { .. } => failure.hint("Choose a folder that can be written, with --out."),
            E::EmptyCorpus { .. } => {
                failure.hint("Give a text file, a folder of text files, or `rust` (the sources of the locked crates).")
            }
            E::NoCheckpoint { .. } => failure.hint("`--checkpoint` takes the folder that `primer train --out` wrote."),
            E::DamagedCheckpoint { .. } => {
                failure.hint("The folder `checkpoints` may hold an older one that is whole.")
            }
            _ => failure,
        }
    }
}

impl From<primer_search::Error> for Failure {
    fn from(e: primer_search::Error) -> Self {
        use primer_search::Error as E;
        use primer_search::error::ServerProblem as P;
        if let E::Model(e) = e {
            return e.into();
        }
        let failure = Self::new(e.to_string());
        match &e {
            E::Option { .. } => Self::usage(e.to_string()),
            E::StudyMismatch { .. } => Self::usage(e.to_string())
                .hint("A study's options are fixed when it is made; leave them out to go on with it."),
            E::StoreServer { problem, .. } => match problem {
                P::Url { .. } => Self::usage(e.to_string()).hint("Write postgres://USER@HOST:PORT/DATABASE."),
                P::Tls => failure.hint("Take a tunnel, as `ssh -L 5432:localhost:5432 HOST`, and sslmode=disable."),
                P::Unreachable { .. } => failure.hint("Check the address, and that the server lets this machine in."),
                P::Login { .. } => failure.hint("Give the password in PGPASSWORD or ~/.pgpass."),
                P::NoDatabase { .. } => failure.hint("Make it with `createdb`, or name another one in --store."),
                P::NoSchema => failure.hint("Make it with CREATE SCHEMA, or name another search_path in --store."),
                P::NoStudy => failure.hint("Make one with `primer search init`."),
                P::Study => failure.hint("Go on with it by `primer search run`, or give another --store."),
                P::Occupied { .. } => failure.hint("Give the study a schema or a database of its own."),
                P::Permission { .. } => {
                    failure.hint("Log in as the user that made the study, or GRANT it to this one.")
                }
            },
            E::StoreVersion { .. } => failure.hint("Read it with the version that wrote it, or begin a new store."),
            _ => failure,
        }
    }
}
