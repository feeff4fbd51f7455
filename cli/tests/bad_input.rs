//! Every bad input: one clear sentence, exit code 1 or 2, and nothing harmed.

use crate::kit::{self, TINY, bad, newest_checkpoint};
use primer_models::checkpoint::{Checkpoint, NamedTensor};
use std::path::Path;

fn train(folder: &Path, more: &[&str], code: i32, words: &[&str]) {
    let mut args = vec!["train", "--arch", "vanilla", "--steps", "2"];
    args.extend(TINY);
    args.extend(more);
    bad(folder, &args, code, words);
}

#[test]
fn corpora_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("empty.txt"), "").unwrap();
    std::fs::write(path.join("short.txt"), "ab\n").unwrap();
    std::fs::create_dir(path.join("nothing")).unwrap();
    for (corpus, words) in [
        ("missing.txt", &["cannot read missing.txt"][..]),
        ("empty.txt", &["empty.txt", "no text"]),
        ("nothing", &["nothing", "no text"]),
        ("short.txt", &["short.txt", "one sequence needs"]),
    ] {
        train(path, &["--corpus", corpus, "--out", "run"], 2, words);
        bad(path, &["quickstart", "--time", "12s", "--device", "cpu", "--corpus", corpus, "--out", "q"], 2, words);
        bad(kit::trained(), &["eval", "--checkpoint", "run", "--corpus", path.join(corpus).to_str().unwrap()], 2, &[]);
    }
    assert!(!path.join("run/metrics.jsonl").exists());
}

#[test]
fn names_and_values_that_do_not_exist_name_the_nearest() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    bad(path, &["train", "--arch", "primer-ez"], 2, &["primer_ez"]);
    bad(path, &["train", "--arch", "vanilla", "--size", "nan"], 2, &["did you mean nano?"]);
    bad(path, &["train", "--arch", "vanilla", "--seed", "-1"], 2, &["a seed is a whole number"]);
    bad(path, &["quickstart", "--time", "1s"], 2, &["at least 10s"]);
    let far = kit::run(path, &["info", "--arch", "foo", "--size", "big"]).stderr;
    assert!(far.contains("only vanilla, ") && !far.contains("did you mean"), "{far}");
    bad(path, &["train", "--corpus", "text.txt"], 2, &["--arch"]);
    bad(path, &["trian"], 2, &["train"]);
    bad(path, &["train", "--arch", "vanilla", "--step", "3"], 2, &["--steps"]);
    bad(path, &["info", "--arch", "vanilla", "--size", "nano", "--device", "cuda"], 2, &[]);
    let half = ["--set", "precision=f16", "--corpus", "text.txt", "--device", "cpu", "--steps", "2", "--out", "half"];
    bad(path, &[&["compare", "--archs", "vanilla,primer"], &half[..]].concat(), 2, &["no f16", "shader-f16"]);
    assert!(!path.join("half").exists());
    std::fs::write(path.join("heads.toml"), "[model]\nheads = 0\n").unwrap();
    bad(path, &["train", "--config", "heads.toml", "--arch", "dna:transformer"], 2, &["heads = 0", "branching"]);
    bad(path, &["compare", "--archs", "vanilla,primer", "--seeds", "1000000000000"], 2, &["--seeds", "1000"]);
    bad(path, &["bench", "--precision", "f8"], 2, &["f32 and f16"]);
    bad(path, &["bench", "--precision", "f16", "--device", "cpu"], 2, &["no f16", "shader-f16"]);
    bad(path, &["bench", "--device", "cuda"], 2, &["auto, cpu, gpu, gpu:N and software"]);
    for (value, words) in [
        ("optimizer.learning_rat=1", &["learning_rate"][..]),
        ("heads=3", &["heads"]),
        ("d_model=many", &["d_model"]),
        ("d_model=0", &["d_model"]),
        ("layers", &["key=value"]),
        ("foo=1", &["no setting \"foo\"", "The settings: ", "train.batch"]),
        ("optimizer=sgd", &["there are adamw, adafactor"]),
        ("precision=f8", &["train.precision", "there are f32, f16"]),
        ("precision=f16", &["train.precision", "cpu", "no f16", "shader-f16"]),
        ("d_model=99999999999", &["d_model"]),
    ] {
        train(path, &["--corpus", "text.txt", "--out", "run", "--set", value], 2, words);
    }
    assert!(!path.join("run").exists(), "a refused setting made a folder");
    for (option, value) in [
        ("--steps", "0"),
        ("--time", "5 parsecs"),
        ("--tokens", "1.5"),
        ("--seq", "0"),
        ("--seed", "x"),
        ("--seed", "-1"),
        ("--threads", "0"),
    ] {
        bad(path, &["train", "--arch", "vanilla", option, value], 2, &[option]);
    }
    for tokenizer in ["bpe", "bpe:0", "bpe:256", "bpe:many", "words"] {
        bad(path, &["train", "--arch", "vanilla", "--tokenizer", tokenizer], 2, &["--tokenizer", "bpe:"]);
        train(path, &["--corpus", "text.txt", "--set", &format!("tokenizer={tokenizer}")], 2, &["tokenizer"]);
    }
    bad(path, &["train", "--arch", "vanilla", "--steps", "1", "--time", "1s"], 2, &["--time"]);
    std::fs::write(path.join("bad.toml"), "[model\n").unwrap();
    bad(path, &["train", "--config", "bad.toml", "--corpus", "text.txt"], 2, &["bad.toml"]);
    bad(path, &["train", "--config", "none.toml", "--corpus", "text.txt"], 2, &["none.toml"]);
    std::fs::write(path.join("key.toml"), "[model]\nlayerz = 1\n").unwrap();
    bad(path, &["train", "--config", "key.toml", "--corpus", "text.txt"], 2, &["layers"]);
}

#[test]
fn a_model_too_large_for_any_machine_is_refused_by_a_sentence() {
    let folder = kit::folder_with_text();
    for more in [["--seq", "1M"], ["--batch", "1G"], ["--set", "layers=100000000"]] {
        let args = ["train", "--arch", "vanilla", "--corpus", "text.txt", "--device", "cpu", "--steps", "1"];
        let run = kit::run(folder.path(), &[&args[..], &more].concat());
        assert!(matches!(run.code, Some(1 | 2)), "{more:?}: {:?}\n{}", run.code, run.stderr);
        assert!(run.stderr.contains("error: "), "{}", run.stderr);
    }
}

/// What goes wrong below the commands comes with what to do, too. Elsewhere, nobody knows how much memory there is.
#[cfg(target_os = "linux")]
#[test]
fn a_model_too_large_for_this_machine_is_refused_with_what_to_do() {
    let folder = kit::folder_with_text();
    let args = ["train", "--arch", "vanilla", "--corpus", "text.txt", "--device", "cpu"];
    let large = ["--size", "nano", "--seq", "64", "--batch", "40k", "--set", "layers=60"];
    bad(folder.path(), &[&args[..], &large].concat(), 1, &["GiB of memory", "Try a smaller --batch"]);
}

#[test]
fn a_gpu_that_is_not_there() {
    let folder = kit::folder_with_text();
    let args = ["train", "--arch", "vanilla", "--corpus", "text.txt", "--out", "run", "--device", "gpu:99"];
    bad(folder.path(), &args, 2, &["gpu:99", "primer devices"]);
    bad(folder.path(), &["bench", "--device", "gpu:99"], 2, &["gpu:99"]);
    assert!(!folder.path().join("run").exists());
}

#[test]
fn output_folders_that_may_not_or_cannot_be_written() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    std::fs::create_dir(path.join("mine")).unwrap();
    std::fs::write(path.join("mine/notes"), "dear diary").unwrap();
    train(path, &["--corpus", "text.txt", "--out", "mine"], 2, &["mine", "not empty", "--force"]);
    bad(path, &["quickstart", "--time", "12s", "--corpus", "text.txt", "--out", "mine"], 2, &["not empty"]);
    assert_eq!(std::fs::read_dir(path.join("mine")).unwrap().count(), 1);
    train(path, &["--corpus", "text.txt", "--out", "mine/notes/below"], 2, &["mine/notes/below"]);
    train(path, &["--corpus", "text.txt", "--out", "text.txt"], 2, &["text.txt"]);
    assert_eq!(std::fs::read_to_string(path.join("mine/notes")).unwrap(), "dear diary");
    #[cfg(target_os = "linux")]
    train(path, &["--corpus", "text.txt", "--out", "/proc/primer"], 2, &["/proc/primer"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_is_an_error_and_the_checkpoints_stay() {
    let folder = kit::trained_copy();
    let path = folder.path();
    let checkpoint = newest_checkpoint(&path.join("run"));
    let before = std::fs::read(&checkpoint).unwrap();
    // A file may not grow past 8 blocks of 512 bytes or so: what a full disk does to a checkpoint.
    let binary = env!("CARGO_BIN_EXE_primer");
    let script = format!(
        "trap '' XFSZ; ulimit -f 8; exec {binary} train --resume --out run --corpus text.txt --steps 12 --device cpu"
    );
    let out = std::process::Command::new("sh").args(["-c", &script]).current_dir(path).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot write") && !said.contains("panicked"), "{said}");
    // It was a checkpoint that didn't fit, not one of the small files before it.
    let line = said.lines().find(|line| line.starts_with("error: ")).unwrap();
    assert!(line.contains("checkpoints") && line.contains(".safetensors"), "{line}");
    assert_eq!(std::fs::read(&checkpoint).unwrap(), before);
    kit::good(path, &["eval", "--checkpoint", "run", "--corpus", "text.txt", "--device", "cpu"]);
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder.join("run/checkpoints")).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(names(path), names(kit::trained()), "nothing is lost and nothing half-written stays");

    // With room again it goes on to what a run without the trouble comes to.
    let resume = ["train", "--resume", "--out", "run", "--corpus", "text.txt", "--steps", "12", "--device", "cpu"];
    kit::good(path, &resume);
    let undisturbed = kit::trained_copy();
    kit::good(undisturbed.path(), &resume);
    let read = |folder: &Path| Checkpoint::read(&newest_checkpoint(&folder.join("run"))).unwrap();
    let sorted = |mut tensors: Vec<NamedTensor>| {
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors
    };
    let (found, expected) = (read(path), read(undisturbed.path()));
    assert_eq!((found.step, expected.step), (12, 12));
    assert!(sorted(found.weights) == sorted(expected.weights) && found.optimizer == expected.optimizer);
}

#[test]
fn a_checkpoint_of_another_architecture_is_named() {
    let folder = kit::trained_copy();
    let path = folder.path();
    let resume = ["train", "--resume", "--out", "run", "--corpus", "text.txt", "--device", "cpu"];
    bad(path, &[&resume[..], &["--set", "arch=vanilla"]].concat(), 1, &["primer_ez", "vanilla"]);
    // A file that was put in the place of the run's own.
    let mut args = vec!["train", "--arch", "mdha", "--corpus", "text.txt", "--steps", "6", "--out", "other"];
    args.extend(TINY);
    kit::good(path, &args);
    let (own, other) = (newest_checkpoint(&path.join("run")), newest_checkpoint(&path.join("other")));
    std::fs::copy(&other, &own).unwrap();
    bad(path, &resume, 1, &["run", "mdha", "primer_ez"]);
    assert!(std::fs::read(&own).unwrap() == std::fs::read(&other).unwrap(), "the file was touched");

    // Its tensors under the name of another architecture fit no command.
    let mut stored = Checkpoint::read(&other).unwrap();
    stored.model.arch = "swiglu".parse().unwrap();
    stored.write(&path.join("renamed.safetensors")).unwrap();
    for command in [&["eval", "--corpus", "text.txt"][..], &["sample"], &["logits", "--text", "a"]] {
        let from = ["--checkpoint", "renamed.safetensors", "--device", "cpu"];
        bad(path, &[command, &from].concat(), 1, &["renamed.safetensors", "blocks.0"]);
    }
}

#[test]
fn checkpoints_that_are_missing_truncated_or_of_another_shape() {
    let folder = kit::trained_copy();
    let path = folder.path();
    let eval = |checkpoint: &str, code: i32, words: &[&str]| {
        bad(path, &["eval", "--checkpoint", checkpoint, "--corpus", "text.txt", "--device", "cpu"], code, words);
    };
    eval("nowhere", 2, &["nowhere"]);
    eval("text.txt", 1, &["text.txt"]);
    bad(path, &["sample", "--checkpoint", "nowhere"], 2, &["nowhere"]);
    bad(path, &["logits", "--checkpoint", "nowhere", "--text", "a"], 2, &["nowhere"]);
    bad(path, &["train", "--resume", "--out", "nowhere"], 2, &["nothing to resume in nowhere", "primer train --out"]);
    assert!(!path.join("nowhere").exists());

    let resume = ["train", "--resume", "--out", "run", "--corpus", "text.txt", "--device", "cpu"];
    bad(path, &[&resume[..], &["--set", "d_model=32"]].concat(), 1, &["shape"]);
    std::fs::write(path.join("other.txt"), "quite another text\n".repeat(100)).unwrap();
    let other = ["train", "--resume", "--out", "run", "--corpus", "other.txt", "--device", "cpu"];
    bad(path, &other, 2, &["begun on the corpus text.txt", "--corpus"]);
    // The same text, of which more is held out.
    kit::split_in_half(path);
    let named = ["train", "--resume", "--out", "run", "--corpus", "named", "--device", "cpu"];
    bad(path, &named, 2, &["held out", "begin a new run"]);

    let file = newest_checkpoint(&path.join("run"));
    let bytes = std::fs::read(&file).unwrap();
    for length in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&file, &bytes[..length]).unwrap();
        eval(file.to_str().unwrap(), 1, &["checkpoint"]);
        assert_eq!(std::fs::read(&file).unwrap().len(), length, "the file was touched");
    }
}

#[test]
fn tokens_that_are_damaged_are_made_again_with_a_word() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    let mut args = vec!["train", "--arch", "vanilla", "--steps", "2", "--corpus", "text.txt", "--out", "run"];
    args.extend(["--tokenizer", "bpe:280"]);
    args.extend(TINY);
    let first = kit::good(path, &args);
    let eval = ["eval", "--checkpoint", "run", "--corpus", "text.txt", "--device", "cpu"];
    let measured = kit::good(path, &eval);
    assert!(!first.stderr.contains("made again") && !measured.stderr.contains("made again"));
    let resume = ["train", "--resume", "--out", "run", "--corpus", "text.txt", "--device", "cpu", "--steps", "3"];
    let mut files: Vec<_> =
        std::fs::read_dir(path.join("cache/primer/tokens")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 3, "for training, validation and the whole text: {files:?}");
    for file in &files {
        let mut bytes = std::fs::read(file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(file, bytes).unwrap();
    }
    let (again, resumed) = (kit::good(path, &eval), kit::good(path, &resume));
    assert_eq!(again.stdout, measured.stdout);
    for (run, count) in [(again, 1), (resumed, 2)] {
        let lines = run.stderr.lines().filter(|line| line.contains(".tokens were made again, since")).count();
        assert_eq!(lines, count, "{}", run.stderr);
    }
}

#[test]
fn a_tokenizer_that_is_lost_or_damaged() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    let mut args = vec!["train", "--arch", "vanilla", "--steps", "2", "--corpus", "text.txt", "--out", "run"];
    args.extend(["--tokenizer", "bpe:280"]);
    args.extend(TINY);
    kit::good(path, &args);
    let file = path.join("run/tokenizer.json");
    let whole = std::fs::read(&file).unwrap();
    let eval = ["eval", "--checkpoint", "run", "--corpus", "text.txt", "--device", "cpu"];
    let resume = ["train", "--resume", "--out", "run", "--corpus", "text.txt", "--device", "cpu", "--steps", "3"];
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    bad(path, &eval, 1, &["tokenizer.json", "not a usable tokenizer"]);
    bad(path, &resume, 1, &["tokenizer.json", "not a usable tokenizer"]);
    std::fs::remove_file(&file).unwrap();
    bad(path, &eval, 1, &["tokenizer.json", "put it back"]);
    bad(path, &resume, 1, &["tokenizer"]);
    std::fs::write(&file, &whole).unwrap();
    kit::good(path, &eval);
    // Also from inside, where a path need not name the folder above.
    let inside = path.join("run/checkpoints");
    for checkpoint in [".", "best.safetensors"] {
        kit::good(&inside, &["eval", "--checkpoint", checkpoint, "--corpus", "../../text.txt", "--device", "cpu"]);
    }
    kit::good(path, &resume);
}

#[test]
fn texts_that_do_not_fit_the_model() {
    let path = kit::trained();
    bad(path, &["logits", "--checkpoint", "run", "--device", "cpu", "--text", ""], 2, &["--text"]);
    let long = "x".repeat(17);
    bad(path, &["logits", "--checkpoint", "run", "--device", "cpu", "--text", &long], 2, &["17", "16"]);
    bad(path, &["sample", "--checkpoint", "run", "--temperature=-1"], 2, &["--temperature"]);
}
