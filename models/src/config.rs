//! What a model is: architecture, sizes, and the few conventions that implementations differ in.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, nearest};

/// A hand-written architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// The Transformer decoder: pre-norm, ReLU.
    Vanilla,
    /// Vanilla with squared ReLU and multi-depthwise-head attention.
    PrimerEz,
}

impl Arch {
    /// Every architecture, in the order of the documentation.
    pub const ALL: [Self; 2] = [Self::Vanilla, Self::PrimerEz];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vanilla => "vanilla",
            Self::PrimerEz => "primer_ez",
        }
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Arch {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|arch| arch.name() == name);
        found.ok_or_else(|| unknown("architecture", name, &Self::ALL.map(Self::name)))
    }
}

/// A named size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// d 64, 2 layers, 4 heads, ff 256, sequence 64, batch 16.
    Nano,
    /// d 128, 4 layers, 4 heads, ff 512, sequence 128, batch 16.
    Micro,
    /// d 256, 4 layers, 8 heads, ff 1024, sequence 128, batch 16.
    Mini,
}

impl Size {
    /// Every size, smallest first.
    pub const ALL: [Self; 3] = [Self::Nano, Self::Micro, Self::Mini];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nano => "nano",
            Self::Micro => "micro",
            Self::Mini => "mini",
        }
    }

    /// Rows a batch.
    pub fn batch(self) -> usize {
        16
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Size {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|size| size.name() == name);
        found.ok_or_else(|| unknown("size", name, &Self::ALL.map(Self::name)))
    }
}

fn unknown(kind: &'static str, name: &str, all: &[&str]) -> Error {
    let best = nearest(name, all.iter().copied()).unwrap_or_default();
    Error::UnknownName { kind, name: name.to_owned(), nearest: format!("{best} (there are {})", all.join(", ")) }
}

/// How attention's weights are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Softmax {
    /// The row's maximum is subtracted first.
    Stable,
    /// exp, then mask, then divide by the row's sum: the DNA's form, without the subtraction.
    ExpMask,
}

/// Where the 1/√d_k of attention goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryScale {
    /// Into the initial query weights (the paper's T5 code); nothing happens at run time.
    Init,
    /// The queries are multiplied at run time (the DNA, T2T).
    Runtime,
}

/// How the query, key and value projections are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Qkv {
    /// One matrix `wqkv` of [d_model, 3·d_model], query columns first: one larger product.
    Fused,
    /// Three matrices `wq`, `wk`, `wv` of [d_model, d_model].
    Separate,
}

/// A decoder-only language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The architecture.
    pub arch: Arch,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Decoder blocks.
    pub layers: usize,
    /// Attention heads; they divide `d_model`.
    pub heads: usize,
    /// Width inside the feed-forward part.
    pub d_ff: usize,
    /// Tokens a sequence.
    pub seq: usize,
    /// ε of every layer norm but the final one, which always has 1e-6.
    pub norm_eps: f64,
    /// How attention's weights are computed.
    pub softmax: Softmax,
    /// Where attention's 1/√d_k goes.
    pub query_scale: QueryScale,
    /// How the three projections are stored.
    pub qkv: Qkv,
}

/// ε of the final layer norm, and the default of the others (spec §3.2, §4.1).
pub const NORM_EPS: f64 = 1e-6;

/// Largest model built: elements of one activation or parameter. Beyond it shapes would overflow 32-bit indices.
const MAX_ELEMENTS: usize = 1 << 31;

impl ModelConfig {
    /// `arch` at `size`, with byte tokens and the default conventions.
    pub fn new(arch: Arch, size: Size) -> Self {
        let (d_model, layers, heads, d_ff, seq) = match size {
            Size::Nano => (64, 2, 4, 256, 64),
            Size::Micro => (128, 4, 4, 512, 128),
            Size::Mini => (256, 4, 8, 1024, 128),
        };
        Self {
            arch,
            vocab: 256,
            d_model,
            layers,
            heads,
            d_ff,
            seq,
            norm_eps: NORM_EPS,
            softmax: Softmax::Stable,
            query_scale: QueryScale::Init,
            qkv: Qkv::Fused,
        }
    }

    /// The same model with the conventions of the DNA: no ε inside the blocks, exp-mask-divide, the query scaled at run time, three
    /// projections. Its weights map one to one to the seed program's.
    #[must_use]
    pub fn with_dna_conventions(mut self) -> Self {
        self.norm_eps = 0.0;
        self.softmax = Softmax::ExpMask;
        self.query_scale = QueryScale::Runtime;
        self.qkv = Qkv::Separate;
        self
    }

    /// Width of a head.
    pub fn d_head(&self) -> usize {
        self.d_model / self.heads
    }

    /// Checks every value and every relation between values.
    ///
    /// # Errors
    /// [`Error::BadValue`] naming the key.
    pub fn validate(&self) -> Result<()> {
        let bad = |key: &str, value: &dyn std::fmt::Display, reason: String| {
            Err(Error::BadValue { key: format!("model.{key}"), value: value.to_string(), reason })
        };
        let counts = [
            ("vocab", self.vocab, 2),
            ("d_model", self.d_model, 2),
            ("layers", self.layers, 1),
            ("heads", self.heads, 1),
            ("d_ff", self.d_ff, 1),
            ("seq", self.seq, 1),
        ];
        for (key, value, least) in counts {
            if value < least || value > 1 << 24 {
                return bad(key, &value, format!("it must lie between {least} and 16777216"));
            }
        }
        if self.layers > 1024 {
            return bad("layers", &self.layers, "it must be at most 1024".into());
        }
        if !self.d_model.is_multiple_of(self.heads) {
            return bad("heads", &self.heads, format!("it must divide d_model, which is {}", self.d_model));
        }
        if !self.d_model.is_multiple_of(2) {
            return bad("d_model", &self.d_model, "it must be even: positions are sine and cosine pairs".into());
        }
        if !(self.norm_eps.is_finite() && (0.0..1.0).contains(&self.norm_eps)) {
            return bad("norm_eps", &self.norm_eps, "it must be at least 0 and below 1".into());
        }
        let largest = [
            self.d_model.saturating_mul(self.d_model).saturating_mul(3),
            self.d_model.saturating_mul(self.d_ff),
            self.d_model.saturating_mul(self.vocab),
            self.seq.saturating_mul(self.seq).saturating_mul(self.heads),
            self.seq.saturating_mul(self.vocab),
            self.seq.saturating_mul(self.d_ff.max(3 * self.d_model)),
        ];
        if let Some(elements) = largest.into_iter().find(|&n| n >= MAX_ELEMENTS) {
            return bad(
                "d_model",
                &self.d_model,
                format!("one array of this model would hold {elements} elements, and {MAX_ELEMENTS} is too many"),
            );
        }
        Ok(())
    }

    /// Checks that no activation of `batch` rows gets too large.
    ///
    /// # Errors
    /// [`Error::BadValue`].
    pub fn check_batch(&self, batch: usize) -> Result<()> {
        let bad = |reason: &str| {
            Err(Error::BadValue { key: "train.batch".into(), value: batch.to_string(), reason: reason.into() })
        };
        if batch == 0 {
            return bad("it must be at least 1");
        }
        let widest = [self.vocab, self.d_ff, self.d_model.saturating_mul(3), self.seq.saturating_mul(self.heads)];
        let rows = batch.saturating_mul(self.seq);
        if widest.into_iter().any(|width| width.saturating_mul(rows) >= MAX_ELEMENTS) {
            return bad("one activation would be too large: take fewer rows or a shorter sequence");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_model_is_valid() {
        for arch in Arch::ALL {
            for size in Size::ALL {
                let config = ModelConfig::new(arch, size);
                config.validate().unwrap();
                config.with_dna_conventions().validate().unwrap();
            }
            assert_eq!(arch.name().parse::<Arch>().unwrap(), arch);
        }
    }

    #[test]
    fn an_unknown_architecture_names_the_nearest() {
        let message = "vanila".parse::<Arch>().unwrap_err().to_string();
        assert!(message.contains("vanilla"), "{message}");
    }

    #[test]
    fn relations_are_checked() {
        let base = ModelConfig::new(Arch::Vanilla, Size::Nano);
        for bad in [
            ModelConfig { heads: 3, ..base.clone() },
            ModelConfig { d_model: 0, ..base.clone() },
            ModelConfig { d_model: 63, heads: 3, ..base.clone() },
            ModelConfig { norm_eps: f64::NAN, ..base.clone() },
            ModelConfig { seq: 1 << 24, ..base.clone() },
        ] {
            assert!(matches!(bad.validate(), Err(Error::BadValue { .. })), "{bad:?}");
        }
    }
}
