//! The page and the numbers, on made-up data.

use super::data::*;
use super::*;
use primer_search::dna::seeds;

fn arm(arch: &str, a: f64, samples: &str) -> Arm {
    let points = (0..=24)
        .map(|i| {
            let seconds = if i == 0 { 0.0 } else { 0.6 * 1.2f64.powi(i) };
            Point {
                step: (seconds * 20.0) as u64,
                tokens: (seconds * 20_480.0) as u64,
                seconds,
                validation_loss: 1.4 + a / (1.0 + seconds).powf(0.45) + 0.02 * (i as f64 * 2.1).sin(),
            }
        })
        .collect::<Vec<_>>();
    let last = points[24];
    Arm {
        arch: arch.into(),
        parameters: 120_000,
        steps: last.step,
        tokens: last.tokens,
        seconds: last.seconds,
        points,
        samples: vec![Sample { prompt: "impl Graph {\n    ".into(), text: samples.into() }],
    }
}

pub fn made_up() -> Report {
    let candidates: Vec<Candidate> = (0..60)
        .map(|i| Candidate {
            id: i,
            state: if i % 7 == 3 { "rejected" } else { "completed" }.into(),
            loss: (i % 7 != 3)
                .then(|| 3.2 - 0.004 * i as f64 + 0.12 * (i as f64 * 1.7).sin() + if i % 9 == 0 { 1.5 } else { 0.0 }),
            cost: 1.5 * (i + 1) as f64,
        })
        .collect();
    Report {
        origin: Origin {
            title: "Primer quickstart".into(),
            command: "primer quickstart --time 3m".into(),
            stopped_early: None,
            wall_seconds: 180.2,
            device: Device { name: "cpu (2 threads, AVX2)".into(), why: "no GPU was found".into() },
            corpus: Corpus {
                name: "rust".into(),
                sha256: "a3f5".repeat(16),
                train_bytes: 7_512_000,
                validation_bytes: 402_112,
                documents: 812,
            },
            settings: vec![("size".into(), "nano: d 64, 2 layers".into()), ("seed".into(), "0".into())],
            versions: vec![("primer".into(), "0.1.0".into())],
        },
        arms: vec![
            arm("vanilla", 2.6, "fn <b>new</b>(&self) -> Result<T> {\n        self.x & y\n    }\u{1}"),
            arm("primer_ez", 2.2, "pub fn len(&self) -> usize {\n        self.len\n    }"),
        ],
        search: Some(Search {
            rules: "population 16, tournament 4, 64 steps each".into(),
            cost_unit: "seconds of training".into(),
            seed_loss: Some(3.18),
            seed_runs: vec![3.18, 3.2],
            states: vec![("completed".into(), 51), ("rejected".into(), 9)],
            best: Some(Best {
                id: 57,
                loss: 2.86,
                lineage: vec![
                    Ancestor { id: 0, mutation: String::new(), loss: Some(3.18) },
                    Ancestor { id: 57, mutation: "insert SQUARE after MAX in S2".into(), loss: Some(2.86) },
                ],
                seed_program: seeds::transformer().unwrap(),
                program: seeds::primer_ez().unwrap(),
            }),
            candidates,
        }),
    }
}

#[test]
fn the_page_stands_alone_and_shows_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&made_up(), folder.path()).unwrap();
    let page = std::fs::read_to_string(path).unwrap();
    for absent in ["<script", "http://", "https://", "src=", "@import", "url("] {
        let free_of = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!free_of.contains(absent), "the page fetches or runs something: {absent}");
    }
    assert_eq!(page.matches("<svg ").count(), 4);
    for shown in ["Speedup factor", "Primer-EZ", "seed program", "no GPU was found", "a3f5a3f5"] {
        assert!(page.contains(shown), "{shown}");
    }
    assert!(page.contains("&lt;b&gt;new&lt;/b&gt;") && !page.contains("<b>new"));
    assert!(page.contains("<span class=\"a\">+   h3 = SQUARE(h2)</span>"));
    assert!(!page.contains("NaN") && !page.contains('\u{1}'));
}

#[test]
fn the_numbers_are_beside_the_page_and_can_be_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let report = made_up();
    write(&report, folder.path()).unwrap();
    let text = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
    let back: Report = serde_json::from_str(&text).unwrap();
    assert_eq!(back.origin, report.origin);
    for (read, made) in back.arms.iter().zip(&report.arms) {
        assert_eq!((read.points.len(), &read.samples), (made.points.len(), &made.samples));
        for (a, b) in read.points.iter().zip(&made.points) {
            assert!((a.validation_loss - b.validation_loss).abs() < 1e-12);
        }
    }
    let (read, made) = (back.search.unwrap(), report.search.unwrap());
    assert_eq!((read.candidates.len(), read.best), (made.candidates.len(), made.best));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let time = &json["derived"]["comparisons"][0]["time"];
    assert_eq!(time["outcome"], "reached");
    assert!(time["factor"].as_f64().unwrap() > 1.0);
    assert!(json["derived"]["best_so_far"].as_array().unwrap().len() > 2);
}

/// The best of a search that found nothing is the program that it began with, on both of its pages.
#[test]
fn a_search_that_found_nothing_says_so() {
    let mut report = made_up();
    let found = report.search.as_mut().unwrap();
    for candidate in &mut found.candidates {
        candidate.loss = candidate.loss.map(|loss| loss + 1.0);
    }
    let (seed, loss) = (seeds::transformer().unwrap(), 3.19);
    found.best = Some(Best {
        id: 0,
        loss,
        lineage: vec![Ancestor { id: 0, mutation: String::new(), loss: Some(loss) }],
        seed_program: seed.clone(),
        program: seed,
    });
    let study = search::data::Study {
        command: "primer search report".into(),
        study_sha256: "5d".repeat(32),
        corpus_sha256: "a3f5".repeat(16),
        settings: Vec::new(),
        search: found.clone(),
        hurdles: Vec::new(),
        spent: Vec::new(),
        predicted: true,
        top: Vec::new(),
        odds: Vec::new(),
    };
    let folder = tempfile::tempdir().unwrap();
    let page = std::fs::read_to_string(write(&report, folder.path()).unwrap()).unwrap();
    let of_study = std::fs::read_to_string(search::write(&study, folder.path()).unwrap()).unwrap();
    assert!(page.contains("the seed itself: none of 60 candidates beat it"));
    assert!(of_study.contains("none is better than the seed program"));
    for page in [page, of_study] {
        assert!(page.contains("It is the seed itself: no candidate was better."));
        for absent in ["How it came about", "with one seed: the best of many", "below the seed program"] {
            assert!(!page.contains(absent), "{absent}");
        }
    }
    // As in the control without mutations.
    let mut lucky = study;
    if let Some(best) = &mut lucky.search.best {
        (best.id, best.loss) = (7, 3.1);
    }
    let page = std::fs::read_to_string(search::write(&lucky, folder.path()).unwrap()).unwrap();
    for shown in ["the seed program with another seed", "trained with another seed: how far luck alone gets"] {
        assert!(page.contains(shown), "{shown}");
    }
}

#[test]
fn a_run_stopped_before_any_measurement_still_gives_a_page() {
    let mut report = made_up();
    report.origin.stopped_early = Some("Ctrl-C".into());
    for arm in &mut report.arms {
        arm.points.clear();
        arm.samples.clear();
        (arm.steps, arm.tokens, arm.seconds) = (0, 0, 0.0);
    }
    report.search = None;
    let folder = tempfile::tempdir().unwrap();
    let page = std::fs::read_to_string(write(&report, folder.path()).unwrap()).unwrap();
    assert!(page.contains("ended early (Ctrl-C)") && page.contains("No measurement yet"));
    assert!(!page.contains("NaN") && !page.contains("inf"));
}

#[test]
fn an_unwritable_folder_is_an_error_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone");
    assert!(write(&made_up(), &gone).is_err());
    assert!(!gone.exists());
}
