//! A search in one screen: the Transformer program, eight children, the best of them.
//!
//! Run with `cargo run --release -p primer-search --example search-short`.

#![allow(clippy::print_stdout)] // an example prints

use std::sync::atomic::AtomicBool;

use primer_models::text::Corpus;
use primer_search::Evaluator;
use primer_search::dna::seeds;
use primer_search::store::{Location, Store};
use primer_search::study::{Fitness, Preset, StudySpec};
use primer_search::worker::{Event, RunOptions, run};
use primer_tensor::Device;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A text with something to learn: words that follow one another in a fixed order.
    let words = ["one ", "two ", "three ", "four ", "five ", "six\n"];
    let text: String = (0..20_000).map(|i| words[i % words.len()]).collect();
    let corpus = Corpus::from_text("counting", text.as_bytes())?;

    let mut spec = StudySpec::preset(
        Preset::Small,
        seeds::with_banks(seeds::transformer()?, 4, 16, [2, 8, 1, 1, 4, 16])?.to_string(),
        corpus.sha256(),
        1,
    );
    spec.population = 4;
    spec.tournament = 2;
    spec.fitness = Fitness::steps(12);
    spec.model.batch = 4;

    let folder = std::env::temp_dir().join(format!("primer-short-search-{}", std::process::id()));
    if folder.exists() {
        // Left by one that was killed.
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir(&folder)?;
    let store = Store::create(&Location::Sqlite(folder.join("study.sqlite")), &spec)?;
    let evaluator = Evaluator::new(&spec, &corpus, &Device::cpu())?;
    let options = RunOptions { children: Some(8), ..RunOptions::default() };
    run(
        &store,
        &options,
        &AtomicBool::new(false),
        |candidate, report| evaluator.evaluate(candidate, report),
        |event| {
            if let Event::Finished { candidate, .. } = event {
                let why = candidate.error.as_deref().unwrap_or_default();
                let fitness = candidate.fitness.map_or("none".into(), |loss| format!("{loss:.4} nats"));
                println!(
                    "child {}: {:?} {fitness} {why} ({:.2} s)",
                    candidate.child_no, candidate.state, candidate.cost.seconds
                );
            }
        },
    )?;
    let status = store.status()?;
    let best = status.best.ok_or("no child was measured")?;
    println!(
        "best: child {} with {:.4} nats; the Transformer: {:.4}",
        best.child_no,
        best.fitness,
        status.seed_fitness.unwrap_or(f64::NAN)
    );
    assert!(best.fitness.is_finite());
    drop(store);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
