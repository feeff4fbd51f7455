//! A study is kept as text and taken up again from it.

#[cfg(unix)]
use crate::cluster;
use crate::kit::{self, STUDY, bad, good, json};
use flate2::read::GzDecoder;
use std::io::Read as _;
use std::path::Path;

const DUMP: [&str; 4] = ["search", "dump", "--store", "sqlite:study.db"];

fn study(path: &Path) {
    let run = ["search", "run", "--store", "sqlite:study.db", "--corpus", "text.txt", "--device", "cpu"];
    good(path, &[&run[..], &["--candidates", "6"], &STUDY].concat());
}

#[test]
fn a_study_moves_to_another_place() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    study(path);
    let dumped = json(path, &[&DUMP[..], &["--out", "study.jsonl", "--json"]].concat());
    assert_eq!(dumped["candidates"], 7, "{dumped}");
    let text = std::fs::read_to_string(path.join("study.jsonl")).unwrap();
    let piped = good(path, &[&DUMP[..], &["--out", "-"]].concat()).stdout;
    assert!(piped == text && text.lines().count() == 8, "{piped}");
    let places = [
        "sqlite:copy.db".to_owned(),
        #[cfg(unix)]
        cluster::shared().schema().0,
    ];
    for url in &places {
        let store = ["--store", url];
        let restored = json(path, &[&["search", "restore", "study.jsonl", "--json"], &store[..]].concat());
        assert_eq!((&restored["study"], &restored["candidates"]), (&dumped["study"], &dumped["candidates"]));
        let verified = good(path, &[&["search", "verify"], &store[..]].concat()).stdout;
        assert!(verified.contains("all 6 candidates"), "{verified}");
        let again = good(path, &[&["search", "dump", "--out", "-"], &store[..]].concat()).stdout;
        assert_eq!(again, text);
        let run = ["search", "run", "--corpus", "text.txt", "--device", "cpu", "--candidates", "8"];
        good(path, &[&run[..], &store].concat());
    }
    // A text from a pipe, as another program unpacks it.
    let mut restore = kit::command(path, &["search", "restore", "-", "--store", "sqlite:piped.db"]);
    let text = std::fs::File::open(path.join("study.jsonl")).unwrap();
    assert!(restore.stdin(text).output().unwrap().status.success());
    let top = |store: &str| good(path, &["search", "top", "--store", store]).stdout;
    assert_eq!(top("sqlite:piped.db"), top("sqlite:study.db"));
}

/// The seed program's steps took what was predicted, and so did a candidate's; then as if they had taken twice that.
#[test]
fn a_program_that_cost_more_than_predicted_is_marked() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    study(path);
    let text = good(path, &[&DUMP[..], &["--out", "-"]].concat()).stdout;
    let measured = |line: &str| line.contains("\"state\":\"done\"");
    let child = text.lines().filter(|line| measured(line)).nth(1).expect("a child was measured").to_owned();
    let child_no = serde_json::from_str::<serde_json::Value>(&child).unwrap()["child_no"].clone();
    let id = child_no.to_string();
    for (factor, cell, note) in [(1.0, "1.00", false), (2.0, "2.00, outside", true)] {
        let timed = |line: &str| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            let factor = if line["child_no"] == child_no { factor } else { 1.0 };
            let ledger = line.get_mut("ledger").and_then(serde_json::Value::as_array_mut);
            for entry in ledger.into_iter().flatten() {
                entry["training_seconds"] = (factor * entry["predicted_seconds"].as_f64().unwrap()).into();
            }
            format!("{line}\n")
        };
        let lines = text.lines().enumerate().map(|(i, line)| if i == 0 { format!("{line}\n") } else { timed(line) });
        std::fs::write(path.join("timed.jsonl"), lines.collect::<String>()).unwrap();
        let url = format!("sqlite:timed{factor}.db");
        let store = ["--store", url.as_str()];
        good(path, &[&["search", "restore", "timed.jsonl"], &store[..]].concat());
        let top = good(path, &[&["search", "top"], &store[..]].concat()).stdout;
        let row = |of: &str| top.lines().find(|line| line.split_whitespace().next() == Some(of)).unwrap().to_owned();
        assert!(top.contains("measured cost") && row(&id).contains(cell) && row("0").contains("1.00"), "{top}");
        let json = json(path, &[&["search", "top", "--json"], &store[..]].concat());
        let entry = json["candidates"].as_array().unwrap().iter().find(|c| c["child_no"] == child_no).unwrap();
        assert_eq!(entry["measured_over_predicted"], factor, "{entry}");
        let out = ["export", "--id", &id, "--format", "dna", "--out", "out.dna", "--force"];
        let said = good(path, &[&out, &store[..]].concat()).stderr;
        assert_eq!(said.contains("its steps took 2.00 times what was predicted"), note, "{said}");
        if note {
            good(path, &[&["search", "report", "--out", "report"], &store[..]].concat());
            let read = |file: &str| std::fs::read_to_string(path.join("report").join(file)).unwrap();
            let report: serde_json::Value = serde_json::from_str(&read("report.json")).unwrap();
            let entry = report["top"].as_array().unwrap().iter().find(|c| c["id"] == child_no).unwrap();
            assert_eq!(entry["measured_over_predicted"], factor, "{entry}");
            assert!(read("report.html").contains(cell));
        }
    }
}

/// What `results/` holds of studies as text comes out of today's mutations, selections and bars.
#[test]
fn published_studies_are_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/small");
    let studies = std::fs::read_dir(results).unwrap().map(|entry| entry.unwrap().path().join("study.jsonl.gz"));
    let studies: Vec<_> = studies.filter(|study| study.exists()).collect();
    assert!(!studies.is_empty(), "no study is published as text");
    for (i, study) in studies.iter().enumerate() {
        let mut text = String::new();
        let packed = std::fs::File::open(study).unwrap();
        GzDecoder::new(packed).read_to_string(&mut text).unwrap();
        std::fs::write(path.join("study.jsonl"), text).unwrap();
        let url = format!("sqlite:{i}.db");
        good(path, &["search", "restore", "study.jsonl", "--store", &url]);
        good(path, &["search", "verify", "--store", &url]);
    }
    // They are of `--preset small`, whose controls have no earlier marks than it.
    let early = ["search", "init", "--like", "sqlite:0.db", "--store", "sqlite:early.db", "--set", "fitness.unit=30"];
    bad(path, &early, 2, &["fitness.unit = 30", "70"]);
}

#[test]
fn what_is_there_is_not_written_over_and_what_is_no_study_not_read() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    study(path);
    let to = |out: &'static str| [&DUMP[..], &["--out", out]].concat();
    good(path, &to("study.jsonl"));
    bad(path, &to("study.jsonl"), 2, &["already there", "--force"]);
    good(path, &[&to("study.jsonl")[..], &["--force"]].concat());
    bad(path, &[&to("-")[..], &["--json"]].concat(), 2, &["--json and --out -"]);
    bad(path, &to("no/study.jsonl"), 2, &["cannot write", "--out"]);
    bad(path, &["search", "dump", "--store", "sqlite:none.db", "--out", "x.jsonl"], 2, &["primer search init"]);
    assert!(!path.join("none.db").exists() && !path.join("x.jsonl").exists());

    let restore = |file: &'static str, store: &'static str| ["search", "restore", file, "--store", store];
    bad(path, &restore("study.jsonl", "sqlite:study.db"), 2, &["already there", "another --store"]);
    bad(path, &restore("none.jsonl", "sqlite:x.db"), 2, &["none.jsonl can't be read"]);
    bad(path, &restore(".", "sqlite:x.db"), 2, &["can't be read"]);
    bad(path, &restore("text.txt", "sqlite:x.db"), 2, &["line 1 of the study", "primer search dump"]);
    bad(path, &restore("study.jsonl", "sqlite:no/x.db"), 2, &["no folder no"]);
    let text = std::fs::read_to_string(path.join("study.jsonl")).unwrap();
    let whole = text.trim_end().rsplit_once('\n').unwrap().0;
    std::fs::write(path.join("short.jsonl"), whole).unwrap();
    bad(path, &restore("short.jsonl", "sqlite:x.db"), 2, &["line 7 of the study", "6 of 7 candidates"]);
    std::fs::write(path.join("bytes.jsonl"), [0xff, 0xfe, 0x00]).unwrap();
    bad(path, &restore("bytes.jsonl", "sqlite:x.db"), 2, &["bytes.jsonl can't be read", "gunzip"]);
    assert!(!path.join("x.db").exists());
}
