//! Names in an exported file.

use std::collections::BTreeSet;

/// Names that no function and no value may take: the file's own and the language's.
const RESERVED: &str = "abstract as async await batch become block box break const continue crate d dims do dyn else enum \
    extern false final fn for gen if impl in let loop macro match mod move mut n override p \
    primer_models primer_tensor priv pub ref return scope self std core alloc static struct super trait \
    true try type typeof unsafe unsized use virtual where while x y yield";

/// The names that are taken in a scope.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(BTreeSet<String>);

impl Names {
    /// Takes `names` and the reserved ones.
    pub fn with(names: impl IntoIterator<Item = String>) -> Names {
        Names(names.into_iter().chain(RESERVED.split_whitespace().map(str::to_owned)).collect())
    }

    /// Takes `base`, or `base_2`, `base_3`, … if that is taken already.
    pub fn take(&mut self, base: &str) -> String {
        let numbered = (2..).map(|number| format!("{base}_{number}"));
        let name = std::iter::once(base.to_owned()).chain(numbered).find(|name| !self.0.contains(name));
        let name = name.unwrap_or_default(); // there is always a next number
        self.0.insert(name.clone());
        name
    }
}

/// A label of a program as a name in Rust; `otherwise` where nothing of it is left.
pub(super) fn identifier(label: &str, otherwise: &str) -> String {
    /// Longest name made of a label.
    const LONGEST: usize = 20;
    let words: Vec<String> = label
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let mut name: String = words.join("_").chars().take(LONGEST).collect();
    name.truncate(name.trim_end_matches('_').len());
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { otherwise.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_names() {
        let labels = ["SELF-ATTENTION", "-_-", "2ND", "a__B-", "x", "A-LABEL-OF-MANY--WORDS", "match"];
        let names = labels.map(|label| identifier(label, "s4"));
        assert_eq!(names, ["self_attention", "s4", "s4", "a_b", "x", "a_label_of_many_word", "match"]);
        let mut taken = Names::with(["x".to_owned()]);
        assert_eq!([taken.take("match"), taken.take("x"), taken.take("x")], ["match_2", "x_2", "x_3"]);
    }
}
