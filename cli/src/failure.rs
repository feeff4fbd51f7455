//! How a command fails: one sentence with its cause, what to do, and the exit code: 2 where the command line can't be
//! followed, because of an option or because what it names isn't there or may not be touched; 1 where the work failed.

use crate::terminal;
use primer_models::RunConfig;
use std::io;
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

    /// The command line can't be followed as it is, an option or what it names: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, ..Self::new(message) }
    }

    /// A file or folder that can't be used: the command line's mistake if it isn't there, isn't the user's, or is the
    /// other of the two.
    pub fn of_path(e: &io::Error, message: impl Into<String>) -> Self {
        use io::ErrorKind as K;
        match e.kind() {
            K::NotFound | K::PermissionDenied | K::IsADirectory | K::NotADirectory => Self::usage(message),
            _ => Self::new(message),
        }
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
            E::NoDevice { .. } => Self::usage(failure.message)
                .hint("See what there is with `primer devices`; `--device cpu` always works."),
            E::Limit { .. } | E::TensorSize { .. } | E::MemoryBudget { .. } | E::OutOfMemory { .. } => failure.hint(
                "Try a smaller --batch, --seq or --size; of a study, --set model.batch, model.seq or model.unit.",
            ),
            E::Device { .. } | E::DeviceLost { .. } | E::Kernel { .. } | E::Timeout { .. } => {
                failure.hint("Try `--device cpu`, which needs no driver.")
            }
            _ => failure,
        }
    }
}

impl From<primer_models::Error> for Failure {
    fn from(e: primer_models::Error) -> Self {
        use primer_autodiff::Error as Gradient;
        use primer_models::Error as E;
        let (failure, misnamed) = (Self::new(e.to_string()), Self::usage(e.to_string()));
        match e {
            E::Tensor(e) | E::Autodiff(Gradient::Tensor(e)) => e.into(),
            E::UnknownKey { .. } => misnamed.hint(format!("The settings: {}.", RunConfig::keys().join(", "))),
            E::UnknownName { .. }
            | E::BadValue { .. }
            | E::BadConfig { .. }
            | E::ShortCorpus { .. }
            | E::BadText { .. } => misnamed,
            E::Read { source, .. } => {
                Self::of_path(&source, misnamed.message).hint("Check the path and its permissions.")
            }
            E::Write { path, .. } if path.extension().is_some_and(|end| end == "tokens") => {
                failure.hint("Tokens are kept in the user's cache folder; XDG_CACHE_HOME names another one.")
            }
            E::Write { .. } => failure.hint("Choose a folder that can be written, with --out."),
            E::EmptyCorpus { .. } => {
                misnamed.hint("Give a text file, a folder of text files, or `rust` (the sources of the locked crates).")
            }
            E::OtherCorpus { .. } => misnamed.hint("Give the run's text with --corpus."),
            E::NoCheckpoint { .. } => misnamed.hint("`--checkpoint` takes the folder that `primer train --out` wrote."),
            E::DamagedCheckpoint { .. } => {
                failure.hint("The folder `checkpoints` may hold an older one that is whole.")
            }
            _ => failure,
        }
    }
}

const A_STORE: &str = "Give the file of a study with --store, or make one with `primer search init`.";

impl From<primer_search::Error> for Failure {
    fn from(e: primer_search::Error) -> Self {
        use primer_autodiff::Error as Gradient;
        use primer_search::Error as E;
        use primer_search::error::ServerProblem as P;
        let e = match e {
            E::Model(e) => return e.into(),
            E::Tensor(e) | E::Gradient(Gradient::Tensor(e)) => return e.into(),
            other => other,
        };
        let (failure, misnamed) = (Self::new(e.to_string()), Self::usage(e.to_string()));
        match &e {
            E::Option { .. } => misnamed,
            E::StudyMismatch { key, .. } if key == "tokenizer_sha256" => {
                failure.hint("Another version of primer made the study; work on it with that one.")
            }
            E::StudyMismatch { key, .. } if key == "roofline.device" => {
                misnamed.hint("The study's costs were measured on that kind of device; choose one with --device.")
            }
            E::StudyMismatch { .. } => {
                misnamed.hint("A study's options are fixed when it is made; leave them out to go on with it.")
            }
            E::StoreServer { problem, .. } => match problem {
                P::Url { .. } => misnamed.hint("Write postgres://USER@HOST:PORT/DATABASE."),
                P::Tls => failure.hint("Take a tunnel, as `ssh -L 5432:localhost:5432 HOST`, and sslmode=disable."),
                P::Unreachable { .. } => failure.hint("Check the address, and that the server lets this machine in."),
                P::Login { .. } => failure.hint("Give the password in PGPASSWORD or ~/.pgpass."),
                P::NoDatabase { .. } => misnamed.hint("Make it with `createdb`, or name another one in --store."),
                P::NoSchema => misnamed.hint("Make it with CREATE SCHEMA, or name another search_path in --store."),
                P::NoStudy => misnamed.hint("Make one with `primer search init`."),
                P::Study => misnamed.hint("Go on with it by `primer search run`, or give another --store."),
                P::Occupied { .. } => misnamed.hint("Give the study a schema or a database of its own."),
                P::Permission { .. } => {
                    failure.hint("Log in as the user that made the study, or GRANT it to this one.")
                }
            },
            E::Dump { .. } => misnamed.hint("Give what `primer search dump` wrote, as it wrote it."),
            E::Io { source, .. } => Self::of_path(source, format!("the store can't be used: {e}")).hint(A_STORE),
            E::StoreContent { .. } => failure.hint(A_STORE),
            E::StoreVersion { .. } => failure.hint("Read it with the version that wrote it, or begin a new store."),
            _ => failure,
        }
    }
}
