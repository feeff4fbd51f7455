//! The built-in programs. Their texts are part of the binary and are read by the ordinary parser.

use super::Dna;
use crate::error::Result;

/// Text of [`transformer`].
pub const TRANSFORMER: &str = include_str!("programs/transformer.dna");
/// Text of [`primer_ez`].
pub const PRIMER_EZ: &str = include_str!("programs/primer_ez.dna");
/// Text of [`primer`].
pub const PRIMER: &str = include_str!("programs/primer.dna");

/// The Transformer, the search's seed (paper §2), with the banks of the `small` preset and 8 heads.
///
/// # Errors
///
/// Those of the parser; none with the text that is built in.
pub fn transformer() -> Result<Dna> {
    TRANSFORMER.parse()
}

/// The Transformer with `heads` heads, width `dims[0]` and inner width `dims[1]` (relative), and
/// 1/√`head_width` as the attention's constant, where `head_width` counts channels.
///
/// # Errors
///
/// Those of [`Dna::validate`], for a number of heads or a dimension that doesn't exist.
pub fn transformer_with(heads: u32, head_width: usize, dims: [u32; 6]) -> Result<Dna> {
    with_banks(transformer()?, heads, head_width, dims)
}

/// The Transformer with MDHA and squared ReLU (paper §4), banks as in [`transformer`].
///
/// # Errors
///
/// As [`transformer`].
pub fn primer_ez() -> Result<Dna> {
    PRIMER_EZ.parse()
}

/// [`primer_ez`] with other banks, as [`transformer_with`].
///
/// # Errors
///
/// As [`transformer_with`].
pub fn primer_ez_with(heads: u32, head_width: usize, dims: [u32; 6]) -> Result<Dna> {
    with_banks(primer_ez()?, heads, head_width, dims)
}

/// Primer exactly as discovered (paper Fig. 25), dead instructions and leftovers included.
///
/// # Errors
///
/// As [`transformer`].
pub fn primer() -> Result<Dna> {
    PRIMER.parse()
}

/// The built-in program of that name: `transformer`, `primer_ez` or `primer`.
///
/// # Errors
///
/// As [`transformer`].
pub fn by_name(name: &str) -> Option<Result<Dna>> {
    match name {
        "transformer" => Some(transformer()),
        "primer_ez" => Some(primer_ez()),
        "primer" => Some(primer()),
        _ => None,
    }
}

/// Sets the heads (MAIN's second instruction calls the attention once a head) and the banks.
fn with_banks(mut dna: Dna, heads: u32, head_width: usize, dims: [u32; 6]) -> Result<Dna> {
    dna.subprograms[0].instructions[1].branch = heads;
    dna.constants[1] = 1.0 / (head_width as f64).sqrt();
    dna.dims = dims;
    dna.validate()?;
    Ok(dna)
}
