//! `primer logits`

use crate::args::Logits;
use crate::cmd::device;
use crate::failure::{Failure, Outcome};
use crate::terminal;
use primer_models::generate::{LanguageModel, log_probabilities};
use primer_models::text::Tokenizer;
use serde_json::json;

/// Prints the logits of the next token at every position, or the log-probabilities of the likeliest.
///
/// # Errors
/// A checkpoint that can't be used, a text too long for the model, a device that fails.
pub fn run(args: &Logits) -> Outcome {
    if args.text.is_empty() {
        return Err(Failure::usage("--text is empty; there is nothing to predict from"));
    }
    let chosen = device::open(&args.compute)?;
    let mut model = LanguageModel::load(&args.checkpoint, &chosen.device)?;
    let tokenizer = model.tokenizer().clone();
    let tokens = tokenizer.encode(args.text.as_bytes())?;
    let logits = model.logits(args.text.as_bytes())?;
    let rows: Vec<Vec<f32>> = logits.iter().map(|row| log_probabilities(row)).collect();
    if args.json {
        return terminal::json(&json!({ "tokens": tokens, "logits": logits, "log_probabilities": rows }));
    }
    terminal::line("position  token  likeliest next tokens")?;
    for (position, (token, row)) in tokens.iter().zip(&rows).enumerate() {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
        let best: Vec<String> =
            order.iter().take(5).map(|&i| format!("{} {:.3}", show(&tokenizer, i as u32), row[i])).collect();
        terminal::line(&format!("{position:>8}  {:<5}  {}", show(&tokenizer, *token), best.join("  ")))?;
    }
    Ok(())
}

/// A token as people can read it.
fn show(tokenizer: &Tokenizer, token: u32) -> String {
    match tokenizer.decode(&[token]).as_slice() {
        [] => format!("#{token}"),
        bytes => match std::str::from_utf8(bytes) {
            Ok(text) if !text.chars().any(char::is_control) => format!("'{text}'"),
            _ => format!("'{}'", bytes.escape_ascii()),
        },
    }
}
