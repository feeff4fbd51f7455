//! Trains a tiny Primer-EZ on generated text for a few seconds and lets it write.

use std::sync::atomic::AtomicBool;

use primer_models::generate::SampleOptions;
use primer_models::text::Corpus;
use primer_models::train::Event;
use primer_models::{Arch, RunConfig, Size, Trainer};
use primer_tensor::Device;

#[allow(clippy::print_stdout)] // an example speaks
fn main() -> primer_models::Result<()> {
    let text: String = (0..2000).map(|i| format!("{} and {} make {}.\n", i % 7, i % 5, i % 7 + i % 5)).collect();
    let corpus = Corpus::from_text("sums", text.as_bytes())?;

    let mut config = RunConfig::new(Arch::PrimerEz, Size::Nano);
    for assignment in ["d_model=32", "d_ff=128", "seq=32", "batch=8", "steps=60", "warmup=10", "learning_rate=0.01"] {
        config.set(assignment)?;
    }
    let device = Device::cpu();
    let mut trainer = Trainer::new(&config, &corpus, &device)?;
    let before = trainer.evaluate()?;
    trainer.run(60, &AtomicBool::new(false), &mut |event| {
        if let Event::Progress(p) = event {
            println!("step {:3}: {:.3} nats, {:.0} tokens/s", p.step, p.loss, p.tokens_per_second);
        }
    })?;
    let after = trainer.evaluate()?;
    println!("validation: {before:.3} nats before, {after:.3} after");
    assert!(after < before - 2.0, "the loss must fall");

    let options = SampleOptions { tokens: 60, ..SampleOptions::default() };
    let sample = trainer.language_model()?.sample(b"3 and ", &options, &mut |_| true)?;
    println!("3 and {}", String::from_utf8_lossy(&sample));
    Ok(())
}
