//! A study's options from the command line.

use crate::architecture;
use crate::args::StudyArgs;
use crate::failure::{Failure, Outcome};
use primer_models::names::{did_you_mean, find_key, plain_reason};
use primer_search::dna::{Dna, seeds};
use primer_search::lower::plan_with_unit;
use primer_search::mutate::random_like;
use primer_search::rng::{Purpose, Rng};
use primer_search::roofline::Roofline;
use primer_search::store::{Cost, Store};
use primer_search::study::{Budget, Fitness, ModelDims, Preset, Strategy, StudyLimits, StudySpec};
use serde_json::Value;

/// What is measured when a study is made, unless it is given.
const ROOFLINE: [&str; 3] = ["roofline.flops_per_second", "roofline.bytes_per_second", "roofline.seconds_per_launch"];

/// The first mark, in steps of the seed program, below which programs are ranked otherwise than after longer training: a
/// pilot of the preset `small` had attention with convolutions behind the Transformer at 30 steps, and far ahead of it
/// at 70.
pub const LEAST_STEPS: f64 = 70.0;

/// The study that the options describe.
///
/// # Errors
/// No preset, an unknown key, or a value that means nothing.
pub fn study(args: &StudyArgs, corpus_sha256: &str) -> Outcome<StudySpec> {
    let Some(name) = &args.preset else {
        return Err(Failure::usage("a new study needs --preset")
            .hint("--preset small suits a CPU; --preset paper is the paper's search; --like STORE is a control."));
    };
    let preset = Preset::ALL.iter().find(|(known, _)| known == name).map(|&(_, preset)| preset);
    let preset =
        preset.ok_or_else(|| Failure::usage(format!("there is no preset {name:?}; there are paper and small")))?;
    let spec = StudySpec::preset(preset, String::new(), corpus_sha256.to_owned(), args.seed.unwrap_or(0));
    seeded(changed(spec, args)?, preset, args.from.as_deref())
}

/// [`study`] for one that is to be made.
///
/// # Errors
/// As [`study`]; a first mark at which the model of `--preset small` ranks programs otherwise than in the end.
pub fn new(args: &StudyArgs, corpus_sha256: &str) -> Outcome<StudySpec> {
    let spec = study(args, corpus_sha256)?;
    refuse_early(&spec)?;
    Ok(spec)
}

fn refuse_early(spec: &StudySpec) -> Outcome {
    let small = StudySpec::preset(Preset::Small, String::new(), String::new(), 0).model;
    let is_small = ModelDims { vocab: small.vocab, ..spec.model } == small;
    if is_small && ranks_too_early(spec) {
        return Err(Failure::usage(format!(
            "fitness.unit = {} is less than the {LEAST_STEPS} steps after which the model of --preset small ranks programs \
             as longer training does",
            spec.fitness.unit
        ))
        .hint("For a short try, give a limit such as --candidates 100 or --time 10m; fitness.hurdles=0 has no early marks."));
    }
    Ok(())
}

/// Whether hurdles end programs before they are ranked as they are in the end. Of measured seconds nobody knows.
pub fn ranks_too_early(spec: &StudySpec) -> bool {
    let Fitness { budget, unit, hurdles, .. } = spec.fitness;
    budget != Budget::Seconds && hurdles > 0 && unit < LEAST_STEPS
}

/// The study beside that of `store` that the options describe. It differs from it in the seed, without which a control's
/// first children would be the other's, and in its limit, which is what that has spent: seconds where these are what
/// candidates may spend, else predicted cost.
///
/// # Errors
/// A study that has spent nothing; and as [`new`].
pub fn like(store: &Store, args: &StudyArgs) -> Outcome<StudySpec> {
    let (spec, status) = (store.spec(), store.status()?);
    let spent = |of: fn(&Cost) -> f64| Some(of(&status.useful) + of(&status.wasted));
    let limits = match spec.fitness.budget {
        Budget::Seconds => StudyLimits { seconds: spent(|cost| cost.seconds), ..StudyLimits::default() },
        _ => StudyLimits { cost: spent(|cost| cost.predicted_seconds), ..StudyLimits::default() },
    };
    if limits.cost.or(limits.seconds) <= Some(0.0) {
        return Err(Failure::new(format!("the study in {} has spent nothing yet", store.location()))
            .hint("Make the control when the search is done: it gets the same cost."));
    }
    let seed = args.seed.unwrap_or(spec.seed.wrapping_add(1));
    let control = changed(StudySpec { seed, limits, ..spec.clone() }, args)?;
    if !ranks_too_early(spec) {
        refuse_early(&control)?;
    }
    Ok(control)
}

/// Whether the study's numbers of steps depend on a roofline that the options leave to be measured.
pub fn wants_roofline(spec: &StudySpec, args: &StudyArgs) -> bool {
    let is_given =
        |key: &&str| args.set.iter().any(|set| set.split_once('=').is_some_and(|(name, _)| name.trim() == *key));
    spec.fitness.budget == Budget::Cost && args.like.is_none() && !ROOFLINE.iter().all(is_given)
}

/// The study with the roofline measured, as far as the options don't give it.
///
/// # Errors
/// As [`study`].
pub fn with_roofline(spec: StudySpec, measured: &Roofline, args: &StudyArgs) -> Outcome<StudySpec> {
    changed(StudySpec { roofline: measured.clone(), ..spec }, args)
}

/// The study with the program to start from, fitted to its model; none given is the Transformer.
///
/// # Errors
/// A name or file that can't be read, heads that the program can't have.
pub fn seeded(spec: StudySpec, preset: Preset, from: Option<&str>) -> Outcome<StudySpec> {
    let name = architecture::without_prefix(from.unwrap_or("transformer"));
    let load = |name| architecture::program(name).map_err(Failure::usage);
    let banked = |dna| with_banks(dna, &spec, preset);
    let dna = match name {
        "random" => random(&banked(seeds::transformer()?)?, &spec)?,
        // It has a number of heads of its own.
        "discovered" => seeds::discovered()?,
        _ if seeds::by_name(name).is_some() => banked(load(name)?)?,
        file => load(file)?,
    };
    Ok(StudySpec { seed_dna: dna.to_string(), ..spec })
}

fn with_banks(dna: Dna, spec: &StudySpec, preset: Preset) -> Outcome<Dna> {
    let mut dims = dna.dims;
    if preset == Preset::Paper {
        // d 512 and ff 2048 at the preset's unit of 64 (paper section 2); another inner width in proportion.
        (dims[0], dims[1]) = (8, 4 * dims[1]);
    }
    let heads = spec.model.heads;
    let width = u64::from(spec.model.unit) * u64::from(dims[0]);
    let head_width = usize::try_from(width / u64::from(heads).max(1)).unwrap_or(usize::MAX).max(1);
    seeds::with_banks(dna, heads, head_width, dims)
        .map_err(|e| Failure::usage(format!("model.heads = {heads} is not possible: {e}")))
}

/// The first random program of the study's seed that can be lowered.
fn random(like: &Dna, spec: &StudySpec) -> Outcome<Dna> {
    const MOST: u64 = 10_000;
    let programs = (0..MOST).map(|i| random_like(like, &mut Rng::new(spec.seed, i, Purpose::RandomProgram)));
    programs
        .into_iter()
        .find(|dna| plan_with_unit(dna, spec.model.unit.into(), spec.sizes()).is_ok())
        .ok_or_else(|| Failure::new(format!("none of {MOST} random programs can be lowered at this size")))
}

/// The stored study with the options given laid over it: equal to it exactly if none differs.
///
/// # Errors
/// As [`study`].
pub fn over(stored: &StudySpec, args: &StudyArgs, corpus_sha256: &str) -> Outcome<StudySpec> {
    if args.preset.is_some() {
        let seed = args.seed.unwrap_or(stored.seed);
        let args = StudyArgs { seed: Some(seed), ..args.clone() };
        // It was learned, and the roofline measured, when the study was made.
        let tokenizer_sha256 = stored.tokenizer_sha256.clone();
        let mut spec = StudySpec { tokenizer_sha256, ..study(&args, corpus_sha256)? };
        if wants_roofline(&spec, &args) {
            spec = with_roofline(spec, &stored.roofline, &args)?;
        }
        return Ok(spec);
    }
    if args.from.is_some() {
        return Err(Failure::usage("--from is for a new study").hint("An existing one has its program already."));
    }
    if args.like.is_some() {
        return Err(Failure::usage("--like is for a new study").hint("Leave it out to go on with this one."));
    }
    let mut spec = stored.clone();
    spec.corpus = corpus_sha256.to_owned();
    spec.seed = args.seed.unwrap_or(spec.seed);
    changed(spec, args)
}

/// `spec` with --strategy, --budget and --tokenizer and after the `key=value` changes; keys are dotted, as in `model.seq=32`, or
/// their ends.
fn changed(mut spec: StudySpec, args: &StudyArgs) -> Outcome<StudySpec> {
    spec.strategy = named(&Strategy::ALL, args.strategy.as_deref()).unwrap_or(spec.strategy);
    spec.fitness.budget = named(&Budget::ALL, args.budget.as_deref()).unwrap_or(spec.fitness.budget);
    let internal = |e: serde_json::Error| Failure::new(format!("the study cannot be written as JSON: {e}"));
    if let Some(tokenizer) = args.tokenizer {
        spec.tokenizer = tokenizer;
        spec.model.vocab = u32::try_from(tokenizer.vocab()).unwrap_or(u32::MAX);
    }
    let mut json = serde_json::to_value(&spec).map_err(internal)?;
    let keys = keys("", &json);
    for assignment in &args.set {
        set(&mut json, &keys, assignment)?;
        serde_json::from_value::<StudySpec>(json.clone()).map_err(|e| {
            let (key, value) = assignment.split_once('=').unwrap_or_default();
            Failure::usage(format!("{key} = {value} is not possible: {}", plain_reason(&e.to_string())))
        })?;
    }
    let spec: StudySpec = serde_json::from_value(json).map_err(internal)?;
    spec.validate()?;
    Ok(spec)
}

/// Lays one `key=value` over a study; of `keys` the dotted name, or its end where no other has it.
fn set(study: &mut Value, keys: &[String], assignment: &str) -> Outcome {
    let Some((key, text)) = assignment.split_once('=') else {
        return Err(Failure::usage(format!("--set {assignment}: write key=value")));
    };
    let key = key.trim();
    let unknown = |meant: &[String]| {
        Failure::usage(format!("there is no study option {key:?}{}", did_you_mean(meant)))
            .hint(format!("The options: {}.", keys.join(", ")))
    };
    let full = find_key(key, keys).map_err(|meant| unknown(&meant))?;
    if full != key && full.starts_with("roofline.") {
        // Whether it is to be measured is seen by the whole name.
        return Err(unknown(&[full.to_owned()]));
    }
    let slot = study.pointer_mut(&format!("/{}", full.replace('.', "/"))).ok_or_else(|| unknown(&[]))?;
    *slot = value(text);
    Ok(())
}

/// The value of that name; the names were checked by the command line.
fn named<T: Copy>(all: &[(&str, T)], name: Option<&str>) -> Option<T> {
    all.iter().find(|(known, _)| Some(*known) == name).map(|&(_, value)| value)
}

/// The dotted names of all leaves that a user may set.
fn keys(prefix: &str, json: &Value) -> Vec<String> {
    let fixed = ["seed_dna", "corpus", "tokenizer", "tokenizer_sha256", "rng_version", "canonical_version", "seed"];
    let Value::Object(fields) = json else {
        return vec![prefix.to_owned()];
    };
    fields
        .iter()
        .filter(|(name, _)| !fixed.contains(&name.as_str()))
        .flat_map(|(name, value)| {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            keys(&key, value)
        })
        .collect()
}

/// A number, or what it is.
fn value(text: &str) -> Value {
    match serde_json::from_str(text.trim()) {
        Ok(value @ (Value::Number(_) | Value::Null)) => value,
        _ => Value::String(text.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(set: &[&str]) -> Outcome<StudySpec> {
        let args = StudyArgs {
            preset: Some("small".into()),
            set: set.iter().map(|s| (*s).to_owned()).collect(),
            seed: Some(3),
            ..StudyArgs::default()
        };
        study(&args, "00")
    }

    #[test]
    fn options_are_set_by_their_dotted_names() {
        let spec = small(&["model.seq=32", "population=7", "tournament=2", "fitness.budget=tokens", "fitness.unit=7"])
            .unwrap();
        assert_eq!((spec.model.seq, spec.population, spec.seed), (32, 7, 3));
        assert_eq!((spec.fitness.budget, spec.fitness.unit), (Budget::Tokens, 7.0));
        // An end that no other option has will do.
        assert_eq!(small(&["seq=32", "hurdles=1"]).unwrap(), small(&["model.seq=32", "fitness.hurdles=1"]).unwrap());
    }

    #[test]
    fn unknown_options_and_impossible_values_are_wrong_usage() {
        for bad in ["model.sec=32", "population=many", "population=0", "population", "corpus=x", "fitness.budget=luck"]
        {
            assert_eq!(small(&[bad]).unwrap_err(), small(&[bad]).unwrap_err());
            let said = format!("{:?}", small(&[bad]).unwrap_err());
            assert!(said.contains("code: 2"), "{bad}: {said}");
        }
        for (set, words) in [
            ("model.sec=32", "did you mean model.seq?"),
            ("unit=3", "fitness.unit or model.unit"),
            ("foo=1", "The options: "),
            ("population=many", "a whole number from 0 to"),
            ("fitness.budget=luck", "there are cost, tokens"),
        ] {
            let said = format!("{:?}", small(&[set]).unwrap_err());
            assert!(said.contains(words), "{set}: {said}");
        }
    }

    /// The roofline is measured once, when a study is made.
    #[test]
    fn a_measured_roofline_is_no_difference() {
        let mut stored = small(&[]).unwrap();
        stored.roofline.flops_per_second *= 1.5;
        let same = StudyArgs { preset: Some("small".into()), ..StudyArgs::default() };
        assert_eq!(over(&stored, &same, "00").unwrap(), stored);
        let set = vec!["roofline.flops_per_second=1e9".into()];
        let given = over(&stored, &StudyArgs { set, ..same }, "00").unwrap();
        assert_eq!(given.roofline.flops_per_second, 1e9);
    }

    #[test]
    fn a_stored_study_is_equal_until_an_option_differs() {
        let stored = small(&[]).unwrap();
        let none = StudyArgs::default();
        assert_eq!(over(&stored, &none, "00").unwrap(), stored);
        let other = StudyArgs { set: vec!["population=9".into(), "tournament=3".into()], ..none };
        assert!(stored.check_same(&over(&stored, &other, "00").unwrap()).is_err());
        let other = StudyArgs { strategy: Some("drift".into()), ..StudyArgs::default() };
        assert!(stored.check_same(&over(&stored, &other, "00").unwrap()).is_err());
    }
}
