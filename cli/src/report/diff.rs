//! A line diff of two program listings, by longest common subsequence.

/// How a line of the diff came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// In both.
    Same,
    /// Only in the new text.
    Added,
    /// Only in the old text.
    Removed,
}

/// The lines of both texts, each once, removed ones before added ones.
pub fn diff<'a>(old: &'a str, new: &'a str) -> Vec<(Mark, &'a str)> {
    let old: Vec<&str> = old.lines().collect();
    let new: Vec<&str> = new.lines().collect();
    // common[i][j]: length of the longest common subsequence of old[i..] and new[j..].
    let mut common = vec![vec![0u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] =
                if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((Mark::Same, old[i]));
            i += 1;
            j += 1;
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push((Mark::Removed, old[i]));
            i += 1;
        } else {
            lines.push((Mark::Added, new[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_line_is_removed_then_added() {
        assert_eq!(
            diff("a\nb\nc", "a\nx\nc\nd"),
            [(Mark::Same, "a"), (Mark::Removed, "b"), (Mark::Added, "x"), (Mark::Same, "c"), (Mark::Added, "d"),]
        );
        assert!(diff("", "").is_empty());
    }
}
