//! From the command line to a model's configuration.

use super::Arm;
use crate::architecture::Architecture;
use crate::args::ExperimentArgs;
use crate::cmd::settings::set_all;
use crate::failure::{Failure, Outcome};
use primer_models::text::{Tokenizer, TokenizerSpec};
use primer_models::{RunConfig, Size};

/// A model of each architecture at each size, all with the same settings.
///
/// # Errors
/// A setting that can't be used.
pub fn arms(
    archs: &[Architecture],
    sizes: &[Size],
    args: &ExperimentArgs,
    base: impl Fn(&mut RunConfig),
) -> Outcome<Vec<Arm>> {
    let mut arms = Vec::new();
    for arch in archs {
        for &size in sizes {
            let config = configure(arch, size, args, &base)?;
            let (label, size_name) = (config.model.label(), size.name());
            if let Some(same) = arms.iter().position(|arm: &Arm| (&arm.arch, &arm.size) == (&label, &size_name)) {
                let other = &archs[same / sizes.len()];
                return Err(Failure::usage(format!("--archs names the same program twice, as {other} and as {arch}")));
            }
            arms.push(Arm { arch: label, size: size_name, name: arch.to_string(), config });
        }
    }
    Ok(arms)
}

/// The settings of `arch` at `size`: their defaults, what the command changes of these (`base`), then the file, then
/// the options.
///
/// # Errors
/// A key or value that can't be used.
fn configure(
    arch: &Architecture,
    size: Size,
    args: &ExperimentArgs,
    base: impl Fn(&mut RunConfig),
) -> Outcome<RunConfig> {
    // The tokenizer's vocabulary, whatever that of the paper's sizes.
    let vocab = args.tokenizer.unwrap_or(TokenizerSpec::Bytes).vocab();
    let mut config = arch.run(size, Some(vocab))?;
    let label = config.model.label();
    // Of many runs, one checkpoint each to go on from and the best one are enough.
    config.train.keep = 1;
    base(&mut config);
    if let Some(file) = &args.config {
        let of_size = config.model.clone();
        config.apply_file(file)?;
        // Architectures and sizes are those of the command, whatever model the file is of.
        config.model.arch = of_size.arch;
        config.model.program = of_size.program;
        config.model.d_model = of_size.d_model;
        config.model.layers = of_size.layers;
        config.model.heads = of_size.heads;
        config.model.d_head = of_size.d_head;
        config.model.d_ff = of_size.d_ff;
    }
    if let Some(tokenizer) = args.tokenizer {
        config.text.tokenizer = tokenizer;
        config.model.vocab = tokenizer.vocab();
    }
    set_all(&mut config, &args.set, args.seq, args.batch)?;
    if config.model.label() != label {
        return Err(Failure::usage("--set arch is not possible here: the architectures are those of --archs"));
    }
    config.train.seed = args.seed;
    // Evaluations come at fixed fractions of a run, see `evaluation_steps`.
    config.train.eval_every = 0;
    config.validate()?;
    Ok(config)
}

/// Makes the vocabulary of a trained tokenizer the model's: a small text doesn't fill what was asked for.
pub fn fit_vocabulary(config: &mut RunConfig, spec: TokenizerSpec, tokenizer: &Tokenizer) {
    if config.model.vocab == spec.vocab() || config.model.vocab < tokenizer.vocab() {
        config.model.vocab = tokenizer.vocab();
    }
}

/// Fails where a list names something twice.
///
/// # Errors
/// Wrong usage.
pub fn distinct<T: PartialEq>(list: &[T], option: &str, name: impl Fn(&T) -> String) -> Outcome {
    match list.iter().enumerate().find(|(i, item)| list[..*i].contains(item)) {
        Some((_, item)) => Err(Failure::usage(format!("{option} names {} twice", name(item)))),
        None => Ok(()),
    }
}
