//! Programs of the search as Rust source. The blocks in `exported/` are what `primer export --arch dna:NAME --format
//! rust` writes; in the ordinary shell each is the model that `--arch dna:NAME` trains, with the same parameters.
//!
//! `cargo run --example search-exported-program`

#![allow(clippy::print_stdout)] // an example's output

use primer_models::arch::{Model, TOKENS};
use primer_models::nn::{Dims, Scope};
use primer_models::{Arch, ModelConfig, Size};
use primer_search::dna::seeds;
use primer_tensor::{Data, Device, Program, State, Tensor};

#[path = "exported/discovered.rs"]
mod discovered;
#[path = "exported/primer.rs"]
mod primer;
#[path = "exported/primer_ez.rs"]
mod primer_ez;
#[path = "exported/transformer.rs"]
mod transformer;
#[path = "exported/transformer_plusplus.rs"]
mod transformer_plusplus;

type Block = fn(Scope<'_>, Dims, &Tensor) -> Tensor;

const BLOCKS: [(&str, Block); 5] = [
    ("transformer", transformer::block),
    ("transformer_plusplus", transformer_plusplus::block),
    ("primer_ez", primer_ez::block),
    ("primer", primer::block),
    ("discovered", discovered::block),
];

const BATCH: usize = 2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    primer_search::register();
    let nano = ModelConfig::new(Arch::Vanilla, Size::Nano);
    let size = ModelConfig { vocab: 100, seq: 24, ..nano };
    let device = Device::cpu();
    for (name, block) in BLOCKS {
        let dna = seeds::by_name(name).ok_or("a program has another name")??;
        let config = primer_search::block::fit(&dna, &size)?;
        let program = Model::build(&config, BATCH)?;
        let exported = Model::with_block(&config, BATCH, &block)?;
        assert_eq!(exported.shapes(), program.shapes());

        // Weights of the one are weights of the other: here those that training would start from.
        let mut state = program.initial_state(&device, 1)?;
        let [expected, found] = [logits(&program, &mut state)?, logits(&exported, &mut state)?];
        let furthest = expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let (width, parameters) = (config.d_model, exported.parameters());
        println!("{name:20} d = {width}, {parameters} parameters, logits at most {furthest:e} apart");
        assert!(furthest < 1e-4, "{name}: {furthest}");
    }
    Ok(())
}

/// The logits of one batch, `[batch·seq, vocab]`.
fn logits(model: &Model, state: &mut State) -> primer_tensor::Result<Vec<f32>> {
    let tokens: Vec<u32> = (0..BATCH * model.config.seq).map(|i| (i * 31 % model.config.vocab) as u32).collect();
    let program = Program::trace(std::slice::from_ref(&model.logits), &[])?;
    let mut executable = state.device().compile(&program)?;
    executable.run(state, &[(TOKENS, Data::U32(&tokens))])?;
    executable.output(0)
}
