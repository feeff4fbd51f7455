//! `primer export`

use crate::architecture::{self, Architecture};
use crate::args::Export;
use crate::cmd::search::{self, describe};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::terminal;
use primer_models::arch::Model;
use primer_models::{Arch, LanguageModel, Size};
use primer_search::Rejection;
use primer_search::dna::Dna;
use primer_search::export::{Origin, reference, to_rust};
use primer_search::lower::{Sizes, plan};
use primer_search::retest::is_fair;
use primer_search::store::Location;
use primer_tensor::Device;
use serde_json::json;
use std::path::Path;

/// A program, and where it comes from.
struct Program {
    dna: Dna,
    name: String,
    history: String,
    /// The unit and sizes with which it is lowered there; none where it has none yet.
    planned: Option<(u64, Sizes)>,
}

/// Writes a model or a program to a file.
///
/// # Errors
/// A source that can't be read, a format that doesn't apply to it, a file that can't be written.
pub fn run(args: &Export) -> Outcome {
    output::check(&args.out, args.force, args.json)?;
    let content = match (&args.checkpoint, &args.arch, &*args.format) {
        (Some(path), _, "onnx") => load(path)?.to_onnx(args.batch as usize)?,
        (_, Some(arch), "onnx") => untrained(arch, args.size)?.to_onnx(args.batch as usize)?,
        (_, _, "onnx") => {
            return Err(Failure::usage("a candidate has no weights to write as onnx")
                .hint("Write it as dna, train it with --arch dna:FILE, then export its --checkpoint."));
        }
        _ if args.size.is_some() => return Err(Failure::usage(format!("{} has no --size; onnx has", args.format))),
        (.., "dot") => program(args)?.dna.to_dot().map_err(primer_search::Error::from)?.into_bytes(),
        (.., "resolved") => program(args)?.resolved()?.into_bytes(),
        (.., "rust") => program(args)?.to_rust()?.into_bytes(),
        _ => program(args)?.dna.to_string().into_bytes(),
    };
    output::write(&args.out, &content)?;
    if output::is_stdout(&args.out) {
        return Ok(());
    }
    if args.json {
        return terminal::json(&json!({ "out": args.out, "format": args.format, "bytes": content.len() }));
    }
    terminal::note(&format!("{}: {} bytes", args.out.display(), content.len()));
    Ok(())
}

impl Program {
    fn resolved(&self) -> Outcome<String> {
        let refused = |reason: Rejection| Failure::new(format!("{} can't be resolved: {reason}", self.name));
        Ok(self.dna.inline_all().map_err(refused)?.to_string())
    }

    fn to_rust(&self) -> Outcome<String> {
        let refused = |reason: Rejection| Failure::new(format!("{} can't be lowered: {reason}", self.name));
        let (unit, sizes) = self.planned.map_or_else(|| reference(&self.dna), Ok).map_err(refused)?;
        let origin = Origin { name: &self.name, history: &self.history };
        to_rust(&self.dna, unit, sizes, origin).map_err(refused)
    }
}

fn load(path: &Path) -> Outcome<LanguageModel> {
    Ok(LanguageModel::load(path, &Device::cpu_with_threads(1))?)
}

/// A model that isn't trained, with the vocabulary of its size.
fn untrained(arch: &Architecture, size: Option<Size>) -> Outcome<LanguageModel> {
    let size = size.ok_or_else(|| {
        Failure::usage("an architecture as onnx needs a --size")
            .hint("--size nano is the smallest; primer info lists parameters.")
    })?;
    let config = arch.run(size, None)?;
    // Before so much is drawn and written that the file can't hold.
    let bytes = 4 * Model::build(&config.model, 1)?.parameters() as u64;
    if i32::try_from(bytes).is_err() {
        return Err(Failure::usage(format!(
            "{arch} {size} has {bytes} bytes of weights, and one file of ONNX holds 2,147,483,647 at most"
        )));
    }
    Ok(LanguageModel::untrained(&config.model, config.train.seed, &Device::cpu_with_threads(1))?)
}

fn program(args: &Export) -> Outcome<Program> {
    match (&args.checkpoint, &args.arch, &args.store) {
        (Some(path), ..) => of_checkpoint(path, &args.format),
        (_, Some(arch), _) => of_architecture(arch, &args.format),
        (.., Some(location)) => of_store(location, args),
        _ => Err(Failure::usage("what is to be written? --checkpoint, --arch, or --best or --id of a --store")),
    }
}

fn of_architecture(arch: &Architecture, format: &str) -> Outcome<Program> {
    let (dna, name, history) = match arch {
        Architecture::Written(arch) => return Err(no_program(&arch.to_string(), *arch, format)),
        Architecture::BuiltIn(name) => (architecture::program(name).map_err(Failure::usage)?, *name, "It is built in."),
        Architecture::File { path, dna } => ((**dna).clone(), &**path, "It was read from that file."),
    };
    Ok(Program { dna, name: name.to_owned(), history: history.into(), planned: None })
}

/// What is written by hand, and named as `what` here, is in no form that programs have.
fn no_program(what: &str, arch: Arch, format: &str) -> Failure {
    let hint = match format {
        "rust" => format!("It is one already: models/src/arch/{arch}.rs."),
        _ => "It can be as onnx; dna, resolved, dot and rust are for programs.".into(),
    };
    Failure::usage(format!("{what} is no program to write as {format}")).hint(hint)
}

/// What the model was trained as.
fn of_checkpoint(path: &Path, format: &str) -> Outcome<Program> {
    let model = load(path)?;
    let config = model.config();
    if config.program.is_empty() {
        let what = format!("the model of the checkpoint, {},", config.arch);
        return Err(no_program(&what, config.arch, format));
    }
    let dna: Dna = config.program.parse()?;
    let unit = config.d_model as u64 / u64::from(dna.dims[0]).max(1);
    let sizes = Sizes { layers: config.layers, vocab: config.vocab, sequence: config.seq, batch: 1 };
    let history = format!("It was trained in {}.", path.display());
    Ok(Program { dna, name: config.label(), history, planned: Some((unit, sizes)) })
}

/// A candidate of a study.
fn of_store(location: &Location, args: &Export) -> Outcome<Program> {
    let store = search::open(location)?;
    let id = match args.id {
        Some(id) => id,
        None => {
            let best = store.status()?.best;
            best.ok_or_else(|| Failure::new("no candidate of the study has been measured yet"))?.child_no
        }
    };
    let candidate = search::existing(&store, id)?;
    let seed = store.candidate(0)?.map(|seed| seed.cost).unwrap_or_default();
    let measured = candidate.cost.measured_over_predicted(&seed);
    if let Some(ratio) = measured
        && !is_fair(store.spec().fitness.budget, measured)
    {
        terminal::note(&format!(
            "candidate {id}: its steps took {ratio:.2} times what was predicted, so it was trained for another cost than others"
        ));
    }
    let dna = candidate.dna()?;
    let mut history = format!("It belongs to the study {:.12}", store.spec_sha256());
    if let Some(parent) = candidate.parent {
        history += &format!(", made from candidate {parent}: {}", describe::chain(&candidate.mutations()?));
    }
    if let Some(fitness) = candidate.fitness {
        history += &format!("; its validation loss was {fitness:.4} nats");
    }
    history.push('.');
    let name = format!("candidate {id}");
    let planned = match &*args.format {
        "rust" => {
            let (spec, sizes) = (store.spec(), store.spec().sizes());
            let refused = |reason: Rejection| Failure::new(format!("{name} can't be lowered: {reason}"));
            let limits = spec.program_limits()?;
            Some((plan(&dna, sizes, &limits).map_err(refused)?.unit(), sizes))
        }
        _ => None,
    };
    Ok(Program { dna, name, history, planned })
}
