//! `primer export`

use crate::args::Export;
use crate::failure::{Failure, Outcome};
use crate::folder::write_whole;
use crate::terminal;
use primer_models::LanguageModel;
use primer_search::dna::{Dna, seeds};
use primer_search::store::Store;
use primer_tensor::Device;

/// Writes a model or a program to a file.
///
/// # Errors
/// A source that can't be read, a format that doesn't apply to it, a file that can't be written.
pub fn run(args: &Export) -> Outcome {
    if args.out.exists() && !args.force {
        return Err(Failure::usage(format!("{} is already there", args.out.display()))
            .hint("Write over it with --force, or choose another file with --out."));
    }
    let content = match (&args.checkpoint, &*args.format) {
        (Some(path), "onnx") => {
            LanguageModel::load(path, &Device::cpu_with_threads(1))?.to_onnx(args.batch as usize)?
        }
        (Some(_), format) => {
            return Err(Failure::usage(format!("a checkpoint can't be written as {format}"))
                .hint("It can be as onnx; dna and dot are for programs, named by --program or --store."));
        }
        (None, "onnx") => {
            return Err(Failure::usage("a program has no weights to write as onnx")
                .hint("Train it, then export its --checkpoint."));
        }
        (None, "dot") => program(args)?.to_dot().map_err(primer_search::Error::from)?.into_bytes(),
        (None, _) => program(args)?.to_string().into_bytes(),
    };
    write_whole(&args.out, &content).map_err(|e| {
        Failure::new(format!("cannot write {}: {e}", args.out.display())).hint("Choose another file with --out.")
    })?;
    terminal::note(&format!("{}: {} bytes", args.out.display(), content.len()));
    Ok(())
}

fn program(args: &Export) -> Outcome<Dna> {
    let Some(path) = &args.store else {
        return named(args.program.as_deref().unwrap_or_default());
    };
    let store = Store::open(path)?;
    let id = match (args.id, args.best) {
        (Some(id), _) => id,
        (None, true) => {
            store
                .status()?
                .best
                .ok_or_else(|| Failure::new("no candidate of the study has been measured yet"))?
                .child_no
        }
        (None, false) => return Err(Failure::usage("of a store, say which program: --best or --id N")),
    };
    let candidate = store.candidate(id)?.ok_or_else(|| Failure::new(format!("the study has no candidate {id}")))?;
    Ok(candidate.dna()?)
}

/// A built-in program, or one in a file.
///
/// # Errors
/// A name that is neither, a text that is no program.
pub fn named(name: &str) -> Outcome<Dna> {
    if let Some(dna) = seeds::by_name(name) {
        return Ok(dna?);
    }
    let text = std::fs::read_to_string(name).map_err(|e| {
        let names: Vec<&str> = seeds::PROGRAMS.iter().map(|&(name, _)| name).collect();
        Failure::usage(format!("there is no program {name}: {e}"))
            .hint(format!("Name a file in the text form, or one of {}.", names.join(", ")))
    })?;
    text.parse().map_err(|e| Failure::new(format!("{name}: {e}")))
}
