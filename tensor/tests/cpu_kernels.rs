//! The other kernels on the CPU against scalar f64 loops, and whole programs against the oracle.

use primer_tensor::plan::{DepthwiseConv, DepthwiseConvFilterGrad, Kernel, View};

use crate::cpu_support::{assert_close, dense, indices, numbers, plan, run};

/// [batch, n, c] dense, and with batch and time exchanged, and with channels outermost.
fn layouts(buffer: u32, [batch, n, c]: [usize; 3]) -> [View; 3] {
    [
        dense(buffer, &[batch, n, c]),
        dense(buffer, &[n, batch, c]).permute(&[1, 0, 2]),
        dense(buffer, &[c, batch, n]).permute(&[1, 2, 0]),
    ]
}

/// The elements of a view in order.
fn elements(view: &View, buffer: &[f32]) -> Vec<f32> {
    crate::cpu_support::positions(view).into_iter().map(|p| buffer[p]).collect()
}

#[test]
fn depthwise_convolution_and_its_adjoints() {
    for dims in [[1, 1, 1], [2, 5, 3], [3, 40, 70], [4, 0, 3], [0, 4, 3], [1, 7, 13], [2, 4, 32], [2, 129, 300]] {
        let [batch, n, c] = dims;
        for taps in [1, 3, 7, 31] {
            for (x, y) in layouts(0, dims).into_iter().zip(layouts(2, dims)) {
                let w = dense(1, &[taps, c]);
                let lengths = [batch * n * c, taps * c, batch * n * c];
                let buffers = [numbers(1, lengths[0]), numbers(2, lengths[1]), numbers(3, lengths[2])];
                let (xs, ws, dys) = (elements(&x, &buffers[0]), &buffers[1], elements(&y, &buffers[2]));
                let at = |v: &[f32], b: usize, t: usize, ch: usize| f64::from(v[(b * n + t) * c + ch]);
                for adjoint in [false, true] {
                    let conv = DepthwiseConv { x: x.clone(), w: w.clone(), out: y.clone(), adjoint };
                    let found = run(&plan(&lengths, Kernel::DepthwiseConv(conv)), &buffers);
                    let mut expected = vec![];
                    for b in 0..batch {
                        for t in 0..n {
                            for ch in 0..c {
                                let tap = |j: usize| {
                                    let s = if adjoint { Some(t + j).filter(|&s| s < n) } else { t.checked_sub(j) };
                                    s.map_or(0.0, |s| f64::from(ws[j * c + ch]) * at(&xs, b, s, ch))
                                };
                                expected.push((0..taps).map(tap).sum());
                            }
                        }
                    }
                    let what = format!("{dims:?} {taps} taps, adjoint {adjoint}");
                    assert_close(&elements(&y, &found[2]), &expected, 1e-5, &what);
                }
                let grad = DepthwiseConvFilterGrad { x: x.clone(), dy: y.clone(), out: w.clone() };
                let found = run(&plan(&lengths, Kernel::DepthwiseConvFilterGrad(grad)), &buffers);
                let mut expected = vec![];
                for j in 0..taps {
                    for ch in 0..c {
                        let pairs = (0..batch).flat_map(|b| (j..n).map(move |t| (b, t)));
                        expected.push(pairs.map(|(b, t)| at(&dys, b, t, ch) * at(&xs, b, t - j, ch)).sum());
                    }
                }
                assert_close(&found[1], &expected, 1e-4, &format!("{dims:?} {taps} taps, filter gradient"));
            }
        }
    }
}

#[test]
fn gather_and_scatter_clamp_and_keep_order() {
    for (rows, d, count) in [(5, 3, 11), (1, 1, 4), (300, 70, 900), (7, 0, 3), (4, 5, 0)] {
        let picked: Vec<u32> = (0..count as u32).map(|i| i.wrapping_mul(2_654_435_761) % (rows as u32 + 2)).collect();
        let row = |i: usize| (picked[i] as usize).min(rows - 1);
        let buffers = [numbers(4, rows * d), indices(&picked), numbers(5, count * d)];
        let lengths = [rows * d, count, count * d];
        let (table, at, updates) = (dense(0, &[rows, d]), dense(1, &[count]), dense(2, &[count, d]));
        let gather = Kernel::Gather { table: table.clone(), indices: at.clone(), out: updates.clone() };
        let found = run(&plan(&lengths, gather), &buffers);
        let expected: Vec<f64> = (0..count)
            .flat_map(|i| (0..d).map(move |c| (i, c)))
            .map(|(i, c)| buffers[0][row(i) * d + c].into())
            .collect();
        assert_close(&found[2], &expected, 0.0, "gather");
        let scatter = Kernel::ScatterAdd { indices: at, updates, out: table };
        let found = run(&plan(&lengths, scatter), &buffers);
        // In f32 and in the order of the indices: bit for bit.
        let mut expected = vec![0f32; rows * d];
        for i in 0..count {
            for c in 0..d {
                expected[row(i) * d + c] += buffers[2][i * d + c];
            }
        }
        assert_eq!(found[0], expected, "scatter {rows}x{d}");
    }
}

#[test]
fn linear_recurrence() {
    for dims in [[1, 1, 1], [3, 17, 5], [2, 40, 130], [2, 0, 3], [0, 3, 3]] {
        for (a, b) in layouts(0, dims).into_iter().zip(layouts(1, dims)) {
            for (reverse, start) in [(false, 0.0), (true, 1.5)] {
                let out = dense(2, &dims);
                let n: usize = dims.iter().product();
                let buffers = [numbers(6, n).iter().map(|x| x * 0.5).collect(), numbers(7, n), vec![7.0; n]];
                let (av, bv) = (elements(&a, &buffers[0]), elements(&b, &buffers[1]));
                let kernel = Kernel::LinRec { a: a.clone(), b: b.clone(), out, reverse, start };
                let found = run(&plan(&[n; 3], kernel), &buffers);
                let mut expected = vec![0.0; n];
                for o in 0..dims[0] {
                    for i in 0..dims[2] {
                        let mut s = f64::from(start);
                        for step in 0..dims[1] {
                            let k = if reverse { dims[1] - 1 - step } else { step };
                            let at = (o * dims[1] + k) * dims[2] + i;
                            s = f64::from(av[at]) * s + f64::from(bv[at]);
                            expected[at] = s;
                        }
                    }
                }
                assert_close(&found[2], &expected, 1e-5, &format!("{dims:?} reverse {reverse}"));
            }
        }
    }
}

#[test]
fn a_view_past_its_buffer_is_an_error() {
    let kernel = Kernel::Gather { table: dense(0, &[5, 3]), indices: dense(1, &[4]), out: dense(2, &[4, 3]) };
    let device = primer_tensor::cpu::CpuDevice::new(Some(1));
    // SAFETY: the views fit one another; whether they fit the buffers is what is asked.
    let is_ok = |lengths: [usize; 3]| unsafe { device.runner(&plan(&lengths, kernel.clone())) }.is_ok();
    assert!(is_ok([15, 4, 12]));
    for lengths in [[14, 4, 12], [15, 3, 12], [15, 4, 11]] {
        assert!(!is_ok(lengths), "{lengths:?}");
    }
}

#[test]
fn a_program_runs_on_shared_state() {
    use primer_tensor::{DType, Data, Device, Program, State, Tensor};

    let (x, w) = (Tensor::data("x", [2, 3], DType::F32), Tensor::state("w", [3, 2]));
    let y = x.matmul(&w);
    let loss = y.square().mean();
    let step = Program::trace(&[loss, w.clone()], &[(w.clone(), &w * 0.5)]).expect("a program");
    for threads in [1, 2] {
        let device = Device::cpu_with_threads(threads);
        let mut state = State::new(&device);
        state.insert("w", [3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).expect("six elements");
        let mut step = device.compile(&step).expect("a plan");
        assert!(step.output(0).is_err(), "nothing to read before a run");
        let inputs = [1f32, 0.0, 0.0, 0.0, 1.0, 0.0];
        for run in 0..3 {
            step.run(&mut state, &[("x", Data::from(&inputs[..]))]).expect("a run");
            let scale = 0.5f32.powi(run);
            assert_eq!(step.output(0).expect("a loss"), [7.5 * scale * scale]);
            assert_eq!(step.output(1).expect("w before its update")[5], 6.0 * scale);
            // The entry's memory may move between runs.
            let w = state.read("w").expect("w");
            state.insert("w", [3, 2], &w).expect("six elements");
        }
        assert_eq!(state.read("w").expect("w"), [0.125, 0.25, 0.375, 0.5, 0.625, 0.75]);
        let times = step.profile(&mut state, &[("x", Data::from(&inputs[..]))]).expect("a run");
        assert_eq!(times.len(), step.report().expect("a plan").launches);
    }
}
