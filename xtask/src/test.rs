//! `cargo xtask test`: the system check, then every test, then where the seconds went.

use crate::{cargo, examples, setup};
use std::process::Command;
use std::time::{Duration, Instant};

/// One part of the run: its name, how long it took, and what went wrong, if anything did.
struct Part {
    name: &'static str,
    took: Duration,
    error: Option<String>,
}

/// Runs every test; a part that fails doesn't keep the next from running.
///
/// # Errors
/// Says what is missing on this machine, or which parts failed.
pub fn run(install: bool) -> Result<(), String> {
    let mut parts = Vec::new();
    let mut part = |name, work: &mut dyn FnMut() -> Result<(), String>| {
        let start = Instant::now();
        let error = work().err();
        let failed = error.is_some();
        parts.push(Part { name, took: start.elapsed(), error });
        !failed
    };

    let mut missing = None;
    part("system check", &mut || setup::ensure(install).inspect_err(|why| missing = Some(why.clone())));
    if let Some(why) = missing {
        return Err(why);
    }
    let mut programs = Vec::new();
    let compiled = part("compile", &mut || {
        cargo_test(&["--no-run"])?;
        cargo_test(&["--no-run", "--bench", "kernels", "--bench", "prototypes", "--bench", "table"])?;
        programs = examples::build()?;
        Ok(())
    });
    if compiled {
        part("unit and integration tests", &mut || cargo_test(&["--lib", "--bins", "--tests", "--no-fail-fast"]));
        // Under `cargo test` each benchmark runs once. The first adapter is a real one where there is one.
        part("benchmarks once, cpu", &mut || {
            benches("cpu", &["--bench", "kernels", "--bench", "prototypes", "--bench", "table"])
        });
        part("benchmarks once, gpu:0", &mut || benches("gpu:0", &["--bench", "kernels"]));
        part("documentation tests", &mut || cargo_test(&["--doc", "--no-fail-fast"]));
        part("examples", &mut || {
            let failed: Vec<String> = programs.iter().filter_map(|program| examples::run(program).err()).collect();
            if failed.is_empty() {
                return Ok(());
            }
            Err(failed.join("; "))
        });
    }
    println!("\n{}", summary(&parts, programs.len()));
    let failed: Vec<&str> = parts.iter().filter(|p| p.error.is_some()).map(|p| p.name).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!("failed: {}", failed.join(", ")))
}

fn cargo_test(args: &[&str]) -> Result<(), String> {
    tested(&mut cargo(), args)
}

/// Runs benchmarks on a device, for those that take it from `PRIMER_DEVICE`.
fn benches(device: &str, args: &[&str]) -> Result<(), String> {
    tested(cargo().env("PRIMER_DEVICE", device), args)
}

fn tested(cargo: &mut Command, args: &[&str]) -> Result<(), String> {
    let status = cargo
        .args(["test", "--workspace", "--locked"])
        .args(args)
        .status()
        .map_err(|e| format!("cargo could not be started: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("`cargo test --workspace {}`: {status}", args.join(" "))) }
}

/// The closing table.
fn summary(parts: &[Part], examples: usize) -> String {
    let mut text = String::from("where the time went\n");
    for part in parts {
        let mark = match &part.error {
            None if part.name == "examples" => format!("ok ({examples} run)"),
            None => "ok".into(),
            Some(error) => format!("FAILED: {error}"),
        };
        text += &format!("  {:<28}{:>7.1} s  {mark}\n", part.name, part.took.as_secs_f64());
    }
    let total: Duration = parts.iter().map(|p| p.took).sum();
    text + &format!("  {:<28}{:>7.1} s\n", "total", total.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_gives_seconds_and_names_failures() {
        let parts = [
            Part { name: "compile", took: Duration::from_millis(1500), error: None },
            Part { name: "examples", took: Duration::from_millis(500), error: Some("example x failed".into()) },
        ];
        let text = summary(&parts, 3);
        assert!(text.contains("compile") && text.contains("1.5 s  ok"), "{text}");
        assert!(text.contains("FAILED: example x failed"), "{text}");
        assert!(text.contains("2.0 s"), "{text}");
    }
}
