//! What a study is: every option that decides its course, stored once and never changed.

use primer_models::optim::{Decay, Optimizer, ScheduleConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::lower::{Limits, Sizes};
use crate::roofline::Roofline;

/// Everything that decides the course of a search. Its JSON text is kept in the store and hashed;
/// two studies with equal texts make the same children out of the same finished ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudySpec {
    /// Keys every random draw of the study.
    pub seed: u64,
    /// How a child's parent is found.
    pub strategy: Strategy,
    /// Members of the population: the last so many finished children (paper A.4: 100).
    pub population: u32,
    /// Members drawn, with replacement, of which the best is the parent (paper A.4: 10).
    pub tournament: u32,
    /// When the study is over.
    pub limits: StudyLimits,
    /// What each candidate may spend, and where it may be stopped.
    pub fitness: Fitness,
    /// What a step of a program costs.
    pub roofline: Roofline,
    /// The model that a program is a block of.
    pub model: ModelDims,
    /// Peak learning rate of a candidate's training.
    pub learning_rate: f64,
    /// The rest of a candidate's training.
    #[serde(default)]
    pub training: TrainingRule,
    /// How large a candidate may be.
    #[serde(default)]
    pub parameters: ParameterWindow,
    /// How often a measured score is passed on to programs that seem to compute the same ([`crate::probe`]); then the
    /// next one is measured itself. With 0 there is no probe, and twins are programs of the same canonical form.
    #[serde(default)]
    pub probe_hits: u32,
    /// SHA-256 of the corpus, in hexadecimal.
    pub corpus: String,
    /// Version of the random draws ([`crate::rng::RNG_VERSION`]); a build replays its own version only.
    pub rng_version: u32,
    /// The text of the program that every lineage starts from.
    pub seed_dna: String,
}

/// How a child is made. All but [`Strategy::Evolution`] are controls: the same loop with less in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Regularized evolution: the best of a tournament among the youngest finished children.
    Evolution,
    /// One effective mutation of the seed program.
    #[serde(rename = "random-1")]
    Random1,
    /// Evolution without selection: a tournament of one.
    Drift,
    /// The seed program itself, each time with another seed: how good luck alone looks.
    None,
}

impl Strategy {
    /// Every strategy with its name.
    pub const ALL: [(&'static str, Strategy); 4] = [
        ("evolution", Strategy::Evolution),
        ("random-1", Strategy::Random1),
        ("drift", Strategy::Drift),
        ("none", Strategy::None),
    ];
}

/// The end of a study; without any it goes on until it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyLimits {
    /// Children made, the seed program not counted.
    pub children: Option<u64>,
    /// Predicted seconds of training ([`Roofline`]), summed over all attempts.
    pub cost: Option<f64>,
    /// Seconds of evaluation, summed over all workers.
    pub seconds: Option<f64>,
}

/// What a candidate may spend, and the halving hurdles on the way (paper A.3).
///
/// With t the unit and h hurdles, a candidate is measured at the marks t, 3t, 7t, … (2ʰ − 1)t and at the end, (2ʰ⁺¹ −
/// 1)t. A loss above the bar of a mark ends it there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fitness {
    /// What all candidates may spend alike.
    pub budget: Budget,
    /// t, in steps of the seed program; in seconds of training where those are the budget.
    pub unit: f64,
    /// How many hurdles (paper: 4).
    pub hurdles: u32,
    /// A mark's bar is the lower median of the last so many finite losses there.
    pub window: u32,
    /// Times that the seed program is trained, each time with another seed; its fitness is the mean.
    pub seed_runs: u32,
}

/// What is held equal between candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// Predicted seconds of training ([`Roofline`]): the number of steps follows from the program alone.
    Cost,
    /// Training tokens, thus steps.
    Tokens,
    /// Floating-point operations of training.
    Flops,
    /// Measured seconds of training, the paper's rule; on the CPU those of the training thread. The fitness then
    /// depends on the machine, and can't be replayed.
    Seconds,
}

impl Budget {
    /// Every budget with its name.
    pub const ALL: [(&'static str, Budget); 4] =
        [("cost", Budget::Cost), ("tokens", Budget::Tokens), ("flops", Budget::Flops), ("seconds", Budget::Seconds)];
}

impl Fitness {
    /// Training for `steps` steps and no hurdles: what a quick look takes.
    pub fn steps(steps: u64) -> Fitness {
        Fitness { budget: Budget::Tokens, unit: steps as f64, hurdles: 0, window: 1, seed_runs: 1 }
    }

    /// The marks in units, the end last.
    pub fn marks(&self) -> impl ExactSizeIterator<Item = u64> {
        (1..self.hurdles + 2).map(|k| (1u64 << k) - 1)
    }
}

/// The model around a candidate block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDims {
    /// Copies of the block, each with its own weights.
    pub layers: u32,
    /// Attention heads of the seed program.
    pub heads: u32,
    /// The seed program's unit: a relative dimension r stands for `unit · r` channels.
    pub unit: u32,
    /// Tokens in a sequence.
    pub seq: u32,
    /// Sequences in a batch.
    pub batch: u32,
    /// Tokens in the vocabulary.
    pub vocab: u32,
}

/// How a candidate is trained. There is no decay that spans a run: losses at stops at different times would not
/// compare.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRule {
    /// The optimizer.
    pub optimizer: Optimizer,
    /// Steps over which the learning rate rises.
    pub warmup: u64,
    /// How it goes on: `constant`, or `rsqrt` from step 10,000 on.
    pub decay: Decay,
    /// Largest norm of the whole gradient; 0 for no clipping.
    pub clip_norm: f64,
}

impl Default for TrainingRule {
    fn default() -> Self {
        TrainingRule { optimizer: Optimizer::Adamw, warmup: 50, decay: Decay::Constant, clip_norm: 1.0 }
    }
}

impl TrainingRule {
    /// The learning rate's schedule.
    pub fn schedule(&self) -> ScheduleConfig {
        ScheduleConfig { warmup: self.warmup, decay: self.decay, ..ScheduleConfig::default() }
    }
}

/// Numbers of parameters between which a candidate's must lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterWindow {
    /// The least; by default 0.88 of the seed program's.
    pub least: Option<u64>,
    /// The most; by default 1.12 of the seed program's.
    pub most: Option<u64>,
}

/// A named set of options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// The paper's search, for machines as large as the paper's, but that tokens are bytes and not 32,768 subwords; the
    /// embedding has as many rows all the same.
    Paper,
    /// Bytes and a model of some 100k parameters: seconds a candidate on one core.
    Small,
}

impl Preset {
    /// Every preset with the name it is asked for by.
    pub const ALL: [(&'static str, Preset); 2] = [("paper", Preset::Paper), ("small", Preset::Small)];
}

impl StudySpec {
    /// The options of `preset` for one seed program, corpus and study seed.
    pub fn preset(preset: Preset, seed_dna: String, corpus: String, seed: u64) -> StudySpec {
        let paper = StudySpec {
            seed,
            strategy: Strategy::Evolution,
            population: 100,
            tournament: 10,
            limits: StudyLimits { children: Some(25_000), ..StudyLimits::default() },
            // The proxy budget of seven hours, 64 · 64 = 4,096 tokens a batch (paper §2, A.3).
            fitness: Fitness {
                budget: Budget::Seconds,
                unit: 7.0 * 3600.0 / 31.0,
                hurdles: 4,
                window: 64,
                seed_runs: 5,
            },
            roofline: Roofline::default(),
            model: ModelDims { layers: 6, heads: 8, unit: 64, seq: 64, batch: 64, vocab: 1 << 15 },
            // 1/√max(step, 10,000), no ramp, no clipping (T2T's settings of the paper's experiments).
            learning_rate: 0.01,
            training: TrainingRule { optimizer: Optimizer::Adafactor, warmup: 0, decay: Decay::Rsqrt, clip_norm: 0.0 },
            // Paper A.2.
            parameters: ParameterWindow { least: Some(32_000_000), most: Some(38_000_000) },
            probe_hits: 0,
            corpus,
            rng_version: crate::rng::RNG_VERSION,
            seed_dna,
        };
        match preset {
            Preset::Paper => paper,
            Preset::Small => StudySpec {
                population: 48,
                tournament: 8,
                limits: StudyLimits { children: Some(3_000), ..StudyLimits::default() },
                // 70 steps are 71,680 tokens; at 30, attention with convolutions still ranks below the seed.
                fitness: Fitness { budget: Budget::Cost, unit: 70.0, ..paper.fitness },
                model: ModelDims { layers: 2, heads: 4, unit: 32, seq: 64, batch: 16, vocab: 256 },
                learning_rate: 3e-3,
                training: TrainingRule::default(),
                parameters: ParameterWindow::default(),
                ..paper
            },
        }
    }

    /// The sizes that all its programs share.
    pub fn sizes(&self) -> Sizes {
        let ModelDims { layers, vocab, seq, batch, .. } = self.model;
        Sizes { layers: layers as usize, vocab: vocab as usize, sequence: seq as usize, batch: batch as usize }
    }

    /// What its candidates may cost.
    ///
    /// # Errors
    ///
    /// [`Error::Parse`] and [`Error::Rejected`] where the seed program can't be read or planned.
    pub fn program_limits(&self) -> Result<Limits> {
        let limits = Limits::around(&self.seed_dna.parse()?, self.model.unit.into(), self.sizes())?;
        Ok(Limits {
            min_parameters: self.parameters.least.unwrap_or(limits.min_parameters),
            max_parameters: self.parameters.most.unwrap_or(limits.max_parameters),
            ..limits
        })
    }

    /// Checks that every option has a meaning on its own.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] with the first that has none.
    pub fn validate(&self) -> Result<()> {
        let positive = |key, value: u64| check(key, value, value > 0, "it must be at least 1");
        positive("population", self.population.into())?;
        positive("tournament", self.tournament.into())?;
        check(
            "tournament",
            self.tournament,
            self.tournament <= self.population,
            "it can't be larger than the population",
        )?;
        positive("model.layers", self.model.layers.into())?;
        positive("model.heads", self.model.heads.into())?;
        positive("model.unit", self.model.unit.into())?;
        positive("model.seq", self.model.seq.into())?;
        positive("model.batch", self.model.batch.into())?;
        positive("model.vocab", self.model.vocab.into())?;
        let number = |key, value: f64| {
            let good = value.is_finite() && value > 0.0;
            check(key, value, good, "it must be a finite number above 0")
        };
        number("learning_rate", self.learning_rate)?;
        let TrainingRule { decay, clip_norm, .. } = self.training;
        let comparable = !decay.spans_the_run();
        check("training.decay", decay.name(), comparable, "losses at stops at different times would not compare")?;
        check(
            "training.clip_norm",
            clip_norm,
            (0.0..=1e6).contains(&clip_norm),
            "it must be a finite number, not negative",
        )?;
        let window = self.parameters.least.zip(self.parameters.most);
        let most = self.parameters.most.unwrap_or_default();
        check(
            "parameters.most",
            most,
            window.is_none_or(|(least, most)| least <= most),
            "it is below parameters.least",
        )?;
        number("fitness.unit", self.fitness.unit)?;
        let hurdles = self.fitness.hurdles;
        check("fitness.hurdles", hurdles, hurdles <= 16, "it must be at most 16")?;
        positive("fitness.window", self.fitness.window.into())?;
        let runs = self.fitness.seed_runs;
        check("fitness.seed_runs", runs, (1..=1_000).contains(&runs), "it must lie between 1 and 1000")?;
        number("roofline.flops_per_second", self.roofline.flops_per_second)?;
        number("roofline.bytes_per_second", self.roofline.bytes_per_second)?;
        number("roofline.seconds_per_launch", self.roofline.seconds_per_launch)?;
        if let Some(cost) = self.limits.cost {
            number("limits.cost", cost)?;
        }
        if let Some(seconds) = self.limits.seconds {
            number("limits.seconds", seconds)?;
        }
        check(
            "rng_version",
            self.rng_version,
            self.rng_version == crate::rng::RNG_VERSION,
            "this build draws other random numbers",
        )
    }

    /// The canonical text: JSON in the order of the fields.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] if a number has no JSON form; [`StudySpec::validate`] excludes that.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// The first option in which the `given` study differs from this, the stored one.
    ///
    /// # Errors
    ///
    /// [`Error::StudyMismatch`] with the option's dotted name and both values.
    pub fn check_same(&self, given: &StudySpec) -> Result<()> {
        // Both go through text, since a number read back from text may differ in its last bit.
        let stored: Value = serde_json::from_str(&self.to_json()?)?;
        let given: Value = serde_json::from_str(&given.to_json()?)?;
        match first_difference("", &stored, &given) {
            None => Ok(()),
            Some((key, stored, given)) => Err(Error::StudyMismatch { key, stored, given }),
        }
    }

    /// The first option in which `other` differs that would make the losses of the two incomparable: anything but how
    /// children are made and how many.
    ///
    /// # Errors
    ///
    /// [`Error::StudyMismatch`] with the option's dotted name, its value here and in `other`.
    pub fn check_arm(&self, other: &StudySpec) -> Result<()> {
        self.check_same(&StudySpec {
            strategy: self.strategy,
            population: self.population,
            tournament: self.tournament,
            seed: self.seed,
            probe_hits: self.probe_hits,
            limits: self.limits,
            ..other.clone()
        })
    }
}

/// SHA-256 of a text in hexadecimal.
pub fn sha256_hex(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check(key: &'static str, given: impl std::fmt::Display, good: bool, reason: &str) -> Result<()> {
    if good {
        return Ok(());
    }
    Err(Error::Option { key, given: given.to_string(), reason: reason.to_owned() })
}

/// Dotted key and both values, shortened, of the first leaf that differs.
fn first_difference(key: &str, a: &Value, b: &Value) -> Option<(String, String, String)> {
    if let (Value::Object(fields), Value::Object(others)) = (a, b)
        && fields.keys().eq(others.keys())
    {
        return fields.iter().find_map(|(name, value)| {
            let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            first_difference(&key, value, &others[name])
        });
    }
    (a != b).then(|| (key.to_owned(), shortened(a), shortened(b)))
}

fn shortened(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        // A long text, in practice a program, is told apart by its hash.
        Some((end, _)) => format!("{}… (sha256 {:.12})", &text[..end], sha256_hex(&text)),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> StudySpec {
        StudySpec::preset(Preset::Small, "program".to_owned(), "00".to_owned(), 7)
    }

    #[test]
    fn presets_are_valid_and_survive_their_text() {
        for (_, preset) in Preset::ALL {
            let spec = StudySpec::preset(preset, "p".to_owned(), "00".to_owned(), 1);
            spec.validate().unwrap();
            let back: StudySpec = serde_json::from_str(&spec.to_json().unwrap()).unwrap();
            assert_eq!(back, spec);
        }
        let paper = StudySpec::preset(Preset::Paper, "p".to_owned(), "00".to_owned(), 1);
        assert_eq!((paper.population, paper.tournament), (100, 10));
        // Paper, spec §5.1: 0.01 for 10,000 steps, then the reciprocal root.
        let rate = |step| paper.learning_rate * paper.training.schedule().factor(step, u64::MAX);
        assert_eq!([0, 9_999, 40_000].map(rate), [0.01, 0.01, 0.005]);
        let small = small();
        let factor = |step| small.training.schedule().factor(step, u64::MAX);
        assert_eq!([0, 24, 49, 50, 1 << 40].map(factor), [0.02, 0.5, 1.0, 1.0, 1.0]);
    }

    /// Studies are older than some options.
    #[test]
    fn a_study_without_newer_options_has_their_defaults() {
        let mut json: Value = serde_json::from_str(&small().to_json().unwrap()).unwrap();
        for option in ["training", "parameters", "probe_hits"] {
            json.as_object_mut().unwrap().remove(option).unwrap();
        }
        assert_eq!(serde_json::from_value::<StudySpec>(json).unwrap(), small());
    }

    /// Paper A.3: of 25,200 seconds the marks at 812.9, 2438.7, 5690.3 and 12193.5.
    #[test]
    fn marks_halve_the_candidates_at_equal_cost() {
        let paper = StudySpec::preset(Preset::Paper, "p".to_owned(), "00".to_owned(), 1).fitness;
        assert_eq!(paper.marks().collect::<Vec<_>>(), [1, 3, 7, 15, 31]);
        let seconds: Vec<f64> = paper.marks().map(|units| units as f64 * paper.unit).collect();
        for (mark, wanted) in seconds.iter().zip([812.9, 2438.7, 5690.3, 12193.5, 25200.0]) {
            assert!((mark - wanted).abs() < 0.1, "{seconds:?}");
        }
        assert_eq!(Fitness::steps(12).marks().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_difference_names_the_dotted_key_and_both_values() {
        let mut other = small();
        other.model.seq = 128;
        match small().check_same(&other) {
            Err(Error::StudyMismatch { key, stored, given }) => {
                assert_eq!((&*key, &*stored, &*given), ("model.seq", "64", "128"));
            }
            other => panic!("{other:?}"),
        }
        let mut other = small();
        other.fitness.budget = Budget::Tokens;
        match small().check_same(&other) {
            Err(Error::StudyMismatch { key, .. }) => assert_eq!(key, "fitness.budget"),
            other => panic!("{other:?}"),
        }
        small().check_same(&small()).unwrap();
    }

    #[test]
    fn meaningless_options_are_named() {
        let refused = |spec: StudySpec, wanted: &str| match spec.validate() {
            Err(Error::Option { key, .. }) => assert_eq!(key, wanted),
            other => panic!("{wanted}: {other:?}"),
        };
        let mut spec = small();
        spec.population = 0;
        refused(spec, "population");
        let mut spec = small();
        spec.tournament = spec.population + 1;
        refused(spec, "tournament");
        let mut spec = small();
        spec.learning_rate = f64::NAN;
        refused(spec, "learning_rate");
        let mut spec = small();
        spec.training.decay = Decay::Cosine;
        refused(spec, "training.decay");
        let mut spec = small();
        spec.parameters = ParameterWindow { least: Some(2), most: Some(1) };
        refused(spec, "parameters.most");
        let mut spec = small();
        spec.fitness.unit = 0.0;
        refused(spec, "fitness.unit");
        let mut spec = small();
        spec.fitness.seed_runs = 0;
        refused(spec, "fitness.seed_runs");
        let mut spec = small();
        spec.limits.seconds = Some(-1.0);
        refused(spec, "limits.seconds");
    }

    #[test]
    fn a_control_differs_in_how_children_are_made_alone() {
        let search = small();
        let limits = StudyLimits { cost: Some(100.0), ..StudyLimits::default() };
        let control = StudySpec { strategy: Strategy::Random1, seed: 8, limits, population: 9, ..search.clone() };
        search.check_arm(&control).unwrap();
        let mut other = control;
        other.roofline.bytes_per_second *= 2.0;
        match search.check_arm(&other) {
            Err(Error::StudyMismatch { key, .. }) => assert_eq!(key, "roofline.bytes_per_second"),
            same => panic!("{same:?}"),
        }
    }
}
