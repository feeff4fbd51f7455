//! Comparisons: what each model gets follows from what its step costs, and nothing is lost when it is stopped.

use crate::kit::{self, TINY, bad, good};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

const BEGIN: [&str; 9] =
    ["compare", "--archs", "vanilla,primer_ez", "--corpus", "text.txt", "--set", "eval_batches=2", "--seeds", "2"];

fn compare(folder: &Path, out: &str, more: &[&str]) -> kit::Run {
    good(folder, &[&BEGIN[..], &TINY, &["--out", out], more].concat())
}

fn report(out: &Path) -> Value {
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    assert!(!page.contains("NaN") && !page.contains("<script"), "{page}");
    serde_json::from_str(&std::fs::read_to_string(out.join("report.json")).unwrap()).unwrap()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn every_model_gets_what_the_tables_promise() {
    let folder = kit::folder_with_text();
    let run = compare(folder.path(), "c", &["--steps", "12"]);
    assert!(run.stderr.contains("runs: ") && run.stderr.contains("of training"), "{}", run.stderr);
    assert!(run.stdout.contains("equal calibrated time") && run.stdout.contains("Primer-EZ"), "{}", run.stdout);
    let report = report(&folder.path().join("c"));
    let arms = list(&report["arms"]);
    let cost = |arm: usize, of: &str| match of {
        "steps" => 1.0,
        "time" => number(&arms[arm]["step_time"]["median"]),
        _ => number(&arms[arm]["flops_per_step"]),
    };
    assert_eq!(list(&arms[1]["step_time"]["blocks"]).len(), 20);
    assert!((number(&arms[1]["slowdown"]) * number(&arms[1]["relative_speed"]) - 1.0).abs() < 1e-9);
    let runs = list(&report["runs"]);
    let folders: BTreeSet<&str> = runs.iter().map(|run| run["folder"].as_str().unwrap()).collect();
    assert_eq!(folders.len(), runs.len(), "each run once");

    let tables = list(&report["tables"]);
    assert_eq!(tables.iter().map(|t| t["equal"].as_str().unwrap()).collect::<Vec<_>>(), ["steps", "time", "flops"]);
    for table in tables {
        let of = table["equal"].as_str().unwrap();
        let rows = list(&table["rows"]);
        // The baseline's runs serve all tables.
        assert_eq!((&rows[0]["steps"], &rows[0]["runs"]), (&12.into(), &tables[0]["rows"][0]["runs"]));
        assert_eq!((&rows[0]["difference"], &rows[0]["speedup"]), (&Value::Null, &Value::Null));
        let expected = (12.0 * cost(0, of) / cost(1, of)).round().max(1.0);
        assert_eq!(number(&rows[1]["steps"]), expected, "{of}");
        for (arm, row) in rows.iter().enumerate() {
            let steps = number(&row["steps"]);
            assert_eq!(list(&row["runs"]).len(), 2, "two seeds: {row}");
            let mut losses = Vec::new();
            for (seed, place) in list(&row["runs"]).iter().enumerate() {
                let run = &runs[place.as_u64().unwrap() as usize];
                assert_eq!((&run["seed"], number(&run["steps"])), (&seed.into(), steps));
                assert!(folder.path().join("c").join(run["folder"].as_str().unwrap()).join("config.toml").is_file());
                let points = list(&run["points"]);
                assert_eq!(
                    (&points[points.len() - 1]["loss"], run["diverged"].as_bool()),
                    (&run["final_loss"], Some(false))
                );
                losses.push(number(&run["final_loss"]));
            }
            let loss = &row["final_loss"];
            assert!((number(&loss["mean"]) - (losses[0] + losses[1]) / 2.0).abs() < 1e-9, "{row}");
            let bits = number(&row["bits_per_byte"]["mean"]);
            assert!((bits - number(&loss["mean"]) / 2f64.ln()).abs() < 1e-9, "a byte is a token: {row}");
            let curve = list(&row["mean_curve"]);
            let end = number(&curve[curve.len() - 1][0]);
            assert!((end / (steps * cost(arm, of)) - 1.0).abs() < 1e-9, "{end}");
            assert_eq!(list(&row["curves"]).len(), 2);
        }
        assert_eq!(list(&rows[1]["speedup"]["seeds"]).len(), 2);
        assert!(rows[1]["difference"]["interval"].is_array());
    }
    assert_eq!(report["corpus"]["sha256"].as_str().unwrap().len(), 64);
}

#[test]
fn the_budget_in_time_is_the_baselines_by_its_calibrated_step() {
    let folder = kit::folder_with_text();
    let more = ["--time", "20ms", "--equal", "time", "--json"];
    let printed: Value = serde_json::from_str(&compare(folder.path(), "c", &more).stdout).unwrap();
    let report = report(&folder.path().join("c"));
    let rows = list(&report["tables"][0]["rows"]);
    assert_eq!((list(&report["tables"]).len(), &printed["tables"][0]["rows"][0]["steps"]), (1, &rows[0]["steps"]));
    let a_step = |arm: usize| number(&report["arms"][arm]["step_time"]["median"]);
    let base = (0.020 / a_step(0)).floor().max(1.0);
    assert_eq!(number(&rows[0]["steps"]), base);
    assert_eq!(number(&rows[1]["steps"]), (base * a_step(0) / a_step(1)).round().max(1.0));
}

/// What a report says that has to be the same however often it was stopped.
fn losses(report: &Value) -> Vec<Value> {
    let point = |point: &Value| serde_json::json!([point["step"], point["loss"]]);
    let points = |run: &Value| list(&run["points"]).iter().map(point).collect::<Vec<_>>();
    let one = |run: &Value| serde_json::json!([run["folder"], run["final_loss"], points(run)]);
    list(&report["runs"]).iter().map(one).collect()
}

#[test]
fn killed_comparisons_go_on_to_the_same_losses() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    // Without the table of equal time, whose steps the clock decides.
    let more = ["--steps", "40", "--equal", "steps,flops", "--set", "checkpoint_every=3"];
    compare(path, "whole", &more);
    let resume = ["compare", "--resume", "--out", "broken", "--device", "cpu"];
    let begin = [&BEGIN[..], &TINY, &["--out", "broken"], &more].concat();
    let mut kills = 0;
    for wait in 0.. {
        let args: &[&str] = if path.join("broken/experiment.json").exists() { &resume } else { &begin };
        if !path.join("broken/experiment.json").exists() && path.join("broken").exists() {
            std::fs::remove_dir_all(path.join("broken")).unwrap();
        }
        let mut command = kit::command(path, args);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(150 + wait * 67 % 400));
        if kills == 6 || child.try_wait().unwrap().is_some() {
            assert!(child.wait().unwrap().success());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    // Finished runs are not done again.
    let again = good(path, &resume);
    assert!(!again.stderr.contains("training"), "{}", again.stderr);
    let (whole, broken) = (report(&path.join("whole")), report(&path.join("broken")));
    assert_eq!(losses(&whole), losses(&broken), "after {kills} kills");
    assert!(kills > 0 && list(&whole["runs"]).len() >= 4);
    kit::edit(&path.join("broken/experiment.json"), "arms", serde_json::json!([]));
    bad(path, &resume, 1, &["experiment.json", "no model"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_writes_the_report_of_what_is_finished() {
    use std::io::{BufRead as _, BufReader, Read as _};
    let folder = kit::folder_with_text();
    let more =
        ["--out", "c", "--steps", "300k", "--equal", "steps", "--learning-rates", "0.01", "--set", "log_every=100"];
    let args = [&BEGIN[..], &TINY, &more].concat();
    let mut child = kit::command(folder.path(), &args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("tokens/s") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended before it showed progress");
    }
    kit::signal("INT", child.id());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
    let report = report(&folder.path().join("c"));
    assert_eq!((&report["stopped_early"], list(&report["runs"]).len()), (&"stopped by Ctrl-C or SIGTERM".into(), 0));
}

#[test]
fn every_model_is_tuned_alike_on_a_seed_of_its_own() {
    let folder = kit::folder_with_text();
    let rates = ["--steps", "8", "--equal", "steps", "--learning-rates", "0.01,0.0001,0.00001"];
    compare(folder.path(), "c", &rates);
    let report = report(&folder.path().join("c"));
    for arm in list(&report["arms"]) {
        let tried = list(&arm["tuning"]);
        assert_eq!(tried.len(), 3);
        let best = tried.iter().min_by(|a, b| number(&a["final_loss"]).total_cmp(&number(&b["final_loss"]))).unwrap();
        assert_eq!((&best["learning_rate"], number(&arm["learning_rate"])), (&arm["learning_rate"], 0.01));
        assert_eq!(arm["rate_at_edge"], true);
    }
    for run in list(&report["runs"]) {
        assert!(run["seed"].as_u64().unwrap() < 2 && run["learning_rate"] == 0.01, "{run}");
    }
    assert!(folder.path().join("c/runs/vanilla-n8-s2-lr0.0001/metrics.jsonl").is_file());
    let page = std::fs::read_to_string(folder.path().join("c/report.html")).unwrap();
    assert!(page.contains("Learning rates") && page.contains("at the edge"));
}

#[test]
fn a_run_that_diverges_is_shown() {
    let folder = kit::folder_with_text();
    compare(
        folder.path(),
        "c",
        &["--steps", "8", "--equal", "steps", "--set", "learning_rate=1000", "--set", "warmup=0"],
    );
    let report = report(&folder.path().join("c"));
    assert_eq!((list(&report["runs"]).len(), &report["tables"][0]["rows"][0]["diverged"]), (4, &2.into()));
    let page = std::fs::read_to_string(folder.path().join("c/report.html")).unwrap();
    assert!(page.contains("2 diverged"), "{page}");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    let refused = |archs: &str, more: &[&str], code: i32, words: &[&str]| {
        let args = ["compare", "--archs", archs, "--corpus", "text.txt", "--steps", "2", "--out", "c"];
        bad(path, &[&args[..], &TINY, more].concat(), code, words);
        assert!(!path.join("c").exists(), "{archs} {more:?} made a folder");
    };
    refused("vanilla,primer-ez", &[], 2, &["primer_ez"]);
    refused("vanilla", &[], 2, &["at least two"]);
    refused("vanilla,primer,vanilla", &[], 2, &["vanilla twice"]);
    refused("vanilla,dna:nowhere", &[], 2, &["dna:nowhere", "program"]);
    refused("vanilla,primer", &["--seeds", "0"], 2, &["--seeds"]);
    refused("vanilla,primer", &["--equal", "steps,space"], 2, &["space", "flops"]);
    refused("vanilla,primer", &["--equal", "steps,steps"], 2, &["steps twice"]);
    refused("vanilla,primer", &["--learning-rates", "0.1,-1"], 2, &["--learning-rates"]);
    refused("vanilla,primer", &["--set", "arch=gelu"], 2, &["--archs"]);
    refused("vanilla,primer", &["--set", "layerz=2"], 2, &["layers"]);
    bad(path, &["compare", "--steps", "2"], 2, &["--archs"]);
    bad(path, &["compare", "--archs", "vanilla,mdha", "--corpus", "none.txt", "--steps", "2"], 2, &["none.txt"]);

    std::fs::write(path.join("short.txt"), "ab\n").unwrap();
    let short = ["compare", "--archs", "vanilla,mdha", "--corpus", "short.txt", "--steps", "2", "--out", "s"];
    bad(path, &[&short[..], &TINY].concat(), 2, &["short.txt", "one sequence needs"]);
    assert!(!path.join("s/experiment.json").exists());

    std::fs::create_dir(path.join("full")).unwrap();
    std::fs::write(path.join("full/notes"), "mine").unwrap();
    let full = ["compare", "--archs", "vanilla,mdha", "--corpus", "text.txt", "--steps", "2", "--out", "full"];
    bad(path, &full, 2, &["not empty", "--force"]);
    bad(path, &["compare", "--resume", "--out", "full"], 2, &["nothing to resume"]);
    bad(path, &["compare", "--resume", "--out", "full", "--steps", "3"], 2, &["--resume"]);
}

#[test]
fn results_on_another_text_or_with_other_tokens_are_not_compared() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    let more = ["--steps", "2", "--equal", "steps", "--tokenizer", "bpe:270", "--seeds", "1"];
    good(path, &[&BEGIN[..7], &TINY, &["--out", "c"], &more].concat());
    std::fs::write(path.join("other.txt"), "quite another text\n".repeat(300)).unwrap();
    let resume = ["compare", "--resume", "--out", "c", "--device", "cpu"];
    bad(path, &[&resume[..], &["--corpus", "other.txt"]].concat(), 2, &["SHA-256", "another folder"]);
    // The same text, of which more is held out.
    kit::split_in_half(path);
    bad(path, &[&resume[..], &["--corpus", "named"]].concat(), 2, &["held out", "another folder"]);
    std::fs::rename(path.join("c/tokenizer.json"), path.join("tokenizer.json")).unwrap();
    bad(path, &resume, 1, &["tokenizer", "not compared"]);
    std::fs::rename(path.join("tokenizer.json"), path.join("c/tokenizer.json")).unwrap();
    // The same text under another name will do.
    std::fs::rename(path.join("text.txt"), path.join("moved.txt")).unwrap();
    bad(path, &resume, 2, &["text.txt"]);
    good(path, &[&resume[..], &["--corpus", "moved.txt"]].concat());
    // A new experiment in its place leaves nothing of it.
    let args = ["compare", "--archs", "gelu,swish", "--corpus", "moved.txt", "--steps", "2", "--seeds", "1"];
    good(path, &[&args[..], &TINY, &["--out", "c", "--force", "--equal", "steps"]].concat());
    assert!(!path.join("c/runs/vanilla-n2-s0").exists() && path.join("c/runs/gelu-n2-s0").is_dir());
    assert!(!path.join("c/tokenizer.json").exists(), "its tokens are bytes");
}
