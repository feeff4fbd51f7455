//! What goes to the terminal: results to stdout, everything else to stderr. Neither can panic, as
//! `println!` does when the reader of a pipe has gone.

use crate::failure::{Failure, Outcome};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
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
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
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

/// Writes a line to stderr.
pub fn note(text: &str) {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Progress: a bar on a terminal, a plain line now and then elsewhere.
pub struct Progress {
    bar: Option<ProgressBar>,
    label: String,
    start: Instant,
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
        Self { bar, label: label.to_owned(), start: Instant::now(), last: None, step: 1.0 }
    }

    /// The work is `done` of 1 finished; `message` is what it measured. The time left is estimated
    /// from the share done, unless `left` knows it.
    pub fn update(&mut self, done: f64, left: Option<Duration>, message: &str) {
        let done = done.clamp(0.0, 1.0);
        let elapsed = self.start.elapsed().as_secs_f64();
        let left = match left {
            Some(left) => Some(left.as_secs_f64()),
            None => (done > 0.02).then(|| elapsed * (1.0 - done) / done),
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
    fn times_left_are_short() {
        assert_eq!(clock(7.4), "7 s");
        assert_eq!(clock(65.0), "1:05");
        assert_eq!(clock(3661.0), "1:01:01");
        assert_eq!(clock(-1.0), "0 s");
    }
}
