//! The streams of random numbers are fixed by their key, and fair.

use primer_search::rng::{Purpose, Rng};

#[test]
fn a_stream_is_its_key() {
    let words = |seed, child, purpose| {
        let mut rng = Rng::new(seed, child, purpose);
        (0..8).map(|_| rng.next_u64()).collect::<Vec<_>>()
    };
    let one = words(7, 3, Purpose::Mutation);
    assert_eq!(one, words(7, 3, Purpose::Mutation));
    for other in [
        words(8, 3, Purpose::Mutation),
        words(7 + (1 << 32), 3, Purpose::Mutation),
        words(7, 4, Purpose::Mutation),
        words(7, 3 + (1 << 32), Purpose::Mutation),
        words(7, 3, Purpose::Selection),
    ] {
        assert!(one.iter().zip(&other).all(|(a, b)| a != b));
    }
}

#[test]
fn integers_are_unbiased() {
    let mut rng = Rng::new(1, 0, Purpose::Selection);
    let mut counts = [0f64; 7];
    for _ in 0..70_000 {
        counts[rng.below(7)] += 1.0;
    }
    let chi2: f64 = counts.iter().map(|c| (c - 1e4).powi(2) / 1e4).sum();
    assert!(chi2 < 22.5, "{counts:?}"); // the 0.1% point for 6 degrees of freedom
    assert_eq!(rng.below(1), 0);
    assert_eq!(rng.below(0), 0);
}

#[test]
fn normals_have_the_right_moments() {
    let mut rng = Rng::new(2, 0, Purpose::InitialValues);
    let n = 100_000;
    let values: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
    let moment = |k: i32| values.iter().map(|v| v.powi(k)).sum::<f64>() / f64::from(n);
    assert!(moment(1).abs() < 0.015, "{}", moment(1));
    assert!((moment(2) - 1.0).abs() < 0.02, "{}", moment(2));
    assert!((moment(4) - 3.0).abs() < 0.15, "{}", moment(4));
}

#[test]
fn rand_s_traits_give_the_same_words() {
    use rand::{Rng as _, RngExt as _};
    let stream = || Rng::new(3, 1, Purpose::Mutation);
    let (mut own, mut other) = (stream(), stream());
    let mut bytes = [0; 10];
    other.fill_bytes(&mut bytes);
    let words: Vec<u8> = (0..3).flat_map(|_| own.next_u32().to_le_bytes()).collect();
    assert_eq!(bytes, words[..10]);
    let draws: Vec<u32> = (0..100).map(|_| other.random_range(10..20)).collect();
    assert!(draws.iter().all(|draw| (10..20).contains(draw)) && draws.iter().any(|&draw| draw != draws[0]));
}
