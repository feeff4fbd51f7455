//! Which programs of a study are trained again.

use primer_models::Arch;
use primer_models::optim::{Decay, OptimizerConfig};
use primer_search::canonical::CanonicalHash;
use primer_search::dna::{Dna, seeds};
use primer_search::retest::{Contestant, Setting, edits, is_fair, shortlist};
use primer_search::store::{Candidate, State, Store};
use primer_search::study::{Budget, Preset, Strategy, StudySpec};
use std::collections::BTreeSet;

use crate::engines::{at, each, tamper};
use crate::synthetic::{course, run, spec};

fn form(store: &Store, dna: &Dna) -> CanonicalHash {
    store.forms().computation(dna).unwrap()
}

#[test]
fn programs_are_listed_once_and_the_best_first() {
    each(|engine| {
        let url = engine.place();
        let store = Store::create(&at(&url), &spec()).unwrap();
        run(&store, 120);
        assert!(
            course(&store).iter().any(|c| c.state == State::Cached && c.fitness.is_some()),
            "no twin to be left out"
        );
        drop(store);
        // As if two workers had measured each at the same time.
        tamper(&url, "UPDATE candidate SET twin = NULL, state = 'done'");
        let store = Store::open(&at(&url)).unwrap();

        let all = shortlist(&store, u32::MAX, 0.0).unwrap();
        let forms: BTreeSet<_> = all.iter().map(|c| form(&store, &c.dna().unwrap())).collect();
        assert_eq!(forms.len(), all.len());
        assert!(!forms.contains(&form(&store, &store.spec().seed_dna.parse().unwrap())));
        assert!(all.is_sorted_by_key(|c| c.fitness.map(f64::to_bits)));
        let measured = course(&store).into_iter().filter(|c| c.fitness.is_some()).map(|c| c.dna().unwrap());
        let every: BTreeSet<_> = measured.map(|dna| form(&store, &dna)).collect();
        assert_eq!(every.len(), all.len() + 1, "the seed program alone is missing");

        let with_seed: BTreeSet<_> = store.top(u32::MAX).unwrap().iter().map(|c| c.child_no).collect();
        assert_eq!(with_seed.len(), all.len() + 1);
        assert!(all.iter().all(|c| with_seed.contains(&c.child_no)) && with_seed.contains(&0));

        let best = all[0].fitness.unwrap();
        let few = shortlist(&store, 3, 0.2).unwrap();
        let close = |c: &&Candidate| c.passed == 3 && c.fitness.is_some_and(|loss| loss <= best + 0.2);
        let wanted: BTreeSet<u64> =
            all.iter().take(3).chain(all.iter().filter(close)).map(|candidate| candidate.child_no).collect();
        assert!(wanted.len() > 3, "no program is close to the best");
        assert_eq!(few.iter().map(|c| c.child_no).collect::<BTreeSet<u64>>(), wanted);
    });
}

/// Two finalists of `results/small`: their widths differ by a dimension that another unit makes up for.
#[test]
fn programs_may_be_one_in_another_setting() {
    let program = |text: &str| text.parse::<Dna>().unwrap();
    let [one, other] = [
        program(include_str!("../../results/small/evolution/candidate-2736.dna")),
        program(include_str!("../../results/small/evolution/candidate-2861.dna")),
    ];
    let spec = StudySpec::preset(Preset::Small, seeds::transformer().unwrap().to_string(), String::new(), 1);
    let is_one = |setting: Setting, vocab: usize| {
        setting.computation(&spec, &one, vocab).unwrap() == setting.computation(&spec, &other, vocab).unwrap()
    };
    assert!(!is_one(Setting::Same, 256) && !is_one(Setting::FourTimes, 256));
    assert!(is_one(Setting::BytePairs, 1024));
}

/// As in the search, but that the learning rate falls: nothing is compared on the way.
#[test]
fn contestants_train_with_the_search_s_optimizer_and_a_rate_that_decays() {
    primer_search::register();
    let seed = seeds::transformer().unwrap();
    let spec = StudySpec::preset(Preset::Small, seed.to_string(), String::new(), 1);
    assert_eq!(spec.training.decay, Decay::Constant);
    let contestants = [Contestant::Program(Box::new(seed)), Contestant::Written(Arch::PrimerEz)];
    for setting in Setting::ALL {
        let vocab = if setting == Setting::BytePairs { 1024 } else { 256 };
        for contestant in &contestants {
            let config = setting.config(&spec, contestant, vocab).unwrap();
            let OptimizerConfig { optimizer, beta1, beta2, weight_decay, clip_norm, .. } = config.optimizer;
            assert_eq!((optimizer, clip_norm), (spec.training.optimizer, spec.training.clip_norm));
            assert_eq!((beta1, beta2, weight_decay), (0.9, 0.98, 0.0), "{contestant:?}");
            assert_eq!(config.schedule.decay, Decay::Cosine, "{contestant:?}");
            let rates = [100, 500, 900, 999].map(|step| config.schedule.factor(step, 1_000));
            assert!(rates.is_sorted_by(|a, b| a > b), "{rates:?}");
        }
    }
}

#[test]
fn a_line_of_edits_has_no_step_without_effect() {
    each(|engine| {
        let store = engine.study(&spec());
        run(&store, 120);
        for candidate in shortlist(&store, 20, 0.0).unwrap() {
            let line = edits(&store, candidate.child_no).unwrap();
            let forms: Vec<_> = line.iter().map(|edit| form(&store, &edit.dna)).collect();
            assert_eq!(forms.iter().collect::<BTreeSet<_>>().len(), forms.len());
            assert_eq!(line[0].child_no, 0);
            assert_eq!(forms.last(), Some(&form(&store, &candidate.dna().unwrap())));
            let chains: usize = line.iter().map(|edit| edit.chains.len()).sum();
            assert!(line[0].chains.is_empty() && chains < store.lineage(candidate.child_no).unwrap().len());
        }
    });
}

/// The seed program with new seeds is a measure of luck, not a find.
#[test]
fn the_control_without_mutations_has_no_finds() {
    each(|engine| {
        let store = engine.study(&StudySpec { strategy: Strategy::None, ..spec() });
        run(&store, 20);
        assert_eq!(shortlist(&store, 20, 0.1).unwrap(), []);
    });
}

#[test]
fn only_a_predicted_budget_can_be_unfair() {
    assert!(is_fair(Budget::Cost, Some(0.8)) && is_fair(Budget::Cost, Some(1.25)));
    assert!(!is_fair(Budget::Cost, Some(1.26)) && !is_fair(Budget::Cost, Some(0.79)) && !is_fair(Budget::Cost, None));
    assert!(is_fair(Budget::Tokens, None) && is_fair(Budget::Seconds, Some(2.0)));
}
