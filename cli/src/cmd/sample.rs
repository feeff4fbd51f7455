//! `primer sample`

use crate::args::Sample;
use crate::cmd::device;
use crate::failure::{Failure, Outcome};
use crate::stop::Stop;
use crate::terminal;
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
        terminal::text_out(&args.prompt)?;
    }
    model.sample(args.prompt.as_bytes(), &options, &mut |bytes| {
        let text = decoder.push(bytes);
        written += &text;
        if !args.json {
            failed = terminal::text_out(&text).err();
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
    terminal::line(&rest)
}

/// Bytes to text as they come: a character is passed on when it is whole, what never becomes one is
/// replaced.
#[derive(Default)]
pub struct Utf8(Vec<u8>);

impl Utf8 {
    /// Takes bytes, gives the text that is certain by now.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.0.extend_from_slice(bytes);
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.0) {
                Ok(whole) => {
                    text += whole;
                    self.0.clear();
                    return text;
                }
                Err(e) => {
                    let valid = e.valid_up_to();
                    text += &String::from_utf8_lossy(&self.0[..valid]);
                    match e.error_len() {
                        Some(bad) => {
                            text.push('\u{FFFD}');
                            self.0.drain(..valid + bad);
                        }
                        None => {
                            self.0.drain(..valid);
                            return text;
                        }
                    }
                }
            }
        }
    }

    /// What is left of an unfinished character.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_come_out_whole_and_rubbish_is_replaced() {
        let mut utf8 = Utf8::default();
        let bytes = ["a".as_bytes(), &[0xC3], &[0xA9, b'b'], &[0xFF, b'c'], &[0xE2, 0x82]];
        let text: Vec<String> = bytes.iter().map(|b| utf8.push(b)).collect();
        assert_eq!(text, ["a", "", "éb", "\u{FFFD}c", ""]);
        assert_eq!(utf8.finish(), "\u{FFFD}");
    }
}
