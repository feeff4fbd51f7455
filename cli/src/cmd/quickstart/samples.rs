//! What both models write at the end.

use super::Schedule;
use super::duel::Trained;
use crate::failure::Outcome;
use crate::report::data::Sample;
use crate::stop::Stop;
use crate::terminal::{Progress, Utf8};
use primer_models::generate::SampleOptions;
use primer_models::text::{Corpus, CorpusKind, Part};
use std::time::{Duration, Instant};

/// Tokens a sample has at most.
const TOKENS: usize = 400;

/// Draws a text from each model, with the same prompt and seed, in the time left.
///
/// # Errors
/// A device that fails.
pub fn draw(trained: &mut [Trained], corpus: &Corpus, seed: u64, schedule: Schedule, stop: &Stop) -> Outcome {
    let mut progress = Progress::new("sampling");
    let prompt = prompt(corpus)?;
    let options = SampleOptions { tokens: TOKENS, temperature: 0.7, top_k: 40, top_p: 1.0, seed };
    let count = trained.len();
    for (i, arm) in trained.iter_mut().enumerate() {
        // A fifth of what is left is the report's. After Ctrl-C a second each must do.
        let left = schedule.end.saturating_duration_since(Instant::now()).mul_f64(0.8);
        let share = match stop.asked() {
            true => Duration::from_millis(700),
            false => (left / (count - i) as u32).max(Duration::from_millis(300)),
        };
        let (begin, mut decoder, mut text) = (Instant::now(), Utf8::default(), String::new());
        let mut drawn = 0;
        arm.trainer.language_model()?.sample(prompt.as_bytes(), &options, &mut |bytes| {
            text += &decoder.push(bytes);
            drawn += 1;
            let done = (i as f64 + drawn as f64 / TOKENS as f64) / count as f64;
            progress.update(done, None, &format!("{drawn} tokens from {}", arm.data.arch));
            begin.elapsed() < share
        })?;
        text += &decoder.finish();
        arm.data.samples.push(Sample { prompt: prompt.clone(), text });
    }
    progress.finish("done");
    Ok(())
}

/// Something that the corpus might go on from.
fn prompt(corpus: &Corpus) -> Outcome<String> {
    match corpus.kind() {
        CorpusKind::RustSources | CorpusKind::OwnSources => Ok("impl<T> Iterator for ".into()),
        _ => {
            let text = String::from_utf8_lossy(&corpus.text(Part::Valid, 200)?).into_owned();
            let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("");
            Ok(line.chars().take(24).collect())
        }
    }
}
