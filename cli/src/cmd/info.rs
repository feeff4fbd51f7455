//! `primer info`

use crate::args::Info;
use crate::failure::{Failure, Outcome};
use crate::report::chart::short;
use crate::terminal;
use primer_models::Arch;
use primer_models::arch::Model;
use primer_models::train::step_program;
use primer_tensor::Device;
use primer_tensor::plan::PlanReport;
use serde_json::json;

/// Says what a model costs, counted on its planned training step; nothing of the model is allocated.
///
/// # Errors
/// A size that can't be built.
pub fn run(args: &Info) -> Outcome {
    let mut config = args.arch.run(args.size, None)?;
    let whole = |value: u64| {
        usize::try_from(value).map_err(|_| Failure::usage(format!("{value} is more than this machine can hold")))
    };
    if let Some(seq) = args.seq {
        config.model.seq = whole(seq)?;
    }
    if let Some(batch) = args.batch {
        config.train.batch = whole(batch)?;
    }
    for assignment in &args.set {
        config.set(assignment)?;
    }
    config.validate()?;
    let cost = |recompute_activations: bool| -> Outcome<PlanReport> {
        let mut config = config.clone();
        config.train.recompute_activations = recompute_activations;
        Ok(Device::cpu().cost(&step_program(&config)?)?)
    };
    let (kept, recomputing) = (cost(false)?, cost(true)?);
    let (report, other) = match config.train.recompute_activations {
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
    let tokens_a_step = (config.model.seq * config.train.batch) as u64;
    let flops_a_token = report.flops as f64 / tokens_a_step as f64;
    let tokens_a_second = args.tflops.map(|t| t * 1e12 / flops_a_token);
    let costs = |report: &PlanReport| {
        json!({
            "training_flops_per_token": report.flops as f64 / tokens_a_step as f64,
            "training_memory_bytes": report.peak_bytes(),
        })
    };
    if args.json {
        return terminal::json(&json!({
            "arch": config.model.label(),
            "size": args.size.name(),
            "parameters": { "total": total, "embedding": embedding, "per_block": per_block, "blocks": config.model.layers },
            "training_flops_per_token": flops_a_token,
            "tokens_per_step": tokens_a_step,
            "training_memory_bytes": report.peak_bytes(),
            "recompute_activations": { "false": costs(&kept), "true": costs(&recomputing) },
            "optimizer": config.optimizer.optimizer.name(),
            "estimated_tokens_per_second": tokens_a_second,
        }));
    }
    let m = &config.model;
    let inside = match m.arch {
        // A program has its own.
        Arch::Program => String::new(),
        _ => format!("{} heads, ff {}, ", m.heads, m.d_ff),
    };
    terminal::line(&format!(
        "{} {}: d {}, {} layers, {inside}sequence {}, batch {}",
        args.arch, args.size, m.d_model, m.layers, m.seq, config.train.batch
    ))?;
    terminal::line(&format!(
        "parameters       {} (embedding {}, a block {})",
        short(total as f64),
        short(embedding as f64),
        short(per_block as f64)
    ))?;
    terminal::line(&format!("training FLOPs   {} a token, as computed on a CPU", short(flops_a_token)))?;
    terminal::line(&format!(
        "training memory  {} at once in a step on a CPU (weights, {}, gradients, activations)",
        mebibytes(report.peak_bytes()),
        config.optimizer.optimizer.keeps()
    ))?;
    terminal::line(&format!(
        "                 {} with recompute_activations={}, for {:.2} times the FLOPs",
        mebibytes(other.peak_bytes()),
        !config.train.recompute_activations,
        other.flops as f64 / report.flops as f64
    ))?;
    match (args.tflops, tokens_a_second) {
        (Some(tflops), Some(rate)) => {
            terminal::line(&format!("at {tflops} TFLOP/s    {} tokens/s at best", short(rate.round())))
        }
        _ => Ok(()),
    }
}

/// Bytes for people: mebibytes, or gibibytes from 10 on.
fn mebibytes(bytes: u64) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    if mebibytes < 10_240.0 { format!("{mebibytes:.1} MiB") } else { format!("{:.1} GiB", mebibytes / 1024.0) }
}
