//! `primer eval`

use crate::args::Eval;
use crate::cmd::device;
use crate::failure::Outcome;
use crate::folder;
use crate::terminal;
use primer_models::generate::LanguageModel;
use primer_models::text::TokenSet;
use serde_json::json;

/// Measures a checkpoint on a whole text.
///
/// # Errors
/// A checkpoint or corpus that can't be used, a device that fails.
pub fn run(args: &Eval) -> Outcome {
    let corpus = folder::corpus(&args.corpus)?;
    let chosen = device::open(&args.compute)?;
    let mut model = LanguageModel::load(&args.checkpoint, &chosen.device)?;
    let corpus = corpus.with_tokenizer(model.tokenizer().clone());
    if let Some(note) = corpus.note() {
        terminal::note(note);
    }
    let text = TokenSet::whole(&corpus)?;
    text.note().into_iter().for_each(terminal::note);
    terminal::note(&format!("evaluating {} tokens on {} ...", text.len(), chosen.device));
    let e = model.evaluate(&text)?;
    if args.json {
        return terminal::json(&json!({
            "loss_nats": e.loss_nats,
            "perplexity": e.perplexity,
            "bits_per_byte": e.bits_per_byte,
            "tokens": e.tokens,
            "bytes": e.bytes,
            "corpus": corpus.name(),
            "corpus_sha256": corpus.sha256(),
            "tokenizer": model.tokenizer().id(),
            "device": chosen.device.to_string(),
        }));
    }
    terminal::line(&format!("loss           {:.4} nats a token", e.loss_nats))?;
    terminal::line(&format!("perplexity     {:.3}", e.perplexity))?;
    terminal::line(&format!("bits per byte  {:.4}", e.bits_per_byte))?;
    terminal::line(&format!("tokens         {}", e.tokens))?;
    terminal::line(&format!("bytes          {}", e.bytes))
}
