//! The architectures by name.

use serde::{Deserialize, Serialize};

use super::unknown;
use crate::error::{Error, Result};

/// A hand-written architecture, or a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// The Transformer decoder: pre-norm, ReLU.
    Vanilla,
    /// Vanilla with GELU.
    Gelu,
    /// Vanilla with Swish.
    Swish,
    /// Vanilla with a linear unit gated by ReLU.
    Reglu,
    /// Vanilla with a linear unit gated by Swish.
    Swiglu,
    /// Vanilla with squared ReLU.
    SquaredRelu,
    /// RMS norm and SwiGLU.
    TransformerPlusplus,
    /// Vanilla with multi-depthwise-head attention.
    Mdha,
    /// Vanilla with a depthwise convolution before each projection of attention.
    SepConv,
    /// Squared ReLU, multi-depthwise-head attention with shared queries and keys, pre and post norm, custom norm.
    Primer,
    /// Vanilla with squared ReLU and multi-depthwise-head attention.
    PrimerEz,
    /// The decoder of the Evolved Transformer.
    EvolvedTransformer,
    /// A mixture of experts in every fourth block.
    SwitchTransformer,
    /// The same with Primer-EZ's two changes.
    SwitchPrimer,
    /// Learned scores added to attention's.
    Synthesizer,
    /// The same with squared ReLU.
    SynthesizerSquaredRelu,
    /// A program of the search, in [`ModelConfig::program`](super::ModelConfig::program).
    Program,
}

impl Arch {
    /// Every hand-written architecture, in the order of the documentation.
    pub const ALL: [Self; 16] = [
        Self::Vanilla,
        Self::Gelu,
        Self::Swish,
        Self::Reglu,
        Self::Swiglu,
        Self::SquaredRelu,
        Self::TransformerPlusplus,
        Self::Mdha,
        Self::SepConv,
        Self::Primer,
        Self::PrimerEz,
        Self::EvolvedTransformer,
        Self::SwitchTransformer,
        Self::SwitchPrimer,
        Self::Synthesizer,
        Self::SynthesizerSquaredRelu,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vanilla => "vanilla",
            Self::Gelu => "gelu",
            Self::Swish => "swish",
            Self::Reglu => "reglu",
            Self::Swiglu => "swiglu",
            Self::SquaredRelu => "squared_relu",
            Self::TransformerPlusplus => "transformer_plusplus",
            Self::Mdha => "mdha",
            Self::SepConv => "sep_conv",
            Self::Primer => "primer",
            Self::PrimerEz => "primer_ez",
            Self::EvolvedTransformer => "evolved_transformer",
            Self::SwitchTransformer => "switch_transformer",
            Self::SwitchPrimer => "switch_primer",
            Self::Synthesizer => "synthesizer",
            Self::SynthesizerSquaredRelu => "synthesizer_squared_relu",
            Self::Program => "program",
        }
    }

    /// Whether the feed-forward part is a gated linear unit, which has three matrices and two thirds of the width.
    pub fn is_gated(self) -> bool {
        matches!(self, Self::Reglu | Self::Swiglu | Self::TransformerPlusplus)
    }

    /// Whether some blocks have experts.
    pub fn has_experts(self) -> bool {
        matches!(self, Self::SwitchTransformer | Self::SwitchPrimer)
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Arch {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|arch| arch.name() == name);
        found.ok_or_else(|| unknown("architecture", name, &Self::ALL.map(Self::name)))
    }
}
