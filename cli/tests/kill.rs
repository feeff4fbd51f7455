//! Training that is killed at any moment, also in the middle of a write, goes on as if it had not been.

use crate::kit;
use primer_models::checkpoint::{Checkpoint, CheckpointDir, NamedTensor};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

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

/// Runs the command and kills it after `patience`, in every second round not before it has saved a step more than
/// `last`; how it ended where it did so before.
fn killed(mut child: Child, broken: &Path, patience: Duration, saves: Option<u64>) -> Option<ExitStatus> {
    let checkpoints = CheckpointDir::new(broken.join("checkpoints"), 1);
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("waits") {
            return Some(status);
        }
        if started.elapsed() > patience && saves.is_none_or(|last| checkpoints.latest_step() > Some(last)) {
            child.kill().expect("killed");
            child.wait().expect("waits");
            return None;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn killed_training_goes_on_to_the_same_bits() {
    const MOST: u32 = 40;
    let folder = kit::folder_with_text();
    let started = Instant::now();
    kit::good(folder.path(), &arguments("whole"));
    // Some twelve kills in a run as long as this one, wherever it runs.
    let mut unit = started.elapsed() / 40;
    let whole = newest(&folder.path().join("whole")).expect("it ran to its end");

    let broken = folder.path().join("broken");
    let (mut kills, mut last) = (0u32, 0);
    while last < whole.step {
        let args = if newest(&broken).is_some() { resume("broken") } else { arguments("broken") };
        if newest(&broken).is_none() && broken.exists() {
            std::fs::remove_dir_all(&broken).expect("removed");
        }
        let child = quiet(kit::command(folder.path(), &args)).spawn().expect("the binary starts");
        // Moments spread over start, steps and writes.
        let patience = if kills < MOST { unit * (4 + kills * 5 % 13) } else { Duration::MAX };
        match killed(child, &broken, patience, (kills % 2 == 1).then_some(last)) {
            Some(status) => assert!(status.success(), "after {kills} kills: {status}"),
            None => kills += 1,
        }
        let step = newest(&broken).map_or(0, |checkpoint| checkpoint.step);
        assert!(step >= last, "a step that was saved is not lost: {step} after {last}");
        last = step;
        if last == whole.step && kills < 4 {
            // It was faster than the one that was timed.
            std::fs::remove_dir_all(&broken).expect("removed");
            (kills, last, unit) = (0, 0, unit / 2);
        }
    }
    // The last of them may have been killed when it had saved and not yet cleaned up.
    kit::good(folder.path(), &resume("broken"));
    let found = newest(&broken).expect("it ran to its end");
    let left = std::fs::read_dir(broken.join("checkpoints")).expect("read").count();
    assert_eq!(left, 4, "the last two, the best and `latest`, and nothing that was not finished");
    // No assert_eq: a difference would print every weight.
    assert!(found.weights == whole.weights, "other weights after {kills} kills");
    assert!(found.optimizer == whole.optimizer, "other moments after {kills} kills");
}
