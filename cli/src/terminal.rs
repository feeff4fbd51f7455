//! What goes to the terminal: results to stdout, everything else to stderr. Neither can panic, as
//! `println!` does when the reader of a pipe has gone.

use crate::failure::{Failure, Outcome};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Writes a line to stdout.
///
/// # Errors
/// [`Failure`] if stdout can't be written; a reader that has gone ends the program quietly.
pub fn line(text: &str) -> Outcome {
    text_out(&format!("{text}\n"))
}

/// Writes text to stdout as it is, at once.
///
/// # Errors
/// As [`line()`].
pub fn text_out(text: &str) -> Outcome {
    bytes_out(text.as_bytes())
}

/// Writes bytes to stdout as they are, at once.
///
/// # Errors
/// As [`line()`].
pub fn bytes_out(bytes: &[u8]) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Failure::quiet()),
        Err(e) => Err(Failure::new(format!("cannot write to standard output: {e}"))),
    }
}

/// Writes one JSON object to stdout.
///
/// # Errors
/// As [`line()`].
pub fn json(value: &impl serde::Serialize) -> Outcome {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(&text),
        Err(e) => Err(Failure::new(format!("the answer cannot be written as JSON: {e}"))),
    }
}

/// Text that nobody vouches for, as a model's: on a terminal, which would obey them, control characters are replaced; a
/// file gets all of it.
pub fn untrusted(text: &str) -> Cow<'_, str> {
    if io::stdout().is_terminal() { printable(text).into() } else { text.into() }
}

/// Text without the control characters that a terminal would obey.
pub fn printable(text: &str) -> String {
    let replaced = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(replaced).collect()
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

/// Writes a line to stderr.
pub fn note(text: &str) {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Progress: a bar on a terminal, a plain line now and then elsewhere.
pub struct Progress {
    bar: Option<ProgressBar>,
    label: String,
    /// When it was first told how much is done, and how much that was: work taken up again begins with a part of it.
    start: Option<(Instant, f64)>,
    last: Option<Instant>,
    step: f64,
}

impl Progress {
    /// Begins, showing `label` at once.
    pub fn new(label: &str) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{prefix:>9} [{bar:24}] {msg}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(label.to_owned());
            bar.tick();
            bar
        });
        if bar.is_none() {
            note(&format!("{label} ..."));
        }
        Self { bar, label: label.to_owned(), start: None, last: None, step: 1.0 }
    }

    /// The work is `done` of 1 finished; `message` is what it measured. The time left is estimated
    /// from what was done since the first call, unless `left` knows it.
    pub fn update(&mut self, done: f64, left: Option<Duration>, message: &str) {
        let done = done.clamp(0.0, 1.0);
        let (start, first) = *self.start.get_or_insert_with(|| (Instant::now(), done));
        let left = match left {
            Some(left) => Some(left.as_secs_f64()),
            None => estimate(start.elapsed().as_secs_f64(), first, done),
        };
        let left = left.map_or(String::new(), |s| format!(", {} left", clock(s)));
        let text = format!("{message}{left}");
        match &self.bar {
            Some(bar) => {
                bar.set_position((done * 1000.0) as u64);
                bar.set_message(text);
            }
            None => {
                // Often at first, so that it is seen to work; later every 5 seconds.
                let due = self.last.is_none_or(|last| last.elapsed().as_secs_f64() >= self.step);
                if due {
                    note(&format!("{:>9} {:>4.0}%  {text}", self.label, done * 100.0));
                    self.last = Some(Instant::now());
                    self.step = (self.step * 1.5).min(5.0);
                }
            }
        }
    }

    /// What is going on just now, in the place of what was measured; on a terminal alone.
    pub fn live(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }

    /// A line above the bar.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note(text)),
            None => note(text),
        }
    }

    /// Ends, leaving one line.
    pub fn finish(self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        note(&format!("{:>9}       {text}", self.label));
    }
}

/// Seconds left of work of which a share was done at first and `done` is after `elapsed` seconds; none as long as that
/// says little.
fn estimate(elapsed: f64, first: f64, done: f64) -> Option<f64> {
    (done - first > 0.02 * (1.0 - first)).then(|| elapsed * (1.0 - done) / (done - first))
}

/// Seconds as `1:05` or `12 s`.
pub fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match seconds {
        s if s < 60 => format!("{s} s"),
        s if s < 3600 => format!("{}:{:02}", s / 60, s % 60),
        s => format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_replaced() {
        assert_eq!(printable("a\tb\nc\u{1b}[2Jd\re"), "a\tb\nc\u{fffd}[2Jd\u{fffd}e");
    }

    #[test]
    fn characters_come_out_whole_and_rubbish_is_replaced() {
        let mut utf8 = Utf8::default();
        let bytes = ["a".as_bytes(), &[0xC3], &[0xA9, b'b'], &[0xFF, b'c'], &[0xE2, 0x82]];
        let text: Vec<String> = bytes.iter().map(|b| utf8.push(b)).collect();
        assert_eq!(text, ["a", "", "éb", "\u{FFFD}c", ""]);
        assert_eq!(utf8.finish(), "\u{FFFD}");
    }

    #[test]
    fn the_time_left_counts_only_what_was_done_by_this_process() {
        assert_eq!(estimate(60.0, 0.0, 0.5), Some(60.0));
        assert_eq!(estimate(60.0, 0.5, 0.75), Some(60.0));
        assert_eq!((estimate(60.0, 0.0, 0.01), estimate(60.0, 0.9, 0.901)), (None, None));
        assert_eq!(estimate(60.0, 1.0, 1.0), None);
    }

    #[test]
    fn times_left_are_short() {
        assert_eq!(clock(7.4), "7 s");
        assert_eq!(clock(65.0), "1:05");
        assert_eq!(clock(3661.0), "1:01:01");
        assert_eq!(clock(-1.0), "0 s");
    }
}
