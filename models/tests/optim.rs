//! Optimizers against their equations in scalar f64, with clipping at work.

use primer_models::nn::{Init, ParamSpec};
use primer_models::optim::{NON_FINITE, Optimizer, OptimizerConfig};
use primer_tensor::{Data, Device, Program, State, Tensor};

/// Some parameters with a gradient that stays the same.
struct Case {
    specs: Vec<ParamSpec>,
    start: Vec<Vec<f32>>,
    gradients: Vec<Vec<f32>>,
}

fn wave(len: usize, step: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * step).sin() + 0.1).collect()
}

impl Case {
    fn new(shapes: &[(&str, &[usize])]) -> Self {
        let specs = shapes.iter().map(|(name, shape)| ParamSpec {
            name: (*name).into(),
            shape: shape.to_vec(),
            init: Init::Normal(1.0),
        });
        let specs: Vec<ParamSpec> = specs.collect();
        let start = specs.iter().map(|spec| wave(spec.numel(), 0.7)).collect();
        let gradients = specs.iter().map(|spec| wave(spec.numel(), 1.3)).collect();
        Self { specs, start, gradients }
    }

    /// The parameters after `steps` steps at half the peak rate, in f64 on the reference device.
    fn after(&self, config: &OptimizerConfig, steps: u64) -> Vec<Vec<f32>> {
        let weights: Vec<Tensor> = self.specs.iter().map(|s| Tensor::state(&s.name, s.shape.as_slice())).collect();
        let gradients = self.specs.iter().zip(&self.gradients);
        let gradients: Vec<Tensor> =
            gradients.map(|(spec, values)| Tensor::from_slice(values, spec.shape.as_slice()).unwrap()).collect();
        let updates = config.updates(&self.specs, &weights, &gradients);
        let device = Device::reference();
        let mut state = State::new(&device);
        for (spec, values) in self.specs.iter().zip(&self.start) {
            state.insert(&spec.name, spec.shape.as_slice(), values).unwrap();
        }
        config.insert_start(&mut state, &self.specs).unwrap();
        let roots: Vec<Tensor> = updates.iter().flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
        let bound = Tensor::bound_data(&roots);
        let mut executable = device.compile(&Program::trace(&[], &updates).unwrap()).unwrap();
        for step in 0..steps {
            let scalars: Vec<_> = config.scalars(0.5, step).into_iter().map(|(name, x)| (name, [x])).collect();
            let mut inputs: Vec<(&str, Data<'_>)> =
                bound.iter().map(|(name, data)| (name.as_str(), data.as_data())).collect();
            inputs.extend(scalars.iter().map(|(name, x)| (*name, Data::F32(x))));
            executable.run(&mut state, &inputs).unwrap();
        }
        assert_eq!(state.read(NON_FINITE).unwrap(), [0.0]);
        self.specs.iter().map(|spec| state.read(&spec.name).unwrap()).collect()
    }

    /// Gradients as the rule sees them, clipped to `limit`; none for 0.
    fn clipped(&self, limit: f64) -> Vec<Vec<f64>> {
        let norm = self.gradients.iter().flatten().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let scale = if limit > 0.0 { (limit / norm).min(1.0) } else { 1.0 };
        self.gradients.iter().map(|all| all.iter().map(|&g| f64::from(g) * scale).collect()).collect()
    }
}

fn near(found: &[Vec<f32>], expected: &[Vec<f64>]) {
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        for (i, (&a, &b)) in found.iter().zip(expected).enumerate() {
            assert!((f64::from(a) - b).abs() < 1e-5, "{at}, {i}: {a} {b}");
        }
    }
}

fn wide(values: &[Vec<f32>]) -> Vec<Vec<f64>> {
    values.iter().map(|all| all.iter().map(|&x| f64::from(x)).collect()).collect()
}

#[test]
fn adamw_follows_its_equations() {
    let config = OptimizerConfig { learning_rate: 0.1, clip_norm: 1.0, ..OptimizerConfig::default() };
    let case = Case::new(&[("matrix", &[2, 2]), ("vector", &[2])]);
    let (g, mut p) = (case.clipped(1.0), wide(&case.start));
    for (at, spec) in case.specs.iter().enumerate() {
        for (i, p) in p[at].iter_mut().enumerate() {
            let (g, mut m, mut v) = (g[at][i], 0.0, 0.0);
            for t in 1..=3 {
                m = config.beta1 * m + (1.0 - config.beta1) * g;
                v = config.beta2 * v + (1.0 - config.beta2) * g * g;
                let (mh, vh) = (m / (1.0 - config.beta1.powi(t)), v / (1.0 - config.beta2.powi(t)));
                let decay = if spec.shape.len() == 2 { config.weight_decay * *p } else { 0.0 };
                *p -= 0.05 * (mh / (f64::sqrt(vh) + config.epsilon) + decay);
            }
        }
    }
    near(&case.after(&config, 3), &p);
}

#[test]
fn adafactor_follows_its_equations() {
    let config = OptimizerConfig {
        optimizer: Optimizer::Adafactor,
        learning_rate: 0.1,
        clip_norm: 0.0,
        ..OptimizerConfig::default()
    };
    // Two factored matrices, a matrix that is too narrow for that, and a vector.
    let mut case = Case::new(&[("experts", &[2, 128, 130]), ("narrow", &[127, 200]), ("vector", &[5])]);
    // Far from a product of rows and columns, so that updates are large.
    for (i, g) in case.gradients[0].iter_mut().enumerate() {
        let (row, column) = (i / 130 % 128, i % 130);
        *g *= if column > row { 0.01 } else { 1.0 + (row * column) as f32 };
    }
    let names: Vec<String> = config.entries(&case.specs).into_iter().map(|(name, _)| name).collect();
    let expected = ["adafactor.rows.experts", "adafactor.columns.experts", "adafactor.v.narrow", "adafactor.v.vector"];
    assert_eq!(names, expected);
    let (g, mut p) = (case.clipped(0.0), wide(&case.start));
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let rms = |x: &[f64]| mean(&x.iter().map(|x| x * x).collect::<Vec<_>>()).sqrt();
    for (at, spec) in case.specs.iter().enumerate() {
        let squared: Vec<f64> = g[at].iter().map(|g| g * g + 1e-30).collect();
        // The gradient is the same in every step, so its moments are its squares' from the first step on: there the
        // decay is 0.
        let moment: Vec<f64> = if at == 0 {
            let (rows, columns) = (128, 130);
            let matrices = squared.chunks(rows * columns).flat_map(|matrix| {
                let of_row: Vec<f64> = matrix.chunks(columns).map(mean).collect();
                let column = |c: usize| (0..rows).map(|r| matrix[r * columns + c]).collect::<Vec<_>>();
                let of_column: Vec<f64> = (0..columns).map(|c| mean(&column(c))).collect();
                let all = mean(&of_row);
                let product = |i: usize| of_row[i / columns] * of_column[i % columns] / all;
                (0..rows * columns).map(product).collect::<Vec<_>>()
            });
            matrices.collect()
        } else {
            squared
        };
        for _ in 0..3 {
            let u: Vec<f64> = g[at].iter().zip(&moment).map(|(g, v)| g / v.sqrt()).collect();
            let rate = 0.05 * rms(&p[at]).max(1e-3) / rms(&u).max(1.0);
            assert!(at > 0 || rms(&u) > 1.0, "{}: clipping is at work", spec.name);
            p[at].iter_mut().zip(&u).for_each(|(p, u)| *p -= rate * u);
        }
    }
    near(&case.after(&config, 3), &p);
}

#[test]
fn the_decay_of_adafactor_begins_at_0_and_tends_to_1() {
    let config = OptimizerConfig { optimizer: Optimizer::Adafactor, ..OptimizerConfig::default() };
    let decay = |step| f64::from(config.scalars(1.0, step)[0].1);
    assert_eq!(decay(0), 0.0);
    assert!((decay(9_999) - (1.0 - 1e4f64.powf(-0.8))).abs() < 1e-6);
}
