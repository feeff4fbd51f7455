//! What a retest is to do, and the folder that it lies in.

use crate::args::{SearchRetest, WorkerCompute};
use crate::cmd::device::{self, Chosen};
use crate::cmd::search;
use crate::cmd::search::work::{cores, same_corpus, tokens};
use crate::failure::{Failure, Outcome};
use crate::folder::{self, Existing, read_json, unwritable, write_json};
use crate::stop::Stop;
use crate::terminal;
use crate::typed::typed;
use primer_models::text::{Corpus, TokenSet, Tokenizer, TokenizerSpec};
use primer_models::train::{DEVICES, add_device};
use primer_search::retest::{Measurement, Protocol, Setting, Task, shortlist};
use primer_search::store::{Location, Store};
use primer_search::study::{Strategy, StudySpec};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The first seed of those trained again. Seeds lie far from those of a search, whose own count from the study's seed
/// on.
pub const SELECT_SEED: u64 = 1 << 32;
/// The first seed of the test.
pub const TEST_SEED: u64 = 1 << 33;

/// The file that says what is to be done.
const PLAN: &str = "retest.json";
/// The file with a line for each finished run.
const MEASUREMENTS: &str = "measurements.jsonl";
/// The file with what steps cost.
const COSTS: &str = "costs.json";

/// What is to be done. As it is in `retest.json`, so it stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The command that it was begun with, as it was typed.
    pub typed: String,
    /// The store of the search, then those of its controls.
    pub stores: Vec<Location>,
    /// SHA-256 of each study's options.
    pub studies: Vec<String>,
    /// The search's text as it was named.
    pub corpus: String,
    /// The test's text as it was named.
    pub test_corpus: String,
    /// Its hash.
    pub test_corpus_sha256: String,
    /// How much is done.
    pub protocol: Protocol,
    /// The programs that are trained again: study and candidate, best first within a study. A search may go on
    /// meanwhile.
    pub shortlist: Vec<(usize, u64)>,
}

/// A retest at work.
pub struct Retest {
    /// What is to be done.
    pub plan: Plan,
    /// Its folder.
    pub out: PathBuf,
    /// The studies, the search first.
    pub stores: Vec<Store>,
    /// The search's text.
    pub corpus: Corpus,
    /// The test's text as bytes.
    pub test: Corpus,
    /// Where it computes.
    pub chosen: Chosen,
    /// The same as it was asked for: each worker opens the device anew.
    pub compute: WorkerCompute,
    /// A line for each device that it has computed on, in order.
    pub devices: Vec<String>,
    /// Runs at a time.
    pub workers: u16,
    /// Whether the user has asked to stop.
    pub stop: Stop,
    /// The finished runs, and the file that they are added to.
    done: Mutex<(Vec<Measurement>, File)>,
}

impl Retest {
    /// Begins a retest in a new folder, or goes on with the one in `--out`.
    ///
    /// # Errors
    /// Stores, texts, a folder or a device that can't be used; another study or text than it was begun with.
    pub fn open(args: &SearchRetest) -> Outcome<Self> {
        let stored = match (args.resume, &args.out) {
            (true, Some(out)) => Some(stored_plan(out)?),
            _ => None,
        };
        let named = |given: &Option<String>, begun: Option<&String>| given.clone().or(begun.cloned());
        let corpus = named(&args.corpus, stored.as_ref().map(|plan| &plan.corpus)).unwrap_or_else(|| "rust".into());
        let test_corpus = named(&args.test_corpus, stored.as_ref().map(|plan| &plan.test_corpus)).unwrap_or_default();
        let locations = match &stored {
            // Whatever --store or PRIMER_STORE says: another study has nothing to do with what was begun.
            Some(plan) => plan.stores.clone(),
            None => args.store.iter().chain(&args.control).cloned().collect(),
        };
        let stores = locations.iter().map(search::open).collect::<Outcome<Vec<Store>>>()?;
        let (text, test) = (folder::corpus(&corpus)?, folder::corpus(&test_corpus)?);
        for store in &stores {
            same_corpus(store, &text)?;
        }
        for control in stores.iter().skip(1) {
            stores[0].spec().check_arm(control.spec()).map_err(|e| no_control(control, e))?;
        }
        if text.sha256() == test.sha256() {
            return Err(Failure::usage("the text of the test is the text of the search")
                .hint("Give a text that the search has never read with --test-corpus."));
        }
        let text = tokens(&stores[0], text)?;
        // The longest sequence of a setting.
        TokenSet::train(&test)?.check(256)?;
        TokenSet::valid(&test)?.check(256)?;
        let chosen = device::open(&args.compute.whole())?;
        for store in &stores {
            store.spec().check_device(&chosen.device)?;
        }
        let workers = args.workers.unwrap_or(match &chosen.device {
            primer_tensor::Device::Cpu(_) => (cores() / args.compute.threads).max(1),
            _ => 1,
        });
        let plan = match stored {
            Some(plan) => plan,
            None => new_plan(args, locations, &stores, corpus, test_corpus, &test)?,
        };
        let out = folder::prepare(args.out.as_deref(), "retest", Existing::of(args.resume, args.force))?;
        terminal::note(&format!("device: {} ({}), {workers} runs at a time", chosen.device, chosen.why));
        terminal::note(&format!("folder: {}", out.display()));
        if args.resume {
            plan.check(&stores, &test)?;
        } else {
            folder::remove_files(&out, &[MEASUREMENTS, COSTS, Tokenizer::FILE, DEVICES])?;
            write_json(&out.join(PLAN), &plan)?;
        }
        let devices = devices(&out, &chosen)?;
        let done = Mutex::new(measurements(&out.join(MEASUREMENTS))?);
        Ok(Self {
            plan,
            out,
            stores,
            corpus: text,
            test,
            chosen,
            devices,
            compute: args.compute.clone(),
            workers,
            stop: Stop::on_ctrl_c(),
            done,
        })
    }

    /// The test's text with the tokens of a setting, whose tokenizer is trained once and kept in the folder: of all
    /// settings of a retest no two have byte pairs of different number.
    ///
    /// # Errors
    /// A tokenizer that can't be trained, read or written.
    pub fn tokens(&self, setting: Setting) -> Outcome<Corpus> {
        let spec = setting.tokenizer(self.stores[0].spec());
        if spec == TokenizerSpec::Bytes {
            return Ok(self.test.clone());
        }
        if !self.out.join(Tokenizer::FILE).is_file() {
            terminal::note(&format!("training the tokenizer {spec} ..."));
            spec.train(&self.test)?.save(&self.out)?;
        }
        Ok(self.test.clone().with_tokenizer(Tokenizer::of_run(&self.out)?))
    }

    /// What a run measured; none for one that isn't finished.
    pub fn measured(&self, task: &Task) -> Option<Measurement> {
        self.done().0.iter().find(|measurement| measurement.task == *task).cloned()
    }

    /// All finished runs.
    pub fn all(&self) -> Vec<Measurement> {
        self.done().0.clone()
    }

    /// Adds a finished run.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn add(&self, measurement: Measurement) -> Outcome {
        let mut line = serde_json::to_string(&measurement).map_err(|e| Failure::new(e.to_string()))?;
        line.push('\n');
        let mut done = self.done();
        let path = self.out.join(MEASUREMENTS);
        done.1.write_all(line.as_bytes()).and_then(|()| done.1.sync_data()).map_err(|e| unwritable(&path, &e))?;
        done.0.push(measurement);
        Ok(())
    }

    fn done(&self) -> MutexGuard<'_, (Vec<Measurement>, File)> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Measured over predicted cost of the shortlist's programs, in its order, from the file or from `measure`.
    ///
    /// # Errors
    /// A file that can't be read or written, and those of `measure`.
    pub fn costs(&self, measure: impl FnOnce() -> Outcome<Vec<Option<f64>>>) -> Outcome<Vec<Option<f64>>> {
        let path = self.out.join(COSTS);
        if let Some(known) = read_json(&path)? {
            return Ok(known);
        }
        let costs = measure()?;
        write_json(&path, &costs)?;
        Ok(costs)
    }
}

impl Plan {
    /// The seeds with which the shortlist is trained again.
    pub fn select_seeds(&self) -> impl Iterator<Item = u64> + use<> {
        (SELECT_SEED..).take(self.protocol.select_seeds as usize)
    }

    /// The seeds of the test.
    pub fn test_seeds(&self) -> impl Iterator<Item = u64> + use<> {
        (TEST_SEED..).take(self.protocol.seeds as usize)
    }

    /// The seed of the learning rates, which the test doesn't use.
    pub fn tuning_seed(&self) -> u64 {
        TEST_SEED + u64::from(self.protocol.seeds)
    }

    fn check(&self, stores: &[Store], test: &Corpus) -> Outcome {
        for ((store, known), path) in stores.iter().zip(&self.studies).zip(&self.stores) {
            if store.spec_sha256() != known {
                return Err(Failure::new(format!(
                    "{path} now holds another study than the one that the retest was begun with"
                )));
            }
        }
        let (found, name) = (test.sha256(), test.name());
        if found != self.test_corpus_sha256 {
            return Err(Failure::new(format!(
                "this retest was begun on the text {} with SHA-256 {}, but {name} now has {found}: results on different \
                 texts are not compared",
                self.test_corpus, self.test_corpus_sha256
            )));
        }
        Ok(())
    }
}

/// Why a store is not beside the search in a test.
fn no_control(control: &Store, error: primer_search::Error) -> Failure {
    match error {
        primer_search::Error::StudyMismatch { key, stored, given } => Failure::usage(format!(
            "{} is no control of this search: its {key} is {given}, the search's {stored}",
            control.location()
        ))
        .hint("`primer search init --like STORE --strategy random-1` makes one that differs in nothing else."),
        other => other.into(),
    }
}

fn new_plan(
    args: &SearchRetest,
    stores: Vec<Location>,
    open: &[Store],
    corpus: String,
    test_corpus: String,
    test: &Corpus,
) -> Outcome<Plan> {
    let settings = settings(&args.settings, open[0].spec())?;
    crate::cmd::experiment::distinct(&args.learning_rates, "--learning-rates", f64::to_string)?;
    let protocol = Protocol {
        top: args.top,
        finalists: args.finalists,
        seeds: args.seeds,
        learning_rates: args.learning_rates.clone(),
        settings,
        ..Protocol::default()
    };
    let mut listed = Vec::new();
    for (study, store) in open.iter().enumerate() {
        let best = shortlist(store, protocol.top, protocol.margin)?;
        // A control that trains the seed program alone has no other; what luck alone does is its best loss.
        if best.is_empty() && store.spec().strategy != Strategy::None {
            let location = &stores[study];
            return Err(Failure::new(format!("in {location} no program but the seed has been measured yet")));
        }
        listed.extend(best.iter().map(|candidate| (study, candidate.child_no)));
    }
    let absolute = |location| match location {
        Location::Sqlite(path) => Location::Sqlite(std::path::absolute(&path).unwrap_or(path)),
        server => server,
    };
    Ok(Plan {
        typed: stores.iter().fold(typed(), |text, location| location.hide_password(&text)),
        studies: open.iter().map(|store| store.spec_sha256().to_owned()).collect(),
        stores: stores.into_iter().map(absolute).collect(),
        corpus,
        test_corpus,
        test_corpus_sha256: test.sha256(),
        protocol,
        shortlist: listed,
    })
}

/// The settings asked for, or all that change something about the search's model.
fn settings(asked: &[Setting], spec: &StudySpec) -> Outcome<Vec<Setting>> {
    crate::cmd::experiment::distinct(asked, "--settings", |setting| setting.name().to_owned())?;
    if let Some(idle) = asked.iter().find(|setting| !setting.applies(spec)) {
        return Err(Failure::usage(format!(
            "--settings {}: the search's tokens are byte pairs already ({})",
            idle.name(),
            spec.tokenizer
        )));
    }
    let all = || Setting::ALL.into_iter().filter(|setting| setting.applies(spec)).collect();
    Ok(if asked.is_empty() { all() } else { asked.to_vec() })
}

/// What it has computed on, this time included.
fn devices(out: &Path, chosen: &Chosen) -> Outcome<Vec<String>> {
    let path = out.join(DEVICES);
    if let Some(before) = add_device(&path, &chosen.device)? {
        terminal::note(&format!("warning: until now this retest computed on \"{before}\": its seconds are of both"));
    }
    let lines = std::fs::read_to_string(&path).map_err(|e| folder::damaged(&path, e))?;
    Ok(lines.lines().map(str::to_owned).collect())
}

fn stored_plan(out: &Path) -> Outcome<Plan> {
    let path = out.join(PLAN);
    let plan: Plan = read_json(&path)?.ok_or_else(|| folder::nothing_to_resume(out, PLAN, "search retest"))?;
    if plan.stores.is_empty() || plan.shortlist.iter().any(|&(study, _)| study >= plan.stores.len()) {
        return Err(folder::damaged(&path, "it names candidates of a study that it doesn't"));
    }
    Ok(plan)
}

/// The finished runs of a file, and the file to add more to. A last line that was cut short by a kill is taken away.
fn measurements(path: &Path) -> Outcome<(Vec<Measurement>, File)> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(Failure::new(format!("{} can't be read: {e}", path.display()))),
    };
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let lines = text[..whole].lines().map(|line| {
        serde_json::from_str(line).map_err(|e| {
            Failure::new(format!("{} can't be read: {e}", path.display()))
                .hint("Remove the damaged line; its run is then done again.")
        })
    });
    let known = lines.collect::<Outcome<Vec<Measurement>>>()?;
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(|e| unwritable(path, &e))?;
    file.set_len(whole as u64).map_err(|e| unwritable(path, &e))?;
    Ok((known, file))
}
