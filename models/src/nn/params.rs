//! Parameters: named, shaped, and with a start that a seed fixes.

use primer_tensor::Tensor;

use crate::rng::Stream;

/// How a parameter starts.
#[derive(Debug, Clone, PartialEq)]
pub enum Init {
    /// Every element the same.
    Constant(f64),
    /// Normal with that standard deviation.
    Normal(f64),
    /// Normal with that standard deviation, drawn again beyond twice it.
    TruncatedNormal(f64),
    /// One constant a row: the taps of a depthwise convolution, nearest position first.
    Rows(Vec<f64>),
    /// The taps [width, c] of a depthwise convolution: normal with standard deviation 1/√width.
    Taps,
    /// Side by side in equal shares of the columns: several matrices stored as one.
    Columns(Vec<Init>),
}

/// One parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamSpec {
    /// Its name, in checkpoints too.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// How it starts.
    pub init: Init,
}

impl ParamSpec {
    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether weight decay applies: to matrices, the embedding too; not to vectors and not to taps.
    pub fn decays(&self) -> bool {
        self.shape.len() >= 2 && !matches!(self.init, Init::Rows(_) | Init::Taps | Init::Constant(_))
    }
}

/// The parameters of a model, in the order of their creation.
#[derive(Debug, Default)]
pub struct Params {
    specs: Vec<ParamSpec>,
    tensors: Vec<Tensor>,
}

impl Params {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The outermost scope, whose names have no prefix.
    pub fn root(&mut self) -> Scope<'_> {
        Scope { params: self, prefix: String::new() }
    }

    /// What has been created.
    pub fn into_parts(self) -> (Vec<ParamSpec>, Vec<Tensor>) {
        (self.specs, self.tensors)
    }
}

/// A place in the tree of names.
#[derive(Debug)]
pub struct Scope<'a> {
    params: &'a mut Params,
    prefix: String,
}

impl Scope<'_> {
    /// The scope `name` inside this one.
    pub fn child(&mut self, name: impl std::fmt::Display) -> Scope<'_> {
        Scope { prefix: format!("{}{name}.", self.prefix), params: self.params }
    }

    /// The full name of `name` here.
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Creates a parameter.
    pub fn param(&mut self, name: &str, shape: &[usize], init: Init) -> Tensor {
        let name = self.name(name);
        let tensor = Tensor::state(&name, shape);
        self.params.specs.push(ParamSpec { name, shape: shape.to_vec(), init });
        self.params.tensors.push(tensor.clone());
        tensor
    }

    /// A matrix `[inputs, outputs]`, N(0, 1/inputs).
    pub fn dense(&mut self, name: &str, inputs: usize, outputs: usize) -> Tensor {
        self.param(name, &[inputs, outputs], Init::Normal((inputs as f64).powf(-0.5)))
    }
}

/// The values that `spec` starts with: a pure function of the seed, the name and the shape, row-major.
pub fn initial_values(spec: &ParamSpec, seed: u64) -> Vec<f32> {
    let columns = spec.shape.last().copied().unwrap_or(1);
    let mut values = vec![0.0; spec.numel()];
    let normal = Init::Normal((spec.shape.first().copied().unwrap_or(1) as f64).powf(-0.5));
    let init = if spec.init == Init::Taps { &normal } else { &spec.init };
    fill(&mut values, columns, 0..columns, init, seed, &spec.name);
    values
}

fn fill(values: &mut [f32], columns: usize, range: std::ops::Range<usize>, init: &Init, seed: u64, name: &str) {
    if let Init::Columns(parts) = init {
        let width = range.len() / parts.len().max(1);
        for (i, part) in parts.iter().enumerate() {
            let start = range.start + i * width;
            fill(values, columns, start..start + width, part, seed, &format!("{name}.{i}"));
        }
        return;
    }
    let stream = Stream::new(seed, name);
    let width = range.len();
    for (r, row) in values.chunks_mut(columns).enumerate() {
        for (c, value) in row[range.clone()].iter_mut().enumerate() {
            let index = (r * width + c) as u64;
            *value = draw(init, stream, index, r) as f32;
        }
    }
}

/// Element `index` of a parameter, in its row `row`.
fn draw(init: &Init, stream: Stream, index: u64, row: usize) -> f64 {
    /// Draws set aside for each element; so many rejections in a row have a chance of 10⁻²¹.
    const ATTEMPTS: u64 = 16;
    match init {
        Init::Constant(value) => *value,
        Init::Normal(deviation) => deviation * stream.normal(index),
        Init::TruncatedNormal(deviation) => {
            let draws = (0..ATTEMPTS).map(|attempt| stream.normal(index * ATTEMPTS + attempt));
            deviation * draws.into_iter().find(|x| x.abs() <= 2.0).unwrap_or(0.0)
        }
        Init::Rows(rows) => rows.get(row).copied().unwrap_or(0.0),
        Init::Taps | Init::Columns(_) => 0.0, // the caller's and that of `fill`
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(shape: &[usize], init: Init) -> ParamSpec {
        ParamSpec { name: "p".into(), shape: shape.to_vec(), init }
    }

    #[test]
    fn joined_columns_start_apart() {
        let joined = spec(&[50, 20], Init::Columns(vec![Init::Constant(3.0), Init::Normal(0.1)]));
        let values = initial_values(&joined, 1);
        let (left, right): (Vec<f32>, Vec<f32>) = (
            values.chunks(20).flat_map(|r| r[..10].to_vec()).collect(),
            values.chunks(20).flat_map(|r| r[10..].to_vec()).collect(),
        );
        assert!(left.iter().all(|&x| x == 3.0));
        let deviation = (right.iter().map(|x| x * x).sum::<f32>() / right.len() as f32).sqrt();
        assert!((0.08..0.12).contains(&deviation), "{deviation}");
    }

    #[test]
    fn truncated_draws_stay_within_two_deviations() {
        let values = initial_values(&spec(&[40, 40], Init::TruncatedNormal(0.5)), 2);
        assert!(values.iter().all(|x| x.abs() <= 1.0));
        assert!(values.iter().any(|x| x.abs() > 0.9));
    }

    #[test]
    fn rows_are_taps() {
        assert_eq!(initial_values(&spec(&[2, 2], Init::Rows(vec![0.5, 0.25])), 0), [0.5, 0.5, 0.25, 0.25]);
    }
}
