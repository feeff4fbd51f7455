//! Where a candidate is measured and stopped, and what it may spend.

use std::collections::BTreeMap;

use primer_models::text::Corpus;
use primer_search::Evaluator;
use primer_search::dna::seeds;
use primer_search::roofline::Roofline;
use primer_search::store::{Candidate, Claim, ClaimOptions, Cost, LEASE, Location, Mark, Store, Verdict, WorkerId};
use primer_search::study::{Budget, Fitness, ModelDims, ParameterWindow, Preset, StudySpec, TrainingRule};
use primer_search::worker::{Control, Outcome};
use primer_tensor::Device;

/// Marks after 2, 6 and 14 steps of the seed program.
fn spec(corpus: &Corpus, budget: Budget) -> StudySpec {
    let dna = seeds::with_banks(seeds::transformer().unwrap(), 2, 4, [2, 8, 1, 1, 4, 16]).unwrap();
    StudySpec {
        fitness: Fitness { budget, hurdles: 2, seed_runs: 2, window: 4, ..Fitness::steps(2) },
        model: ModelDims { layers: 1, heads: 2, unit: 4, seq: 16, batch: 4, vocab: 256 },
        ..StudySpec::preset(Preset::Small, dna.to_string(), corpus.sha256(), 5)
    }
}

fn corpus() -> Corpus {
    let text: String = (0..20_000).map(|i| ["one ", "two ", "three ", "four\n"][i * i % 4]).collect();
    Corpus::from_text("counting", text.as_bytes()).unwrap()
}

/// The seed program and one child, as a worker gets them.
fn candidates(spec: &StudySpec) -> [Candidate; 2] {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(&Location::Sqlite(folder.path().join("store.db")), spec).unwrap();
    let options = ClaimOptions { worker: WorkerId::new(), lease: LEASE, children: None };
    let claim = || match store.claim(&options).unwrap() {
        Claim::Leased(candidate) => candidate,
        other => panic!("{other:?}"),
    };
    let seed = claim();
    let verdict = Verdict::Fitness { loss: 2.0, passed: 2, marks: Vec::new() };
    store.finish(&seed, verdict, Cost::default()).unwrap().unwrap();
    [seed, claim()]
}

fn evaluate(evaluator: &Evaluator, candidate: &Candidate) -> (f64, u32, Vec<Mark>, Cost) {
    match evaluator.evaluate(candidate, &mut |_| Control::Continue) {
        Outcome::Result { verdict: Verdict::Fitness { loss, passed, marks }, cost } => (loss, passed, marks, cost),
        other => panic!("{other:?}"),
    }
}

/// A child that is the seed program itself, with bars of the test's choice.
fn child(spec: &StudySpec, bars: &[Option<f64>]) -> Candidate {
    let [seed, child] = candidates(spec);
    Candidate { program: seed.program, bars: bars.to_vec(), ..child }
}

#[test]
fn a_bar_ends_a_candidate_at_its_mark_with_the_loss_there() {
    let corpus = corpus();
    let spec = spec(&corpus, Budget::Tokens);
    let evaluator = Evaluator::new(&spec, &corpus, &Device::cpu_with_threads(1)).unwrap();
    let (end, passed, marks, cost) = evaluate(&evaluator, &child(&spec, &[None, None]));
    let losses: Vec<f64> = marks.iter().map(|mark| mark.loss.unwrap()).collect();
    assert_eq!((passed, losses.len(), cost.steps, cost.tokens), (2, 3, 14, 14 * 64));
    assert_eq!(end, losses[2]);
    assert!(losses.is_sorted_by(|a, b| a > b), "{losses:?}");

    // A bar as high as the loss lets it pass; whatever lies below stops it.
    let below = losses[1].next_down();
    let (loss, passed, marks, cost) = evaluate(&evaluator, &child(&spec, &[Some(losses[0]), Some(below)]));
    assert_eq!((loss, passed, marks.len(), cost.steps), (losses[1], 1, 2, 6));
    let (loss, passed, marks, cost) = evaluate(&evaluator, &child(&spec, &[Some(0.0), None]));
    assert_eq!((loss, passed, marks.len(), cost.steps), (losses[0], 0, 1, 2));
}

/// Each step is reported, and each batch of the held-out text: 16,384 tokens at a hurdle, 65,536 at the end.
#[test]
fn the_end_is_measured_on_four_times_the_text_of_a_hurdle() {
    let corpus = Corpus::from_text("counting", "one two three four\n".repeat(40_000).as_bytes()).unwrap();
    let plain = spec(&corpus, Budget::Tokens);
    let spec = StudySpec {
        fitness: Fitness { unit: 1.0, ..plain.fitness },
        model: ModelDims { batch: 64, ..plain.model },
        ..plain
    };
    let evaluator = Evaluator::new(&spec, &corpus, &Device::cpu_with_threads(1)).unwrap();
    assert!(evaluator.notes().next().is_none(), "the text is too short");
    let mut reports: BTreeMap<u64, usize> = BTreeMap::new();
    let outcome = evaluator.evaluate(&child(&spec, &[None, None]), &mut |progress| {
        *reports.entry(progress.cost.steps).or_default() += 1;
        Control::Continue
    });
    assert!(matches!(outcome, Outcome::Result { verdict: Verdict::Fitness { passed: 2, .. }, .. }), "{outcome:?}");
    let batches = |tokens: usize| tokens / (64 * 16);
    let [hurdle, end] = [1 + batches(16_384), 1 + batches(65_536)];
    assert_eq!(reports, BTreeMap::from([(1, hurdle), (2, 1), (3, hurdle), (4, 1), (5, 1), (6, 1), (7, end)]));
}

#[test]
fn the_seed_runs_several_times_with_other_seeds_and_takes_the_mean() {
    let corpus = corpus();
    let spec = spec(&corpus, Budget::Tokens);
    let evaluator = Evaluator::new(&spec, &corpus, &Device::cpu_with_threads(1)).unwrap();
    let [seed, _] = candidates(&spec);
    let (loss, passed, marks, cost) = evaluate(&evaluator, &seed);
    let ends: Vec<f64> = marks.iter().filter(|mark| mark.mark == 2).map(|mark| mark.loss.unwrap()).collect();
    assert_eq!((marks.len(), ends.len(), passed, cost.steps), (6, 2, 2, 28));
    assert!(ends[0] != ends[1] && loss == (ends[0] + ends[1]) / 2.0, "{ends:?}");
    // With its runs side by side, nothing is different but the time.
    let beside = Evaluator::new(&spec, &corpus, &Device::cpu_with_threads(1)).unwrap().with_seed_threads(3);
    let (same, _, same_marks, same_cost) = evaluate(&beside, &seed);
    assert_eq!((same, same_marks, same_cost.steps, same_cost.flops), (loss, marks, cost.steps, cost.flops));
    let mut reports = 0;
    let stopped = beside.evaluate(&seed, &mut |_| {
        reports += 1;
        if reports > 3 { Control::Stop } else { Control::Continue }
    });
    let Outcome::Stopped { cost } = stopped else { panic!("{stopped:?}") };
    assert!((3..10).contains(&cost.steps), "{cost:?}");
    // A child without a change has the first run's luck.
    let (same, ..) = evaluate(&evaluator, &child(&spec, &[None, None]));
    assert_eq!(same, ends[0]);
}

/// The paper's training, and its window of parameters, at a size that can be tested.
#[test]
fn candidates_train_by_the_study_s_rule() {
    let corpus = corpus();
    let device = Device::cpu_with_threads(1);
    let paper = StudySpec::preset(Preset::Paper, String::new(), String::new(), 0);
    let losses = [TrainingRule::default(), paper.training].map(|training| {
        let learning_rate = if training == paper.training { paper.learning_rate } else { 3e-3 };
        let spec = StudySpec { training, learning_rate, ..spec(&corpus, Budget::Tokens) };
        let evaluator = Evaluator::new(&spec, &corpus, &device).unwrap();
        evaluate(&evaluator, &child(&spec, &[None, None])).0
    });
    assert!(losses.iter().all(|loss| loss.is_finite()) && losses[0] != losses[1], "{losses:?}");

    let plain = spec(&corpus, Budget::Tokens);
    let limits = plain.program_limits().unwrap();
    let parameters = ParameterWindow { least: Some(limits.parameters), most: None };
    let other = StudySpec { parameters, ..plain }.program_limits().unwrap();
    assert_eq!((other.min_parameters, other.max_parameters), (limits.parameters, limits.max_parameters));
    assert!(limits.min_parameters < limits.parameters && limits.parameters < limits.max_parameters);
}

#[test]
fn a_costlier_program_gets_fewer_steps() {
    let corpus = corpus();
    let device = Device::cpu_with_threads(1);
    let steps = |budget: Budget, program: &str| {
        let spec = spec(&corpus, budget);
        let evaluator = Evaluator::new(&spec, &corpus, &device).unwrap();
        let candidate = Candidate { program: program.to_owned(), ..child(&spec, &[None, None]) };
        evaluate(&evaluator, &candidate).3
    };
    let seed = spec(&corpus, Budget::Tokens).seed_dna;
    // Twelve more elementwise operations on the block's output.
    let tail: String =
        (9..21).map(|h| format!("  h{h} = {}(h{})\n", if h % 2 == 0 { "SIN" } else { "COS" }, h - 1)).collect();
    let costly = seed.replacen("\n\nS1 ", &format!("\n{tail}\nS1 "), 1);
    for budget in [Budget::Cost, Budget::Flops] {
        assert_eq!(steps(budget, &seed).steps, 14, "{budget:?}");
        assert!((1..14).contains(&steps(budget, &costly).steps), "{budget:?}");
    }
    assert_eq!(steps(Budget::Tokens, &costly).steps, 14);
    let (plain, more) = (steps(Budget::Tokens, &seed), steps(Budget::Tokens, &costly));
    assert!(more.flops > plain.flops && more.predicted_seconds > plain.predicted_seconds);
    assert!(plain.training_seconds > 0.0 && plain.seconds > plain.training_seconds);
}

/// What can't take one step for what the seed program's steps to the first mark cost has no loss to compare.
#[test]
fn a_program_over_the_first_mark_s_budget_is_rejected() {
    let corpus = corpus();
    let mut spec = spec(&corpus, Budget::Cost);
    spec.fitness.unit = 1.0;
    let evaluator = Evaluator::new(&spec, &corpus, &Device::cpu_with_threads(1)).unwrap();
    let seed = child(&spec, &[None, None]);
    assert_eq!(evaluate(&evaluator, &seed).3.steps, 7);
    let costly = seed.program.replacen("\n\nS1 ", "\n  h9 = SIN(h8)\n\nS1 ", 1);
    assert_ne!(costly, seed.program);
    let costly = Candidate { program: costly, ..seed };
    let refused = evaluator.evaluate(&costly, &mut |_| panic!("it takes a step"));
    let Outcome::Result { verdict: Verdict::Rejected(reason), cost } = &refused else { panic!("{refused:?}") };
    assert!(reason.contains("first mark allows 0.9"), "{reason}");
    assert_eq!(cost.steps, 0);
}

/// Where there is no memory for the seed program either, the candidate is not to blame.
#[test]
fn a_worker_that_can_train_nothing_says_so() {
    let corpus = corpus();
    let spec = spec(&corpus, Budget::Tokens);
    let candidate = child(&spec, &[None, None]);
    let evaluate = |bytes: u64| {
        let device = Device::cpu_with_threads(1).with_memory_budget(bytes);
        Evaluator::new(&spec, &corpus, &device).unwrap().evaluate(&candidate, &mut |_| Control::Stop)
    };
    assert!(matches!(evaluate(1 << 30), Outcome::Stopped { .. }));
    let broken = evaluate(1 << 10);
    assert!(matches!(&broken, Outcome::Broken { reason, .. } if reason.contains("memory")), "{broken:?}");
}

/// Only the seconds of training count, and every mark is a step or more.
#[test]
fn measured_seconds_are_a_budget_too() {
    let corpus = corpus();
    let mut spec = spec(&corpus, Budget::Seconds);
    spec.fitness.unit = 0.01;
    let evaluator = Evaluator::new(&spec, &corpus, &Device::cpu_with_threads(1)).unwrap();
    let (_, passed, marks, cost) = evaluate(&evaluator, &child(&spec, &[None, None]));
    assert_eq!((passed, marks.len()), (2, 3));
    assert!(cost.steps > 1 && cost.training_seconds >= 0.06, "{cost:?}");
}

/// Threads that wait for a processor take longer by the clock, and train no longer.
#[test]
fn training_is_measured_in_processor_time() {
    let corpus = corpus();
    let mut spec = spec(&corpus, Budget::Tokens);
    spec.fitness.unit = 30.0;
    let (candidate, cores) = (child(&spec, &[None, None]), std::thread::available_parallelism().unwrap().get());
    let began = std::time::Instant::now();
    let train = || {
        let evaluator = Evaluator::new(&spec, &corpus, &Device::cpu_with_threads(1)).unwrap();
        evaluate(&evaluator, &candidate).3.training_seconds
    };
    let trained: f64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4 * cores).map(|_| scope.spawn(train)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let most = cores as f64 * began.elapsed().as_secs_f64();
    assert!(trained > 0.0 && trained <= most, "{trained} s of at most {most}");
}

/// What diverges has the worst fitness, and trains no further than to the next reading of the loss.
#[test]
fn a_program_that_diverges_is_stopped() {
    let corpus = corpus();
    let mut spec = spec(&corpus, Budget::Tokens);
    spec.fitness.unit = 100.0;
    spec.learning_rate = 1e30;
    let evaluator = Evaluator::new(&spec, &corpus, &Device::cpu_with_threads(1)).unwrap();
    let (loss, passed, marks, cost) = evaluate(&evaluator, &child(&spec, &[None, None]));
    assert_eq!((loss, passed, marks.len()), (f64::INFINITY, 0, 0));
    assert!((1..=11).contains(&cost.steps), "{cost:?}");
}

#[test]
fn a_measured_roofline_predicts_the_seed_program() {
    let corpus = corpus();
    let spec = spec(&corpus, Budget::Cost);
    for device in [Device::cpu_with_threads(1), Device::parse("software", None).unwrap()] {
        let evaluator = Evaluator::new(&spec, &corpus, &device).unwrap();
        let roofline = evaluator.measure_roofline().unwrap();
        let numbers = [roofline.flops_per_second, roofline.bytes_per_second, roofline.seconds_per_launch];
        assert!(numbers.iter().all(|x| x.is_finite() && *x > 0.0), "{device}: {roofline:?}");
        // Between a microsecond and a minute a step: the unit is seconds.
        let spec = StudySpec { roofline, ..spec.clone() };
        let evaluator = Evaluator::new(&spec, &corpus, &device).unwrap();
        let seed = evaluator.prepare(&spec.seed_dna.parse().unwrap()).unwrap();
        let step = spec.roofline.seconds(seed.executable());
        assert!((1e-6..60.0).contains(&step), "{device}: {step}");
        // The other kind of device is told apart before it trains anything.
        spec.check_device(&device).unwrap();
        let other =
            StudySpec { roofline: Roofline { device: "elsewhere".into(), ..spec.roofline.clone() }, ..spec.clone() };
        let refused = Evaluator::new(&other, &corpus, &device)
            .unwrap()
            .evaluate(&child(&spec, &[None, None]), &mut |_| panic!("it trains on another kind of device"));
        assert!(
            matches!(&refused, Outcome::Broken { reason, .. } if reason.contains("roofline.device")),
            "{refused:?}"
        );
    }
}

/// Whatever was measured of the machine, the seed program's marks lie where the study says.
#[test]
fn the_seed_gets_its_own_steps_with_any_roofline() {
    let corpus = corpus();
    for budget in [Budget::Cost, Budget::Flops] {
        let spec = spec(&corpus, budget);
        for i in 0..60 {
            let roofline = Roofline { flops_per_second: 3.3e9 + 1.7e8 * f64::from(i), ..Roofline::default() };
            // 7 units of 1 to 7 steps.
            let fitness = Fitness { unit: f64::from(1 + i % 7), ..spec.fitness };
            let spec = StudySpec { roofline, fitness, ..spec.clone() };
            let evaluator = Evaluator::new(&spec, &corpus, &Device::cpu_with_threads(1)).unwrap();
            let steps = evaluator.steps_to_the_end(&spec.seed_dna.parse().unwrap()).unwrap();
            assert_eq!(steps, 7 * (1 + i as u64 % 7), "{:?}", spec.roofline);
        }
    }
}
