//! Experiments: many training runs in one folder, which can be stopped and taken up again. What `compare` and `scaling`
//! share.
//!
//! The folder holds `experiment.json` (what is to be done, with each model's whole configuration), `tokenizer.json`
//! unless tokens are bytes, `calibration.json` (what a step of each model takes), `runs/` with one folder a run as
//! `primer train` writes it, and the report.

mod options;
mod plan;
mod runs;

pub use options::{arms, distinct};
pub use plan::{Arm, Cost, Kind, Length, Plan};
pub use runs::{Evaluation, Job, Record};

use crate::args::ExperimentArgs;
use crate::cmd::device::{self, Chosen};
use crate::cmd::step_cost::StepCost;
use crate::failure::{Failure, Outcome};
use crate::folder::{self, BegunOn, Existing, damaged, read_json, write_json};
use crate::report;
use crate::stop::Stop;
use crate::terminal::{self, Progress};
use crate::typed::{command_line, typed};
use primer_models::text::{Corpus, Part, TokenSet, Tokenizer, TokenizerSpec};
use primer_models::train::{StepTime, calibrate};
use primer_models::{Arch, Precision, RunConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The file that says what is to be done.
const PLAN: &str = "experiment.json";
/// The file with the time of a step.
const CALIBRATION: &str = "calibration.json";
/// The file with the tokenizer, where tokens aren't bytes.
const TOKENIZER: &str = "tokenizer.json";

/// What `calibration.json` holds.
#[derive(Serialize, Deserialize)]
struct Calibration {
    /// Where the steps were timed.
    device: String,
    /// The time of a step by the model's number.
    steps: BTreeMap<usize, StepTime>,
}

/// An experiment at work.
pub struct Experiment {
    /// What is to be done.
    pub plan: Plan,
    /// Its folder.
    pub out: PathBuf,
    /// Its text, with the tokenizer.
    pub corpus: Corpus,
    /// Where it computes.
    pub chosen: Chosen,
    /// Whether the user has asked to stop.
    pub stop: Stop,
    /// When the command began.
    pub started: Instant,
}

impl Experiment {
    /// Begins an experiment in a new folder, or goes on with the one in `--out`. `plan` makes the parts of a new plan
    /// that the command knows: its kind, the models, and the length of a run.
    ///
    /// # Errors
    /// A text, folder or device that can't be used; another text than the experiment was begun with.
    pub fn open(
        args: &ExperimentArgs,
        command: &str,
        plan: impl FnOnce() -> Outcome<(Kind, Vec<Arm>, Length)>,
    ) -> Outcome<Self> {
        let started = Instant::now();
        let stored = match (args.resume, &args.out) {
            (true, Some(out)) => Some(stored_plan(out, command)?),
            _ => None,
        };
        let new = if stored.is_none() { Some(plan()?) } else { None };
        let begun = stored.as_ref().map(|plan| plan.corpus.clone());
        let name = args.corpus.clone().or(begun).unwrap_or_else(|| "rust".into());
        let corpus = folder::corpus(&name)?;
        let chosen = device::open(&args.compute)?;
        let arms = stored.iter().flat_map(|plan| &plan.arms).chain(new.iter().flat_map(|(_, arms, _)| arms));
        for arm in arms {
            arm.config.train.precision.on(&chosen.device)?;
        }
        let out = folder::prepare(args.out.as_deref(), command, Existing::of(args.resume, args.force))?;
        terminal::note(&format!("device: {} ({})", chosen.device, chosen.why));
        terminal::note(&format!("folder: {}", out.display()));
        if let Some(note) = corpus.note() {
            terminal::note(note);
        }
        let (plan, corpus) = match (stored, new) {
            (Some(plan), _) => {
                let corpus = same_text(&plan, corpus, &out)?;
                (plan, corpus)
            }
            (None, Some((kind, arms, length))) => {
                let seeds = (0..args.seeds).map(|i| args.seed.saturating_add(i)).collect();
                begin(
                    &out,
                    Plan {
                        typed: typed(),
                        kind,
                        corpus: name,
                        corpus_sha256: corpus.sha256(),
                        train_bytes: Some(corpus.bytes(Part::Train)),
                        tokenizer: String::new(),
                        seeds,
                        length,
                        arms,
                    },
                    corpus,
                )?
            }
            (None, None) => return Err(Failure::new("there is nothing to do")),
        };
        Ok(Self { plan, out, corpus, chosen, stop: Stop::on_ctrl_c(), started })
    }

    /// Seconds a step of each model, from `calibration.json` or measured now, a group of models at a time; none where
    /// it was stopped.
    ///
    /// # Errors
    /// A device or file that fails.
    pub fn step_times(&self, groups: &[Vec<usize>]) -> Outcome<Option<Vec<StepTime>>> {
        let path = self.out.join(CALIBRATION);
        let here = self.chosen.device.signature();
        let new = || Calibration { device: here.clone(), steps: BTreeMap::new() };
        let mut known: Calibration = read_json(&path)?.unwrap_or_else(new);
        if known.device != here {
            terminal::note(&format!("warning: the steps were timed on \"{}\" and are not timed again", known.device));
        }
        for group in groups {
            if group.iter().all(|arm| known.steps.contains_key(arm)) {
                continue;
            }
            let configs: Vec<RunConfig> = group.iter().map(|&arm| self.plan.arms[arm].config.clone()).collect();
            let names: Vec<String> = group.iter().map(|&arm| self.plan.arms[arm].arch.to_string()).collect();
            let mut progress = Progress::new("timing");
            let flag = self.stop.flag();
            let times = calibrate(&configs, &self.corpus, &self.chosen.device, &flag, &mut |done, all| {
                progress.update(done as f64 / all as f64, None, &format!("steps of {}", names.join(", ")));
            })?;
            let Some(times) = times else {
                progress.finish("stopped");
                return Ok(None);
            };
            let told = |(name, time): (&String, &StepTime)| format!("{name} {:.2} ms", 1e3 * time.median);
            progress.finish(&format!("a step: {}", names.iter().zip(&times).map(told).collect::<Vec<_>>().join(", ")));
            known.steps.extend(group.iter().copied().zip(times));
            write_json(&path, &known)?;
        }
        // As the file has them, so that a run that is taken up again computes with the same numbers.
        let known: Calibration = read_json(&path)?.unwrap_or_else(new);
        let all = (0..self.plan.arms.len()).map(|arm| known.steps.get(&arm).cloned()).collect::<Option<Vec<_>>>();
        all.map(Some).ok_or_else(|| damaged(&path, "it lacks a model"))
    }

    /// What a step of each model costs.
    ///
    /// # Errors
    /// A model that can't be planned.
    pub fn costs(&self, times: &[StepTime]) -> Outcome<Vec<Cost>> {
        let cost =
            |(arm, time): (&Arm, &StepTime)| Ok(Cost { seconds: time.median, flops: StepCost::of(&arm.config)?.flops });
        self.plan.arms.iter().zip(times).map(cost).collect()
    }

    /// Those of `jobs` that are finished, with what they measured.
    ///
    /// # Errors
    /// A folder that can't be read.
    pub fn finished<'a>(&self, jobs: &'a [Job]) -> Outcome<Vec<(&'a Job, Record)>> {
        let mut finished = Vec::new();
        for job in jobs {
            finished.extend(self.record(job)?.map(|record| (job, record)));
        }
        Ok(finished)
    }

    /// Ends a command that was stopped before its first run.
    ///
    /// # Errors
    /// A terminal that can't be written.
    pub fn stopped_before_training(&self, as_json: bool) -> Outcome {
        terminal::note(&format!(
            "stopped before the first run, so there is nothing to report yet; go on with `{}`",
            self.resume()
        ));
        if as_json {
            return terminal::json(&json!({ "out": self.out, "stopped": true, "runs": 0 }));
        }
        Ok(())
    }

    /// The command that goes on with it.
    pub fn resume(&self) -> String {
        command_line([self.plan.kind.command(), "--resume", "--out", &*self.out.to_string_lossy()])
    }

    /// How a report of it came to be.
    pub fn origin(&self, title: String) -> report::data::Origin {
        report::data::Origin {
            title,
            command: self.plan.typed.clone(),
            stopped_early: self.stop.why(),
            wall_seconds: self.started.elapsed().as_secs_f64(),
            device: report::data::Device { name: self.chosen.device.to_string(), why: self.chosen.why.clone() },
            corpus: report::data::Corpus::of(&self.corpus),
            settings: self.settings(),
            versions: report::data::Origin::versions(),
        }
    }

    /// What was in force.
    fn settings(&self) -> Vec<(String, String)> {
        let mut settings = Vec::new();
        if let Some(arm) = self.plan.arms.first() {
            let (m, o, s, t) = (&arm.config.model, &arm.config.optimizer, &arm.config.schedule, &arm.config.train);
            let model = format!(
                "size {}: d {}, {} layers, {} heads, ff {}, {} tokens a sequence, {} sequences a batch, {} batches a \
                 step",
                arm.size, m.d_model, m.layers, m.heads, m.d_ff, m.seq, t.batch, t.accumulate
            );
            settings.push((format!("models, such as {}", arm.arch), model));
            let (rule, decay, clip) = (o.optimizer.name(), o.weight_decay, o.clip_norm);
            let optimizer = format!("{rule}, weight decay {decay}, gradient norm at most {clip}");
            settings.push(("optimizer".into(), optimizer));
            let schedule = format!("{}, {} steps of warm-up at most", s.decay.name(), s.warmup);
            settings.push(("learning rate over a run".into(), schedule));
            settings.push(("evaluation batches".into(), t.eval_batches.to_string()));
            if t.precision == Precision::F16 {
                settings.push(("precision".into(), "f16 for what products alone read, else f32".into()));
            }
        }
        for arm in self.plan.arms.iter().filter(|arm| arm.config.model.arch == Arch::Program) {
            let model = &arm.config.model;
            let words =
                format!("the program {}, d {}; its text is in the settings of its runs", arm.name, model.d_model);
            settings.push((format!("{} at size {}", arm.arch, arm.size), words));
        }
        let seeds: Vec<String> = self.plan.seeds.iter().map(u64::to_string).collect();
        settings.push(("seeds".into(), seeds.join(", ")));
        settings.push(("tokenizer".into(), self.plan.tokenizer.clone()));
        settings
    }
}

/// The tokenizer is trained and stored, the texts are checked, and the plan is written.
fn begin(out: &Path, mut plan: Plan, corpus: Corpus) -> Outcome<(Plan, Corpus)> {
    let spec = plan.arms.first().map_or(TokenizerSpec::Bytes, |arm| arm.config.text.tokenizer);
    if spec != TokenizerSpec::Bytes {
        terminal::note(&format!("training the tokenizer {spec} ..."));
    }
    let tokenizer = spec.train(&corpus)?;
    for arm in &mut plan.arms {
        options::fit_vocabulary(&mut arm.config, spec, &tokenizer);
        arm.config.validate()?;
    }
    let corpus = corpus.with_tokenizer(tokenizer);
    let longest = plan.arms.iter().map(|arm| arm.config.model.seq).max().unwrap_or(1);
    TokenSet::train(&corpus)?.check(longest)?;
    TokenSet::valid(&corpus)?.check(longest)?;
    plan.tokenizer = corpus.tokenizer().id().to_owned();
    // Left by an experiment that this one replaces.
    folder::remove_files(out, &[PLAN, CALIBRATION, TOKENIZER])?;
    runs::remove_all(out)?;
    corpus.tokenizer().save(out)?;
    write_json(&out.join(PLAN), &plan)?;
    // As the file has it, so that a run that is taken up again computes with the same numbers.
    Ok((stored_plan(out, plan.kind.command())?, corpus))
}

fn stored_plan(out: &Path, command: &str) -> Outcome<Plan> {
    let path = out.join(PLAN);
    let plan: Plan = read_json(&path)?.ok_or_else(|| folder::nothing_to_resume(out, PLAN, command))?;
    if plan.kind.command() != command {
        let other = plan.kind.command();
        return Err(Failure::usage(format!(
            "{} was begun by `primer {other}`, not by `primer {command}`",
            out.display()
        ))
        .hint(format!("Go on with `{}`.", command_line([other, "--resume", "--out", &*out.to_string_lossy()]))));
    }
    if plan.arms.is_empty() {
        return Err(folder::damaged(&path, "it has no model"));
    }
    Ok(plan)
}

/// The text with the experiment's tokenizer, if both are those that it was begun with.
fn same_text(plan: &Plan, corpus: Corpus, out: &Path) -> Outcome<Corpus> {
    let begun = BegunOn { name: &plan.corpus, sha256: &plan.corpus_sha256, train_bytes: plan.train_bytes };
    folder::same_text("experiment", &begun, &corpus)?;
    let tokenizer = Tokenizer::of_run(out)?;
    if tokenizer.id() != plan.tokenizer {
        return Err(Failure::new(format!(
            "this experiment was begun with the tokenizer {}, but the folder now holds {}: results with different \
             tokens are not compared",
            plan.tokenizer,
            tokenizer.id()
        ))
        .hint("Put its tokenizer.json back, or begin a new experiment in another folder."));
    }
    Ok(corpus.with_tokenizer(tokenizer))
}
