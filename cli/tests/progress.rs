//! What a training run shows and keeps while it goes on: speed beside the roof, losses in every unit, samples.

use crate::kit::{self, TINY, bad, good, json};
use primer_models::checkpoint::Checkpoint;
use primer_models::train::Sample;
use serde_json::Value;
use std::path::Path;

fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let start = ["train", "--arch", "primer_ez", "--corpus", "text.txt", "--out", out];
    [&start[..], more, &TINY].concat()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn samples(run: &Path) -> Vec<Sample> {
    lines(&run.join("samples.jsonl")).into_iter().map(|line| serde_json::from_value(line).unwrap()).collect()
}

#[test]
fn speed_is_shown_beside_the_roof_which_is_measured_after_the_first_numbers() {
    let folder = kit::folder_with_text();
    // Whatever `log_every` says, something is seen every two seconds.
    let often = ["--time", "5s", "--set", "eval_every=0", "--set", "log_every=100000000"];
    let run = good(folder.path(), &train("run", &often));
    let shown: Vec<&str> = run.stderr.lines().filter(|line| line.contains("tokens/s")).collect();
    let [first, later @ ..] = shown.as_slice() else { panic!("{}", run.stderr) };
    for words in ["step ", "loss ", " GFLOP/s", " left"] {
        assert!(first.contains(words), "{first}");
    }
    assert!(!first.contains("roof"), "nothing was measured before it: {first}");
    assert!(!later.is_empty() && later.iter().all(|line| line.contains("% of the roof)")), "{}", run.stderr);
    let metrics = lines(&folder.path().join("run/metrics.jsonl"));
    let speeds: Vec<f64> = metrics.iter().filter_map(|line| line["matmul_gflops"].as_f64()).collect();
    assert!(speeds.len() + 1 >= metrics.len() && speeds.iter().all(|&speed| speed > 0.0), "{metrics:?}");
}

#[test]
fn a_run_says_its_loss_in_every_unit() {
    let folder = kit::folder_with_text();
    let args = train("run", &["--steps", "4", "--json", "--set", "eval_every=2"]);
    let said = json(folder.path(), &args);
    let loss = said["validation_loss"].as_f64().unwrap();
    assert!((said["validation_perplexity"].as_f64().unwrap() - loss.exp()).abs() < 1e-9, "{said}");
    // Tokens are bytes.
    let bits = said["validation_bits_per_byte"].as_f64().unwrap();
    assert!((bits * 2f64.ln() - loss).abs() < 1e-9, "{said}");
    let metrics = lines(&folder.path().join("run/metrics.jsonl"));
    let last = metrics.iter().rfind(|line| line["valid_loss"].is_f64()).unwrap();
    assert_eq!((last["valid_loss"].as_f64(), last["valid_bits_per_byte"].as_f64()), (Some(loss), Some(bits)));
    let run = good(folder.path(), &train("other", &["--steps", "4", "--set", "eval_every=2"]));
    let line = run.stderr.lines().find(|line| line.contains("step 2: held-out loss")).unwrap();
    assert!(line.contains("perplexity ") && line.contains("bits a byte"), "{line}");
}

#[test]
fn the_length_in_tokens_counts_accumulated_batches() {
    let folder = kit::folder_with_text();
    // 16 tokens, 4 rows, 2 batches: 128 a step.
    let said = json(folder.path(), &train("run", &["--tokens", "300", "--set", "accumulate=2", "--json"]));
    assert_eq!((&said["steps"], &said["tokens"]), (&3.into(), &384.into()));
}

#[test]
fn samples_are_shown_kept_and_the_same_every_time() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    let sampling =
        ["--steps", "20", "--set", "checkpoint_every=10", "--sample-every", "6", "--sample-prompt", "line \\"];
    let run = good(path, &train("run", &sampling));
    for words in ["step 6: a sample", "step 18: a sample", "  | line \\"] {
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
    let kept = samples(&path.join("run"));
    assert_eq!(kept.iter().map(|sample| sample.step).collect::<Vec<_>>(), [6, 12, 18]);
    assert!(kept.iter().all(|sample| sample.prompt == "line \\" && !sample.text.is_empty()), "{kept:?}");
    assert_ne!(kept[0].text, kept[1].text);
    good(path, &train("again", &sampling));
    assert_eq!(samples(&path.join("again")), kept);

    // A run that goes on from step 10 writes those past it anew, as the configuration says.
    std::fs::remove_file(path.join("run/checkpoints/step-0000000020.safetensors")).unwrap();
    std::fs::remove_file(path.join("run/checkpoints/latest")).unwrap();
    good(path, &["train", "--resume", "--out", "run", "--corpus", "text.txt", "--steps", "20", "--device", "cpu"]);
    assert_eq!(samples(&path.join("run")), kept);

    // Nothing else is changed by them.
    good(path, &train("plain", &["--steps", "20"]));
    assert!(!path.join("plain/samples.jsonl").exists());
    let weights = |run: &str| {
        let mut weights =
            Checkpoint::read(&path.join(run).join("checkpoints/step-0000000020.safetensors")).unwrap().weights;
        weights.sort_by(|a, b| a.name.cmp(&b.name));
        weights
    };
    assert!(weights("plain") == weights("run") && weights("plain") == weights("again"));
    bad(path, &train("more", &["--sample-prompt", "x"]), 2, &["--sample-every"]);
    bad(path, &train("more", &["--sample-every", "0"]), 2, &["--sample-every"]);
}
