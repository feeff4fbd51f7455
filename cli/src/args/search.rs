//! `primer search` and its subcommands.

use clap::{Args, Subcommand};
use primer_models::text::TokenizerSpec;
use primer_search::store::Location;
use std::path::PathBuf;
use std::time::Duration;

use super::values::{assignment, tokenizer};
use super::{SearchRetest, WorkerCompute};
use crate::units;

/// `primer search`
#[derive(Debug, Args)]
pub struct Search {
    /// What to do.
    #[command(subcommand)]
    pub command: SearchCommand,
}

/// The subcommands of `primer search`.
#[derive(Debug, Subcommand)]
pub enum SearchCommand {
    /// Make a study
    #[command(after_help = "Example: primer search init --store sqlite:study.db --preset small --corpus rust")]
    Init(SearchInit),
    /// Work on a study until its budget is used; makes it if the store is new
    #[command(
        after_help = "Example: primer search run --store sqlite:study.db --preset small --corpus rust --time 10m"
    )]
    Run(SearchRun),
    /// Work on a study beside other workers, on this or another machine
    #[command(
        after_help = "Examples:\n  primer search worker --store sqlite:study.db\n  primer search worker --store postgres://ann@db.lab/study"
    )]
    Worker(SearchWorker),
    /// Say how far a study is
    #[command(after_help = "Example: primer search status --store sqlite:study.db --watch")]
    Status(SearchStatus),
    /// List the best programs, the same computation once
    #[command(after_help = "Example: primer search top --store sqlite:study.db --count 5")]
    Top(SearchTop),
    /// Show one program: its losses, its text, and what it computes
    #[command(after_help = "Example: primer search show 17 --store sqlite:study.db")]
    Show(SearchShow),
    /// Show what a program changes in another one, by instructions
    #[command(
        after_help = "Examples:\n  primer search diff 17 --store sqlite:study.db\n  primer search diff 17 4 --store sqlite:study.db"
    )]
    Diff(SearchDiff),
    /// List a program's forebears with what each changed
    #[command(after_help = "Example: primer search lineage 17 --store sqlite:study.db")]
    Lineage(SearchShow),
    /// Write report.html and report.json about a study, finished or not
    #[command(after_help = "Example: primer search report --store sqlite:study.db --out report")]
    Report(SearchReport),
    /// Write a study as text, a JSON object a line, to keep, publish or move it
    #[command(
        after_help = "Examples:\n  primer search dump --store sqlite:study.db --out study.jsonl\n  primer search dump --store sqlite:study.db --out - | gzip > study.jsonl.gz"
    )]
    Dump(SearchDump),
    /// Breed a study again, in a new store, from what `dump` wrote
    #[command(
        after_help = "Examples:\n  primer search restore study.jsonl --store postgres://ann@db.lab/study\n  gunzip -c study.jsonl.gz | primer search restore - --store sqlite:study.db"
    )]
    Restore(SearchRestore),
    /// Train the best programs again, with new seeds, on a text that the search never read, beside hand-written models
    #[command(
        after_help = "Examples:\n  primer search retest --store sqlite:study.db --control sqlite:random.db --corpus speeches.txt --test-corpus novels.txt --out runs/retest\n  primer search retest --resume --out runs/retest"
    )]
    Retest(SearchRetest),
    /// Replay every selection, mutation and bar and compare with the store
    #[command(after_help = "Example: primer search verify --store sqlite:study.db")]
    Verify(SearchVerify),
}

/// Where a study lies.
#[derive(Debug, Clone, Args)]
pub struct StoreArg {
    /// The store: sqlite:PATH, or postgres://USER@HOST/DATABASE for several machines; the password from PGPASSWORD or
    /// ~/.pgpass
    #[arg(long, env = "PRIMER_STORE", hide_env_values = true, value_name = "URL")]
    pub store: Location,
}

/// What fixes a study when it is made.
#[derive(Debug, Clone, Default, Args)]
pub struct StudyArgs {
    /// paper (the paper's search, for large machines) or small (some hours on two cores; stop any time, or give
    /// --candidates). A new study needs one, or --like
    #[arg(long, value_parser = ["paper", "small"])]
    pub preset: Option<String>,
    /// Make a control of the study in that store: with its options and its measured roofline, with what it has spent as
    /// the limit; give another --strategy, or another --seed [default: the next one]
    #[arg(long, value_name = "URL", conflicts_with_all = ["preset", "from"])]
    pub like: Option<Location>,
    /// The program to start from: transformer, transformer_plusplus, primer_ez, primer, discovered, random (as long as
    /// the Transformer), or a file in the text form [default: transformer]
    #[arg(long, value_name = "NAME|FILE")]
    pub from: Option<String>,
    /// evolution, or a control: random-1 (one mutation of the seed), drift (no selection), none (the seed, new seeds)
    /// [default: evolution]
    #[arg(long, value_parser = ["evolution", "random-1", "drift", "none"])]
    pub strategy: Option<String>,
    /// What all candidates may spend alike: cost (predicted seconds, replayable), tokens, flops or seconds (measured)
    /// [default: cost for small, seconds for paper]
    #[arg(long, value_parser = ["cost", "tokens", "flops", "seconds"])]
    pub budget: Option<String>,
    /// Tokens: bytes, or bpe:N for byte-pair encoding with at most N tokens, trained on the corpus; N becomes
    /// model.vocab [default: bytes for small, bpe:32768 for paper]
    #[arg(long, value_name = "T", value_parser = tokenizer, conflicts_with = "like")]
    pub tokenizer: Option<TokenizerSpec>,
    /// Change one option of the preset, such as population=50 or model.seq=32; may be repeated. An unknown key lists
    /// them all
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    pub set: Vec<String>,
    /// Seed of every random draw of the study [default: 0]
    #[arg(long, value_parser = units::seed)]
    pub seed: Option<u64>,
}

/// `primer search init`
#[derive(Debug, Args)]
pub struct SearchInit {
    #[command(flatten)]
    pub store: StoreArg,
    /// A text file, a folder of text files, or `rust` [default: rust; with --like the text of that study]
    #[arg(long, value_name = "C")]
    pub corpus: Option<String>,
    #[command(flatten)]
    pub study: StudyArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compute: WorkerCompute,
}

/// `primer search run`
#[derive(Debug, Args)]
pub struct SearchRun {
    #[command(flatten)]
    pub store: StoreArg,
    /// A text file, a folder of text files, or `rust`
    #[arg(long, default_value = "rust", value_name = "C")]
    pub corpus: String,
    #[command(flatten)]
    pub study: StudyArgs,
    /// Workers in this process; with one alone the same seed gives the same search, and `verify` replays any
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// Stop after so long
    #[arg(long, value_parser = units::duration, group = "length")]
    pub time: Option<Duration>,
    /// Stop once the study has so many candidates
    #[arg(long, value_parser = units::count, group = "length")]
    pub candidates: Option<u64>,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compute: WorkerCompute,
}

/// `primer search worker`
#[derive(Debug, Args)]
pub struct SearchWorker {
    #[command(flatten)]
    pub store: StoreArg,
    /// The study's corpus
    #[arg(long, default_value = "rust", value_name = "C")]
    pub corpus: String,
    /// Workers in this process: one a core suits a CPU, one a GPU
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compute: WorkerCompute,
}

/// `primer search status`
#[derive(Debug, Args)]
pub struct SearchStatus {
    #[command(flatten)]
    pub store: StoreArg,
    /// Repeat every 2 seconds until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `primer search top`
#[derive(Debug, Args)]
pub struct SearchTop {
    #[command(flatten)]
    pub store: StoreArg,
    /// How many
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub count: u32,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `primer search show`
#[derive(Debug, Args)]
pub struct SearchShow {
    /// The candidate's number; 0 is the seed program
    #[arg(value_parser = units::candidate)]
    pub id: u64,
    #[command(flatten)]
    pub store: StoreArg,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `primer search diff`
#[derive(Debug, Args)]
pub struct SearchDiff {
    /// The candidate's number
    #[arg(value_parser = units::candidate)]
    pub id: u64,
    /// What it is compared with: another candidate's number [default: its parent]
    #[arg(value_parser = units::candidate)]
    pub with: Option<u64>,
    #[command(flatten)]
    pub store: StoreArg,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `primer search report`
#[derive(Debug, Args)]
pub struct SearchReport {
    #[command(flatten)]
    pub store: StoreArg,
    /// Folder for the report (default: a new `runs/search-report-<time>`)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write into a folder that is not empty
    #[arg(long)]
    pub force: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `primer search dump`
#[derive(Debug, Args)]
pub struct SearchDump {
    #[command(flatten)]
    pub store: StoreArg,
    /// The file to write; - for standard output
    #[arg(long, value_name = "F")]
    pub out: PathBuf,
    /// Write over a file
    #[arg(long)]
    pub force: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `primer search restore`
#[derive(Debug, Args)]
pub struct SearchRestore {
    /// What `primer search dump` wrote; - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub store: StoreArg,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `primer search verify`
#[derive(Debug, Args)]
pub struct SearchVerify {
    #[command(flatten)]
    pub store: StoreArg,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
