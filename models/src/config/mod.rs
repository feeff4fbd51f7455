//! What a model is: architecture, sizes, and the few conventions that implementations differ in.

mod arch;
mod size;

pub use arch::Arch;
pub use size::{Size, gated_width};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::arch::program;
use crate::error::{Error, Result};
use crate::names::nearest;

fn unknown(kind: &'static str, name: &str, all: &[&str]) -> Error {
    let nearest = nearest(name, all.iter().copied()).map(str::to_owned);
    Error::UnknownName { kind, name: name.to_owned(), all: all.join(", "), nearest }
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

/// How matrices that multiply the same rows are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projections {
    /// Side by side in one matrix, one larger product: `wqkv` of [d_model, 3·heads·d_head], query columns first.
    Fused,
    /// Each its own: `wq`, `wk`, `wv` of [d_model, heads·d_head].
    Separate,
}

/// How a model knows where a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// Sine and cosine waves added to the embeddings (Vaswani et al. 2017, T2T).
    Sinusoid,
    /// A learned score for each head and bucket of distances, shared by all layers (T5).
    Relative,
}

/// The norm after the last block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalNorm {
    /// That of the blocks.
    Own,
    /// A layer norm, whatever the blocks have: the shell of the DNA.
    Layer,
}

/// How shared queries come from keys, in architectures that share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedQueries {
    /// One matrix over all heads (the paper's T5 code).
    Joint,
    /// One matrix for each head (the DNA, T2T).
    PerHead,
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
    /// Attention heads.
    pub heads: usize,
    /// Width of a head; 0 for `d_model` / `heads`, which must then be whole.
    pub d_head: usize,
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
    /// How projections of the same rows are stored.
    pub projections: Projections,
    /// How queries come from keys where both share a projection.
    pub shared_queries: SharedQueries,
    /// How positions are told apart.
    pub positions: Positions,
    /// The norm after the last block.
    pub final_norm: FinalNorm,
    /// Experts of a block that has some.
    pub experts: usize,
    /// Room of an expert in training, as a multiple of an equal share of the tokens.
    pub expert_capacity: f64,
    /// The same outside of training.
    pub expert_eval_capacity: f64,
    /// The text form of the program that is every block of [`Arch::Program`]; else empty. Heads, `d_ff` and the
    /// conventions of blocks are then the program's own.
    #[serde(default)]
    pub program: String,
}

/// ε of the final layer norm, and the default of the others (spec §3.2, §4.1).
pub const NORM_EPS: f64 = 1e-6;

/// Largest model built: elements of one activation or parameter. Beyond it shapes would overflow 32-bit indices.
const MAX_ELEMENTS: usize = 1 << 31;

impl ModelConfig {
    /// `arch` at `size` with the default conventions: byte tokens and sinusoids for CPUs' sizes, T5's vocabulary and
    /// relative positions for the paper's.
    pub fn new(arch: Arch, size: Size) -> Self {
        let shape = size.shape_of(arch);
        let relative = size.is_of_the_paper() && arch != Arch::Program;
        Self {
            arch,
            vocab: shape.vocab,
            d_model: shape.d_model,
            layers: shape.layers,
            heads: shape.heads,
            d_head: shape.d_head,
            d_ff: shape.d_ff,
            seq: shape.seq,
            norm_eps: NORM_EPS,
            softmax: Softmax::Stable,
            query_scale: QueryScale::Init,
            projections: Projections::Fused,
            shared_queries: SharedQueries::Joint,
            positions: if relative { Positions::Relative } else { Positions::Sinusoid },
            final_norm: FinalNorm::Own,
            experts: 32,
            expert_capacity: 1.25,
            expert_eval_capacity: 2.0,
            program: String::new(),
        }
    }

    /// What tells the architecture apart from others: its name, or `dna:` and the first 12 digits of the program's
    /// SHA-256.
    pub fn label(&self) -> String {
        match self.arch {
            Arch::Program => {
                let digest = Sha256::digest(&self.program);
                format!("dna:{}", digest[..6].iter().map(|byte| format!("{byte:02x}")).collect::<String>())
            }
            arch => arch.name().to_owned(),
        }
    }

    /// The model of `arch` at the size of this one: what the paper changes from one architecture to another at equal
    /// size (the width inside gated feed-forward parts, the layers of the Evolved Transformer, heads) is changed, all
    /// else stays. None where this model is of no size that has a name.
    pub fn of_arch(&self, arch: Arch) -> Option<Self> {
        let size = Size::NAMED.into_iter().chain(Size::sweep()).find(|size| {
            let shape = size.shape_of(self.arch);
            [shape.d_model, shape.layers, shape.heads, shape.d_head, shape.d_ff]
                == [self.d_model, self.layers, self.heads, self.d_head, self.d_ff]
        })?;
        let shape = size.shape_of(arch);
        Some(Self {
            arch,
            layers: shape.layers,
            heads: shape.heads,
            d_head: shape.d_head,
            d_ff: shape.d_ff,
            ..self.clone()
        })
    }

    /// The same model with the conventions of the DNA: no ε inside the blocks, exp-mask-divide, the query scaled at run
    /// time, three projections. Its weights map one to one to the seed program's.
    #[must_use]
    pub fn with_dna_conventions(mut self) -> Self {
        self.norm_eps = 0.0;
        self.softmax = Softmax::ExpMask;
        self.query_scale = QueryScale::Runtime;
        self.projections = Projections::Separate;
        self.shared_queries = SharedQueries::PerHead;
        self.positions = Positions::Sinusoid;
        self.final_norm = FinalNorm::Layer;
        self
    }

    /// Width of a head; 0 where there are no heads.
    pub fn d_head(&self) -> usize {
        if self.d_head == 0 { self.d_model.checked_div(self.heads).unwrap_or(0) } else { self.d_head }
    }

    /// Width of all heads together.
    pub fn d_attention(&self) -> usize {
        self.heads.saturating_mul(self.d_head())
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
            ("d_head", self.d_head, 0),
            ("d_ff", self.d_ff, 1),
            ("seq", self.seq, 1),
            ("experts", self.experts, 1),
        ];
        for (key, value, least) in counts {
            if value < least || value > 1 << 24 {
                return bad(key, &value, format!("it must lie between {least} and 16777216"));
            }
        }
        let has_heads = self.arch != Arch::Program;
        if has_heads && self.d_head == 0 && !self.d_model.is_multiple_of(self.heads) {
            let reason = format!("it must divide d_model, which is {}, unless d_head is given", self.d_model);
            return bad("heads", &self.heads, reason);
        }
        if self.layers > 1024 {
            return bad("layers", &self.layers, "it must be at most 1024".into());
        }
        for (key, factor) in
            [("expert_capacity", self.expert_capacity), ("expert_eval_capacity", self.expert_eval_capacity)]
        {
            if !(0.1..=100.0).contains(&factor) {
                return bad(key, &factor, "it must lie between 0.1 and 100".into());
            }
        }
        if self.arch == Arch::EvolvedTransformer && !(self.d_head().is_multiple_of(2) && self.d_model.is_multiple_of(4))
        {
            let reason = "the Evolved Transformer needs heads of even width and a width that 4 divides".into();
            return bad("d_head", &self.d_head(), reason);
        }
        if !self.d_model.is_multiple_of(2) {
            return bad("d_model", &self.d_model, "it must be even: positions are sine and cosine pairs".into());
        }
        if self.arch == Arch::Program {
            if self.positions != Positions::Sinusoid {
                return bad(
                    "positions",
                    &"relative",
                    "a program has no scores to add to: positions are sinusoids".into(),
                );
            }
            program::check(self)?;
        } else if !self.program.is_empty() {
            return bad("arch", &self.arch, "with a program it must be `program`".into());
        }
        if !(self.norm_eps.is_finite() && (0.0..1.0).contains(&self.norm_eps)) {
            return bad("norm_eps", &self.norm_eps, "it must be at least 0 and below 1".into());
        }
        let largest = [
            self.d_model.saturating_mul(self.d_attention()).saturating_mul(3),
            self.d_model.saturating_mul(self.d_ff).saturating_mul(self.copies_of_d_ff()),
            self.d_model.saturating_mul(self.vocab),
            self.seq.saturating_mul(self.seq).saturating_mul(self.heads),
            self.seq.saturating_mul(self.vocab),
            self.seq.saturating_mul(self.d_ff.max(3 * self.d_model).max(self.d_attention().saturating_mul(3))),
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

    /// How often a feed-forward matrix is there at most, in one array.
    fn copies_of_d_ff(&self) -> usize {
        if self.arch.has_experts() { self.experts } else { 1 + usize::from(self.arch.is_gated()) }
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
        let heads = self.seq.saturating_mul(self.heads).saturating_mul(2);
        let inside = self.d_ff.max(self.d_attention()).max(self.d_model).saturating_mul(3);
        let widest = [self.vocab, inside, heads];
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
            for size in Size::NAMED.into_iter().chain(Size::sweep()) {
                let config = ModelConfig::new(arch, size);
                config.validate().unwrap();
                config.with_dna_conventions().validate().unwrap();
            }
            assert_eq!(arch.name().parse::<Arch>().unwrap(), arch);
        }
    }

    #[test]
    fn an_architecture_becomes_another_of_its_size_and_back() {
        for size in [Size::Nano, Size::Medium, Size::Large] {
            for (from, to) in Arch::ALL.into_iter().flat_map(|from| Arch::ALL.map(|to| (from, to))) {
                let mut model = ModelConfig::new(from, size);
                model.seq = 32;
                let other = model.of_arch(to).unwrap();
                assert_eq!(other, ModelConfig { seq: 32, ..ModelConfig::new(to, size) });
                assert_eq!(other.of_arch(from).unwrap(), model);
            }
        }
        assert_eq!(
            ModelConfig { d_ff: 100, ..ModelConfig::new(Arch::Vanilla, Size::Nano) }.of_arch(Arch::Swiglu),
            None
        );
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
            ModelConfig { heads: 0, ..base.clone() },
            ModelConfig { heads: 3, ..base.clone() },
            ModelConfig { d_model: 0, ..base.clone() },
            ModelConfig { d_model: 63, ..base.clone() },
            ModelConfig { expert_capacity: 0.0, ..base.clone() },
            ModelConfig { arch: Arch::EvolvedTransformer, d_head: 7, ..base.clone() },
            ModelConfig { norm_eps: f64::NAN, ..base.clone() },
            ModelConfig { seq: 1 << 24, ..base.clone() },
        ] {
            assert!(matches!(bad.validate(), Err(Error::BadValue { .. })), "{bad:?}");
        }
    }
}
