//! The examples: built together with everything else, then run one after another.

use crate::cargo;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Builds every example of the workspace and returns the programs, in the order of their names.
///
/// The programs are started directly afterwards: `cargo run -p` would resolve features for one
/// package alone and compile the dependencies a second time.
///
/// # Errors
/// Says that the build failed; cargo has printed why.
pub fn build() -> Result<Vec<PathBuf>, String> {
    let out = cargo()
        .args(["build", "--workspace", "--examples", "--locked"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cargo could not be started: {e}"))?;
    if !out.status.success() {
        return Err("the examples do not build".into());
    }
    let mut found: Vec<PathBuf> =
        String::from_utf8_lossy(&out.stdout).lines().filter_map(executable_of_example).collect();
    found.sort();
    Ok(found)
}

/// The program named by one line of cargo's messages, if it is an example's.
fn executable_of_example(line: &str) -> Option<PathBuf> {
    if !line.contains("\"kind\":[\"example\"]") {
        return None;
    }
    let (_, rest) = line.split_once("\"executable\":\"")?;
    let mut path = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return Some(path.into()),
            '\\' => path.push(chars.next()?),
            other => path.push(other),
        }
    }
}

/// Runs one example in the workspace root.
///
/// # Errors
/// Names the example and how it ended.
pub fn run(program: &Path) -> Result<(), String> {
    let name = program.file_stem().unwrap_or_default().to_string_lossy();
    println!("\n--- example {name}");
    let status = Command::new(program)
        .stdin(Stdio::null())
        .status()
        .map_err(|e| format!("example {name} could not be started: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("example {name} failed ({status})")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_examples_program_is_taken() {
        let example = r#"{"reason":"compiler-artifact","target":{"kind":["example"],"name":"a"},"executable":"/t/examples/a","fresh":true}"#;
        assert_eq!(executable_of_example(example), Some("/t/examples/a".into()));
        let windows = r#"{"target":{"kind":["example"]},"executable":"C:\\t\\a.exe"}"#;
        assert_eq!(executable_of_example(windows), Some(r"C:\t\a.exe".into()));
        let library = r#"{"target":{"kind":["lib"]},"executable":null}"#;
        assert_eq!(executable_of_example(library), None);
        let binary = r#"{"target":{"kind":["bin"]},"executable":"/t/primer"}"#;
        assert_eq!(executable_of_example(binary), None);
    }
}
