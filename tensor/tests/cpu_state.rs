//! State that is replaced by a kernel whose other values read it.

use primer_tensor::{DType, Data, Device, Program, State, Tensor};

use crate::cpu_support::numbers;

/// The output and the new state after one step.
fn step(device: &Device, program: &Program, s: &[f32], x: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let mut state = State::new(device);
    let shape = program.state().next().expect("one").1.clone();
    state.insert("s", shape, s).expect("fits");
    let mut executable = device.compile(program).expect("compiles");
    executable.run(&mut state, &[("x", Data::F32(x))]).expect("runs");
    (executable.output(0).expect("reads"), state.read("s").expect("reads"))
}

/// Rows of many blocks, of one, and a single one of many tasks.
#[test]
fn a_value_of_a_row_is_replaced_after_the_whole_row_has_read_it() {
    for (rows, length) in [(2, 65_536), (3, 5_000), (300, 70), (1, 300_000)] {
        let (s, x) = (Tensor::state("s", [rows, 1]), Tensor::data("x", [rows, length], DType::F32));
        let new = &s * 0.9;
        let reads_new = Program::trace(&[&x * &new], &[(s.clone(), new.clone())]).expect("traces");
        let reads_old = Program::trace(&[(&x * &s).exp() + &s], &[(s.clone(), new)]).expect("traces");
        let (start, values) = (numbers(1, rows), numbers(2, rows * length));
        for (program, what) in [(&reads_new, "new"), (&reads_old, "old")] {
            let expected = step(&Device::reference(), program, &start, &values);
            for threads in [1, 2, 4] {
                let found = step(&Device::cpu_with_threads(threads), program, &start, &values);
                let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * (1.0 + b.abs());
                let wrong = (0..values.len()).find(|&i| !close((&found.0[i], &expected.0[i])));
                assert_eq!(wrong, None, "{rows} × {length}, {threads} threads, reading the {what} state");
                assert!(found.1.iter().zip(&expected.1).all(close), "{rows} × {length}, {threads} threads: the state");
            }
        }
    }
}

/// The rows of a sum are another view of the state than the one that its new value comes from.
#[test]
fn a_sum_over_rows_reads_the_old_state() {
    let (s, m) = (Tensor::state("s", [2, 3, 4]), Tensor::state("m", [4]));
    let new = &s * 0.5 + 1.0;
    let sums = s.reshape([6, 4]).sum_axis(0).reshape([4]);
    let program = Program::trace(&[], &[(s, new), (m, sums)]).expect("traces");
    let start: Vec<f32> = (0..24).map(|i| i as f32).collect();
    for device in [Device::reference(), Device::cpu_with_threads(1), Device::cpu_with_threads(2)] {
        let mut state = State::new(&device);
        state.insert("s", [2, 3, 4], &start).expect("fits");
        state.insert("m", [4], &[0.0; 4]).expect("fits");
        device.compile(&program).expect("compiles").run(&mut state, &[]).expect("runs");
        assert_eq!(state.read("m").expect("reads"), [60.0, 66.0, 72.0, 78.0], "{device}");
        assert_eq!(state.read("s").expect("reads")[23], 12.5, "{device}");
    }
}

/// One number for all rows.
#[test]
fn a_number_is_replaced_after_all_have_read_it() {
    let (s, x) = (Tensor::state("s", [1]), Tensor::data("x", [65_536], DType::F32));
    let new = &s * 0.5;
    let program = Program::trace(&[&x * &new + &s], &[(s.clone(), new)]).expect("traces");
    let values = numbers(3, 65_536);
    let expected = step(&Device::reference(), &program, &[3.0], &values);
    for threads in [1, 2, 4] {
        let found = step(&Device::cpu_with_threads(threads), &program, &[3.0], &values);
        assert_eq!((found.1[0], expected.1[0]), (1.5, 1.5));
        assert!(found.0.iter().zip(&expected.0).all(|(a, b)| (a - b).abs() <= 1e-5), "{threads} threads");
    }
}
