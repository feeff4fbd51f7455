//! The built-in programs. Their texts are part of the binary and are read by the ordinary parser.

use super::Dna;
use crate::error::Result;

/// Text of [`transformer`].
pub const TRANSFORMER: &str = include_str!("programs/transformer.dna");
/// Text of [`primer_ez`].
pub const PRIMER_EZ: &str = include_str!("programs/primer_ez.dna");
/// Text of [`transformer_plusplus`].
pub const TRANSFORMER_PLUSPLUS: &str = include_str!("programs/transformer_plusplus.dna");
/// Text of [`primer`].
pub const PRIMER: &str = include_str!("programs/primer.dna");
/// Text of [`discovered`].
pub const DISCOVERED: &str = include_str!("programs/discovered.dna");

/// The built-in programs by name, the seed first.
pub const PROGRAMS: [(&str, &str); 5] = [
    ("transformer", TRANSFORMER),
    ("transformer_plusplus", TRANSFORMER_PLUSPLUS),
    ("primer_ez", PRIMER_EZ),
    ("primer", PRIMER),
    ("discovered", DISCOVERED),
];

/// The Transformer, the search's seed (paper §2), with the banks of the `small` preset and 8 heads.
///
/// # Errors
///
/// Those of the parser; none with the text that is built in.
pub fn transformer() -> Result<Dna> {
    TRANSFORMER.parse()
}

/// The Transformer with MDHA and squared ReLU (paper §4), banks as in [`transformer`].
///
/// # Errors
///
/// As [`transformer`].
pub fn primer_ez() -> Result<Dna> {
    PRIMER_EZ.parse()
}

/// Transformer++ (spec §4.1): RMS norm and SwiGLU, banks as in [`transformer`] but for the inner width.
///
/// # Errors
///
/// As [`transformer`].
pub fn transformer_plusplus() -> Result<Dna> {
    TRANSFORMER_PLUSPLUS.parse()
}

/// Primer as the paper trains it (spec §3.1), banks as in [`transformer`].
///
/// # Errors
///
/// As [`transformer`].
pub fn primer() -> Result<Dna> {
    PRIMER.parse()
}

/// Primer exactly as discovered (paper Fig. 25), dead instructions and leftovers included.
///
/// # Errors
///
/// As [`transformer`].
pub fn discovered() -> Result<Dna> {
    DISCOVERED.parse()
}

/// The names of [`PROGRAMS`] as a list for a reader.
pub fn names() -> String {
    PROGRAMS.map(|(name, _)| name).join(", ")
}

/// The built-in program of that name, one of [`PROGRAMS`].
///
/// # Errors
///
/// As [`transformer`].
pub fn by_name(name: &str) -> Option<Result<Dna>> {
    PROGRAMS.iter().find(|(known, _)| *known == name).map(|(_, text)| text.parse())
}

/// A built-in program other than the discovered one with `heads` heads, width `dims[0]` and inner width `dims[1]`
/// (relative), and 1/√`head_width` as the attention's constant, where `head_width` counts channels. MAIN's second
/// instruction calls the attention once a head.
///
/// # Errors
///
/// Those of [`Dna::validate`], for a number of heads or a dimension that doesn't exist.
pub fn with_banks(mut dna: Dna, heads: u32, head_width: usize, dims: [u32; 6]) -> Result<Dna> {
    dna.subprograms[0].instructions[1].branch = heads;
    // No heads are no width either, and what is wrong then is their number.
    dna.constants[1] = 1.0 / (head_width.max(1) as f64).sqrt();
    dna.dims = dims;
    dna.validate()?;
    Ok(dna)
}
