//! Runs programs on a GPU device and compares with the oracle.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::OnceLock;

use primer_tensor::gpu::{GpuDevice, GpuOptions};
use primer_tensor::reference::{Precision, evaluate};
use primer_tensor::{Data, Device, Executable, Op, Program, State, Tensor};

/// Host values of an input.
#[derive(Clone)]
pub enum Values {
    F32(Vec<f32>),
    U32(Vec<u32>),
}

/// A device with these options: on the software adapter, else the first real one.
pub fn open(options: GpuOptions) -> GpuDevice {
    let device = GpuDevice::for_tests(options).unwrap_or_else(|error| panic!("GPU tests need an adapter: {error}"));
    static NAMED: OnceLock<()> = OnceLock::new();
    // Straight to stderr: the harness would hide it.
    NAMED.get_or_init(|| {
        let _ = writeln!(std::io::stderr(), "GPU tests run on {device}");
    });
    device
}

/// Values in [-1, 1) that differ from each other and from run to run not at all.
pub fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A program bound to values.
pub struct Case {
    pub outputs: Vec<Tensor>,
    pub updates: Vec<(Tensor, Tensor)>,
    pub values: HashMap<String, Values>,
}

impl Case {
    pub fn new(outputs: impl Into<Vec<Tensor>>) -> Self {
        Self { outputs: outputs.into(), updates: Vec::new(), values: HashMap::new() }
    }

    pub fn update(mut self, state: &Tensor, value: &Tensor) -> Self {
        self.updates.push((state.clone(), value.clone()));
        self
    }

    pub fn with(mut self, leaf: &Tensor, values: Values) -> Self {
        self.values.insert(leaf.name().expect("a leaf").to_owned(), values);
        self
    }

    pub fn program(&self) -> Program {
        Program::trace(&self.outputs, &self.updates).expect("traces")
    }

    /// Values for every leaf that was given none: noise, and indices below 5.
    fn filled(&self, program: &Program) -> HashMap<String, Values> {
        let mut values = self.values.clone();
        for (i, input) in program.graph.inputs().iter().enumerate() {
            let node = program.graph.node(input.node);
            let noise = noise(i as u64 + 1, node.shape.numel());
            values.entry(input.name.clone()).or_insert_with(|| match node.dtype {
                primer_tensor::DType::U32 => Values::U32(noise.iter().map(|x| (x.abs() * 5.0) as u32).collect()),
                _ => Values::F32(noise),
            });
        }
        values
    }

    /// Compiles and runs once; gives the outputs and then the updated states.
    pub fn run(&self, device: &GpuDevice) -> (Executable, Vec<Vec<f32>>) {
        let device = Device::Gpu(device.clone());
        let program = self.program();
        let values = self.filled(&program);
        let mut state = State::new(&device);
        for (name, shape) in program.state() {
            let Values::F32(values) = &values[name] else { panic!("state {name} is f32") };
            state.insert(name, shape.clone(), values).expect("uploads");
        }
        let inputs: Vec<(&str, Data<'_>)> = values
            .iter()
            .map(|(name, values)| match values {
                Values::F32(values) => (name.as_str(), Data::F32(values)),
                Values::U32(values) => (name.as_str(), Data::U32(values)),
            })
            .collect();
        let mut executable = device.compile(&program).expect("compiles");
        executable.run(&mut state, &inputs).expect("runs");
        let mut found: Vec<Vec<f32>> =
            (0..self.outputs.len()).map(|i| executable.output(i).expect("reads back")).collect();
        found.extend(self.updates.iter().map(|(s, _)| state.read(s.name().expect("named")).expect("reads back")));
        (executable, found)
    }

    /// Runs and compares with the oracle.
    pub fn check(&self, device: &GpuDevice) -> Executable {
        self.check_on(std::slice::from_ref(device)).swap_remove(0)
    }

    /// The same on several devices.
    pub fn check_on(&self, devices: &[GpuDevice]) -> Vec<Executable> {
        let expected = self.expected();
        let check = |device: &GpuDevice| {
            let (executable, found) = self.run(device);
            for (i, (found, (exact, rounded))) in found.iter().zip(&expected).enumerate() {
                close(i, found, exact, rounded);
            }
            executable
        };
        devices.iter().map(check).collect()
    }

    /// For each output and updated state: the values in f64, and with every operation rounded to f32.
    fn expected(&self) -> Vec<(Vec<f64>, Vec<f64>)> {
        let program = self.program();
        let inputs: HashMap<String, Vec<f64>> = self
            .filled(&program)
            .into_iter()
            .map(|(name, values)| match values {
                Values::F32(values) => (name, values.into_iter().map(f64::from).collect()),
                Values::U32(values) => (name, values.into_iter().map(f64::from).collect()),
            })
            .collect();
        let [exact, rounded] =
            [Precision::F64, Precision::RoundedF32].map(|p| evaluate(&program, &inputs, p).expect("evaluates"));
        for (state, _) in &program.updates {
            assert!(matches!(program.graph.node(*state).op, Op::Input(_)));
        }
        program.roots().map(|id| (exact[&id].data.clone(), rounded[&id].data.clone())).collect()
    }
}

/// Within 16 times what rounding to f32 does to the tensor, and 4 ulp of its scale; the same class where it isn't
/// finite.
pub fn close(output: usize, found: &[f32], exact: &[f64], rounded: &[f64]) {
    assert_eq!(found.len(), exact.len(), "output {output}: length");
    let finite = |x: &f64| if x.is_finite() { x.abs() } else { 0.0 };
    let scale = rounded.iter().map(finite).fold(0.0, f64::max);
    let drift = exact.iter().zip(rounded).map(|(a, b)| finite(&(a - b))).fold(0.0, f64::max);
    let tolerance = 16.0 * drift + 4.0 * f64::from(f32::EPSILON) * scale + f64::from(f32::MIN_POSITIVE);
    for (i, (&found, &expected)) in found.iter().zip(rounded).enumerate() {
        let found = f64::from(found);
        let same = if expected.is_finite() {
            (found - expected).abs() <= tolerance
        } else if expected.is_nan() {
            found.is_nan()
        } else {
            found == expected
        };
        assert!(same, "output {output}, element {i}: {found:e}, expected {expected:e} ± {tolerance:e}");
    }
}
