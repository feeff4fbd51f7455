//! `primer quickstart`: the whole project in a few minutes, on any machine.

mod duel;
mod evolve;
mod samples;

use crate::args::Quickstart;
use crate::cmd::device;
use crate::failure::Outcome;
use crate::folder::{self, Existing};
use crate::report::data::{Arm, Corpus as CorpusData, Device as DeviceData, Origin, Report};
use crate::report::derive::derive;
use crate::report::{self, html};
use crate::stop::Stop;
use crate::terminal;
use crate::typed::{command_line, typed};
use primer_models::text::Part;
use primer_models::{Arch, RunConfig, Size};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// When each part of a run ends, from its start.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    start: Instant,
    training: Instant,
    search: Instant,
    end: Instant,
}

impl Schedule {
    /// 40% training, 50% search, 10% samples and report.
    fn new(start: Instant, whole: Duration) -> Self {
        Self { start, training: start + whole.mul_f64(0.4), search: start + whole.mul_f64(0.9), end: start + whole }
    }
}

/// Trains both models, searches, samples, and writes the report.
///
/// # Errors
/// A corpus, folder or device that can't be used.
pub fn run(args: &Quickstart) -> Outcome {
    let schedule = Schedule::new(Instant::now(), args.time);
    let existing = if args.force { Existing::Overwrite } else { Existing::Refuse };
    let corpus = folder::corpus(&args.corpus)?;
    let chosen = device::open(&args.compute)?;
    let out = folder::prepare(args.out.as_deref(), "quickstart", existing)?;
    let stop = Stop::on_ctrl_c();

    terminal::note(&format!("device  {} ({})", chosen.device, chosen.why));
    terminal::note(&format!(
        "corpus  {}: {} bytes to train on, {} held out{}",
        corpus.name(),
        corpus.bytes(Part::Train),
        corpus.bytes(Part::Valid),
        corpus.note().map_or(String::new(), |note| format!(" ({note})"))
    ));
    terminal::note(&format!("report  {}", out.join("report.html").display()));

    let config = |arch| {
        let mut config = RunConfig::new(arch, Size::Nano);
        config.train.seed = args.seed;
        config.train.eval_batches = 16;
        config
    };
    let configs = [config(Arch::Vanilla), config(Arch::PrimerEz)];
    let mut trained = duel::run(&configs, &corpus, &chosen.device, schedule, &stop)?;
    let search =
        if stop.asked() { None } else { evolve::run(&out, &corpus, &chosen.device, args.seed, schedule, &stop)? };
    samples::draw(&mut trained, &corpus, args.seed, schedule, &stop)?;

    let report = Report {
        origin: Origin {
            title: "Primer quickstart: two models and a search".into(),
            command: typed(),
            stopped_early: stop.why(),
            wall_seconds: schedule.start.elapsed().as_secs_f64(),
            device: DeviceData { name: chosen.device.to_string(), why: chosen.why },
            corpus: CorpusData::of(&corpus),
            settings: settings(&configs[0], args.seed),
            versions: Origin::versions(),
        },
        arms: trained.into_iter().map(|arm| arm.data).collect(),
        search,
    };
    let page = report::write(&report, &out).map_err(|e| folder::no_report(&out, &e))?;
    if args.json {
        return terminal::json(&summary(&report, &out, &page));
    }
    closing(&report)?;
    if report.search.is_some() {
        let store = format!("sqlite:{}", out.join(evolve::STORE).display());
        terminal::line(&format!("its programs: {}", command_line(["search", "top", "--store", &store])))?;
    }
    terminal::line(&format!("\nreport: {}", page.display()))
}

fn settings(config: &RunConfig, seed: u64) -> Vec<(String, String)> {
    let m = &config.model;
    let o = &config.optimizer;
    vec![
        (
            "models".into(),
            format!(
                "size nano: d {}, {} layers, {} heads, ff {}, {} byte tokens a sequence, {} sequences a batch",
                m.d_model, m.layers, m.heads, m.d_ff, m.seq, config.train.batch
            ),
        ),
        (
            "optimizer".into(),
            format!(
                "AdamW, peak learning rate {}, weight decay {}, gradient norm at most {}",
                o.learning_rate, o.weight_decay, o.clip_norm
            ),
        ),
        ("evaluation".into(), format!("{} fixed batches of held-out text", config.train.eval_batches)),
        ("seed".into(), seed.to_string()),
    ]
}

/// What was found, for programs.
fn summary(report: &Report, out: &Path, page: &Path) -> Value {
    let arm = |arm: &Arm| {
        json!({
            "arch": arm.arch,
            "steps": arm.steps,
            "tokens": arm.tokens,
            "seconds": arm.seconds,
            "validation_loss": arm.points.last().map(|point| point.validation_loss),
        })
    };
    let search = report.search.as_ref().map(|search| {
        json!({
            "candidates": search.candidates.len(),
            "seed_loss": search.seed_loss,
            "best": search.best.as_ref().map(|best| json!({ "candidate": best.id, "loss": best.loss })),
        })
    });
    json!({
        "out": out,
        "report": page,
        "stopped": report.origin.stopped_early.is_some(),
        "arms": report.arms.iter().map(arm).collect::<Vec<_>>(),
        "search": search,
    })
}

/// What was found, for readers who don't open the report.
fn closing(report: &Report) -> Outcome {
    for arm in &report.arms {
        if let Some(sample) = arm.samples.first() {
            terminal::line(&format!("\n--- {} writes:", html::pretty(&arm.arch)))?;
            terminal::line(&terminal::untrusted(&format!("{}{}", sample.prompt, sample.text.trim_end())))?;
        }
    }
    terminal::line("")?;
    for arm in &report.arms {
        if let Some(last) = arm.points.last() {
            terminal::line(&format!(
                "{:<20} held-out loss {:.4} after {} steps in {:.1} s of training",
                html::pretty(&arm.arch),
                last.validation_loss,
                arm.steps,
                arm.seconds
            ))?;
        }
    }
    for c in derive(report).comparisons {
        let (factor, note) = html::speedup_text(c.time, "s");
        terminal::line(&format!("speedup factor of {}: {factor} ({note})", html::pretty(&c.arch)))?;
    }
    if let Some(search) = &report.search {
        let seed = search.seed_loss.map_or("not measured".into(), |l| format!("{l:.4}"));
        match &search.best {
            Some(best) => terminal::line(&format!(
                "best of {} programs: candidate {} with loss {:.4} (the seed program: {seed})",
                search.candidates.len(),
                best.id,
                best.loss
            ))?,
            None => terminal::line("the search measured no program")?,
        }
    }
    Ok(())
}
