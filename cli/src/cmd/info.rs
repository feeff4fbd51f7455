//! `primer info`

use crate::args::Info;
use crate::cmd::settings::set_all;
use crate::cmd::step_cost::StepCost;
use crate::failure::Outcome;
use crate::report::chart::short;
use crate::terminal;
use primer_models::Arch;
use primer_models::arch::Model;
use primer_tensor::Bytes;
use serde_json::json;

/// Says what a model costs, counted on its planned training step; nothing of the model is allocated.
///
/// # Errors
/// A size that can't be built.
pub fn run(args: &Info) -> Outcome {
    let mut config = args.arch.run(args.size, None)?;
    set_all(&mut config, &args.set, args.seq, args.batch)?;
    config.validate()?;
    let cost = |recompute_activations: bool| {
        let mut config = config.clone();
        config.train.recompute_activations = recompute_activations;
        StepCost::of(&config)
    };
    let (kept, recomputing) = (cost(false)?, cost(true)?);
    let (cost, other) = match config.train.recompute_activations {
        false => (kept, recomputing),
        true => (recomputing, kept),
    };
    let model = Model::build(&config.model, 1)?;
    let (mut embedding, mut blocks, mut rest) = (0, 0, 0);
    for parameter in &model.params {
        let slot = match parameter.name.split('.').next() {
            Some("embedding") => &mut embedding,
            Some("blocks") => &mut blocks,
            _ => &mut rest,
        };
        *slot += parameter.numel() as u64;
    }
    let total = embedding + blocks + rest;
    let per_block = blocks / (config.model.layers as u64).max(1);
    let tokens_per_step = config.tokens_per_step();
    let flops_per_token = cost.flops / tokens_per_step as f64;
    let tokens_per_second = args.tflops.map(|t| t * 1e12 / flops_per_token);
    let costs = |cost: &StepCost| {
        json!({
            "training_flops_per_token": cost.flops / tokens_per_step as f64,
            "training_memory_bytes": cost.bytes,
        })
    };
    if args.json {
        return terminal::json(&json!({
            "arch": config.model.label(),
            "size": args.size.name(),
            "parameters": { "total": total, "embedding": embedding, "per_block": per_block, "blocks": config.model.layers },
            "training_flops_per_token": flops_per_token,
            "tokens_per_step": tokens_per_step,
            "training_memory_bytes": cost.bytes,
            "recompute_activations": { "false": costs(&kept), "true": costs(&recomputing) },
            "optimizer": config.optimizer.optimizer.name(),
            "estimated_tokens_per_second": tokens_per_second,
        }));
    }
    let m = &config.model;
    let inside = match m.arch {
        // A program has its own.
        Arch::Program => String::new(),
        _ => format!("{} heads, ff {}, ", m.heads, m.d_ff),
    };
    terminal::line(&format!(
        "{} {}: d {}, {} layers, {inside}sequence {}, batch {}{}",
        args.arch,
        args.size,
        m.d_model,
        m.layers,
        m.seq,
        config.train.batch,
        if config.train.accumulate > 1 {
            format!(", {} batches a step", config.train.accumulate)
        } else {
            String::new()
        }
    ))?;
    terminal::line(&format!(
        "parameters       {} (embedding {}, a block {})",
        short(total as f64),
        short(embedding as f64),
        short(per_block as f64)
    ))?;
    terminal::line(&format!("training FLOPs   {} a token, as computed on a CPU", short(flops_per_token)))?;
    terminal::line(&format!(
        "training memory  {} at once in a step on a CPU (weights, {}, gradients, activations)",
        Bytes(cost.bytes),
        config.optimizer.optimizer.keeps()
    ))?;
    terminal::line(&format!(
        "                 {} with recompute_activations={}, for {:.2} times the FLOPs",
        Bytes(other.bytes),
        !config.train.recompute_activations,
        other.flops / cost.flops
    ))?;
    match (args.tflops, tokens_per_second) {
        (Some(tflops), Some(rate)) => {
            terminal::line(&format!("at {tflops} TFLOP/s    {} tokens/s at best", short(rate.round())))
        }
        _ => Ok(()),
    }
}
