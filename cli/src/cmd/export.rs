//! `primer export`

use crate::architecture;
use crate::args::Export;
use crate::cmd::search::{self, describe};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::terminal;
use primer_models::LanguageModel;
use primer_search::Rejection;
use primer_search::dna::{Dna, seeds};
use primer_search::export::{Origin, reference, to_rust};
use primer_search::lower::{Sizes, plan};
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
    let content = match (&args.checkpoint, &*args.format) {
        (Some(path), "onnx") => load(path)?.to_onnx(args.batch as usize)?,
        (None, "onnx") => {
            return Err(Failure::usage("a program has no weights to write as onnx")
                .hint("Train it, then export its --checkpoint."));
        }
        (_, "dot") => program(args)?.dna.to_dot().map_err(primer_search::Error::from)?.into_bytes(),
        (_, "rust") => program(args)?.to_rust()?.into_bytes(),
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

fn program(args: &Export) -> Outcome<Program> {
    if let Some(path) = &args.checkpoint {
        return of_checkpoint(path, &args.format);
    }
    if let (Some(location), None) = (&args.store, &args.program) {
        return of_store(location, args);
    }
    let name = architecture::without_prefix(args.program.as_deref().unwrap_or_default());
    let history = if seeds::by_name(name).is_some() { "It is built in." } else { "It was read from that file." };
    let dna = architecture::program(name).map_err(Failure::usage)?;
    Ok(Program { dna, name: name.to_owned(), history: history.into(), planned: None })
}

/// What the model was trained as.
fn of_checkpoint(path: &Path, format: &str) -> Outcome<Program> {
    let model = load(path)?;
    let config = model.config();
    if config.program.is_empty() {
        let arch = config.arch;
        let hint = match format {
            "rust" => format!("It is one already: models/src/arch/{arch}.rs."),
            _ => "It can be as onnx; dna, dot and rust are for programs.".into(),
        };
        return Err(Failure::usage(format!("the checkpoint is of {arch}, no program to write as {format}")).hint(hint));
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
