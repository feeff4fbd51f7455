//! Whether a study's options make sense, and whether those of two studies go together.

use primer_tensor::Device;
use serde_json::Value;

use super::{Budget, Fitness, StudySpec, TrainingRule, sha256_hex};
use crate::canonical::CANONICAL_VERSION;
use crate::error::{Error, Result};
use crate::rng::RNG_VERSION;
use crate::roofline::kind_of;

impl StudySpec {
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
        let layers = self.model.layers;
        check("model.layers", layers, (1..=1024).contains(&layers), "it must be from 1 to 1024")?;
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
        let Fitness { unit, budget, .. } = self.fitness;
        number("fitness.unit", unit)?;
        let trains = budget == Budget::Seconds || unit >= 1.0;
        check("fitness.unit", unit, trains, "it must allow the seed program a step, so be at least 1")?;
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
        let known = (1..=CANONICAL_VERSION).contains(&self.canonical_version);
        check("canonical_version", self.canonical_version, known, "this build knows other canonical forms")?;
        check("rng_version", self.rng_version, self.rng_version == RNG_VERSION, "this build draws other random numbers")
    }

    /// Whether candidates cost on this device what the study's roofline says.
    ///
    /// # Errors
    ///
    /// [`Error::StudyMismatch`] where the budget is a predicted cost and the roofline another kind of device's.
    pub fn check_device(&self, device: &Device) -> Result<()> {
        let (stored, given) = (&self.roofline.device, kind_of(device));
        if self.fitness.budget == Budget::Cost && stored != given {
            let (stored, given) = (stored.clone(), given.to_owned());
            return Err(Error::StudyMismatch { key: "roofline.device".into(), stored, given });
        }
        Ok(())
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
    use primer_models::optim::Decay;

    use super::*;
    use crate::study::{ParameterWindow, Preset, Strategy, StudyLimits};

    fn small() -> StudySpec {
        StudySpec::preset(Preset::Small, "program".to_owned(), "00".to_owned(), 7)
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
        spec.fitness.unit = 0.5;
        refused(spec, "fitness.unit");
        let mut spec = small();
        spec.fitness.seed_runs = 0;
        refused(spec, "fitness.seed_runs");
        let mut spec = small();
        spec.limits.seconds = Some(-1.0);
        refused(spec, "limits.seconds");
        // Another build's draws would breed other children.
        let mut spec = small();
        spec.rng_version += 1;
        refused(spec, "rng_version");
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
