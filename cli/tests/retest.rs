//! Retests: the best of a tiny search and of its control, trained again and tested on another text.

use crate::kit::{self, STUDY, bad, command, good, json};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Lines of words, the same for a seed, of about `bytes` bytes.
fn text(seed: u64, bytes: usize) -> String {
    let mut state = seed;
    let mut text = String::new();
    while text.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = ["an ", "evolved ", "program ", "of ", "primitives ", "reads ", "this\n", "text ", "again "];
        text += word[(state >> 33) as usize % word.len()];
    }
    text
}

/// A folder with a text of so many bytes for the search, and one for the test.
fn with_texts(bytes: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("search.txt"), text(1, bytes)).unwrap();
    std::fs::write(folder.path().join("test.txt"), text(2, 40_000)).unwrap();
    folder
}

/// A folder with both texts, a search of 12 children in `study.db` and a control of 6 in `random.db`.
fn searched() -> tempfile::TempDir {
    // A tenth is held out, and the search measures on 65,536 tokens of that.
    let folder = with_texts(720_000);
    let path = folder.path();
    // Steps, not time: what is tested, and with which losses, is the same wherever this runs.
    let run =
        ["search", "run", "--corpus", "search.txt", "--device", "cpu", "--budget", "tokens", "--candidates", "12"];
    good(path, &[&run[..], &["--store", "sqlite:study.db"], &STUDY].concat());
    let init = ["search", "init", "--corpus", "search.txt", "--like", "sqlite:study.db", "--strategy", "random-1"];
    good(path, &[&init[..], &["--store", "sqlite:random.db"]].concat());
    good(path, &["search", "run", "--corpus", "search.txt", "--device", "cpu", "--store", "sqlite:random.db"]);
    folder
}

const BEGIN: [&str; 20] = [
    "search",
    "retest",
    "--store",
    "sqlite:study.db",
    "--control",
    "sqlite:random.db",
    "--corpus",
    "search.txt",
    "--test-corpus",
    "test.txt",
    "--top",
    "3",
    "--finalists",
    "2",
    "--seeds",
    "2",
    "--learning-rates",
    "0.003,0.01",
    "--device",
    "cpu",
];

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Losses of all runs, in an order of their own.
fn measurements(path: &Path) -> Vec<String> {
    let lines = std::fs::read_to_string(path.join("measurements.jsonl")).unwrap();
    let of = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("seconds");
        value.to_string()
    };
    let mut all: Vec<String> = lines.lines().map(of).collect();
    all.sort();
    all
}

#[test]
fn a_search_is_tested_on_another_text_and_goes_on_where_it_was_killed() {
    let folder = searched();
    let path = folder.path();
    let done = json(path, &[&BEGIN[..], &["--out", "whole", "--json"]].concat());
    let shortlist = list(&done["shortlist"]);
    assert!(shortlist.len() >= 6, "three of each at least: {shortlist:?}");
    let finalists: Vec<&Value> = shortlist.iter().filter(|s| s["finalist"] == true).collect();
    assert!(finalists.iter().all(|s| s["select"]["n"] == 2 && s["child"] != 0), "{finalists:?}");
    let of_search = finalists.iter().filter(|s| s["study"] == 0).count();
    let of_control = finalists.iter().filter(|s| s["study"] == 1).count();
    assert_eq!((of_search, of_control), (2, 1));

    let names: Vec<&str> = list(&done["tables"]).iter().map(|t| t["setting"].as_str().unwrap()).collect();
    assert_eq!(names, ["same", "4x", "seq256", "bpe"]);
    for table in list(&done["tables"]) {
        let rows = list(&table["rows"]);
        assert_eq!(rows.len(), 1 + finalists.len() + 4, "{table}");
        let (seed, written) = (&rows[0], &rows[rows.len() - 1]);
        // 7 t of two steps of the seed program; a hand-written model as many as its cost allows.
        assert_eq!((&seed["name"], &seed["steps"]), (&"seed program".into(), &14.into()));
        assert_eq!(written["name"], "transformer_plusplus");
        assert!((1..=28).contains(&written["steps"].as_u64().unwrap()), "{written}");
        for row in rows.iter().filter(|row| row["left_out"].is_null()) {
            let tried: Vec<f64> = list(&row["tuning"]).iter().map(|t| number(&t[1])).collect();
            let best = if tried[0] <= tried[1] { 0.003 } else { 0.01 };
            assert_eq!(number(&row["learning_rate"]), best, "{row}");
            let losses: Vec<f64> = list(&row["losses"]).iter().map(|l| number(&l[1])).collect();
            let mean = losses.iter().sum::<f64>() / 2.0;
            assert!((number(&row["loss"]["mean"]) - mean).abs() < 1e-12);
            if row["name"] != "seed program" {
                let difference = mean - number(&seed["loss"]["mean"]);
                assert!((number(&row["difference"]["mean"]) - difference).abs() < 1e-9, "{row}");
                assert_eq!(row["p_holm"].is_null(), row["finalist"] == false, "{row}");
                assert!(row["finalist"] == false || number(&row["p_holm"]) >= number(&row["p"]));
            }
        }
        let mean = |row: &Value| number(&row["loss"]["mean"]);
        let control = rows.iter().find(|row| row["name"].as_str().unwrap().starts_with("control 1")).unwrap();
        for versus in list(&table["versus"]) {
            assert_eq!(versus["control"], control["name"]);
            for pair in list(&versus["pairs"]) {
                let row = rows.iter().find(|row| row["name"] == pair["name"]).unwrap();
                assert!(row["finalist"] == true && number(&pair["p_holm"]) >= number(&pair["p"]), "{pair}");
                assert!((number(&pair["difference"]["mean"]) - mean(row) + mean(control)).abs() < 1e-9, "{pair}");
            }
        }
        assert_eq!(list(&table["versus"]).len(), usize::from(control["left_out"].is_null()));
        // Twice the width, more tokens, and other sequences make another model, not another name for it.
        let parameters = |row: &Value| row["parameters"].as_u64().unwrap();
        let same = parameters(&list(&done["tables"][0]["rows"])[0]);
        assert_eq!(parameters(seed) == same, ["same", "seq256"].contains(&table["setting"].as_str().unwrap()));
    }
    let steps = list(&done["ablation"]["steps"]);
    assert!(steps.len() >= 2 && steps[0]["child"] == 0 && steps[0]["difference"].is_null(), "{steps:?}");
    assert!(steps[1..].iter().all(|s| !s["edit"].as_str().unwrap().is_empty() && s["diff"] != ""), "{steps:?}");
    let page = std::fs::read_to_string(path.join("whole/report.html")).unwrap();
    assert!(page.contains("n = 1") && page.contains("Edit by edit"), "{page}");
    assert!(!page.contains("NaN") && !page.contains("<script"), "{page}");

    // The costs are measured, so they are the same only where they are taken over.
    std::fs::create_dir(path.join("broken")).unwrap();
    for file in ["retest.json", "costs.json"] {
        std::fs::copy(path.join("whole").join(file), path.join("broken").join(file)).unwrap();
    }
    let resume = ["search", "retest", "--resume", "--out", "broken", "--device", "cpu"];
    let mut kills = 0;
    for wait in 0.. {
        let mut child = command(path, &resume).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(400 + wait * 67 % 300));
        if kills == 5 || child.try_wait().unwrap().is_some() {
            assert!(child.wait().unwrap().success());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 0);
    assert_eq!(measurements(&path.join("whole")), measurements(&path.join("broken")), "after {kills} kills");
    // The stores are those that it was begun with, whatever a user has exported for other commands.
    let again = command(path, &resume).env("PRIMER_STORE", "sqlite:elsewhere.db").output().unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert!(String::from_utf8_lossy(&again.stdout).contains("the search's model"));
    // As if the runs were those of another machine.
    std::fs::write(path.join("broken/devices.txt"), "cpu: of another machine\n").unwrap();
    let elsewhere = good(path, &resume).stderr;
    assert!(elsewhere.contains("until now this retest computed on \"cpu: of another machine\""), "{elsewhere}");
    let plan = path.join("broken/retest.json");
    let kept = std::fs::read_to_string(&plan).unwrap();
    for (key, value) in [("stores", serde_json::json!([])), ("shortlist", serde_json::json!([[9, 1]]))] {
        std::fs::write(&plan, &kept).unwrap();
        kit::edit(&plan, key, value);
        bad(path, &resume, 1, &["retest.json", "study"]);
    }
    let report = std::fs::read_to_string(path.join("broken/report.json")).unwrap();
    assert!(report.contains("cpu: of another machine; then cpu: "), "{report}");
}

/// A search of byte pairs is tested with as many, learned from the test's text.
#[test]
fn byte_pairs_are_tested_with_byte_pairs() {
    let folder = with_texts(2_400_000);
    let path = folder.path();
    let run = ["search", "run", "--corpus", "search.txt", "--device", "cpu", "--store", "sqlite:study.db"];
    let tokens = ["--budget", "tokens", "--tokenizer", "bpe:270", "--candidates", "4"];
    good(path, &[&run[..], &STUDY, &tokens].concat());
    let retest = ["search", "retest", "--store", "sqlite:study.db", "--corpus", "search.txt", "--device", "cpu"];
    let few = ["--test-corpus", "test.txt", "--top", "1", "--finalists", "1", "--learning-rates", "0.003"];
    let retest = [&retest[..], &few, &["--seeds", "2", "--json"]].concat();
    bad(path, &[&retest[..], &["--settings", "same,bpe"]].concat(), 2, &["byte pairs already (bpe:270)"]);
    // All settings but the one that would change nothing.
    let done = json(path, &[&retest[..], &["--out", "r"]].concat());
    assert_eq!(list(&done["tables"]).len(), 3, "{done}");
    for table in list(&done["tables"]) {
        let rows = list(&table["rows"]);
        assert!(rows.len() == 6 && rows.iter().all(|row| row["loss"]["n"] == 2), "{done}");
    }
    assert!(path.join("r/tokenizer.json").is_file());
}

/// A program whose steps take far longer than its budget was reckoned with is no finalist, however good its loss.
#[test]
fn a_program_that_costs_more_than_predicted_is_out() {
    let folder = with_texts(720_000);
    let path = folder.path();
    let run = ["search", "run", "--corpus", "search.txt", "--device", "cpu", "--store", "sqlite:study.db"];
    good(path, &[&run[..], &STUDY, &["--candidates", "20"]].concat());
    let retest = ["search", "retest", "--store", "sqlite:study.db", "--corpus", "search.txt", "--device", "cpu"];
    let few = ["--test-corpus", "test.txt", "--top", "3", "--finalists", "1", "--learning-rates", "0.003"];
    let shortlist = |args: &[&str]| {
        let done = json(path, &[args, &["--out", "r", "--json"]].concat());
        let all = list(&done["shortlist"]).clone();
        let of = |s: &Value| s["child"].as_u64().unwrap();
        let chosen: Vec<u64> = all.iter().filter(|s| s["finalist"] == true).map(of).collect();
        (all.iter().map(of).collect::<Vec<u64>>(), chosen)
    };
    shortlist(&[&retest[..], &few, &["--seeds", "2", "--settings", "same"]].concat());
    // As if the steps of none, of the best, and of the two best took too long.
    let measured: Vec<f64> =
        serde_json::from_str(&std::fs::read_to_string(path.join("r/costs.json")).unwrap()).unwrap();
    let plan: Value = serde_json::from_str(&std::fs::read_to_string(path.join("r/retest.json")).unwrap()).unwrap();
    let order: Vec<u64> = list(&plan["shortlist"]).iter().map(|pair| pair[1].as_u64().unwrap()).collect();
    assert!(order.len() >= 3 && measured.len() == order.len(), "{order:?}");
    let with = |slow: &[u64]| {
        let ratio = |child: &u64| if slow.contains(child) { 1.3 } else { 1.2 };
        let costs: Vec<f64> = order.iter().map(ratio).collect();
        std::fs::write(path.join("r/costs.json"), serde_json::to_string(&costs).unwrap()).unwrap();
        shortlist(&["search", "retest", "--resume", "--device", "cpu"])
    };
    let (best_first, chosen) = with(&[]);
    assert_eq!(chosen, best_first[..1]);
    assert_eq!(with(&best_first[..1]).1, best_first[1..2]);
    assert_eq!(with(&best_first[..2]).1, best_first[2..3]);
}

#[test]
fn what_cannot_be_tested_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("search.txt"), text(1, 30_000)).unwrap();
    std::fs::write(path.join("test.txt"), text(2, 30_000)).unwrap();
    std::fs::write(path.join("short.txt"), text(3, 1_000)).unwrap();
    let init = ["search", "run", "--corpus", "search.txt", "--device", "cpu", "--store", "sqlite:study.db"];
    good(path, &[&init[..], &STUDY, &["--candidates", "4"]].concat());
    good(path, &[&["search", "init", "--store", "sqlite:new.db", "--corpus", "search.txt"], &STUDY[..]].concat());

    let retest = ["search", "retest", "--device", "cpu", "--out", "r"];
    let texts = ["--corpus", "search.txt", "--test-corpus", "test.txt"];
    let study = ["--store", "sqlite:study.db"];
    type Case<'a> = (&'a [&'a [&'a str]], i32, &'a [&'a str]);
    // Measured or not, another roofline makes other numbers of steps.
    let other = ["search", "run", "--corpus", "search.txt", "--device", "cpu", "--store", "sqlite:other.db"];
    let roofline = ["--set", "roofline.bytes_per_second=1e9", "--candidates", "2"];
    good(path, &[&other[..], &STUDY, &roofline].concat());
    let cases: [Case<'_>; 10] = [
        (&[&study, &texts, &["--control", "sqlite:other.db"]], 2, &["other.db", "roofline.", "--like"]),
        (&[&["--store", "sqlite:none.db"], &texts], 2, &["none.db", "search init"]),
        (&[&["--store", "sqlite:new.db"], &texts], 1, &["new.db", "no program but the seed"]),
        (&[&study, &["--corpus", "search.txt", "--test-corpus", "search.txt"]], 2, &["--test-corpus"]),
        (&[&study, &["--corpus", "test.txt", "--test-corpus", "search.txt"]], 2, &["another text"]),
        (&[&study, &["--corpus", "search.txt", "--test-corpus", "short.txt"]], 2, &["short.txt", "257"]),
        (&[&study, &["--corpus", "search.txt"]], 2, &["--test-corpus"]),
        (&[&study, &texts, &["--settings", "same,huge"]], 2, &["huge", "seq256"]),
        (&[&study, &texts, &["--settings", "same,same"]], 2, &["same", "twice"]),
        // All that is held out was read by the search.
        (&[&study, &texts, &["--top", "1", "--settings", "same"]], 2, &["search.txt", "tokens"]),
    ];
    for (args, code, words) in cases {
        bad(path, &[&retest[..], &args.concat()].concat(), code, words);
        let _ = std::fs::remove_dir_all(path.join("r"));
    }
    std::fs::create_dir(path.join("empty")).unwrap();
    bad(path, &["search", "retest", "--resume", "--out", "empty"], 2, &["empty", "retest.json"]);
    bad(path, &["search", "retest", "--resume", "--out", "empty", "--top", "3"], 2, &["--top"]);
}
