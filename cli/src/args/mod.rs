//! The command line, as users type it.

mod experiment;
mod export;
mod retest;
mod search;
mod values;

pub use experiment::{Compare, Equal, ExperimentArgs, Scaling};
pub use export::Export;
pub use retest::SearchRetest;
pub use search::{
    Search, SearchCommand, SearchDiff, SearchDump, SearchInit, SearchReport, SearchRestore, SearchRun, SearchShow,
    SearchStatus, SearchTop, SearchVerify, SearchWorker, StudyArgs,
};

use crate::architecture::Architecture;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use primer_models::text::TokenizerSpec;
use primer_models::{Precision, Size};
use std::path::PathBuf;
use std::time::Duration;
use values::{arch, assignment, device_name, precision, probability, quickstart_time, size, temperature, tokenizer};

use crate::units;

/// Train the language models of "Primer" and search for better ones, on any machine.
#[derive(Debug, Parser)]
#[command(
    name = "primer",
    version,
    after_help = "Example: primer quickstart --time 3m\n\nExit codes: 0 done; 1 the work failed; 2 the command line is wrong, in an option or in a file, store or device that it names. Ctrl-C saves and stops; a second one quits."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// What was typed.
    ///
    /// # Errors
    /// What is wrong with it, or the help that was asked for.
    pub fn from_command_line() -> Result<Self, clap::Error> {
        let mut command = negative_numbers(Self::command());
        let mut matches = command.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches_mut(&mut matches).map_err(|e| e.format(&mut command))
    }
}

/// The command with `-1` taken for the value that it is, so that the answer is what the option takes instead.
fn negative_numbers(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| match arg.get_action().takes_values() {
            true => arg.allow_negative_numbers(true),
            false => arg,
        })
        .mut_subcommands(negative_numbers)
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train vanilla and Primer-EZ side by side, search, sample, and write a report
    #[command(after_help = "Example: primer quickstart --time 3m --out runs/first")]
    Quickstart(Quickstart),
    /// List every device with its speed
    #[command(after_help = "Example: primer devices --json")]
    Devices(Devices),
    /// List every operation: what it computes, its devices, its tolerance, whether it has a gradient
    #[command(after_help = "Example: primer ops --json")]
    Ops(Ops),
    /// Train a model
    #[command(
        after_help = "Examples:\n  primer train --arch primer_ez --size nano --corpus rust --time 5m --out runs/ez\n  primer train --resume --out runs/ez --time 10m\n  primer train --arch vanilla --set optimizer.learning_rate=0.001 --steps 2k\n  primer train --arch primer --size mini --corpus wikitext-103 --tokenizer bpe:8192 --time 2h\n  primer train --arch primer_ez --time 10m --sample-every 200 --sample-prompt \"impl \""
    )]
    Train(Train),
    /// Measure a trained model on a whole text
    #[command(after_help = "Example: primer eval --checkpoint runs/ez --corpus book.txt --json")]
    Eval(Eval),
    /// Print next-token log-probabilities at every position of a text
    #[command(after_help = "Example: primer logits --checkpoint runs/ez --text \"fn main\" --json")]
    Logits(Logits),
    /// Write text with a trained model
    #[command(after_help = "Example: primer sample --checkpoint runs/ez --prompt \"impl \" --tokens 300 --top-k 40")]
    Sample(Sample),
    /// Train several architectures alike, for equal steps, time and FLOPs, and report what differs
    #[command(
        after_help = "Examples:\n  primer compare --archs vanilla,primer_ez --size nano --corpus rust --time 5m --out runs/duel\n  primer compare --resume --out runs/duel\n  primer compare --archs vanilla,primer,swiglu --steps 2k --equal steps,time --learning-rates 0.003,0.006"
    )]
    Compare(Compare),
    /// Train architectures at several sizes, fit a power law of loss against compute, and report it
    #[command(
        after_help = "Examples:\n  primer scaling --archs vanilla,primer_ez --sizes nano,micro,mini --corpus rust --flops 1e13 --out runs/laws\n  primer scaling --resume --out runs/laws\n  primer scaling --archs primer --sizes sweep-384-6-4,sweep-512-9-4 --time 1h --corpus lm1b"
    )]
    Scaling(Scaling),
    /// Say what a model costs: parameters, FLOPs a token, training memory
    #[command(
        after_help = "Examples:\n  primer info --arch primer_ez --size mini --tflops 0.1\n  primer info --arch primer --size medium --set optimizer=adafactor --json"
    )]
    Info(Info),
    /// Time kernels and whole training steps, beside the device's own roof
    #[command(
        after_help = "Examples:\n  primer bench --device cpu --json\n  primer bench --size nano --arch primer_ez --threads 1 --profile\n  primer bench --tune --device gpu:0"
    )]
    Bench(Bench),
    /// Write a model or a program in another form
    #[command(
        after_help = "Examples:\n  primer export --checkpoint runs/ez --format onnx --out ez.onnx\n  primer export --store sqlite:study.db --best --format dna --out best.dna\n  primer export --arch dna:primer_ez --format dot --out primer_ez.dot\n  primer export --arch primer --size small --format onnx --out untrained.onnx\n  primer export --store sqlite:study.db --best --format rust --out best.rs"
    )]
    Export(Export),
    /// Search for better programs by regularized evolution
    #[command(
        after_help = "Example: primer search run --store sqlite:study.db --preset small --corpus rust --time 10m"
    )]
    Search(Search),
}

/// Where and how it computes.
#[derive(Debug, Clone, Args)]
pub struct Compute {
    /// auto (a real GPU, else the CPU), cpu, gpu, gpu:N or software
    #[arg(long, default_value = "auto", value_parser = device_name)]
    pub device: String,
    /// CPU threads [default: all cores]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// Where and how each worker of a search computes.
#[derive(Debug, Clone, Args)]
pub struct WorkerCompute {
    /// auto (a real GPU, else the CPU), cpu, gpu, gpu:N or software
    #[arg(long, default_value = "auto", value_parser = device_name)]
    pub device: String,
    /// CPU threads of each worker. A candidate is too small to be worth more than one
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,
}

impl WorkerCompute {
    /// One worker's part of the device.
    pub fn of_a_worker(&self) -> Compute {
        Compute { device: self.device.clone(), threads: Some(self.threads) }
    }

    /// The whole device.
    pub fn whole(&self) -> Compute {
        Compute { device: self.device.clone(), threads: None }
    }
}

/// `primer quickstart`
#[derive(Debug, Args)]
pub struct Quickstart {
    /// Length of the whole run: 40% training, 50% search, 10% samples and report
    #[arg(long, default_value = "3m", value_parser = quickstart_time)]
    pub time: Duration,
    /// Folder for the report (default: a new `runs/quickstart-<time>`)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write into a folder that is not empty
    #[arg(long)]
    pub force: bool,
    /// A text file, a folder of text files, or `rust`: the sources of the locked crates
    #[arg(long, default_value = "rust", value_name = "C")]
    pub corpus: String,
    /// Seed of weights, batches, search and samples
    #[arg(long, default_value = "0", value_parser = units::seed)]
    pub seed: u64,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compute: Compute,
}

/// `primer devices`
#[derive(Debug, Args)]
pub struct Devices {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `primer ops`
#[derive(Debug, Args)]
pub struct Ops {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `primer train`
#[derive(Debug, Args)]
pub struct Train {
    /// Architecture: vanilla, gelu, swish, reglu, swiglu, squared_relu, transformer_plusplus, mdha,
    /// sep_conv, primer, primer_ez, evolved_transformer, switch_transformer, switch_primer, synthesizer,
    /// synthesizer_squared_relu, or a program: dna:FILE, or a built-in one such as dna:primer
    #[arg(long, value_name = "A", value_parser = arch, required_unless_present_any = ["resume", "config"])]
    pub arch: Option<Architecture>,
    /// Size: nano, micro, mini, small, medium, large, xl, or a point of the sweep such as sweep-512-9-8 [default: nano]
    #[arg(long, value_name = "S", value_parser = size)]
    pub size: Option<Size>,
    /// A text file, a folder of text files, or `rust`: the sources of the locked crates [default: rust; with --resume
    /// that of the run]
    #[arg(long, value_name = "C")]
    pub corpus: Option<String>,
    /// Tokens: bytes, or bpe:N for byte-pair encoding with at most N tokens, trained on the corpus [default: bytes]
    #[arg(long, value_name = "T", value_parser = tokenizer)]
    pub tokenizer: Option<TokenizerSpec>,
    /// Folder of the run (default: a new `runs/train-<time>`)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write a short sample every N steps, to stderr and into the run's samples.jsonl
    #[arg(long, value_name = "N", value_parser = units::count)]
    pub sample_every: Option<u64>,
    /// What the samples go on from [default: a line break]
    #[arg(long, value_name = "TEXT")]
    pub sample_prompt: Option<String>,
    /// Go on with the run in --out
    #[arg(long, requires = "out", conflicts_with_all = ["arch", "size", "config", "tokenizer", "force"])]
    pub resume: bool,
    /// Write into a folder that is not empty
    #[arg(long)]
    pub force: bool,
    /// Settings from a TOML file, such as the config.toml of another run. With another --arch than the file's, widths
    /// and layers become those of that architecture at the file's size
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Change one setting, such as d_model=128 or optimizer.learning_rate=0.001; may be repeated. An option for the
    /// same, such as --batch, goes before it. An unknown key lists them all
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    pub set: Vec<String>,
    /// Train for so many steps in all [default: 1000]
    #[arg(long, value_parser = units::count, group = "length")]
    pub steps: Option<u64>,
    /// Train for so long in all
    #[arg(long, value_parser = units::duration, group = "length")]
    pub time: Option<Duration>,
    /// Train on so many tokens in all
    #[arg(long, value_parser = units::count, group = "length")]
    pub tokens: Option<u64>,
    /// Tokens a sequence [default: the size's; `primer info` says it]
    #[arg(long, value_name = "N", value_parser = units::count)]
    pub seq: Option<u64>,
    /// Sequences that are computed at once [default: the size's; `primer info` says it]
    #[arg(long, value_name = "N", value_parser = units::count)]
    pub batch: Option<u64>,
    /// Seed of the weights and the batches [default: 0]
    #[arg(long, value_parser = units::seed)]
    pub seed: Option<u64>,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compute: Compute,
}

/// `primer eval`
#[derive(Debug, Args)]
pub struct Eval {
    /// A run's folder, its checkpoints folder, or one checkpoint file
    #[arg(long, value_name = "DIR")]
    pub checkpoint: PathBuf,
    /// A text file, a folder of text files, or `rust`
    #[arg(long, value_name = "C")]
    pub corpus: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compute: Compute,
}

/// `primer logits`
#[derive(Debug, Args)]
pub struct Logits {
    /// A run's folder, its checkpoints folder, or one checkpoint file
    #[arg(long, value_name = "DIR")]
    pub checkpoint: PathBuf,
    /// The text
    #[arg(long)]
    pub text: String,
    /// Print one JSON object with every logit and log-probability
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compute: Compute,
}

/// `primer sample`
#[derive(Debug, Args)]
pub struct Sample {
    /// A run's folder, its checkpoints folder, or one checkpoint file
    #[arg(long, value_name = "DIR")]
    pub checkpoint: PathBuf,
    /// The text to go on from
    #[arg(long, default_value = "")]
    pub prompt: String,
    /// Tokens to write
    #[arg(long, default_value = "200", value_parser = units::count)]
    pub tokens: u64,
    /// Divides the scores; 0 takes the likeliest token
    #[arg(long, default_value = "0.8", value_parser = temperature)]
    pub temperature: f64,
    /// Choose among so many likeliest tokens [default: all]
    #[arg(long, value_name = "K", value_parser = units::count)]
    pub top_k: Option<u64>,
    /// Choose among the likeliest tokens that together have this probability
    #[arg(long, value_name = "P", default_value = "1", value_parser = probability)]
    pub top_p: f64,
    /// Seed of the draws
    #[arg(long, default_value = "0", value_parser = units::seed)]
    pub seed: u64,
    /// Print one JSON object at the end instead of streaming
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compute: Compute,
}

/// `primer info`
#[derive(Debug, Args)]
pub struct Info {
    /// Architecture: vanilla, gelu, swish, reglu, swiglu, squared_relu, transformer_plusplus, mdha,
    /// sep_conv, primer, primer_ez, evolved_transformer, switch_transformer, switch_primer, synthesizer,
    /// synthesizer_squared_relu, or a program: dna:FILE, or a built-in one such as dna:primer
    #[arg(long, value_name = "A", value_parser = arch)]
    pub arch: Architecture,
    /// Size: nano, micro, mini, small, medium, large, xl, or a point of the sweep such as sweep-512-9-8
    #[arg(long, value_name = "S", value_parser = size)]
    pub size: Size,
    /// Tokens a sequence [default: the size's]
    #[arg(long, value_name = "N", value_parser = units::count)]
    pub seq: Option<u64>,
    /// Sequences that are computed at once [default: the size's]
    #[arg(long, value_name = "N", value_parser = units::count)]
    pub batch: Option<u64>,
    /// Change one setting, as for `primer train`; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    pub set: Vec<String>,
    /// Estimate the training speed of a device with so many TFLOP/s
    #[arg(long, value_name = "T", value_parser = units::positive)]
    pub tflops: Option<f64>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `primer bench`
#[derive(Debug, Args)]
pub struct Bench {
    /// Time only the training steps of this architecture, any that `primer info` knows
    #[arg(long, value_name = "A", value_parser = arch)]
    pub arch: Option<Architecture>,
    /// Time only the training steps of this size, any that `primer info` knows
    #[arg(long, value_name = "S", value_parser = size)]
    pub size: Option<Size>,
    /// What matrix products of the steps read: f32, or f16 on a GPU that has it
    #[arg(long, value_name = "P", value_parser = precision, default_value = "f32", conflicts_with = "tune")]
    pub precision: Precision,
    /// Say what each kernel of the steps takes, on a CPU
    #[arg(long, conflicts_with = "tune")]
    pub profile: bool,
    /// Measure the variants of an adapter's kernels, and store the best for all later commands on it
    #[arg(long, conflicts_with_all = ["arch", "size"])]
    pub tune: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compute: Compute,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_command_has_an_example() {
        fn check(command: &clap::Command) {
            if command.get_name() == "search" || !command.has_subcommands() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("primer "), "{} has no example", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        negative_numbers(Cli::command()).debug_assert();
        check(&Cli::command());
    }
}
