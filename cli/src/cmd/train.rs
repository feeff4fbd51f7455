//! `primer train`

use crate::architecture::Architecture;
use crate::args::Train;
use crate::cmd::device;
use crate::cmd::settings::set_all;
use crate::cmd::train_progress::TrainProgress;
use crate::failure::{Failure, Outcome};
use crate::folder::{self, BegunOn, Existing};
use crate::stop::Stop;
use crate::terminal;
use crate::typed::{command_line, typed};
use primer_models::text::{Corpus, Part, Tokenizer, TokenizerSpec};
use primer_models::train::{CONFIG, Limit, RunFolder};
use primer_models::{Arch, RunConfig, Size};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;

/// Trains, or goes on training, and writes the run's folder.
///
/// # Errors
/// A setting, corpus, folder or checkpoint that can't be used; a device that fails.
pub fn run(args: &Train) -> Outcome {
    let begun = begun(args)?;
    let mut config = config(args)?;
    let limit = limit(args, &config);
    let named = begun.as_ref().map(|begun| begun.corpus.clone());
    let name = args.corpus.clone().or(named).unwrap_or_else(|| "rust".into());
    let corpus = folder::corpus(&name)?;
    if let Some(begun) = &begun {
        folder::same_text("run", &begun.text(), &corpus)?;
    }
    let chosen = device::open(&args.compute)?;
    // Before a folder is made for what can't be had.
    config.train.precision.on(&chosen.device)?;
    let out = folder::prepare(args.out.as_deref(), "train", Existing::of(args.resume, args.force))?;
    if let Some(note) = corpus.note() {
        terminal::note(note);
    }
    terminal::note(&format!("device: {} ({})", chosen.device, chosen.why));
    terminal::note(&format!("folder: {}", out.display()));
    let corpus = with_tokenizer(corpus, args, &mut config)?;
    let stop = Stop::on_ctrl_c();
    let mut run = if args.resume {
        RunFolder::resume(&out, &config, &corpus, &chosen.device)?
    } else {
        folder::remove_files(&out, &[BEGUN])?;
        let run = RunFolder::create(&out, &config, &corpus, &chosen.device)?;
        folder::write_json(&out.join(BEGUN), &Begun::new(name, &corpus))?;
        run
    };

    if let Some(before) = run.device_before() {
        terminal::note(&format!("warning: until now this run computed on \"{before}\";"));
        let now = run.trainer().device().signature();
        terminal::note(&format!("         on \"{now}\" its numbers differ, if only in their last bits"));
    }

    run.trainer().notes().for_each(terminal::note);

    let mut progress = TrainProgress::new(&chosen.device, limit, config.tokens_per_step());
    let checkpoint = run.run(limit, &stop.flag(), &mut |event| progress.show(&event))?;
    let trainer = run.trainer();
    let stopped = stop.asked();
    let last = progress.finish(&format!(
        "{} steps, {} tokens in {} of training{}",
        trainer.step(),
        trainer.step() * trainer.tokens_per_step(),
        terminal::clock(trainer.seconds()),
        if stopped { format!("; stopped and saved, go on with `{}`", resume(args, &out)) } else { String::new() }
    ));
    if args.json {
        return terminal::json(&json!({
            "out": out,
            "checkpoint": checkpoint,
            "steps": trainer.step(),
            "tokens": trainer.step() * trainer.tokens_per_step(),
            "seconds": trainer.seconds(),
            "validation_loss": last.loss,
            "validation_perplexity": last.loss.map(f64::exp),
            "validation_bits_per_byte": last.bits_per_byte,
            "matmul_gflops": last.matmul_gflops,
            "stopped": stopped,
            "device": chosen.device.to_string(),
            "corpus": corpus.name(),
            "corpus_sha256": corpus.sha256(),
            "tokenizer": corpus.tokenizer().id(),
        }));
    }
    terminal::line(&checkpoint.display().to_string())
}

/// The file in a run's folder that says how it was begun.
const BEGUN: &str = "begun.json";

/// How a run was begun, beside its settings. As it is in `begun.json`, so it stays.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    /// The command as it was typed.
    typed: String,
    /// The corpus as it was named.
    corpus: String,
    /// Its hash.
    corpus_sha256: String,
    /// Bytes of its training part: a text can be split in other places. Not in files of older versions.
    train_bytes: Option<u64>,
    /// The version that began it.
    primer: String,
}

impl Begun {
    fn new(corpus: String, text: &Corpus) -> Self {
        Self {
            typed: typed(),
            corpus,
            corpus_sha256: text.sha256(),
            train_bytes: Some(text.bytes(Part::Train)),
            primer: env!("CARGO_PKG_VERSION").into(),
        }
    }

    fn text(&self) -> BegunOn<'_> {
        BegunOn { name: &self.corpus, sha256: &self.corpus_sha256, train_bytes: self.train_bytes }
    }
}

/// How the run to go on with was begun; none of a new one, or one that an older version or an experiment began.
fn begun(args: &Train) -> Outcome<Option<Begun>> {
    match (args.resume, &args.out) {
        (true, Some(out)) if !out.join(CONFIG).exists() => Err(folder::nothing_to_resume(out, CONFIG, "train")),
        (true, Some(out)) => folder::read_json(&out.join(BEGUN)),
        _ => Ok(None),
    }
}

/// The command that goes on with a run.
fn resume(args: &Train, out: &Path) -> String {
    let mut line: Vec<String> = ["train", "--resume", "--out"].map(str::to_owned).into();
    line.push(out.to_string_lossy().into_owned());
    let given = [
        ("--steps", args.steps.map(|steps| steps.to_string())),
        ("--tokens", args.tokens.map(|tokens| tokens.to_string())),
        ("--time", args.time.map(|time| format!("{}s", time.as_secs_f64()))),
        ("--device", (args.compute.device != "auto").then(|| args.compute.device.clone())),
    ];
    for (option, value) in given {
        line.extend(value.into_iter().flat_map(|value| [option.to_owned(), value]));
    }
    command_line(&line)
}

/// The corpus with the run's tokenizer, or with a new one, whose vocabulary becomes the model's.
fn with_tokenizer(corpus: Corpus, args: &Train, config: &mut RunConfig) -> Outcome<Corpus> {
    let spec = config.text.tokenizer;
    if let (true, Some(out)) = (args.resume, &args.out) {
        return Ok(corpus.with_tokenizer(Tokenizer::of_run(out)?));
    }
    if spec != TokenizerSpec::Bytes {
        terminal::note(&format!("training the tokenizer {spec} ..."));
    }
    let tokenizer = spec.train(&corpus)?;
    // A small text doesn't fill the vocabulary.
    if config.model.vocab == spec.vocab() || config.model.vocab < tokenizer.vocab() {
        config.model.vocab = tokenizer.vocab();
    }
    Ok(corpus.with_tokenizer(tokenizer))
}

/// The settings in force: defaults of architecture and size, then the file, then the options.
fn config(args: &Train) -> Outcome<RunConfig> {
    // The tokenizer's vocabulary, whatever that of the paper's sizes.
    let vocab = args.tokenizer.unwrap_or(TokenizerSpec::Bytes).vocab();
    let defaults = |arch: &Architecture| arch.run(args.size.unwrap_or(Size::Nano), Some(vocab));
    let vanilla = Architecture::Written(Arch::Vanilla);
    let mut config = defaults(args.arch.as_ref().unwrap_or(&vanilla))?;
    if let (true, Some(out)) = (args.resume, &args.out) {
        config = RunFolder::config(out, config)?;
    }
    if let Some(file) = &args.config {
        let mut of_file = defaults(&vanilla)?;
        of_file.apply_file(file)?;
        // What the file leaves out is that of the file's own architecture.
        config = RunConfig::new(of_file.model.arch, args.size.unwrap_or(Size::Nano));
        config.model.vocab = vocab;
        config.apply_file(file)?;
        if let Some(arch) = args.arch.as_ref().filter(|arch| !arch.is_of(&config.model)) {
            config.model = arch.in_place_of(&config.model)?;
        }
    }
    if let Some(tokenizer) = args.tokenizer {
        config.text.tokenizer = tokenizer;
        config.model.vocab = tokenizer.vocab();
    }
    set_all(&mut config, &args.set, args.seq, args.batch)?;
    if let Some(seed) = args.seed {
        config.train.seed = seed;
    }
    if let Some(every) = args.sample_every {
        config.train.sample_every = every;
    }
    if let Some(prompt) = &args.sample_prompt {
        if config.train.sample_every == 0 {
            return Err(Failure::usage("--sample-prompt needs --sample-every"));
        }
        config.train.sample_prompt.clone_from(prompt);
    }
    config.validate()?;
    if let Limit::Steps(steps) = limit(args, &config) {
        config.train.steps = steps;
    }
    Ok(config)
}

fn limit(args: &Train, config: &RunConfig) -> Limit {
    if let Some(time) = args.time {
        return Limit::Seconds(time.as_secs_f64());
    }
    if let Some(tokens) = args.tokens {
        return Limit::Steps(tokens.div_ceil(config.tokens_per_step().max(1)));
    }
    Limit::Steps(args.steps.unwrap_or(config.train.steps))
}
