//! Working on a study: `init`, `run`, `worker`.

use super::{open, options, place, vacant};
use crate::args::{SearchInit, SearchRun, SearchWorker, StudyArgs, WorkerCompute};
use crate::cmd::device;
use crate::failure::{Failure, Outcome};
use crate::folder;
use crate::stop::Stop;
use crate::terminal::{self, Progress};
use primer_models::text::{Corpus, TokenizerSpec};
use primer_search::evaluate::Evaluator;
use primer_search::store::{Best, Cost, Counts, State, Store};
use primer_search::study::{Budget, StudyLimits, StudySpec};
use primer_search::worker::{self, End, Event, RunOptions};
use primer_tensor::Device;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// `primer search init`
///
/// # Errors
/// A store that is already there, an option that means nothing.
pub fn init(args: &SearchInit) -> Outcome {
    let location = &args.store.store;
    vacant(location)?;
    let (spec, name) = match (&args.corpus, &args.study.like) {
        (None, Some(like)) => (options::like(&open(like)?, &args.study)?, None),
        (name, _) => {
            let corpus = folder::corpus(name.as_deref().unwrap_or("rust"))?;
            let name = corpus.name().to_owned();
            (new_study(&args.study, corpus, &args.compute)?.0, Some(name))
        }
    };
    say_what_to_know(&spec);
    let store = Store::create(location, &spec)?;
    if args.json {
        let corpus = json!({ "name": name, "sha256": spec.corpus });
        return terminal::json(&json!({ "store": location, "study": store.spec_sha256(), "corpus": corpus }));
    }
    let name = name.unwrap_or_else(|| "the study's".to_owned());
    terminal::note(&format!("corpus: {name} (sha256 {:.12})", spec.corpus));
    terminal::line(&format!("study {:.12} in {}", store.spec_sha256(), location))
}

/// The study of the options and the corpus with its tokens; with its roofline measured on the device of a worker if the
/// study needs one.
fn new_study(args: &StudyArgs, corpus: Corpus, compute: &WorkerCompute) -> Outcome<(StudySpec, Corpus)> {
    let mut spec = match &args.like {
        Some(like) => {
            let search = open(like)?;
            same_corpus(&search, &corpus)?;
            options::like(&search, args)?
        }
        None => options::new(args, &corpus.sha256())?,
    };
    say_what_is_learned(&spec);
    let corpus = if args.like.is_some() { spec.tokens(corpus)? } else { spec.learn_tokens(corpus)? };
    if options::wants_roofline(&spec, args) {
        let chosen = device::open(&compute.of_a_worker())?;
        let measured = Evaluator::new(&spec, &corpus, &chosen.device)?.measure_roofline()?;
        spec = options::with_roofline(spec, &measured, args)?;
        terminal::note(&format!(
            "roofline: {:.1} GFLOP/s, {:.1} GB/s, {:.1} µs a launch, fitted to the seed program's step",
            spec.roofline.flops_per_second / 1e9,
            spec.roofline.bytes_per_second / 1e9,
            spec.roofline.seconds_per_launch * 1e6
        ));
    }
    Ok((spec, corpus))
}

/// What may surprise in the options of a new study.
fn say_what_to_know(spec: &StudySpec) {
    if options::ranks_too_early(spec) {
        terminal::note(&format!(
            "fitness.unit: the first hurdle comes after {} steps of the seed program; below {} it ends programs that \
             would be better in the end",
            spec.fitness.unit,
            options::LEAST_STEPS
        ));
    }
    if spec.fitness.budget == Budget::Seconds {
        terminal::note(
            "budget: measured seconds, so a fitness depends on this machine and its load and can't be had again; \
             --budget cost can",
        );
    }
}

/// `primer search run`
///
/// # Errors
/// A store, option or corpus that can't be used; a device that fails.
pub fn run(args: &SearchRun) -> Outcome {
    let corpus = folder::corpus(&args.corpus)?;
    let location = &args.store.store;
    let (store, corpus) = if Store::exists(location)? {
        existing_study(args, corpus)?
    } else {
        place(location)?;
        let (spec, tokens) = new_study(&args.study, corpus.clone(), &args.compute)?;
        say_what_to_know(&spec);
        match Store::create(location, &spec) {
            Ok(store) => (store, tokens),
            // Another process has made it meanwhile.
            Err(_) if Store::exists(location)? => existing_study(args, corpus)?,
            Err(error) => return Err(error.into()),
        }
    };
    let options = RunOptions { children: args.candidates, time: args.time, ..RunOptions::default() };
    work(&store, &corpus, &args.compute, &options, args.workers, args.json)
}

/// The study that is there, if it is the one asked for, and its corpus with its tokens.
fn existing_study(args: &SearchRun, corpus: Corpus) -> Outcome<(Store, Corpus)> {
    let store = Store::open(&args.store.store)?;
    same_corpus(&store, &corpus)?;
    store.spec().check_same(&options::over(store.spec(), &args.study, &corpus.sha256())?)?;
    let corpus = tokens(&store, corpus)?;
    Ok((store, corpus))
}

/// `primer search worker`
///
/// # Errors
/// As [`run`], and a store that isn't there.
pub fn worker(args: &SearchWorker) -> Outcome {
    let store = open(&args.store.store)?;
    let corpus = folder::corpus(&args.corpus)?;
    same_corpus(&store, &corpus)?;
    let corpus = tokens(&store, corpus)?;
    work(&store, &corpus, &args.compute, &RunOptions::default(), args.workers, args.json)
}

/// Refuses another text than the study's.
///
/// # Errors
/// Wrong usage.
pub fn same_corpus(store: &Store, corpus: &Corpus) -> Outcome {
    if store.spec().corpus == corpus.sha256() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "the study was made on another text: sha256 {:.12} there, {:.12} for the corpus {}",
        store.spec().corpus,
        corpus.sha256(),
        corpus.name()
    ))
    .hint("Give the study's corpus with --corpus, or begin a new store."))
}

/// The study's corpus with its tokens.
///
/// # Errors
/// A tokenizer that can't be learned, or another one than when the study was made.
pub fn tokens(store: &Store, corpus: Corpus) -> Outcome<Corpus> {
    say_what_is_learned(store.spec());
    Ok(store.spec().tokens(corpus)?)
}

/// Byte pairs of a large corpus take a minute.
fn say_what_is_learned(spec: &StudySpec) {
    if spec.tokenizer != TokenizerSpec::Bytes {
        terminal::note(&format!("training the tokenizer {} ...", spec.tokenizer));
    }
}

/// Works with `workers` threads until the study is over, the time is, or the user stops it.
fn work(
    store: &Store,
    corpus: &Corpus,
    compute: &WorkerCompute,
    options: &RunOptions,
    workers: u16,
    as_json: bool,
) -> Outcome {
    let stop = Stop::on_ctrl_c();
    let live = Live::new(store, options.time, options.children)?;
    // Of what all workers notice, one tells.
    let told = Mutex::new(BTreeSet::new());
    let results = in_threads(usize::from(workers), |worker| {
        let chosen = device::open(&compute.of_a_worker())?;
        store.spec().check_device(&chosen.device)?;
        if worker == 0 && matches!(chosen.device, Device::Cpu(_)) {
            say_what_is_idle(compute.threads, workers);
        }
        let idle = match &chosen.device {
            Device::Cpu(cpu) if cpu.threads() == 1 => workers.into(),
            _ => 1,
        };
        let evaluator = Evaluator::new(store.spec(), corpus, &chosen.device)?.with_seed_threads(idle);
        for note in evaluator.notes() {
            if told.lock().unwrap_or_else(PoisonError::into_inner).insert(note.clone()) {
                terminal::note(&note);
            }
        }
        let flag = stop.flag();
        Ok(worker::run(
            store,
            options,
            &flag,
            |candidate, report| evaluator.evaluate(candidate, report),
            |event| live.show(event),
        )?)
    });
    let mut finished = 0;
    let mut end = End::Limit;
    for result in results {
        let summary = result?;
        finished += summary.finished;
        end = summary.end;
    }
    let status = store.status()?;
    let best = status.best.map_or("none".into(), |b| format!("{:.4} (candidate {})", b.fitness, b.child_no));
    let why = match end {
        End::Limit => "the study's budget is used",
        End::Time => "the time is over",
        End::Stopped => "stopped; run it again to go on",
    };
    live.finish(&format!("{finished} candidates finished here, best loss {best}; {why}"));
    if as_json {
        return terminal::json(&json!({
            "store": store.location(),
            "study": store.spec_sha256(),
            "finished": finished,
            "end": end,
            "status": status,
        }));
    }
    Ok(())
}

/// A user who gives one worker may not know that it leaves the other cores alone.
fn say_what_is_idle(threads: u16, workers: u16) {
    let busy = workers.saturating_mul(threads);
    if busy < cores() {
        terminal::note(&format!("{busy} of {} cores at work; --workers {} takes all", cores(), cores() / threads));
    }
}

/// Cores that this process may use.
pub fn cores() -> u16 {
    std::thread::available_parallelism().ok().and_then(|cores| u16::try_from(cores.get()).ok()).unwrap_or(1)
}

/// What each of `workers` threads makes of its number, when all are done.
pub fn in_threads<T: Send>(workers: usize, work: impl Fn(usize) -> Outcome<T> + Sync) -> Vec<Outcome<T>> {
    let work = &work;
    std::thread::scope(|scope| {
        let start = |worker| std::thread::Builder::new().spawn_scoped(scope, move || work(worker));
        let handles: Vec<_> = (0..workers).map(start).collect();
        let failed = || Err(Failure::new("a worker ended unexpectedly"));
        let joined = handles.into_iter().map(|handle| match handle {
            Ok(handle) => handle.join().unwrap_or_else(|_| failed()),
            Err(error) => Err(Failure::new(format!("the system refuses a worker's thread: {error}"))
                .hint("Give fewer --workers, or allow this user more processes (ulimit -u).")),
        });
        joined.collect()
    })
}

/// Progress of a search, fed by any number of workers.
pub struct Live {
    start: Instant,
    time: Option<Duration>,
    limits: StudyLimits,
    inner: Mutex<Inner>,
}

struct Inner {
    progress: Progress,
    told: String,
    counts: Counts,
    /// What the study has spent, without what other processes spend meanwhile.
    spent: Cost,
}

impl Live {
    /// Begins where the study is; what the run may use says how far that is.
    ///
    /// # Errors
    /// A store that can't be read.
    pub fn new(store: &Store, time: Option<Duration>, children: Option<u64>) -> Outcome<Self> {
        let limits = store.spec().limits;
        let limits = StudyLimits { children: children.or(limits.children), ..limits };
        let status = store.status()?;
        let told = match status.counts.finished() {
            0 => "nothing finished yet".into(),
            _ => standing(&status.counts, status.best),
        };
        let spent = [status.useful, status.wasted].into_iter().sum();
        let inner = Inner { progress: Progress::new("search"), told, counts: status.counts, spent };
        Ok(Self { start: Instant::now(), time, limits, inner: Mutex::new(inner) })
    }

    /// Shows an event.
    pub fn show(&self, event: &Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { progress, told, counts: known, spent } = &mut *inner;
        let mut now = String::new();
        match event {
            Event::Finished { candidate, best, counts } => {
                *known = *counts;
                *spent = [*spent, candidate.cost].into_iter().sum();
                *told = standing(counts, *best);
                if candidate.state == State::Done && candidate.child_no == 0 {
                    progress.say(&format!(
                        "the seed program: loss {}",
                        candidate.fitness.map_or("not finite".into(), |f| format!("{f:.4}"))
                    ));
                }
            }
            Event::Retry { child_no, reason } => {
                progress.say(&format!("candidate {child_no} failed and will be tried again: {reason}"));
            }
            Event::Progress { child_no, progress: p } => {
                let loss = p.loss.map_or(String::new(), |loss| format!(", loss {loss:.3}"));
                now = format!("; candidate {child_no} at step {}{loss}", p.cost.steps);
            }
            _ => {}
        }
        let elapsed = self.start.elapsed();
        let (share, left) = match self.time {
            Some(time) => (elapsed.as_secs_f64() / time.as_secs_f64(), Some(time.saturating_sub(elapsed))),
            None => (share(known, spent, &self.limits), None),
        };
        progress.update(share, left, &format!("{told}{now}"));
    }

    /// Ends, leaving one line.
    pub fn finish(self, text: &str) {
        self.inner.into_inner().unwrap_or_else(PoisonError::into_inner).progress.finish(text);
    }
}

/// How much of the limit that is nearest is used; the seed program is no child.
fn share(counts: &Counts, spent: &Cost, limits: &StudyLimits) -> f64 {
    let of = |used: f64, limit: Option<f64>| limit.map_or(0.0, |limit| used / limit);
    let children = of(counts.finished().saturating_sub(1) as f64, limits.children.map(|all| all.max(1) as f64));
    children.max(of(spent.predicted_seconds, limits.cost)).max(of(spent.seconds, limits.seconds)).min(1.0)
}

/// How far a study is, in words.
fn standing(counts: &Counts, best: Option<Best>) -> String {
    let best = best.map_or("none yet".into(), |b| format!("{:.4} (candidate {})", b.fitness, b.child_no));
    format!("{} candidates finished, best loss {best}", counts.finished())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_as_far_as_its_nearest_limit() {
        let counts = Counts { done: 31, ..Counts::default() };
        let spent = Cost { predicted_seconds: 45.0, seconds: 80.0, ..Cost::default() };
        let none = StudyLimits::default();
        assert_eq!(share(&counts, &spent, &none), 0.0);
        assert_eq!(share(&counts, &spent, &StudyLimits { children: Some(100), ..none }), 0.3);
        assert_eq!(share(&counts, &spent, &StudyLimits { cost: Some(90.0), ..none }), 0.5);
        let all = StudyLimits { children: Some(100), cost: Some(90.0), seconds: Some(100.0) };
        assert_eq!(share(&counts, &spent, &all), 0.8);
        assert_eq!(share(&counts, &spent, &StudyLimits { children: Some(0), ..none }), 1.0);
    }
}
