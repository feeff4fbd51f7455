//! Training that is killed at any moment, also in the middle of a write, goes on as if it had not been.

use crate::kit;
use primer_models::checkpoint::{Checkpoint, CheckpointDir, NamedTensor};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Steps of the whole run, with a checkpoint after each, so that much of its time is spent on writing.
const STEPS: &str = "30";

fn arguments(out: &str) -> Vec<&str> {
    let mut args = vec!["train", "--arch", "primer_ez", "--corpus", "text.txt", "--steps", STEPS, "--out", out];
    args.extend([
        "--size",
        "nano",
        "--batch",
        "2",
        "--device",
        "cpu",
        "--set",
        "checkpoint_every=1",
        "--set",
        "keep=2",
    ]);
    args.extend(["--set", "eval_every=10", "--set", "eval_batches=1"]);
    args
}

fn resume(out: &str) -> Vec<&str> {
    vec!["train", "--resume", "--out", out, "--corpus", "text.txt", "--device", "cpu", "--steps", STEPS]
}

/// The command, saying nothing: the killed ones would fill the report of the tests.
fn quiet(mut command: Command) -> Command {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn newest(run: &Path) -> Option<Checkpoint> {
    let path = CheckpointDir::new(run.join("checkpoints"), 1).latest().ok()?;
    let read = Checkpoint::read(&path).unwrap_or_else(|error| panic!("a checkpoint is whole or not there: {error}"));
    // A file is read in any order.
    let sorted = |mut tensors: Vec<NamedTensor>| {
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors
    };
    Some(Checkpoint { weights: sorted(read.weights), optimizer: read.optimizer.map(sorted), ..read })
}

#[test]
fn killed_training_goes_on_to_the_same_bits() {
    let folder = kit::folder_with_text();
    kit::good(folder.path(), &arguments("whole"));
    let whole = newest(&folder.path().join("whole")).expect("it ran to its end");

    let broken = folder.path().join("broken");
    let (mut kills, mut last) = (0u64, 0);
    while last < whole.step {
        let args = if newest(&broken).is_some() { resume("broken") } else { arguments("broken") };
        if newest(&broken).is_none() && broken.exists() {
            std::fs::remove_dir_all(&broken).expect("removed");
        }
        let mut child = quiet(kit::command(folder.path(), &args)).spawn().expect("the binary starts");
        // Moments spread over start, steps and writes, the same in every run of the test.
        let patience = Duration::from_millis(60 + kills * 37 % 190);
        let started = std::time::Instant::now();
        let ended = loop {
            if let Some(status) = child.try_wait().expect("waits") {
                break Some(status);
            }
            if kills < 40 && started.elapsed() > patience {
                child.kill().expect("killed");
                child.wait().expect("waits");
                break None;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        match ended {
            Some(status) => assert!(status.success(), "after {kills} kills: {status}"),
            None => kills += 1,
        }
        let step = newest(&broken).map_or(0, |checkpoint| checkpoint.step);
        assert!(step >= last, "a step that was saved is not lost: {step} after {last}");
        last = step;
    }
    // The last of them may have been killed when it had saved and not yet cleaned up.
    kit::good(folder.path(), &resume("broken"));
    let found = newest(&broken).expect("it ran to its end");
    let left = std::fs::read_dir(broken.join("checkpoints")).expect("read").count();
    assert_eq!(left, 4, "the last two, the best and `latest`, and nothing that was not finished");
    assert!(kills > 3, "it was killed {kills} times");
    // No assert_eq: a difference would print every weight.
    assert!(found.weights == whole.weights, "other weights after {kills} kills");
    assert!(found.optimizer == whole.optimizer, "other moments after {kills} kills");
}
