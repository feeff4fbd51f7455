//! Random compositions of primitives: the gradient against central differences, in f64 on the reference.

use std::cell::Cell;

use primer_autodiff::check::Options;
use primer_autodiff::check_gradient;
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};

use crate::support::leaves::{Built, wide};
use crate::support::programs::recipe;

const PROGRAMS: u32 = 500;

#[test]
fn gradients_of_random_programs() {
    let config = ProptestConfig {
        cases: PROGRAMS,
        source_file: Some(file!()),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    };
    let (checked, discarded) = (Cell::new(0usize), Cell::new(0usize));
    let mut runner = TestRunner::new(config);
    let result = runner.run(&recipe(&[2, 1, 3, 4], 48, 12), |recipe| {
        let Built { graph, loss, wrt, inputs, .. } = recipe.build();
        let inputs = wide(&inputs);
        let report = check_gradient(&graph, loss, &wrt, &inputs, Options { probes: 6, ..Options::default() })
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        checked.set(checked.get() + report.probes.len());
        discarded.set(discarded.get() + report.discarded);
        prop_assert!(report.max_error() < 1e-6, "{:?}\n{graph}", report.worst());
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let share = discarded.get() as f64 / (checked.get() + discarded.get()) as f64;
    assert!(share <= 0.3, "{share} of all probes said nothing");
}
