//! The main job, shortened.

use crate::kit;
use serde_json::Value;
use std::path::Path;

fn report(folder: &Path) -> Value {
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    serde_json::from_str(&std::fs::read_to_string(folder.join("report.json")).unwrap()).unwrap()
}

#[test]
fn a_short_run_trains_both_searches_samples_and_reports() {
    let folder = kit::folder_with_text();
    let args = ["quickstart", "--time", "12s", "--corpus", "text.txt", "--device", "cpu", "--out", "q", "--seed", "3"];
    let run = kit::good(folder.path(), &args);
    assert!(run.stderr.contains("device  cpu") && run.stderr.contains("--device cpu asked for it"), "{}", run.stderr);
    assert!(run.stdout.contains("speedup factor of Primer-EZ"), "{}", run.stdout);
    let report = report(&folder.path().join("q"));
    let arms = report["arms"].as_array().unwrap();
    assert_eq!(arms.iter().map(|a| a["arch"].as_str().unwrap()).collect::<Vec<_>>(), ["vanilla", "primer_ez"]);
    for arm in arms {
        assert!(arm["steps"].as_u64().unwrap() > 0 && !arm["points"].as_array().unwrap().is_empty(), "{arm}");
        assert!(!arm["samples"][0]["text"].as_str().unwrap().is_empty());
    }
    // Equal time: what differs is at most a turn and the last step. Few steps say nothing of that.
    let seconds: Vec<f64> = arms.iter().map(|a| a["seconds"].as_f64().unwrap()).collect();
    if arms.iter().all(|a| a["steps"].as_u64().unwrap() >= 20) {
        assert!(seconds[0] / seconds[1] < 2.0 && seconds[1] / seconds[0] < 2.0, "{seconds:?}");
    }
    assert!(report["search"]["seed_loss"].as_f64().is_some(), "{}", report["search"]);
    assert_eq!(report["corpus"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(report["stopped_early"], Value::Null);
    assert_eq!(report["command"], format!("primer {}", args.join(" ")));
}

#[cfg(unix)]
#[test]
fn ctrl_c_still_writes_the_report() {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::process::Stdio;
    let folder = kit::folder_with_text();
    let args = ["quickstart", "--time", "10m", "--corpus", "text.txt", "--device", "cpu", "--out", "q"];
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
    assert!(!rest.contains("panicked"), "{rest}");
    let report = report(&folder.path().join("q"));
    assert_eq!(report["stopped_early"], "stopped by Ctrl-C or SIGTERM");
    assert!(report["arms"][0]["steps"].as_u64().unwrap() > 0);
    assert_eq!(report["search"], Value::Null);
}
