//! The choice of an adapter's kernels.

use crate::kit::{bad, folder_with_text, good, json, run};

#[test]
fn the_best_kernels_are_measured_stored_and_taken() {
    let folder = folder_with_text();
    let at = folder.path();
    // gpu:0 is the first adapter, the software one where there is no real one.
    let devices = |path| json(path, &["devices", "--json"])["devices"][0].clone();
    let built_in = devices(at);
    assert_eq!((&built_in["device"], &built_in["tuned"]), (&"gpu:0".into(), &false.into()), "{built_in}");

    let tuned = json(at, &["bench", "--tune", "--device", "gpu:0", "--json"]);
    assert_eq!(tuned["built_in"], built_in["kernels"]);
    for part in tuned["measured"].as_array().unwrap() {
        let choices = part["choices"].as_array().unwrap();
        assert_eq!(choices[0]["relative"], 1.0, "{part}");
        assert_eq!(choices.iter().filter(|choice| choice["taken"] == true).count(), 1, "{part}");
        let times = choices.iter().flat_map(|choice| choice["ms"].as_object().unwrap().values());
        assert!(times.clone().count() >= 3 && times.clone().all(|ms| ms.as_f64().unwrap() > 0.0), "{part}");
    }
    let file = at.join("settings/primer/kernels.toml");
    assert_eq!(tuned["file"].as_str(), file.to_str());
    let after = devices(at);
    assert_eq!((&after["kernels"], &after["tuned"]), (&tuned["best"], &true.into()));

    // Another choice, as another driver's measurement might have come to.
    let text = std::fs::read_to_string(&file).unwrap();
    let matmul = text.lines().find(|line| line.starts_with("matmul")).unwrap();
    std::fs::write(&file, text.replace(matmul, "matmul = \"registers\"").replace("invocations = ", "invocations = 1"))
        .unwrap();
    let changed = devices(at)["kernels"].as_str().unwrap().to_owned();
    assert!(changed.contains("matmul registers") && Some(changed.as_str()) != tuned["best"].as_str(), "{changed}");
    // A run records it, and one that goes on with other kernels is told so.
    let tiny = ["--seq", "16", "--batch", "1", "--set", "layers=1", "--device", "gpu:0", "--out", "r"];
    let begun = ["train", "--arch", "vanilla", "--corpus", "text.txt", "--steps", "1"];
    let begun = good(at, &[begun.as_slice(), &tiny].concat());
    assert!(begun.stderr.contains("kernels as tuned"), "{}", begun.stderr);
    assert!(std::fs::read_to_string(at.join("r/devices.txt")).unwrap().contains(&changed));
    // With operands in f16, which its device says.
    let half = ["train", "--arch", "vanilla", "--corpus", "text.txt", "--steps", "2", "--set", "precision=f16"];
    let half = [half.as_slice(), &tiny[..tiny.len() - 1], &["half"]].concat();
    good(at, &half);
    assert!(
        std::fs::read_to_string(at.join("half/devices.txt")).unwrap().contains(&format!("{changed}, operands f16"))
    );
    let timed = json(
        at,
        &["bench", "--arch", "vanilla", "--size", "nano", "--precision", "f16", "--device", "gpu:0", "--json"],
    );
    assert_eq!(timed["steps"][0]["precision"], "f16", "{timed}");
    std::fs::write(&file, "matmul = best").unwrap();
    let resume = ["train", "--resume", "--corpus", "text.txt", "--steps", "2", "--device", "gpu:0", "--out", "r"];
    let resumed = good(at, &resume);
    assert!(resumed.stderr.contains(&format!("{changed}\";")), "{}", resumed.stderr);
    // A file that can't be used is said to be so, and the built-in choice is taken.
    assert!(resumed.stderr.contains("kernels.toml can't be used: "), "{}", resumed.stderr);
    let last = devices(at);
    assert_eq!((&last["kernels"], &last["tuned"]), (&built_in["kernels"], &false.into()));
}

#[test]
fn only_an_adapter_has_kernels_to_choose_among() {
    let folder = tempfile::tempdir().unwrap();
    bad(folder.path(), &["bench", "--tune", "--device", "cpu"], 2, &["no kernels to choose among", "--device gpu:0"]);
    bad(folder.path(), &["bench", "--tune", "--size", "nano"], 2, &["--tune", "--size"]);
    assert_eq!(run(folder.path(), &["bench", "--tune", "--device", "gpu:99"]).code, Some(2));
}
