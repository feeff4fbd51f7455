//! The crate's one error type.

use std::path::PathBuf;

use crate::store::Location;

/// A fallible result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong between a program's text and a finished search.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // ---- programs ----
    /// The text of a program could not be read.
    #[error("line {line}, column {column}: {reason}")]
    Parse {
        /// 1-based line.
        line: usize,
        /// 1-based column, counted in characters.
        column: usize,
        /// What was found and what was expected.
        reason: String,
    },
    /// An instruction breaks a rule of the program space.
    #[error("subprogram S{subprogram}, instruction h{}: {problem}", .instruction + 2)]
    Instruction {
        /// Index of the subprogram; 0 is MAIN.
        subprogram: usize,
        /// 0-based index of the instruction; it produces state `h{instruction + 2}`.
        instruction: usize,
        /// The rule that is broken.
        problem: InstructionProblem,
    },
    /// A whole program or subprogram breaks a rule of the program space.
    #[error("{0}")]
    Program(ProgramProblem),
    /// A mutation record doesn't fit the program it is applied to.
    #[error("the mutation doesn't apply to this program: {reason}")]
    Mutation {
        /// Which part doesn't fit.
        reason: String,
    },
    /// No effective mutation was found in the allowed number of attempts.
    #[error("no effective mutation in {attempts} chains of inert ones")]
    NoEffectiveMutation {
        /// Chains tried, each from the parent anew.
        attempts: usize,
    },
    /// The program is well formed but can't be trained under the study's limits.
    #[error("the program is rejected: {0}")]
    Rejected(#[from] crate::Rejection),

    /// The tensor engine failed.
    #[error(transparent)]
    Tensor(#[from] primer_tensor::Error),
    /// A graph could not be differentiated.
    #[error(transparent)]
    Gradient(#[from] primer_autodiff::Error),
    /// The text or the batches that candidates are trained on.
    #[error(transparent)]
    Model(#[from] primer_models::Error),

    // ---- storage ----
    /// The database failed.
    #[error("the search store {location}: {action} failed: {source}")]
    Store {
        /// Where the store lies.
        location: Location,
        /// What was being done, as a noun ("open", "claim").
        action: &'static str,
        /// The database's own error.
        source: sqlx::Error,
    },
    /// A server can't be used.
    #[error("the search store {location}: {problem}")]
    StoreServer {
        /// Where the store lies.
        location: Location,
        /// What stands in the way.
        problem: ServerProblem,
    },
    /// A store's URL can't be understood.
    #[error("{reason}")]
    StoreUrl {
        /// What to write instead.
        reason: String,
    },
    /// The store was written by another version of the program.
    #[error("the search store {location} has version {found}, this program reads version {expected}")]
    StoreVersion {
        /// Where the store lies.
        location: Location,
        /// Version found.
        found: i64,
        /// Version this build reads and writes.
        expected: i64,
    },
    /// It is not one of this program's stores, or a row in it can't be understood.
    #[error("the search store {location} can't be read: {reason}")]
    StoreContent {
        /// Where the store lies.
        location: Location,
        /// What is wrong.
        reason: String,
    },
    /// A study as text can't be understood, contradicts itself, or doesn't lead to its own programs.
    #[error("line {line} of the study: {reason}")]
    Dump {
        /// 1-based line.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// An option differs from the one that the existing study was made with.
    #[error("the study was made with {key} = {stored}, not {given}")]
    StudyMismatch {
        /// The option.
        key: String,
        /// Its value in the store.
        stored: String,
        /// The value that was asked for.
        given: String,
    },
    /// An option of a study has no meaning.
    #[error("{key} = {given}: {reason}")]
    Option {
        /// The option.
        key: &'static str,
        /// The value that was asked for.
        given: String,
        /// Why it can't be used.
        reason: String,
    },
    /// Nothing can be bred from the study's seed program.
    #[error("the seed program can't be evaluated: {reason}")]
    Seed {
        /// Why it was rejected or given up.
        reason: String,
    },
    /// Attempts went wrong one after the other, so that the fault is not the programs'.
    #[error("{failures} evaluations in a row failed, the last of candidate {child_no}: {reason}")]
    Evaluation {
        /// The last candidate.
        child_no: u64,
        /// Failed attempts.
        failures: u32,
        /// What went wrong in the last one.
        reason: String,
    },
    /// Nothing can be trained here, not even the seed program.
    #[error("this worker can't train the study's seed program: {reason}")]
    Worker {
        /// What went wrong.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A record could not be turned into JSON or back.
    #[error("bad record: {0}")]
    Json(#[from] serde_json::Error),
    /// A worker thread ended without an answer.
    #[error("the {0} thread ended unexpectedly")]
    Thread(&'static str),
}

/// Why a server can't be used as a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerProblem {
    /// The address makes no sense.
    #[error("the address can't be understood: {reason}")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// It asks for an encrypted connection.
    #[error("connections by TLS are not supported")]
    Tls,
    /// Nobody answers, or not any more.
    #[error("the server can't be reached: {reason}")]
    Unreachable {
        /// The system's or the server's reason.
        reason: String,
    },
    /// A wrong password, an unknown user, a host that isn't let in.
    #[error("the server refuses the login: {reason}")]
    Login {
        /// The server's reason.
        reason: String,
    },
    /// The server has no such database.
    #[error("{reason}")]
    NoDatabase {
        /// The server's words, with the name.
        reason: String,
    },
    /// None of the schemas in the connection's search path exists.
    #[error("no schema of the search path exists")]
    NoSchema,
    /// The database is there and holds no study.
    #[error("there is no study in it")]
    NoStudy,
    /// There is a study where a new one was to be made.
    #[error("it holds a study already")]
    Study,
    /// A table of one of our names is someone else's.
    #[error("the schema holds another program's tables: {reason}")]
    Occupied {
        /// The server's words, with the name.
        reason: String,
    },
    /// The user may look but not write, or not even look.
    #[error("the user lacks the right: {reason}")]
    Permission {
        /// The server's words.
        reason: String,
    },
}

/// A rule of the program space that one instruction breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstructionProblem {
    /// An input refers to a state that doesn't exist yet.
    #[error("input {input} reads h{state}, but only h0..h{} exist before it", .available - 1)]
    Input {
        /// 1 or 2.
        input: u8,
        /// The state it names.
        state: usize,
        /// States that exist before the instruction.
        available: usize,
    },
    /// A call goes to itself, downwards, or to a subprogram that doesn't exist.
    #[error("calls S{callee}; a call goes to a later subprogram, of which the last is S{last}")]
    Callee {
        /// The subprogram it names.
        callee: usize,
        /// The program's last subprogram.
        last: usize,
    },
    /// The constant's index is outside the bank.
    #[error("constant c{0} is outside the bank c0..c1")]
    Constant(usize),
    /// The dimension's index is outside the bank.
    #[error("dimension d{0} is outside the bank d0..d5")]
    Dim(usize),
    /// The branching is not an allowed one.
    #[error("branching {0} is not one of 1, 2, 4, 8, 16")]
    Branch(u32),
}

/// A rule of the program space that a program as a whole breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramProblem {
    /// There is no MAIN.
    #[error("a program needs at least the subprogram S0")]
    NoMain,
    /// A subprogram has no output.
    #[error("subprogram S{0} has no instruction, so it has no output")]
    Empty(usize),
    /// A subprogram's label can't be written.
    #[error("the label of S{subprogram}, {label:?}, may hold only letters, digits, '_' and '-'")]
    Label {
        /// The subprogram.
        subprogram: usize,
        /// Its label.
        label: String,
    },
    /// A constant is not a finite number.
    #[error("constant c{0} is not finite")]
    NotFinite(usize),
    /// A relative dimension is not in the vocabulary.
    #[error("dimension d{slot} = {value} is not one of {:?}", crate::dna::DIM_VOCABULARY)]
    Dim {
        /// Index in the bank.
        slot: usize,
        /// The value found.
        value: u32,
    },
}
