//! The arguments of commands that train many models.

use super::Compute;
use super::values::{arch, assignment, size, tokenizer};
use crate::architecture::Architecture;
use crate::units;
use clap::{Args, ValueEnum};
use primer_models::Size;
use primer_models::text::TokenizerSpec;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// What `primer compare` and `primer scaling` have in common.
#[derive(Debug, Args)]
pub struct ExperimentArgs {
    /// A text file, a folder of text files, or `rust`: the sources of the locked crates [default: rust]
    #[arg(long, value_name = "C")]
    pub corpus: Option<String>,
    /// Tokens: bytes, or bpe:N for byte-pair encoding with at most N tokens, trained on the corpus [default: bytes]
    #[arg(long, value_name = "T", value_parser = tokenizer)]
    pub tokenizer: Option<TokenizerSpec>,
    /// Settings of every model from a TOML file, such as the config.toml of a run; its architecture, widths and layers
    /// are left aside
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Change one setting of every model, as for `primer train`; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    pub set: Vec<String>,
    /// Tokens a sequence [default: the size's]
    #[arg(long, value_name = "N", value_parser = units::count)]
    pub seq: Option<u64>,
    /// Sequences that are computed at once [default: the size's]
    #[arg(long, value_name = "N", value_parser = units::count)]
    pub batch: Option<u64>,
    /// Runs of each model, with seeds that follow one another
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// The first seed, of weights and batches
    #[arg(long, default_value = "0", value_parser = units::seed)]
    pub seed: u64,
    /// Folder of the runs and the report (default: a new one in `runs/`)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on with what is in --out, as it was begun; only --corpus (where the same text is elsewhere now), --device and
    /// --threads may be given again
    #[arg(long, requires = "out", conflicts_with_all = ["tokenizer", "config", "set", "seq", "batch",
        "seeds", "seed", "force"])]
    pub resume: bool,
    /// Write into a folder that is not empty
    #[arg(long)]
    pub force: bool,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compute: Compute,
}

/// What two models are given the same amount of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Equal {
    /// Optimizer steps, and so tokens.
    Steps,
    /// Seconds, by the calibrated time of a step.
    Time,
    /// Floating-point operations, as counted on the planned step.
    Flops,
}

/// `primer compare`
#[derive(Debug, Args)]
pub struct Compare {
    /// Architectures, the baseline first; programs too, as dna:FILE
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = arch, required_unless_present = "resume",
        conflicts_with = "resume")]
    pub archs: Vec<Architecture>,
    /// Size: nano, micro, mini, small, medium, large, xl, or a point of the sweep [default: nano]
    #[arg(long, value_name = "S", value_parser = size, conflicts_with = "resume")]
    pub size: Option<Size>,
    /// The baseline trains for so long, by the calibrated time of its step
    #[arg(long, value_parser = units::duration, group = "length", conflicts_with = "resume")]
    pub time: Option<Duration>,
    /// The baseline trains for so many steps [default: 1000]
    #[arg(long, value_parser = units::count, group = "length", conflicts_with = "resume")]
    pub steps: Option<u64>,
    /// The baseline trains on so many tokens
    #[arg(long, value_parser = units::count, group = "length", conflicts_with = "resume")]
    pub tokens: Option<u64>,
    /// What the models are given as much of as the baseline; a table each
    #[arg(
        long,
        value_enum,
        value_name = "E,E",
        value_delimiter = ',',
        default_value = "steps,time,flops",
        conflicts_with = "resume"
    )]
    pub equal: Vec<Equal>,
    /// Train every model with each of these peak learning rates first, on a seed of its own, and compare them at their
    /// best
    #[arg(long, value_name = "R,R", value_delimiter = ',', value_parser = units::positive, conflicts_with = "resume")]
    pub learning_rates: Vec<f64>,
    #[command(flatten)]
    pub experiment: ExperimentArgs,
}

/// `primer scaling`
#[derive(Debug, Args)]
pub struct Scaling {
    /// Architectures, the baseline first; programs too, as dna:FILE
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = arch, required_unless_present = "resume",
        conflicts_with = "resume")]
    pub archs: Vec<Architecture>,
    /// Sizes: any of nano, micro, mini, small, medium, large, xl, and the points of the sweep such as sweep-512-9-8
    #[arg(long, value_name = "S,S", value_delimiter = ',', value_parser = size, required_unless_present = "resume",
        conflicts_with = "resume")]
    pub sizes: Vec<Size>,
    /// Every run takes so many floating-point operations, such as 1e12 or 1T
    #[arg(long, value_name = "F", value_parser = units::positive, group = "length", conflicts_with = "resume")]
    pub flops: Option<f64>,
    /// Every run takes so long, by the calibrated time of its step
    #[arg(long, value_parser = units::duration, group = "length", conflicts_with = "resume")]
    pub time: Option<Duration>,
    /// Every run takes so many steps
    #[arg(long, value_parser = units::count, group = "length", conflicts_with = "resume")]
    pub steps: Option<u64>,
    /// Every run takes so many tokens
    #[arg(long, value_parser = units::count, group = "length", conflicts_with = "resume")]
    pub tokens: Option<u64>,
    #[command(flatten)]
    pub experiment: ExperimentArgs,
}
