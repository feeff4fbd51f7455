//! Running the binary and looking at what it says.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// Settings of a model that trains in a blink.
pub const TINY: [&str; 16] = [
    "--size",
    "nano",
    "--seq",
    "16",
    "--batch",
    "4",
    "--set",
    "d_model=16",
    "--set",
    "layers=1",
    "--set",
    "heads=2",
    "--set",
    "d_ff=32",
    "--device",
    "cpu",
];

/// Settings of a study of candidates that train in a blink.
pub const STUDY: [&str; 22] = [
    "--preset",
    "small",
    "--set",
    "population=4",
    "--set",
    "tournament=2",
    "--set",
    "fitness.unit=2",
    "--set",
    "fitness.hurdles=2",
    "--set",
    "fitness.seed_runs=2",
    "--set",
    "model.layers=1",
    "--set",
    "model.heads=2",
    "--set",
    "model.unit=4",
    "--set",
    "model.seq=16",
    "--set",
    "model.batch=4",
];

/// How a command ended.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The binary, with none of this process's settings, in `folder`.
pub fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_primer"));
    command.args(args).current_dir(folder).env_remove("PRIMER_STORE").env_remove("RUST_LOG").stdin(Stdio::null());
    command.env("XDG_CACHE_HOME", folder.join("cache")).env("LOCALAPPDATA", folder.join("cache"));
    command.env("XDG_CONFIG_HOME", folder.join("settings")).env("APPDATA", folder.join("settings"));
    command
}

/// Runs a command to its end. No command may ever panic.
pub fn run(folder: &Path, args: &[&str]) -> Run {
    let out = command(folder, args).output().expect("the binary starts");
    let run = Run {
        code: out.status.code(),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
    };
    assert!(!run.stderr.contains("panicked"), "{args:?} panicked:\n{}", run.stderr);
    run
}

/// Runs a command that must succeed.
pub fn good(folder: &Path, args: &[&str]) -> Run {
    let run = run(folder, args);
    assert_eq!(run.code, Some(0), "{args:?} failed:\n{}\n{}", run.stdout, run.stderr);
    run
}

/// Runs a command that must succeed and print exactly one JSON object.
pub fn json(folder: &Path, args: &[&str]) -> Value {
    let run = good(folder, args);
    let value: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}\n{}", run.stdout));
    assert!(value.is_object(), "{args:?} printed {value}");
    value
}

/// Runs a command that must fail with `code`, say `words`, and print nothing on stdout.
pub fn bad(folder: &Path, args: &[&str], code: i32, words: &[&str]) {
    let run = run(folder, args);
    assert_eq!(run.code, Some(code), "{args:?}:\n{}\n{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("error: "), "{args:?} does not say error:\n{}", run.stderr);
    for word in words {
        assert!(run.stderr.contains(word), "{args:?} does not say {word:?}:\n{}", run.stderr);
    }
    assert_eq!(run.stdout, "", "{args:?} wrote to stdout");
}

/// Changes one field of a JSON file, as if somebody had edited it.
pub fn edit(file: &Path, key: &str, value: Value) {
    let mut edited: Value = serde_json::from_str(&std::fs::read_to_string(file).expect("read")).expect("JSON");
    edited[key] = value;
    std::fs::write(file, edited.to_string()).expect("written");
}

/// A folder with `text.txt`.
pub fn folder_with_text() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text: String = (0..400).map(|i| format!("line {i} of a text that repeats itself, as texts do.\n")).collect();
    std::fs::write(folder.path().join("text.txt"), text).expect("written");
    folder
}

/// Makes a folder `named` of the text in `text.txt`, of which half is held out.
pub fn split_in_half(path: &Path) {
    let text = std::fs::read_to_string(path.join("text.txt")).expect("read");
    let half = text[..text.len() / 2].rfind('\n').map_or(0, |end| end + 1);
    std::fs::create_dir(path.join("named")).expect("made");
    std::fs::write(path.join("named/train.txt"), &text[..half]).expect("written");
    std::fs::write(path.join("named/valid.txt"), &text[half..]).expect("written");
}

/// A folder with `text.txt` and a trained model in `run`, made once; never write into it.
pub fn trained() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = folder_with_text();
            let mut args = vec!["train", "--arch", "primer_ez", "--corpus", "text.txt", "--steps", "6", "--out", "run"];
            args.extend(TINY);
            good(folder.path(), &args);
            folder
        })
        .path()
}

/// A copy of the trained run that a test may damage.
pub fn trained_copy() -> TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("made");
        for entry in std::fs::read_dir(from).expect("read") {
            let entry = entry.expect("read");
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).expect("copied");
            }
        }
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    copy(trained(), folder.path());
    folder
}

/// The newest checkpoint file of a run's folder.
pub fn newest_checkpoint(run: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> = std::fs::read_dir(run.join("checkpoints"))
        .expect("checkpoints")
        .map(|entry| entry.expect("read").path())
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    files.sort();
    files.pop().expect("a checkpoint")
}

/// Sends a signal by its name. The shell has `kill` built in; a program of that name may be missing.
#[cfg(unix)]
pub fn signal(name: &str, process: u32) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {process}")]).status().unwrap();
    assert!(sent.success());
}
