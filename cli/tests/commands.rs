//! Each command with good input.

use crate::kit::{self, TINY, good, json};

#[test]
fn every_command_has_help_with_an_example() {
    let folder = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 22] = [
        &[],
        &["quickstart"],
        &["devices"],
        &["ops"],
        &["train"],
        &["eval"],
        &["logits"],
        &["sample"],
        &["compare"],
        &["scaling"],
        &["info"],
        &["bench"],
        &["search"],
        &["search", "init"],
        &["search", "run"],
        &["search", "worker"],
        &["search", "status"],
        &["search", "top"],
        &["search", "show"],
        &["search", "verify"],
        &["search", "dump"],
        &["search", "restore"],
    ];
    for command in commands {
        let run = good(folder.path(), &[command, &["--help"]].concat());
        assert!(run.stdout.contains("Example") && run.stdout.contains("Usage"), "{command:?}:\n{}", run.stdout);
    }
}

#[test]
fn devices_are_listed_with_their_speed() {
    let folder = tempfile::tempdir().unwrap();
    let listed = json(folder.path(), &["devices", "--json"]);
    let devices = listed["devices"].as_array().unwrap();
    let cpu = devices.iter().find(|d| d["device"] == "cpu").unwrap();
    assert!(cpu["matmul_gflops"].as_f64().unwrap() > 0.0, "{cpu}");
    assert!(devices.iter().any(|d| d["device"] == listed["auto"]), "{listed}");
    assert!(good(folder.path(), &["devices"]).stdout.contains("GFLOP/s"));
}

#[test]
fn a_tokenizer_is_trained_stored_and_used_by_every_command() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    let first = ["train", "--arch", "vanilla", "--corpus", "text.txt", "--tokenizer", "bpe:300", "--steps", "4"];
    let trained = json(path, &[&first[..], &["--out", "run", "--json"], &TINY].concat());
    let tokenizer = trained["tokenizer"].as_str().unwrap();
    assert_eq!(tokenizer.len(), 64, "{trained}");
    assert!(path.join("run/tokenizer.json").exists());
    let config = std::fs::read_to_string(path.join("run/config.toml")).unwrap();
    assert!(config.contains("tokenizer = \"bpe:300\"") && config.contains("vocab = 300"), "{config}");
    let resume =
        ["train", "--resume", "--out", "run", "--corpus", "text.txt", "--steps", "6", "--device", "cpu", "--json"];
    let resumed = json(path, &resume);
    assert_eq!((&resumed["tokenizer"], &resumed["steps"]), (&trained["tokenizer"], &6.into()));

    let cpu = ["--checkpoint", "run", "--device", "cpu", "--json"];
    let eval = json(path, &[&["eval", "--corpus", "text.txt"], &cpu[..]].concat());
    assert_eq!(eval["tokenizer"], tokenizer);
    assert!(eval["bytes"].as_u64().unwrap() > 2 * eval["tokens"].as_u64().unwrap(), "{eval}");
    let logits = json(path, &[&["logits", "--text", "line 3 of a text"], &cpu[..]].concat());
    assert!(logits["tokens"].as_array().unwrap().len() < 10, "{logits}");
    assert_eq!(logits["log_probabilities"][0].as_array().unwrap().len(), 300);
    good(path, &["logits", "--text", "line\n", "--checkpoint", "run", "--device", "cpu"]);
    let sample = json(path, &[&["sample", "--tokens", "8"], &cpu[..]].concat());
    assert!(!sample["text"].as_str().unwrap().is_empty(), "{sample}");
}

#[test]
fn every_operation_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let listed = json(folder.path(), &["ops", "--json"]);
    let primitives = listed["primitives"].as_array().unwrap();
    let of = |name: &str| primitives.iter().find(|op| op["op"] == name).unwrap_or_else(|| panic!("{name} is absent"));
    for op in primitives {
        assert_eq!(op["devices"], serde_json::json!(["reference", "cpu", "gpu"]), "{op}");
        assert!(op["tolerance"].as_f64().is_some_and(|t| (0.0..1e-5).contains(&t)), "{op}");
    }
    assert_eq!((&of("matmul")["gradient"], &of("less")["gradient"]), (&true.into(), &false.into()));
    assert_eq!((&of("random")["tolerance"], &of("random")["gradient"]), (&0.0.into(), &false.into()));
    let composed = listed["compositions"].as_array().unwrap();
    let uses = |name: &str| &composed.iter().find(|op| op["op"] == name).unwrap()["made_of"];
    assert!(uses("softmax").as_array().unwrap().contains(&"exp".into()));
    assert_eq!(composed.iter().find(|op| op["op"] == "argmax").unwrap()["gradient"], false);
    let text = good(folder.path(), &["ops"]).stdout;
    let line = text.lines().find(|line| line.starts_with("depthwise_conv ")).unwrap();
    assert!(line.contains("reference cpu gpu") && line.contains("yes"), "{line}");
    assert!(text.lines().any(|line| line.starts_with("top_k ")), "{text}");
}

#[test]
fn training_writes_what_it_promises_and_goes_on_where_it_was() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    let mut args = vec!["train", "--arch", "vanilla", "--corpus", "text.txt", "--out", "run", "--steps", "4", "--json"];
    args.extend(TINY);
    let first = json(path, &args);
    assert_eq!((&first["steps"], &first["stopped"]), (&4.into(), &false.into()));
    let run = path.join("run");
    for file in ["config.toml", "metrics.jsonl"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    assert!(std::fs::read_to_string(run.join("config.toml")).unwrap().contains("d_model = 16"));
    // The text is that of the run.
    let resumed = json(path, &["train", "--resume", "--out", "run", "--steps", "7", "--device", "cpu", "--json"]);
    assert_eq!((&resumed["steps"], &resumed["corpus_sha256"]), (&7.into(), &first["corpus_sha256"]));
    let begun: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(run.join("begun.json")).unwrap()).unwrap();
    assert_eq!((&begun["corpus"], &begun["corpus_sha256"]), (&"text.txt".into(), &first["corpus_sha256"]));
    assert_eq!(begun["typed"], format!("primer {}", args.join(" ")));
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let steps: Vec<u64> = metrics
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap())
        .collect();
    assert!(steps.is_sorted() && steps.last() == Some(&7), "{steps:?}");
}

#[test]
fn the_length_of_a_run_can_be_given_in_tokens_or_time() {
    let folder = kit::folder_with_text();
    let train = |length: [&str; 2], out: &str| {
        let mut args = vec!["train", "--arch", "vanilla", "--corpus", "text.txt", "--json", "--out", out];
        args.extend(TINY);
        args.extend(length);
        json(folder.path(), &args)
    };
    // 16 tokens, 4 rows: 64 a step.
    let by_tokens = train(["--tokens", "0.3k"], "a");
    assert_eq!((&by_tokens["steps"], &by_tokens["tokens"]), (&5.into(), &320.into()));
    let by_time = train(["--time", "50ms"], "b");
    assert!(by_time["seconds"].as_f64().unwrap() >= 0.05, "{by_time}");
}

#[test]
fn a_checkpoint_is_evaluated_the_same_every_time() {
    let args = ["eval", "--checkpoint", "run", "--corpus", "text.txt", "--json", "--device", "cpu"];
    let first = json(kit::trained(), &args);
    assert_eq!(first, json(kit::trained(), &args));
    let loss = first["loss_nats"].as_f64().unwrap();
    assert!(loss > 0.0 && loss < 7.0);
    assert!((first["perplexity"].as_f64().unwrap().ln() - loss).abs() < 1e-9);
    assert!((first["bits_per_byte"].as_f64().unwrap() * 2f64.ln() - loss).abs() < 1e-9);
    let length = std::fs::metadata(kit::trained().join("text.txt")).unwrap().len();
    assert_eq!(first["tokens"].as_u64().unwrap() + 1, length);
}

#[test]
fn log_probabilities_are_normalised_and_causal() {
    let ask = |text: &str| {
        let args = ["logits", "--checkpoint", "run", "--json", "--device", "cpu", "--text", text];
        let answer = json(kit::trained(), &args);
        let rows = answer["log_probabilities"].as_array().unwrap().clone();
        assert_eq!(rows.len(), text.len());
        // Logits differ from them by a number for each row.
        for (logits, row) in answer["logits"].as_array().unwrap().iter().zip(&rows) {
            let apart: Vec<f64> = (0..256).map(|i| logits[i].as_f64().unwrap() - row[i].as_f64().unwrap()).collect();
            assert!(apart.iter().all(|x| (x - apart[0]).abs() < 1e-4), "{apart:?}");
        }
        rows
    };
    let rows = ask("line");
    for row in &rows {
        let sum: f64 = row.as_array().unwrap().iter().map(|x| x.as_f64().unwrap().exp()).sum();
        assert!((sum - 1.0).abs() < 1e-4, "{sum}");
    }
    assert_eq!(rows[..2], ask("lizz")[..2], "a later byte changed an earlier prediction");
    let text = good(kit::trained(), &["logits", "--checkpoint", "run", "--text", "a", "--device", "cpu"]);
    assert!(text.stdout.contains("position") && text.stdout.contains("'a'"));
}

#[test]
fn samples_repeat_for_a_seed_and_differ_for_another() {
    let draw = |seed: &str| {
        let args = ["sample", "--checkpoint", "run", "--prompt", "line ", "--tokens", "40", "--seed", seed];
        good(kit::trained(), &[&args[..], &["--device", "cpu"]].concat()).stdout
    };
    let first = draw("1");
    assert!(first.starts_with("line ") && first.len() > 20, "{first}");
    assert_eq!(first, draw("1"));
    assert_ne!(first, draw("2"));
    let args = ["sample", "--checkpoint", "run", "--tokens", "8", "--temperature", "0", "--top-k", "5", "--json"];
    let greedy = json(kit::trained(), &[&args[..], &["--device", "cpu"]].concat());
    assert!(!greedy["text"].as_str().unwrap().is_empty());
}

#[test]
fn info_counts_what_the_paper_counts() {
    let folder = tempfile::tempdir().unwrap();
    let of = |arch| json(folder.path(), &["info", "--arch", arch, "--size", "nano", "--json"]);
    let (vanilla, primer) = (of("vanilla"), of("primer_ez"));
    // d 64, ff 256, biases on both FFN matrices only, two norms a block, a final norm, tied embedding.
    let block = 4 * 64 * 64 + 2 * 64 * 256 + 256 + 64 + 4 * 64;
    assert_eq!(vanilla["parameters"]["per_block"], block);
    assert_eq!(vanilla["parameters"]["total"], 256 * 64 + 2 * block + 2 * 64);
    // Multi-dconv-head attention adds three taps for each channel of Q, K and V (spec: 9·d_attn a layer).
    assert_eq!(primer["parameters"]["per_block"], block + 9 * 64);
    let more =
        primer["training_flops_per_token"].as_f64().unwrap() / vanilla["training_flops_per_token"].as_f64().unwrap();
    assert!(more > 1.0 && more < 1.3, "{more}");
    let text = good(folder.path(), &["info", "--arch", "vanilla", "--size", "nano", "--tflops", "0.05"]);
    assert!(text.stdout.contains("tokens/s at best"));
    // Far more than this machine could hold: 1.9 billion parameters with their moments.
    let largest = json(folder.path(), &["info", "--arch", "primer", "--size", "xl", "--json"]);
    assert!(largest["parameters"]["total"].as_u64().unwrap() > 1_600_000_000);
    let memory = |info: &serde_json::Value| info["training_memory_bytes"].as_u64().unwrap();
    assert!(memory(&largest) > 20 << 30);
    // Less to keep, the rest of it the same, for another pass forward at most.
    let again = &largest["recompute_activations"]["true"];
    assert_eq!(memory(&largest), memory(&largest["recompute_activations"]["false"]));
    assert!(memory(again) < memory(&largest) && memory(again) > 20 << 30, "{largest}");
    let flops = |info: &serde_json::Value| info["training_flops_per_token"].as_f64().unwrap();
    assert!((1.1..1.34).contains(&(flops(again) / flops(&largest))), "{largest}");
}

#[test]
fn info_counts_the_optimizer_that_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let info =
        |more: &[&str]| good(folder.path(), &[&["info", "--arch", "vanilla", "--size", "mini"], more].concat()).stdout;
    let memory = |more: &[&str]| {
        let said: serde_json::Value = serde_json::from_str(&info(&[more, &["--json"]].concat())).unwrap();
        said["training_memory_bytes"].as_u64().unwrap()
    };
    let adafactor = ["--set", "optimizer=adafactor"];
    assert!(info(&[]).contains("AdamW's moments") && !info(&adafactor).contains("AdamW"), "{}", info(&adafactor));
    assert!(info(&adafactor).contains("Adafactor's factored moments"));
    // Two moments a parameter against a row and a column.
    let parameters: u64 = 256 * 256 + 4 * (12 * 256 * 256);
    assert!(memory(&[]) > memory(&adafactor) + 7 * parameters, "{} {}", memory(&[]), memory(&adafactor));
}

#[test]
fn info_counts_all_batches_of_a_step_and_the_optimizer_once() {
    let folder = tempfile::tempdir().unwrap();
    let info = |more: &[&str]| {
        json(folder.path(), &[&["info", "--arch", "vanilla", "--size", "nano", "--json"], more].concat())
    };
    let number = |info: &serde_json::Value, key: &str| info[key].as_f64().unwrap();
    let (one, eight) = (info(&[]), info(&["--set", "accumulate=8"]));
    assert_eq!(number(&eight, "tokens_per_step"), 8.0 * number(&one, "tokens_per_step"));
    // The optimizer's share of a token falls; the sums of gradients come on top of the moments.
    let flops = |info| number(info, "training_flops_per_token");
    assert!(flops(&eight) < flops(&one) && flops(&eight) > 0.9 * flops(&one), "{one} {eight}");
    let sums = 4.0 * one["parameters"]["total"].as_f64().unwrap();
    let more = number(&eight, "training_memory_bytes") - number(&one, "training_memory_bytes");
    assert!(more > 0.0 && more < 3.0 * sums, "{more} {sums}");
    // An option goes before --set, as for `train`.
    let both = info(&["--set", "batch=2", "--batch", "3", "--seq", "16"]);
    assert_eq!(both["tokens_per_step"], 48);
}

#[test]
fn another_architecture_than_the_files_has_its_own_width() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    let train = |more: &[&str]| {
        let start = ["train", "--corpus", "text.txt", "--steps", "1", "--device", "cpu"];
        [&start[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let config = |more: &[&str], out: &str| {
        let args = train(&[more, &["--out", out]].concat());
        good(path, &args.iter().map(String::as_str).collect::<Vec<_>>());
        std::fs::read_to_string(path.join(out).join("config.toml")).unwrap()
    };
    let vanilla = config(&["--arch", "vanilla", "--seq", "32"], "vanilla");
    assert!(vanilla.contains("d_ff = 256\n"), "{vanilla}");
    let file = ["--config", "vanilla/config.toml"];
    let same = config(&file, "same");
    assert!(same.contains("arch = \"vanilla\"") && same.contains("d_ff = 256\n"), "{same}");
    let gated = config(&[&file[..], &["--arch", "swiglu"]].concat(), "gated");
    for line in ["arch = \"swiglu\"", "d_ff = 168\n", "seq = 32\n"] {
        assert!(gated.contains(line), "{gated}");
    }
    let given = config(&[&file[..], &["--arch", "swiglu", "--set", "d_ff=40"]].concat(), "given");
    assert!(given.contains("d_ff = 40\n"), "{given}");
    // A file that names an architecture and no width means that of the architecture.
    std::fs::write(path.join("short.toml"), "[model]\narch = \"reglu\"\n").unwrap();
    let short = config(&["--config", "short.toml"], "short");
    assert!(short.contains("arch = \"reglu\"") && short.contains("d_ff = 168\n"), "{short}");
    // Widths of no size with a name can't be translated.
    std::fs::write(path.join("odd.toml"), "[model]\narch = \"vanilla\"\nd_ff = 100\n").unwrap();
    let odd = train(&["--config", "odd.toml", "--arch", "swiglu", "--out", "odd"]);
    kit::bad(path, &odd.iter().map(String::as_str).collect::<Vec<_>>(), 2, &["swiglu", "--set"]);
    assert!(!path.join("odd").exists());
}

#[test]
fn bench_measures_kernels_and_steps() {
    let folder = tempfile::tempdir().unwrap();
    let found = json(folder.path(), &["bench", "--device", "cpu", "--json"]);
    assert!(found["matmul_roof_gflops"].as_f64().unwrap() > 0.0);
    let steps = found["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 4, "two architectures at two sizes");
    for entry in found["kernels"].as_array().unwrap().iter().chain(steps) {
        assert!(entry["ms"].as_f64().unwrap() > 0.0 && entry["launches"].as_u64().unwrap() > 0, "{entry}");
    }
    let first = found["first_steps"].as_array().unwrap();
    assert!(first.len() == 5 && first.iter().all(|f| f["ms"].as_f64().unwrap() > f["step_ms"].as_f64().unwrap()));
    for step in steps {
        let until = |key: &str| step[key].as_f64().unwrap();
        assert!(0.0 < until("planning_ms") && until("planning_ms") < until("first_step_ms"), "{step}");
    }
}

#[test]
fn bench_of_one_step_times_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let step = ["--arch", "primer_ez", "--size", "nano"];
    let found = json(
        folder.path(),
        &[&["bench", "--device", "cpu", "--threads", "1", "--profile", "--json"], &step[..]].concat(),
    );
    assert_eq!(found["kernels"].as_array().unwrap().len() + found["twins"].as_array().unwrap().len(), 0);
    let [timed] = found["steps"].as_array().unwrap().as_slice() else { panic!("{found}") };
    let info = json(folder.path(), &[&["info", "--json"], step.as_slice()].concat());
    assert_eq!(timed["parameters"], info["parameters"]["total"]);
    let kernels = timed["profile"].as_array().unwrap();
    let sum = |key: &str| kernels.iter().map(|kernel| kernel[key].as_f64().unwrap()).sum::<f64>();
    assert_eq!(sum("count"), timed["launches"].as_f64().unwrap());
    assert!((sum("share") - 1.0).abs() < 1e-9 && sum("ms") > 0.0, "{kernels:?}");
    assert!(kernels.iter().any(|kernel| kernel["kernel"].as_str().unwrap().starts_with("matmul ")), "{kernels:?}");
    kit::bad(folder.path(), &["bench", "--profile", "--device", "software"], 2, &["no clock", "--device cpu"]);
    if cfg!(target_os = "linux") {
        let weights_and_moments = 3 * 4 * timed["parameters"].as_u64().unwrap();
        assert!(found["peak_resident_bytes"].as_u64().unwrap() > weights_and_moments, "{found}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_stdout_is_an_error_and_a_closed_pipe_is_none() {
    use std::process::Stdio;
    let folder = tempfile::tempdir().unwrap();
    let args = ["info", "--arch", "vanilla", "--size", "nano"];
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let out = kit::command(folder.path(), &args).stdout(full).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("cannot write to standard output"));

    let mut child = kit::command(folder.path(), &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
}
