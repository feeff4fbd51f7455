//! Times a training step of `vanilla` or `primer_ez` in burn, and prints the line of JSON that `common.py` prints for
//! the Python peers; with `--check-in FILE --check-out FILE`, computes what `check.py` compares.

mod check;
mod model;
mod train;

use std::collections::HashMap;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde_json::json;

use model::{Fixed, Model, SIZES, Size, Style};

/// Batches made before the clock starts and trained on in turns.
const BATCHES: usize = 8;
/// Untimed steps after the first one.
const WARM_UP: usize = 3;

/// The arguments: names and values in pairs.
struct Arguments(HashMap<String, String>);

impl Arguments {
    fn read() -> Self {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let pair = |pair: &[String]| match pair {
            [name, value] if name.starts_with("--") => (name[2..].to_owned(), value.clone()),
            other => panic!("arguments are pairs of --name and value, not {other:?}"),
        };
        Self(words.chunks(2).map(pair).collect())
    }

    fn get<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.0.get(name).map_or(default, String::as_str)
    }

    fn number<T: std::str::FromStr>(&self, name: &str, default: &str) -> T {
        let text = self.get(name, default);
        text.parse().unwrap_or_else(|_| panic!("--{name} {text} is no number"))
    }
}

fn device(backend: &str) -> Device {
    let device = match backend {
        "flex" => Device::flex(),
        // The software adapter.
        #[cfg(feature = "wgpu")]
        "wgpu" => Device::wgpu(burn::tensor::DeviceKind::Cpu),
        other => panic!("there is no backend {other} in this program; `wgpu` is a feature"),
    };
    device.autodiff()
}

/// A batch of token ids and the ids that follow them.
pub type Batch = (Tensor<2, Int>, Tensor<1, Int>);

fn tokens<const D: usize>(ids: Vec<i32>, shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    Tensor::from_data(TensorData::new(ids, shape), device)
}

/// Random tokens; what they are matters to nothing that is measured.
fn batches(size: Size, device: &Device) -> Vec<Batch> {
    let mut state = 1u32;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as i32 % size.vocab as i32
    };
    let mut ids = || -> Vec<i32> { (0..size.batch * size.seq).map(|_| draw()).collect() };
    let batch = |_| {
        let (inputs, targets) = (ids(), ids());
        (tokens(inputs, [size.batch, size.seq], device), tokens(targets, [size.batch * size.seq], device))
    };
    (0..BATCHES).map(batch).collect()
}

fn number(loss: Tensor<1>) -> f32 {
    loss.into_data().try_to_vec::<f32>().expect("one f32")[0]
}

/// The most memory that this process has had in RAM, in MB, where Linux tells it.
fn peak_resident_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0 / 1e6)
}

fn main() {
    let arguments = Arguments::read();
    let size = *SIZES.iter().find(|size| size.name == arguments.get("size", "R")).expect("--size R or S");
    let (attention, conv) = (arguments.get("attention", "library"), arguments.get("conv", "shift"));
    let arch = arguments.get("arch", "vanilla");
    let style = Style {
        primer_ez: arch == "primer_ez",
        library_attention: attention == "library",
        library_conv: conv == "library",
    };
    let threads: usize = arguments.number("threads", "1");
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("the first to set the threads");
    let backend = arguments.get("backend", "flex");
    let device = device(backend);
    let fixed = Fixed::new(size, style, &device);
    let mut model = Model::new(size, style, &device);
    if let (Some(from), Some(to)) = (arguments.0.get("check-in"), arguments.0.get("check-out")) {
        return check::run(model, size, style, &fixed, &device, from, to);
    }
    let parameters = model.num_params();
    let mut optimizer = train::optimizer();
    let data = batches(size, &device);
    let mut data = data.iter().cycle().cloned();
    let mut step = || {
        let batch = data.next().expect("a cycle");
        let (next, loss) = train::step(model.clone(), &mut optimizer, &fixed, size.learning_rate, batch);
        model = next;
        loss
    };

    let start = Instant::now();
    let mut losses = vec![number(step())];
    let first_step = start.elapsed().as_secs_f64();
    // As `measure` of common.py.
    let mut run = |steps: usize| {
        let start = Instant::now();
        for _ in 1..steps {
            step();
        }
        losses.push(number(step()));
        start.elapsed().as_secs_f64() / steps as f64
    };
    let seconds: f64 = arguments.number("seconds", "1");
    let steps = ((seconds / run(WARM_UP)).round() as usize).max(1);
    let blocks: usize = arguments.number("blocks", "5");
    let times: Vec<f64> = (0..blocks).map(|_| 1e3 * run(steps)).collect();
    assert!(losses.iter().all(|loss| loss.is_finite()), "the loss is not finite: {losses:?}");

    let mut sorted = times.clone();
    sorted.sort_by(f64::total_cmp);
    let ms = (sorted[(blocks - 1) / 2] + sorted[blocks / 2]) / 2.0;
    let line = json!({
        "peer": format!("burn-{backend}"), "arch": arch, "size": size.name, "threads": threads,
        "attention": attention, "conv": style.primer_ez.then_some(conv),
        "parameters": parameters,
        "ms": ms, "tokens_per_second": 1e3 * (size.batch * size.seq) as f64 / ms,
        "peak_resident_mb": peak_resident_mb(),
        "first_step_ms": 1e3 * first_step, "block_ms": times, "steps_a_block": steps, "losses": losses,
        "versions": { "burn": "0.22.1" },
    });
    println!("{line}");
}
