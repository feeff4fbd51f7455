//! The models of `models/src/arch`, as a user of burn would write them.

use burn::module::{Initializer, Module, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::module::{attention, conv1d, embedding};
use burn::tensor::ops::{AttentionModuleOptions, ConvOptions};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// A decoder-only language model and the batch that it is trained on: `SIZES` of `common.py`.
#[derive(Clone, Copy)]
pub struct Size {
    pub name: &'static str,
    pub d: usize,
    pub layers: usize,
    pub heads: usize,
    pub ff: usize,
    pub seq: usize,
    pub batch: usize,
    pub vocab: usize,
    pub learning_rate: f64,
}

pub const SIZES: [Size; 2] = [
    Size { name: "R", d: 256, layers: 4, heads: 8, ff: 1024, seq: 128, batch: 16, vocab: 1024, learning_rate: 3e-3 },
    Size { name: "S", d: 64, layers: 2, heads: 4, ff: 256, seq: 64, batch: 16, vocab: 256, learning_rate: 6e-3 },
];

const NORM_EPSILON: f64 = 1e-6;
const TAPS: [f32; 3] = [0.5, 1.0 / 6.0, 1.0 / 6.0];

/// How a model is written.
#[derive(Clone, Copy)]
pub struct Style {
    /// The squared ReLU, and a convolution over time after each projection.
    pub primer_ez: bool,
    /// The library's attention, instead of products and a softmax.
    pub library_attention: bool,
    /// The library's convolution, instead of a sum of shifted products.
    pub library_conv: bool,
}

/// h = x + Attention(LN(x)); h + FFN(LN(h))
#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    wqkv: Linear,
    /// `[3, 3·d]`, the present position first.
    taps_qkv: Option<Param<Tensor<2>>>,
    wo: Linear,
    norm2: LayerNorm,
    w1: Linear,
    w2: Linear,
}

/// A decoder-only language model with one embedding for input and output.
#[derive(Module, Debug)]
pub struct Model {
    embedding: Param<Tensor<2>>,
    blocks: Vec<Block>,
    final_norm: LayerNorm,
}

/// What a forward pass needs beside the parameters.
pub struct Fixed {
    size: Size,
    style: Style,
    /// `[1, seq, d]`
    positions: Tensor<3>,
    /// `[1, 1, seq, seq]`, true where a query may not look.
    future: Tensor<4, Bool>,
}

impl Fixed {
    pub fn new(size: Size, style: Style, device: &Device) -> Self {
        let n = size.seq;
        let positions = TensorData::new(sinusoid(n, size.d), [1, n, size.d]);
        let future: Vec<bool> = (0..n * n).map(|i| i % n > i / n).collect();
        Self {
            size,
            style,
            positions: Tensor::from_data(positions, device),
            future: Tensor::from_data(TensorData::new(future, [1, 1, n, n]), device),
        }
    }

    /// The same for sequences of another length.
    pub fn with_seq(&self, seq: usize, device: &Device) -> Self {
        Self::new(Size { seq, ..self.size }, self.style, device)
    }
}

/// `seq` rows of `d`: sines, then cosines, as `models/src/nn/positions.rs`.
fn sinusoid(seq: usize, d: usize) -> Vec<f32> {
    let half = d / 2;
    let step = 10_000f64.ln() / (half - 1).max(1) as f64;
    let angle = |t: usize, i: usize| t as f64 * (-step * i as f64).exp();
    let row = |t| (0..d).map(move |i| if i < half { angle(t, i).sin() } else { angle(t, i - half).cos() } as f32);
    (0..seq).flat_map(row).collect()
}

impl Block {
    fn new(size: Size, style: Style, device: &Device) -> Self {
        let norm = || LayerNormConfig::new(size.d).with_epsilon(NORM_EPSILON).init(device);
        let linear = |inputs: usize, outputs: usize, bias: bool| {
            let normal = Initializer::Normal { mean: 0.0, std: (inputs as f64).powf(-0.5) };
            LinearConfig::new(inputs, outputs).with_bias(bias).with_initializer(normal).init(device)
        };
        let taps: Vec<f32> = TAPS.iter().flat_map(|&tap| vec![tap; 3 * size.d]).collect();
        let taps = style.primer_ez.then(|| Param::from_data(TensorData::new(taps, [TAPS.len(), 3 * size.d]), device));
        Self {
            norm1: norm(),
            wqkv: linear(size.d, 3 * size.d, false),
            taps_qkv: taps,
            wo: linear(size.d, size.d, false),
            norm2: norm(),
            w1: linear(size.d, size.ff, true),
            w2: linear(size.ff, size.d, true),
        }
    }

    fn forward(&self, x: Tensor<3>, fixed: &Fixed) -> Tensor<3> {
        let x = x.clone() + self.attend(self.norm1.forward(x), fixed);
        let mut hidden = relu(self.w1.forward(self.norm2.forward(x.clone())));
        if fixed.style.primer_ez {
            hidden = hidden.square();
        }
        x + self.w2.forward(hidden)
    }

    fn attend(&self, x: Tensor<3>, fixed: &Fixed) -> Tensor<3> {
        let Size { d, heads, .. } = fixed.size;
        let [batch, seq, _] = x.dims();
        let mut qkv = self.wqkv.forward(x);
        if let Some(taps) = &self.taps_qkv {
            qkv = convolve(qkv, taps.val(), fixed.style.library_conv);
        }
        let part = |i: usize| {
            let part = qkv.clone().slice([0..batch, 0..seq, i * d..(i + 1) * d]);
            part.reshape([batch, seq, heads, d / heads]).swap_dims(1, 2)
        };
        let (q, k, v) = (part(0), part(1), part(2));
        let mixed = if fixed.style.library_attention {
            let options = AttentionModuleOptions { scale: Some(1.0), softcap: None, is_causal: true };
            attention(q, k, v, None, None, options)
        } else {
            let future = fixed.future.clone().expand([batch, heads, seq, seq]);
            softmax(q.matmul(k.swap_dims(2, 3)).mask_fill(future, -1e30), 3).matmul(v)
        };
        self.wo.forward(mixed.swap_dims(1, 2).reshape([batch, seq, d]))
    }
}

/// z_t = w_0 x_t + w_1 x_{t-1} + w_2 x_{t-2} for each channel.
fn convolve(x: Tensor<3>, taps: Tensor<2>, library: bool) -> Tensor<3> {
    let [batch, seq, channels] = x.dims();
    if library {
        let weight = taps.flip([0]).swap_dims(0, 1).unsqueeze_dim::<3>(1);
        let options = ConvOptions::new_with_padding([1], [(2, 0)], [1], channels);
        return conv1d(x.swap_dims(1, 2), weight, None, options).swap_dims(1, 2);
    }
    let padded = Tensor::cat(vec![Tensor::zeros([batch, 2, channels], &x.device()), x], 1);
    let shifted = |back: usize| {
        let tap = taps.clone().slice([back..back + 1, 0..channels]).unsqueeze::<3>();
        padded.clone().slice([0..batch, 2 - back..2 - back + seq, 0..channels]) * tap
    };
    shifted(0) + shifted(1) + shifted(2)
}

impl Model {
    pub fn new(size: Size, style: Style, device: &Device) -> Self {
        let normal = Initializer::Normal { mean: 0.0, std: (size.d as f64).powf(-0.5) };
        Self {
            embedding: normal.init([size.vocab, size.d], device),
            blocks: (0..size.layers).map(|_| Block::new(size, style, device)).collect(),
            final_norm: LayerNormConfig::new(size.d).with_epsilon(NORM_EPSILON).init(device),
        }
    }

    /// `[batch·seq, vocab]` from token ids `[batch, seq]`.
    pub fn logits(&self, tokens: Tensor<2, Int>, fixed: &Fixed) -> Tensor<2> {
        let [batch, seq] = tokens.dims();
        let d = fixed.size.d;
        let table = self.embedding.val();
        let mut x = embedding(table.clone(), tokens) * (d as f64).sqrt() + fixed.positions.clone();
        for block in &self.blocks {
            x = block.forward(x, fixed);
        }
        self.final_norm.forward(x).reshape([batch * seq, d]).matmul(table.transpose())
    }

    /// The mean cross entropy in nats a token.
    pub fn loss(&self, tokens: Tensor<2, Int>, targets: Tensor<1, Int>, fixed: &Fixed) -> Tensor<1> {
        let logits = self.logits(tokens, fixed);
        CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, targets)
    }
}

/// The parameters' names in our checkpoints, in the order in which burn visits them.
pub fn names(size: Size, style: Style) -> Vec<String> {
    let mut names = vec!["embedding".to_owned()];
    for layer in 0..size.layers {
        let mut push = |name: &str| names.push(format!("blocks.{layer}.{name}"));
        ["norm1.scale", "norm1.shift", "attn.wqkv"].into_iter().for_each(&mut push);
        if style.primer_ez {
            push("attn.taps_qkv");
        }
        ["attn.wo", "norm2.scale", "norm2.shift", "ffn.w1", "ffn.b1", "ffn.w2", "ffn.b2"].into_iter().for_each(push);
    }
    names.extend(["final_norm.scale", "final_norm.shift"].map(str::to_owned));
    names
}
