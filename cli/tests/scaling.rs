//! Sweeps over sizes: every size gets its compute, and the law is fitted to what was measured.

use crate::kit::{self, bad, good};
use serde_json::Value;
use std::path::Path;

/// Two sizes with a layer each, on sequences of 16 bytes.
const BEGIN: [&str; 16] = [
    "scaling",
    "--sizes",
    "nano,micro",
    "--corpus",
    "text.txt",
    "--set",
    "layers=1",
    "--set",
    "eval_batches=1",
    "--seq",
    "16",
    "--batch",
    "2",
    "--device",
    "cpu",
    "--out",
];

fn report(folder: &Path) -> Value {
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>") && !page.contains("NaN"));
    serde_json::from_str(&std::fs::read_to_string(folder.join("report.json")).unwrap()).unwrap()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn every_size_trains_for_the_same_flops_and_the_frontier_is_below_all_of_them() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    let more = ["s", "--archs", "vanilla,squared_relu", "--flops", "1e9", "--seeds", "2", "--json"];
    let printed = kit::json(path, &[&BEGIN[..], &more].concat());
    let report = report(&path.join("s"));
    let archs = list(&report["archs"]);
    assert_eq!((archs.len(), list(&report["runs"]).len(), &printed["runs"]), (2, 8, &8.into()));
    for arch in archs {
        let sizes = list(&arch["sizes"]);
        for size in sizes {
            let a_step = number(&size["flops_per_step"]);
            assert_eq!(number(&size["steps"]), (1e9 / a_step).round().max(1.0), "{size}");
            assert_eq!((list(&size["runs"]).len(), list(&size["curves"]).len()), (2, 2));
            let end = list(&size["curves"][0]).last().unwrap();
            assert!((number(&end[0]) / (number(&size["steps"]) * a_step) - 1.0).abs() < 1e-9);
        }
        assert!(number(&sizes[0]["parameters"]) < number(&sizes[1]["parameters"]));
        // The frontier ends at most at the best final loss of a size, and never rises above a mean.
        let frontier = list(&arch["frontier"]);
        assert!(frontier.len() > 10);
        let best = sizes.iter().map(|s| number(&s["final_loss"]["mean"])).fold(f64::INFINITY, f64::min);
        assert!(number(&frontier.last().unwrap()["loss"]) <= best + 0.2, "{frontier:?}");
        // A law with its interval, or the reason why there is none.
        match &arch["law"] {
            Value::Null => assert!(arch["no_law"]["reason"].is_string(), "{arch}"),
            law => {
                assert!(number(&law["k"]).is_finite() && law["k_interval"].is_array(), "{law}");
                assert_eq!(list(&law["sizes"]).len(), 2);
            }
        }
    }
    assert_eq!(archs[0]["saving"], Value::Null);
    // Taken up again when it is finished, it trains nothing and says the same.
    let again = good(path, &["scaling", "--resume", "--out", "s", "--device", "cpu"]);
    assert!(!again.stderr.contains("training"), "{}", again.stderr);
    assert_eq!(crate::scaling::report(&path.join("s"))["archs"], report["archs"]);
    bad(path, &["compare", "--resume", "--out", "s"], 2, &["primer scaling"]);
}

#[test]
fn what_makes_no_curve_of_loss_against_compute_is_refused() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    let refused = |more: &[&str], words: &[&str]| {
        bad(path, &[&BEGIN[..], &["s", "--steps", "2"], more].concat(), 2, words);
        assert!(!path.join("s").exists(), "{more:?} made a folder");
    };
    refused(&["--archs", "primer", "--set", "decay=cosine"], &["cosine", "decay=rsqrt"]);
    refused(&["--archs", "primer", "--set", "decay=linear"], &["linear"]);
    refused(&["--archs", "primer,primer"], &["primer twice"]);
    refused(&["--archs", "primer", "--flops", "1e9"], &["--flops"]);
    refused(&["--archs", "primr"], &["primer"]);
    bad(path, &["scaling", "--archs", "primer", "--sizes", "nano", "--steps", "2"], 2, &["at least two"]);
    bad(path, &["scaling", "--archs", "primer", "--sizes", "nano,nano", "--steps", "2"], 2, &["nano twice"]);
    bad(path, &["scaling", "--archs", "primer", "--sizes", "nano,mcro"], 2, &["micro"]);
}
