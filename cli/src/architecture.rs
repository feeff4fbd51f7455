//! What `--arch` and `--archs` name: a hand-written architecture, or a program of the search.

use crate::failure::{Failure, Outcome};
use primer_models::{Arch, ModelConfig, RunConfig, Size};
use primer_search::block;
use primer_search::dna::{Dna, seeds};

/// What every name of a program begins with.
const PROGRAM: &str = "dna:";

/// An architecture, before it has a size.
#[derive(Debug, Clone, PartialEq)]
pub enum Architecture {
    /// One of `primer_models::arch`.
    Written(Arch),
    /// A built-in program, `dna:NAME`.
    BuiltIn(&'static str),
    /// A program in a file, `dna:FILE`.
    File {
        /// The path as it was given.
        path: String,
        /// What is in it.
        dna: Box<Dna>,
    },
}

impl Architecture {
    /// The default settings of a run at `size`, with another vocabulary where one is given. A program has the width at
    /// which its parameters come nearest to vanilla's.
    ///
    /// # Errors
    /// A program that can't be a model of that size, or leaks.
    pub fn run(&self, size: Size, vocab: Option<usize>) -> Outcome<RunConfig> {
        let arch = match self {
            Self::Written(arch) => *arch,
            _ => Arch::Vanilla,
        };
        let mut config = RunConfig::new(arch, size);
        config.model.vocab = vocab.unwrap_or(config.model.vocab);
        if !matches!(self, Self::Written(_)) {
            config.model = self.in_place_of(&config.model)?;
        }
        Ok(config)
    }

    /// This architecture at the size of `model`.
    ///
    /// # Errors
    /// A program that can't be a model of that size, or leaks; a `model` of no size that has a name.
    pub fn in_place_of(&self, model: &ModelConfig) -> Outcome<ModelConfig> {
        let dna = match self {
            Self::Written(arch) => {
                return model.of_arch(*arch).ok_or_else(|| {
                    Failure::usage(format!(
                        "the model of the file is of no size that has a name, so {arch} can't be made of {}",
                        model.label()
                    ))
                    .hint("Leave out --arch and give --set arch= with d_ff= and whatever else it shall have.")
                });
            }
            Self::BuiltIn(name) => block::built_in(name, model).transpose().map_err(|e| {
                Failure::usage(format!("{self} can't have heads = {} and d_ff = {}: {e}", model.heads, model.d_ff))
            })?,
            Self::File { dna, .. } => Some((**dna).clone()),
        };
        let dna = dna.ok_or_else(|| Failure::usage(format!("there is no program {self}")))?;
        block::fit(&dna, model).map_err(|e| Failure::new(format!("{self} can't be trained: {e}")))
    }

    /// Whether `model` is of this architecture already.
    pub fn is_of(&self, model: &ModelConfig) -> bool {
        match self {
            Self::Written(arch) => *arch == model.arch,
            Self::BuiltIn(_) => false,
            Self::File { dna, .. } => dna.to_string() == model.program,
        }
    }
}

impl std::fmt::Display for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Written(arch) => arch.fmt(f),
            Self::BuiltIn(name) => f.pad(&format!("{PROGRAM}{name}")),
            Self::File { path, .. } => f.pad(&format!("{PROGRAM}{path}")),
        }
    }
}

/// The architecture of that name; a file is read.
impl std::str::FromStr for Architecture {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let Some(given) = name.strip_prefix(PROGRAM) else {
            return name.parse().map(Self::Written).map_err(|e: primer_models::Error| e.to_string());
        };
        if let Some(&(known, _)) = seeds::PROGRAMS.iter().find(|(known, _)| *known == given) {
            return Ok(Self::BuiltIn(known));
        }
        Ok(Self::File { path: given.to_owned(), dna: Box::new(program(given)?) })
    }
}

/// What a program is called without the `dna:` that tells it from an architecture.
pub fn without_prefix(name: &str) -> &str {
    name.strip_prefix(PROGRAM).unwrap_or(name)
}

/// A built-in program, or one in a file.
///
/// # Errors
/// A name that is neither, a text that is no program.
pub fn program(name: &str) -> Result<Dna, String> {
    if let Some(dna) = seeds::by_name(name) {
        return dna.map_err(|e| format!("{name}: {e}"));
    }
    let text = std::fs::read_to_string(name).map_err(|e| {
        format!("there is no program {name}: {e}; name a file in the text form, or one of {}", seeds::names())
    })?;
    text.parse().map_err(|e| format!("{name}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use primer_models::arch::Model;
    use primer_models::config::Positions;

    #[test]
    fn names_are_read_and_printed() {
        for name in ["vanilla", "primer_ez", "dna:transformer", "dna:discovered"] {
            assert_eq!(name.parse::<Architecture>().unwrap().to_string(), name);
        }
        for bad in ["vanila", "dna:", "dna:nowhere.dna", "program"] {
            assert!(bad.parse::<Architecture>().is_err(), "{bad}");
        }
    }

    /// The built-in programs are the hand-written architectures, to the last parameter.
    #[test]
    fn a_built_in_program_has_the_size_of_its_twin() {
        primer_search::register();
        for size in [Size::Nano, Size::Mini, Size::Small] {
            let of = |name: &str| {
                let model = name.parse::<Architecture>().unwrap().run(size, Some(256)).unwrap().model;
                let model = ModelConfig { positions: Positions::Sinusoid, ..model };
                (model.d_model, Model::build(&model, 1).unwrap().parameters())
            };
            assert_eq!(of("dna:transformer"), of("vanilla"), "{size}");
        }
    }
}
