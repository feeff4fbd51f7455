//! `primer export`.

use clap::{ArgGroup, Args};
use primer_search::store::Location;
use std::path::PathBuf;

/// `primer export`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true)))]
pub struct Export {
    /// A trained model: a checkpoint file, a folder of them or a run's folder
    #[arg(long, value_name = "DIR", group = "source")]
    pub checkpoint: Option<PathBuf>,
    /// A program: a built-in one by its name (transformer, primer_ez, ...), or a file in the text form
    #[arg(long, value_name = "NAME|FILE", group = "source")]
    pub program: Option<String>,
    /// A search's store, with --best or --id; it may be at work
    #[arg(long, value_name = "URL", group = "source")]
    pub store: Option<Location>,
    /// The best program of the store
    #[arg(long, requires = "store", conflicts_with = "id")]
    pub best: bool,
    /// The program of that candidate of the store
    #[arg(long, requires = "store", value_name = "ID")]
    pub id: Option<u64>,
    /// onnx (of a checkpoint); dna (the text form), dot (for Graphviz) or rust (a source file) of a program
    #[arg(long, value_parser = ["onnx", "dna", "dot", "rust"])]
    pub format: String,
    /// Sequences that the ONNX model reads at once
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub batch: u32,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    pub force: bool,
}
