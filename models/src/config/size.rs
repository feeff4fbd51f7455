//! The sizes by name.

use super::{Arch, unknown};
use crate::error::{Error, Result};

/// A named size: three for CPUs, the paper's four, and the 27 points of its sweep (spec §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Size {
    /// d 64, 2 layers, 4 heads, ff 256, sequence 64, batch 16.
    Nano,
    /// d 128, 4 layers, 4 heads, ff 512, sequence 128, batch 16.
    Micro,
    /// d 256, 4 layers, 8 heads, ff 1024, sequence 128, batch 16.
    Mini,
    /// d 512, 6 layers, 8 heads, ff 2048, sequence 64, batch 64: 35M parameters, the search's and LM1B's.
    Small,
    /// d 768, 12 layers, 12 heads, ff 3072, sequence 512, batch 128: 110M parameters, C4's and PG19's.
    Medium,
    /// d 1024, 24 layers, 16 heads, ff 8192, sequence 512, batch 64: 537M parameters, the full T5's, which took 2,048
    /// sequences at once.
    Large,
    /// d 2048, 24 layers, ff 12288, sequence 1024, batch 32: the one-shot models', which took 2,048 sequences at once;
    /// 16 heads of 128, of which the paper says nothing.
    Xl,
    /// One of the 27 points of the sweep, `sweep-D-L-F`: d 384, 512 or 1024; 6, 9 or 12 layers; ff 4, 8 or 12 times d.
    Sweep {
        /// Width of the residual stream.
        d_model: usize,
        /// Decoder blocks.
        layers: usize,
        /// Width of the feed-forward part as a multiple of `d_model`.
        ff: usize,
    },
}

/// What a size fixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub vocab: usize,
    pub d_model: usize,
    pub layers: usize,
    pub heads: usize,
    pub d_head: usize,
    pub d_ff: usize,
    pub seq: usize,
    pub batch: usize,
}

/// Rows of T5's vocabulary.
const T5_VOCAB: usize = 32_128;

impl Size {
    /// The sizes with a name of their own, smallest first.
    pub const NAMED: [Self; 7] =
        [Self::Nano, Self::Micro, Self::Mini, Self::Small, Self::Medium, Self::Large, Self::Xl];

    /// The points of the sweep.
    pub fn sweep() -> impl Iterator<Item = Self> {
        let points = [384, 512, 1024].into_iter().flat_map(|d| [6, 9, 12].map(|layers| (d, layers)));
        points.flat_map(|(d_model, layers)| [4, 8, 12].map(|ff| Self::Sweep { d_model, layers, ff }))
    }

    /// The name on the command line.
    pub fn name(self) -> String {
        match self {
            Self::Nano => "nano".into(),
            Self::Micro => "micro".into(),
            Self::Mini => "mini".into(),
            Self::Small => "small".into(),
            Self::Medium => "medium".into(),
            Self::Large => "large".into(),
            Self::Xl => "xl".into(),
            Self::Sweep { d_model, layers, ff } => format!("sweep-{d_model}-{layers}-{ff}"),
        }
    }

    /// Rows a batch.
    pub fn batch(self) -> usize {
        self.shape().batch
    }

    /// Whether it is one of the paper's, with its vocabulary and positions; the others are made for CPUs and bytes.
    pub fn is_of_the_paper(self) -> bool {
        self.shape().vocab == T5_VOCAB
    }

    /// The Transformer of this size.
    pub(super) fn shape(self) -> Shape {
        let cpu = |d_model, layers, heads, seq| Shape {
            vocab: 256,
            d_model,
            layers,
            heads,
            d_head: 0,
            d_ff: 4 * d_model,
            seq,
            batch: 16,
        };
        let t5 = |d_model, layers, d_ff, seq, batch| Shape {
            vocab: T5_VOCAB,
            d_model,
            layers,
            heads: d_model / 64,
            d_head: 0,
            d_ff,
            seq,
            batch,
        };
        match self {
            Self::Nano => cpu(64, 2, 4, 64),
            Self::Micro => cpu(128, 4, 4, 128),
            Self::Mini => cpu(256, 4, 8, 128),
            Self::Small => t5(512, 6, 2048, 64, 64),
            Self::Medium => t5(768, 12, 3072, 512, 128),
            Self::Large => t5(1024, 24, 8192, 512, 64),
            Self::Xl => Shape { heads: 16, ..t5(2048, 24, 12_288, 1024, 32) },
            Self::Sweep { d_model, layers, ff } => t5(d_model, layers, ff * d_model, 64, 64),
        }
    }

    /// What `arch` changes about it, so that its parameters stay about the same (spec §4.1, §4.2).
    pub(super) fn shape_of(self, arch: Arch) -> Shape {
        let shape = self.shape();
        match arch {
            Arch::Reglu | Arch::Swiglu | Arch::TransformerPlusplus => Shape { d_ff: self.gated_width(), ..shape },
            // A layer has attention twice and a convolution: 7 instead of 12, 4 instead of 6.
            Arch::EvolvedTransformer => Shape { layers: ((7 * shape.layers + 6) / 12).max(1), ..shape },
            // T5's configuration left the defaults of that class in force.
            Arch::Synthesizer | Arch::SynthesizerSquaredRelu if self == Self::Medium => {
                Shape { heads: 8, d_head: 128, ..shape }
            }
            _ => shape,
        }
    }

    /// Two thirds of the dense width, as the paper's configurations round it; for CPUs to the nearest multiple of a
    /// vector.
    fn gated_width(self) -> usize {
        let dense = self.shape().d_ff;
        match self {
            Self::Nano | Self::Micro | Self::Mini => gated_width(dense),
            Self::Large => 5462,
            // 1364 of 2048; exact for 3072.
            _ => dense * 2 / 3 / 2 * 2,
        }
    }
}

/// The width inside a gated layer, which has three matrices, beside a dense one of width `dense`: two thirds, to the
/// nearest multiple of a vector.
pub fn gated_width(dense: usize) -> usize {
    (dense * 2 / 3 + 4) / 8 * 8
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.name())
    }
}

impl std::str::FromStr for Size {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::NAMED.into_iter().chain(Self::sweep()).find(|size| size.name() == name);
        found.ok_or_else(|| {
            let names = Self::NAMED.map(Self::name);
            let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
            names.push("sweep-512-9-8 and the like");
            unknown("size", name, &names)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_found_by_its_name() {
        assert_eq!(Size::sweep().count(), 27);
        for size in Size::NAMED.into_iter().chain(Size::sweep()) {
            assert_eq!(size.name().parse::<Size>().unwrap(), size);
        }
        let message = "medum".parse::<Size>().unwrap_err().to_string();
        assert!(message.contains("medium") && message.contains("sweep-"), "{message}");
        assert!("sweep-500-9-8".parse::<Size>().is_err());
    }

    #[test]
    fn gated_widths_are_those_of_the_paper() {
        let width = |size: Size| size.shape_of(Arch::TransformerPlusplus).d_ff;
        assert_eq!([Size::Small, Size::Medium, Size::Large].map(width), [1364, 2048, 5462]);
        assert_eq!([Size::Nano, Size::Micro, Size::Mini].map(width), [168, 344, 680]);
        assert_eq!([Size::Small, Size::Medium].map(|s| s.shape_of(Arch::EvolvedTransformer).layers), [4, 7]);
    }
}
