//! Programs of the search as architectures: `--arch dna:FILE` wherever an architecture is named.

use crate::kit::{self, bad, good, json};

const SMALL: [&str; 8] = ["--size", "nano", "--seq", "16", "--batch", "4", "--device", "cpu"];

#[test]
fn an_exported_program_is_trained_and_used_as_any_architecture() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    good(path, &["export", "--arch", "dna:primer", "--format", "dna", "--out", "primer.dna"]);
    let train = ["train", "--arch", "dna:primer.dna", "--corpus", "text.txt", "--set", "layers=1"];
    let trained = json(path, &[&train[..], &SMALL, &["--steps", "6", "--out", "run", "--json"]].concat());
    assert_eq!(trained["steps"], 6, "{trained}");
    let config = std::fs::read_to_string(path.join("run/config.toml")).unwrap();
    assert!(config.contains("arch = \"program\"") && config.contains("S0 MAIN"), "{config}");

    // The file isn't needed any more.
    std::fs::remove_file(path.join("primer.dna")).unwrap();
    let resumed = json(path, &["train", "--resume", "--out", "run", "--corpus", "text.txt", "--steps", "8", "--json"]);
    assert_eq!(resumed["steps"], 8, "{resumed}");
    let loss = json(path, &["eval", "--checkpoint", "run", "--corpus", "text.txt", "--json"]);
    assert!(loss["loss_nats"].as_f64().unwrap() < 6.0, "{loss}");
    let sample = ["sample", "--checkpoint", "run", "--prompt", "the", "--tokens", "30"];
    assert!(good(path, &sample).stdout.len() >= 20);
    good(path, &["export", "--checkpoint", "run", "--format", "onnx", "--out", "run.onnx"]);
    good(path, &["export", "--checkpoint", "run", "--format", "rust", "--out", "run.rs"]);
    let rust = std::fs::read_to_string(path.join("run.rs")).unwrap();
    assert!(rust.contains("trained in run") && rust.contains("pub fn block("), "{rust}");
    // The run's settings are those of a model of their own.
    let again = ["train", "--config", "run/config.toml", "--corpus", "text.txt", "--steps", "2", "--out", "again"];
    good(path, &again);
}

#[test]
fn programs_have_the_size_of_the_baseline() {
    let folder = kit::folder_with_text();
    let info = |arch: &str, size: &str| json(folder.path(), &["info", "--arch", arch, "--size", size, "--json"]);
    for (program, twin) in [("dna:transformer", "vanilla"), ("dna:primer_ez", "primer_ez")] {
        for size in ["nano", "mini"] {
            assert_eq!(info(program, size)["parameters"], info(twin, size)["parameters"], "{program} {size}");
        }
    }
    assert!(info("dna:discovered", "nano")["arch"].as_str().unwrap().starts_with("dna:"));
}

#[test]
fn programs_are_compared_with_hand_written_models() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    good(path, &["export", "--arch", "dna:primer_ez", "--format", "dna", "--out", "ez.dna"]);
    let compare = ["compare", "--archs", "vanilla,dna:ez.dna,primer_ez", "--corpus", "text.txt", "--set", "layers=1"];
    let more = ["--seeds", "1", "--steps", "4", "--equal", "steps", "--set", "eval_batches=2", "--out", "c", "--json"];
    let done = json(path, &[&compare[..], &SMALL, &more].concat());
    let rows = done["tables"][0]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    assert!(rows[1]["arch"].as_str().unwrap().starts_with("dna:") && rows[1]["runs"] == 1, "{done}");
    let page = std::fs::read_to_string(path.join("c/report.html")).unwrap();
    assert!(page.contains("ez.dna") && page.contains(rows[1]["arch"].as_str().unwrap()));
}

#[test]
fn what_is_no_program_is_refused() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    std::fs::write(path.join("letter.dna"), "Dear friend,\n").unwrap();
    good(path, &["export", "--arch", "dna:transformer", "--format", "dna", "--out", "t.dna"]);
    let text = std::fs::read_to_string(path.join("t.dna")).unwrap();
    // Without parameters there is nothing to train.
    let empty = "constants 0.0 0.25\ndims 2 8 1 1 4 16\n\nS0 MAIN:\n  h2 = ADD(h0, h1)\n";
    std::fs::write(path.join("empty.dna"), empty).unwrap();
    std::fs::write(path.join("t2.dna"), &text).unwrap();
    let train = ["train", "--corpus", "text.txt", "--steps", "1", "--size", "nano", "--device", "cpu", "--out", "x"];
    for (arch, code, words) in [
        ("dna:nowhere.dna", 2, &["nowhere.dna", "primer_ez"][..]),
        ("dna:letter.dna", 2, &["letter.dna", "line 1"]),
        ("dna:empty.dna", 1, &["empty.dna", "parameter"]),
        ("dna:", 2, &["primer_ez"]),
    ] {
        bad(path, &[&train[..], &["--arch", arch]].concat(), code, words);
        assert!(!path.join("x").exists(), "{arch}");
    }
    let twice = ["compare", "--archs", "dna:t.dna,dna:t2.dna", "--corpus", "text.txt", "--steps", "1"];
    bad(path, &twice, 2, &["--archs", "same"]);
    let wide = [&train[..], &["--arch", "dna:t.dna", "--set", "d_model=63"]].concat();
    bad(path, &wide, 2, &["d_model"]);
    let relative = [&train[..], &["--arch", "dna:t.dna", "--set", "positions=relative"]].concat();
    bad(path, &relative, 2, &["model.positions"]);
}
