//! A program as a Rust source file: the block that [`crate::lower`] builds, in the style of `primer_models::arch`.
//!
//! The file has a function for each subprogram, a line for each instruction on which the output depends, and no more of
//! the helpers than it calls. It needs `primer_tensor` and `primer_models::nn` only, its parameters have the names and
//! shapes of the program's, and its widths follow the model's. `primer_models::arch::Model::with_block` makes a model
//! of it.

mod function;
mod names;
mod ops;
mod print;
mod value;
mod walk;
mod width;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::dna::Dna;
use crate::lower::{MAX_UNIT, Sizes, plan_with_unit};
use crate::rejection::Rejection;
use crate::study::{Preset, StudySpec, sha256_hex};
use names::Names;
use walk::Walk;
use width::{Reference, lcm};

/// The helpers as they are written into a file, separated by empty lines; the tests compile them.
const HELPERS: &str = include_str!("helpers.rs");

/// Where a program comes from, for the file's head.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// What it is called.
    pub name: &'a str,
    /// How it came to be, in a sentence.
    pub history: &'a str,
}

/// The unit and sizes for a program that belongs to no study: those of the search's small preset, with another unit
/// where the program's dimensions aren't integral with that one.
///
/// # Errors
///
/// The reason for which it can't be lowered.
pub fn reference(dna: &Dna) -> Result<(u64, Sizes), Rejection> {
    let small = StudySpec::preset(Preset::Small, String::new(), String::new(), 0);
    let (own, sizes) = (u64::from(small.model.unit), small.sizes());
    let works = |unit: &u64| plan_with_unit(dna, *unit, sizes).is_ok();
    match std::iter::once(own).chain(1..=MAX_UNIT).find(works) {
        Some(unit) => Ok((unit, sizes)),
        None => plan_with_unit(dna, own, sizes).map(|plan| (plan.unit(), sizes)),
    }
}

/// The program's block as Rust.
///
/// `unit` and `sizes` are those for which the program is planned. The file works at other sizes too; where two widths
/// are unequal, it resizes the one that is resized at these.
///
/// # Errors
///
/// The reason for which the program can't be lowered with that unit.
pub fn to_rust(dna: &Dna, unit: u64, sizes: Sizes, origin: Origin<'_>) -> Result<String, Rejection> {
    let plan = plan_with_unit(dna, unit, sizes)?;
    let reference = Reference { d: plan.width() as u64, n: sizes.sequence as u64 };
    let helpers = HELPERS.split("\n\n").filter_map(|item| name_of(item).map(|name| (name, item.trim_end())));
    let helpers: Vec<(&str, &str)> = helpers.collect();
    let mut walk = Walk::new(dna, reference, Names::with(helpers.iter().map(|(name, _)| (*name).to_owned())));
    walk.block();
    walk.functions.sort_by_key(|written| written.subprogram);

    let mut body = String::new();
    let mut called: BTreeSet<&str> = BTreeSet::from(["Parameters"]);
    let (mut divisor, mut compares) = (1, false);
    for written in &walk.functions {
        called.extend(&written.function.helpers);
        divisor = lcm(divisor, written.function.divisor);
        compares |= written.function.compares_widths;
    }
    for written in &mut walk.functions {
        if written.subprogram == 0 {
            written.function.divisor = divisor;
        }
        body += &format!("\n{}", written.function.print(written.output.variable, &walk.names));
    }
    for (_, item) in helpers.iter().filter(|(name, _)| called.contains(name)) {
        body += &format!("\n{item}\n");
    }
    let mut text = head(dna, reference, origin, compares);
    text += &imports(&body);
    Ok(text + &body)
}

/// What an item of the helpers is called, if it is one.
fn name_of(item: &str) -> Option<&str> {
    let declaration = item.lines().find(|line| !line.starts_with("//"))?;
    let rest = ["fn ", "struct ", "impl "].into_iter().find_map(|keyword| declaration.strip_prefix(keyword))?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

/// The comment before everything.
fn head(dna: &Dna, reference: Reference, origin: Origin<'_>, compares: bool) -> String {
    let Origin { name, history } = origin;
    let hash = sha256_hex(&dna.to_string());
    let mut text = String::new();
    let mut paragraph = |content: &str| {
        let _ = writeln!(text, "{}", wrapped("//!", content)); // writing to a string doesn't fail
    };
    paragraph(&format!("The block of the program {name} as Rust, by `primer export --format rust`."));
    paragraph("");
    paragraph(&format!("{history} The SHA-256 of its text (`--format dna`) begins with {hash:.12}."));
    paragraph("");
    paragraph(
        "`primer_models::arch::Model::with_block(&config, batch, &block)` puts the usual shell around it: embedding, positions, \
         final layer norm, logits. Parameters have the names and shapes that the program's have in `--arch dna:FILE`, so its \
         weights fit. Rows are `[batch·n, c]`; attention sees `[batch, branches, n, c]`; h2, h3, ... number the instructions of a \
         subprogram as its text does. Widths follow d = `dims.d_model`.",
    );
    if compares {
        let Reference { d, n } = reference;
        paragraph("");
        paragraph(&format!(
            "Some operands have unequal widths. Which of the two is resized depends on them, and was decided for d = {d} and \
             n = {n}: at other sizes the program may decide otherwise, this file doesn't."
        ));
    }
    text
}

/// A paragraph as lines of a comment that begin with `prefix`.
fn wrapped(prefix: &str, content: &str) -> String {
    /// Longest line.
    const COLUMNS: usize = 120;
    let mut lines = vec![prefix.to_owned()];
    for word in content.split_whitespace() {
        let line = lines.last_mut();
        match line {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= COLUMNS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{prefix} {word}")),
        }
    }
    lines.join("\n")
}

/// What the body needs of the two crates.
fn imports(body: &str) -> String {
    let used = |names: &[&str]| -> String {
        let used: Vec<&str> = names.iter().filter(|name| mentions(body, name)).copied().collect();
        if let [only] = used[..] { only.to_owned() } else { format!("{{{}}}", used.join(", ")) }
    };
    let layers = used(&["Dims", "Init", "Scope"]);
    let tensor = used(&["CompareOp", "DType", "ReduceOp", "Shape", "Tensor", "UnaryOp"]);
    format!("\nuse primer_models::nn::{layers};\nuse primer_tensor::{tensor};\n")
}

/// Whether the code has that word outside of comments.
fn mentions(body: &str, word: &str) -> bool {
    let code = body.lines().map(|line| line.split("//").next().unwrap_or_default());
    code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_')).any(|found| found == word)
}
