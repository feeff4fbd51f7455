//! `primer export`: what is written, and what isn't.

use crate::kit::{self, bad, good, json};

#[test]
fn checkpoints_and_programs_are_written_in_the_forms_they_have() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    let train = ["train", "--arch", "primer_ez", "--size", "nano", "--corpus", "text.txt", "--device", "cpu"];
    let small = ["--set", "d_model=16", "--set", "d_ff=32", "--set", "heads=2", "--seq", "16", "--batch", "2"];
    good(path, &[&train[..], &small, &["--steps", "2", "--out", "run"]].concat());

    good(path, &["export", "--checkpoint", "run", "--format", "onnx", "--out", "model.onnx"]);
    let model = std::fs::read(path.join("model.onnx")).unwrap();
    assert!(model.len() > 4 * 256 * 16, "the embedding alone is larger than {}", model.len());
    assert!(model.windows(6).any(|w| w == b"logits"));
    // It is no program, and as Rust it is there already.
    for (format, hint) in [("rust", "models/src/arch/primer_ez.rs"), ("dna", "onnx")] {
        bad(path, &["export", "--checkpoint", "run", "--format", format, "--out", "run.x"], 2, &["primer_ez", hint]);
    }

    good(path, &["export", "--arch", "dna:primer_ez", "--format", "dna", "--out", "ez.dna"]);
    assert!(std::fs::read_to_string(path.join("ez.dna")).unwrap().contains("S9 SQUARED-RELU"));
    good(path, &["export", "--arch", "dna:ez.dna", "--format", "dot", "--out", "ez.dot"]);
    let dot = std::fs::read_to_string(path.join("ez.dot")).unwrap();
    assert!(dot.starts_with("digraph") && dot.contains("DCONV_3X1"), "{dot}");

    good(path, &["export", "--arch", "dna:discovered", "--format", "resolved", "--out", "discovered.txt"]);
    let resolved = std::fs::read_to_string(path.join("discovered.txt")).unwrap();
    // Numbers and dead instructions of the paper's Fig. 25.
    for line in ["  12 MAX(10) C -0.57   # S3 h2 dead\n", "  54 ADD(53, 52)   # S8 h3 output\n"] {
        assert!(resolved.contains(line), "{resolved}");
    }

    good(path, &["export", "--arch", "dna:primer_ez", "--format", "rust", "--out", "ez.rs"]);
    let expected = include_str!("../../examples/search/exported/primer_ez.rs");
    assert_eq!(
        std::fs::read_to_string(path.join("ez.rs")).unwrap(),
        expected,
        "the example is what the command writes"
    );
    good(path, &["export", "--arch", "dna:ez.dna", "--format", "rust", "--out", "from_file.rs"]);
    let from_file = std::fs::read_to_string(path.join("from_file.rs")).unwrap();
    let code = |text: &str| text[text.find("\nuse ").unwrap()..].to_owned();
    assert!(from_file.contains("ez.dna") && code(&from_file) == code(expected), "{from_file}");

    // To a pipe.
    let piped = good(path, &["export", "--arch", "dna:primer_ez", "--format", "rust", "--out", "-"]);
    assert!(piped.stdout == expected && !path.join("-").exists(), "{}", piped.stderr);
    let said = json(path, &["export", "--arch", "dna:primer", "--format", "dna", "--out", "primer.dna", "--json"]);
    assert_eq!(said["bytes"], std::fs::metadata(path.join("primer.dna")).unwrap().len());

    // What isn't trained has a size, and random weights.
    for (arch, size) in [("vanilla", "nano"), ("dna:ez.dna", "nano"), ("dna:primer_ez", "micro")] {
        good(path, &["export", "--arch", arch, "--size", size, "--format", "onnx", "--out", "start.onnx", "--force"]);
        let model = std::fs::read(path.join("start.onnx")).unwrap();
        let least = json(path, &["info", "--arch", arch, "--size", size, "--json"])["parameters"]["total"].as_u64();
        assert!(model.len() as u64 > 4 * least.unwrap() && model.windows(6).any(|w| w == b"logits"), "{arch}");
    }

    // A file that is there stays as it is unless asked otherwise.
    bad(path, &["export", "--arch", "dna:primer", "--format", "dna", "--out", "ez.dna"], 2, &["--force"]);
    assert!(std::fs::read_to_string(path.join("ez.dna")).unwrap().contains("S9 SQUARED-RELU"));
    good(path, &["export", "--arch", "dna:transformer", "--format", "dna", "--out", "ez.dna", "--force"]);
    assert!(!std::fs::read_to_string(path.join("ez.dna")).unwrap().contains("SQUARED-RELU"));
}

#[test]
fn a_form_that_does_not_apply_is_wrong_usage() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    std::fs::write(path.join("letter.dna"), "Dear friend,\n").unwrap();
    let cases: [(&[&str], i32, &[&str]); 15] = [
        (&["--checkpoint", "nothing", "--format", "rust"], 2, &["nothing"]),
        (&["--arch", "dna:letter.dna", "--format", "rust"], 2, &["letter.dna", "line 1"]),
        (&["--arch", "dna:primer_ez", "--format", "onnx"], 2, &["--size nano"]),
        (&["--arch", "vanilla", "--size", "xl", "--format", "onnx"], 2, &["vanilla xl", "2,147,483,647"]),
        (&["--arch", "vanilla", "--format", "dna"], 2, &["vanilla", "onnx"]),
        (&["--arch", "vanilla", "--format", "resolved"], 2, &["vanilla", "onnx"]),
        (&["--arch", "vanilla", "--format", "rust"], 2, &["models/src/arch/vanilla.rs"]),
        (&["--arch", "dna:primer", "--size", "nano", "--format", "dot"], 2, &["--size", "onnx"]),
        (&["--arch", "primer", "--checkpoint", "run", "--format", "onnx"], 2, &["--arch", "--checkpoint"]),
        (&["--arch", "dna:primer_ze", "--format", "dna"], 2, &["primer_ze", "primer_ez"]),
        (&["--arch", "dna:letter.dna", "--format", "dot"], 2, &["letter.dna", "line 1"]),
        (&["--arch", "dna:primer", "--format", "pdf"], 2, &["dot", "resolved"]),
        (&["--checkpoint", "nothing", "--format", "onnx"], 2, &["nothing"]),
        (&["--store", "sqlite:none.db", "--best", "--format", "dna"], 2, &["none.db", "primer search init"]),
        (&["--format", "dna"], 2, &["--checkpoint"]),
    ];
    for (args, code, words) in cases {
        bad(path, &[&["export", "--out", "out.x"], args].concat(), code, words);
        assert!(!path.join("out.x").exists(), "{args:?} left a file");
    }
    bad(path, &["export", "--arch", "dna:primer", "--format", "dna", "--out", "no/folder.dna"], 2, &["no/folder.dna"]);
}
