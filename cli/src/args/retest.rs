//! The arguments of `primer search retest`.

use super::WorkerCompute;
use crate::units;
use clap::Args;
use primer_search::retest::Setting;
use primer_search::store::Location;
use std::path::PathBuf;

/// `primer search retest`
#[derive(Debug, Args)]
pub struct SearchRetest {
    /// The store of the search: sqlite:PATH, or postgres://USER@HOST/DATABASE. With --resume it is the one that it was
    /// begun with
    #[arg(long, env = "PRIMER_STORE", hide_env_values = true, value_name = "URL", required_unless_present = "resume")]
    pub store: Option<Location>,
    /// The store of a control, whose best program is tested too; may be repeated
    #[arg(long, value_name = "URL", conflicts_with = "resume")]
    pub control: Vec<Location>,
    /// The search's text
    #[arg(long, value_name = "C")]
    pub corpus: Option<String>,
    /// The text of the test, which the search has never read
    #[arg(long, value_name = "C", required_unless_present = "resume")]
    pub test_corpus: Option<String>,
    /// The best programs by fitness that are trained again
    #[arg(long, value_name = "K", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=1000),
        conflicts_with = "resume")]
    pub top: u32,
    /// Programs that are tested: the best of those trained again
    #[arg(long, value_name = "K", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=100),
        conflicts_with = "resume")]
    pub finalists: u32,
    /// Runs of each contestant of the test, with the same seeds for all
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=1000),
        conflicts_with = "resume")]
    pub seeds: u32,
    /// Peak learning rates of which each contestant takes its best
    #[arg(long, value_name = "R,R", value_delimiter = ',', value_parser = units::positive,
        default_value = "0.0015,0.003,0.006", conflicts_with = "resume")]
    pub learning_rates: Vec<f64>,
    /// What is tested: the search's model (same), at twice the width (4x), with 256 tokens a sequence (seq256), with
    /// byte pairs instead of bytes (bpe) [default: same,4x,seq256,bpe, without bpe where the search has byte pairs]
    #[arg(long, value_name = "S,S", value_delimiter = ',', conflicts_with = "resume")]
    pub settings: Vec<Setting>,
    /// Runs at a time [default: as many as a CPU has cores for, one on a GPU]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
    /// Folder of the measurements and the report (default: a new one in `runs/`)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on with what is in --out, as it was begun
    #[arg(long, requires = "out", conflicts_with = "force")]
    pub resume: bool,
    /// Write into a folder that is not empty
    #[arg(long)]
    pub force: bool,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compute: WorkerCompute,
}
