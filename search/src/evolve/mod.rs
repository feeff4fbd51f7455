//! Regularized evolution as a pure function: a child follows from the study's options, its number
//! and the candidates that were finished when it was made, and from nothing else.
//!
//! The population is the youngest `population` members of the log, filled up with copies of the
//! seed program while the log is short (Real et al. 2019; paper §2, A.4). Finishing a child makes
//! it the youngest and the oldest member drops out, whatever its fitness.

mod bars;
mod forms;
mod verify;

pub use bars::Windows;
pub(crate) use bars::bar;
pub use forms::{Forms, is_probed};
pub use verify::{Difference, Verification, verify, verify_log};

use std::ops::RangeInclusive;

use crate::Rejection;
use crate::dna::Dna;
use crate::error::Result;
use crate::mutate::{self, Chain};
use crate::rng::{Purpose, Rng};
use crate::study::{Strategy, StudySpec};

/// A finished child, as a tournament sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Member {
    /// Its number.
    pub child_no: u64,
    /// Validation loss; none ranks last.
    pub fitness: Option<f64>,
}

/// A new child.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// Text of the program.
    pub program: String,
    /// What twins have in common: the hash of its canonical form, with a probe its fingerprint; or why it is too large
    /// to have one.
    pub canonical: Result<String, Rejection>,
    /// JSON of the mutations that made it.
    pub mutation: String,
}

/// The number of the parent of child `child_no`: the best of a tournament drawn uniformly, with
/// replacement, from the population, the one drawn first where several are equal; the seed program
/// where the strategy has no population.
///
/// `recent` are the last finished children, oldest first, at most as many as the population.
pub fn select_parent(spec: &StudySpec, child_no: u64, seed_fitness: Option<f64>, recent: &[Member]) -> u64 {
    let tournament = match spec.strategy {
        Strategy::Evolution => spec.tournament,
        Strategy::Drift => 1,
        Strategy::Random1 | Strategy::None => return 0,
    };
    let population = spec.population as usize;
    let copies = population.saturating_sub(recent.len());
    let seed = Member { child_no: 0, fitness: seed_fitness };
    let mut rng = Rng::new(spec.seed, child_no, Purpose::Selection);
    let mut best: Option<Member> = None;
    for _ in 0..tournament {
        let drawn = rng.below(population);
        let member = match drawn.checked_sub(copies) {
            None => seed,
            Some(place) => recent[place],
        };
        if best.is_none_or(|best| is_better(member.fitness, best.fitness)) {
            best = Some(member);
        }
    }
    best.unwrap_or(seed).child_no
}

/// Whether loss `a` is strictly less than `b`, where none is the greatest.
fn is_better(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a < b,
        (a, b) => a.is_some() && b.is_none(),
    }
}

/// The places in the log of the population of a selection that sees the log up to `watermark`: the last finished
/// children, without the seed program at place 0.
pub fn population(spec: &StudySpec, watermark: u64) -> RangeInclusive<u64> {
    watermark.saturating_sub(spec.population.into()) + 1..=watermark
}

/// Child `child_no` of the parent with the text `parent`; `forms` are the study's.
///
/// # Errors
///
/// Those of reading a program, of [`mutate::mutate`] and of [`Forms::identity`].
pub fn breed(spec: &StudySpec, forms: &Forms, child_no: u64, parent: &str) -> Result<Child> {
    let parent: Dna = parent.parse()?;
    if spec.strategy == Strategy::None {
        return Ok(Child {
            program: parent.to_string(),
            canonical: forms.identity(&parent)?,
            mutation: serde_json::to_string(&Chain::default())?,
        });
    }
    let mut rng = Rng::new(spec.seed, child_no, Purpose::Mutation);
    let (dna, chain) = mutate::mutate(&parent, &mut rng)?;
    Ok(Child { program: dna.to_string(), canonical: forms.identity(&dna)?, mutation: serde_json::to_string(&chain)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::Preset;

    fn spec(population: u32, tournament: u32) -> StudySpec {
        StudySpec { population, tournament, ..StudySpec::preset(Preset::Small, String::new(), String::new(), 3) }
    }

    fn members(losses: &[Option<f64>]) -> Vec<Member> {
        losses.iter().zip(1..).map(|(&fitness, child_no)| Member { child_no, fitness }).collect()
    }

    #[test]
    fn a_loss_that_is_not_finite_is_the_worst() {
        assert!(is_better(Some(9.0), None));
        assert!(!is_better(None, Some(9.0)));
        assert!(!is_better(None, None));
        assert!(is_better(Some(1.0), Some(2.0)));
        assert!(!is_better(Some(2.0), Some(2.0)));
    }

    #[test]
    fn controls_breed_as_they_should() {
        let recent = members(&[Some(1.0), Some(2.0), Some(3.0)]);
        let with = |strategy| StudySpec { strategy, ..spec(3, 3) };
        for child_no in 1..50 {
            assert_eq!(select_parent(&with(Strategy::Random1), child_no, Some(9.0), &recent), 0);
            assert_eq!(select_parent(&with(Strategy::None), child_no, Some(9.0), &recent), 0);
        }
        // Without selection every member is as likely as any other.
        let drift = with(Strategy::Drift);
        let parents = (0..30_000).map(|child_no| select_parent(&drift, child_no, Some(9.0), &recent));
        let mut counts = [0; 4];
        parents.for_each(|parent| counts[parent as usize] += 1);
        assert!(counts[0] == 0 && counts[1..].iter().all(|&n| (9_500..10_500).contains(&n)), "{counts:?}");
        let seed = crate::dna::seeds::transformer().unwrap().to_string();
        let alike = StudySpec { seed_dna: seed.clone(), ..with(Strategy::None) };
        let child = breed(&alike, &Forms::of(&alike).unwrap(), 5, &seed).unwrap();
        assert_eq!(child.program, seed);
        assert!(serde_json::from_str::<Chain>(&child.mutation).unwrap().mutations.is_empty());
    }

    /// With far more draws than members, the best of all must win: whichever it is, and whatever
    /// stands beside it.
    #[test]
    fn a_large_tournament_finds_the_best_of_the_population() {
        for best in 0..5 {
            let mut losses = [Some(2.0), None, Some(3.0), Some(2.5), Some(2.2)];
            losses[best] = Some(1.0);
            let parent = select_parent(&spec(5, 400), 77, Some(0.5), &members(&losses));
            assert_eq!(parent, best as u64 + 1, "the seed program has aged out");
        }
    }

    #[test]
    fn the_seed_fills_the_population_up() {
        let recent = members(&[Some(1.0), Some(1.1)]);
        assert_eq!(select_parent(&spec(5, 400), 3, Some(0.5), &recent), 0);
        assert_eq!(select_parent(&spec(5, 400), 3, None, &recent), 1);
        // A tournament of one draws uniformly: 3 of 5 members are the seed.
        let draws = 10_000;
        let spec = spec(5, 1);
        let seeds = (0..draws).filter(|&child| select_parent(&spec, child, None, &recent) == 0);
        let share = seeds.count() as f64 / draws as f64;
        assert!((share - 0.6).abs() < 0.03, "{share}");
    }
}
