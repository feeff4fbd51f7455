//! `primer export`.

use super::{arch, size};
use crate::architecture::Architecture;
use crate::units;
use clap::{ArgGroup, Args};
use primer_models::Size;
use primer_search::store::Location;
use std::path::PathBuf;

/// `primer export`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true)))]
pub struct Export {
    /// A trained model: a checkpoint file, a folder of them or a run's folder
    #[arg(long, value_name = "DIR", group = "source")]
    pub checkpoint: Option<PathBuf>,
    /// An architecture that isn't trained: any that `primer info` knows, such as vanilla, dna:FILE or dna:primer_ez
    #[arg(long, value_name = "A", value_parser = arch, group = "source")]
    pub arch: Option<Architecture>,
    /// Its size in ONNX, with that size's vocabulary: nano, micro, mini, small, medium, large, or a point of the sweep
    /// such as sweep-512-9-8
    #[arg(long, value_name = "S", value_parser = size, requires = "arch")]
    pub size: Option<Size>,
    /// A search's store, for --best or --id; it may be at work
    #[arg(long, env = "PRIMER_STORE", hide_env_values = true, value_name = "URL")]
    pub store: Option<Location>,
    /// The best program of the store
    #[arg(long, requires = "store", group = "source")]
    pub best: bool,
    /// The program of that candidate of the store
    #[arg(long, requires = "store", value_name = "ID", value_parser = units::candidate, group = "source")]
    pub id: Option<u64>,
    /// onnx (of a checkpoint, or of --arch with random weights); dna (the text form), resolved (calls written out, a line each instruction, dead ones too), dot (for Graphviz) or rust (a source file) of a program
    #[arg(long, value_parser = ["onnx", "dna", "resolved", "dot", "rust"])]
    pub format: String,
    /// Sequences that the ONNX model reads at once
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub batch: u32,
    /// The file to write; - is standard output
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    pub force: bool,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
}
