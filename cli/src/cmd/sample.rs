//! `primer sample`

use crate::args::Sample;
use crate::cmd::device;
use crate::failure::{Failure, Outcome};
use crate::stop::Stop;
use crate::terminal::{self, Utf8, untrusted};
use primer_models::generate::{LanguageModel, SampleOptions};
use serde_json::json;

/// Writes text with a checkpoint, as it is drawn.
///
/// # Errors
/// A checkpoint that can't be used, a device that fails.
pub fn run(args: &Sample) -> Outcome {
    let tokens =
        usize::try_from(args.tokens).map_err(|_| Failure::usage("--tokens is more than this machine can count"))?;
    let chosen = device::open(&args.compute)?;
    let mut model = LanguageModel::load(&args.checkpoint, &chosen.device)?;
    let options = SampleOptions {
        tokens,
        temperature: args.temperature,
        top_k: args.top_k.map_or(0, |k| usize::try_from(k).unwrap_or(usize::MAX)),
        top_p: args.top_p,
        seed: args.seed,
    };
    let stop = Stop::on_ctrl_c();
    let mut decoder = Utf8::default();
    let mut written = String::new();
    let mut failed = None;
    if !args.json {
        terminal::text_out(&untrusted(&args.prompt))?;
    }
    model.sample(args.prompt.as_bytes(), &options, &mut |bytes| {
        let text = decoder.push(bytes);
        written += &text;
        if !args.json {
            failed = terminal::text_out(&untrusted(&text)).err();
        }
        failed.is_none() && !stop.asked()
    })?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    let rest = decoder.finish();
    written += &rest;
    if args.json {
        return terminal::json(&json!({
            "prompt": args.prompt,
            "text": written,
            "seed": args.seed,
            "temperature": args.temperature,
        }));
    }
    terminal::line(&untrusted(&rest))
}
