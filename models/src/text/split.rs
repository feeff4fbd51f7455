//! Which part of a corpus is for training and which is held out: whole documents wherever there are several.

use sha2::{Digest, Sha256};

use super::Part;
use super::source::{Layout, Source};
use crate::error::Result;

/// What the distributor of a corpus meant a file for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Train,
    Valid,
    Test,
}

/// The role that a path below the corpus's folder tells, as LM1B, C4, PG19 and WikiText name their files and folders.
fn role(path: &str) -> Option<Role> {
    let path = path.to_ascii_lowercase();
    let words: Vec<&str> = path.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let has = |names: &[&str]| words.iter().any(|word| names.contains(word));
    // What is held out comes first: a folder `training` may have a file `heldout` in it.
    if has(&["valid", "validation", "heldout", "dev"]) {
        Some(Role::Valid)
    } else if has(&["test"]) {
        Some(Role::Test)
    } else if has(&["train", "training"]) {
        Some(Role::Train)
    } else {
        None
    }
}

/// The part of each file of a folder, by its path below that and its weight; none where it is left out. The second is
/// whether the names said so, which they do where most of the weight is named for something: one `train.rs` among other
/// sources names nothing.
pub(super) fn parts(files: &[(String, u64)]) -> (Vec<Option<Part>>, bool) {
    let roles: Vec<Option<Role>> = files.iter().map(|(path, _)| role(path)).collect();
    let total: u64 = files.iter().map(|(_, weight)| weight).sum();
    let with_role = files.iter().zip(&roles).filter(|(_, role)| role.is_some());
    let named: u64 = with_role.map(|((_, weight), _)| weight).sum();
    let has = |wanted| roles.contains(&Some(wanted));
    let split_by_name = named > total / 2 && has(Role::Train);
    if split_by_name && has(Role::Valid) {
        let part = |role: &Option<Role>| match role {
            Some(Role::Train) => Some(Part::Train),
            Some(Role::Valid) => Some(Part::Valid),
            _ => None,
        };
        return (roles.iter().map(part).collect(), true);
    }
    // Without a validation part, some of the training part is held out, and still nothing that is named for testing.
    let taken: Vec<bool> = roles.iter().map(|role| !split_by_name || *role == Some(Role::Train)).collect();
    let of_taken: Vec<(String, u64)> =
        files.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(file, _)| file.clone()).collect();
    let mut held = held_out(&of_taken).into_iter();
    let part = |taken: bool| {
        let held = if taken { held.next() } else { None };
        held.map(|held| if held { Part::Valid } else { Part::Train })
    };
    (taken.into_iter().map(part).collect(), split_by_name)
}

/// About a tenth of the weight, as whole documents chosen by a hash of their names; at least one document where there
/// are several.
pub(super) fn held_out(documents: &[(String, u64)]) -> Vec<bool> {
    let total: u64 = documents.iter().map(|(_, weight)| weight).sum();
    let mut order: Vec<usize> = (0..documents.len()).collect();
    order.sort_by_cached_key(|&i| Sha256::digest(documents[i].0.as_bytes()).to_vec());
    let mut held = vec![false; documents.len()];
    let mut weight = 0;
    for &i in &order {
        if weight + documents[i].1 <= total / 10 {
            weight += documents[i].1;
            held[i] = true;
        }
    }
    if weight == 0
        && documents.len() > 1
        && let Some(&smallest) = order.iter().min_by_key(|&&i| documents[i].1)
    {
        held[smallest] = true;
    }
    held
}

/// Splits one source near its last tenth: between documents, also somewhat further away, else at a blank line, else at
/// a line border, else right there.
///
/// # Errors
/// [`Error::Read`](crate::Error::Read).
pub(super) fn split_inside(source: &Source) -> Result<(Source, Source)> {
    let bytes = match source.known_bytes()? {
        Some(bytes) => bytes,
        None => {
            let mut bytes = 0;
            source.read(&mut |chunk, _| {
                bytes += chunk.len() as u64;
                Ok(())
            })?;
            bytes
        }
    };
    let mut scan = Scan::new(source.layout, bytes);
    source.read(&mut |chunk, ends| {
        scan.feed(chunk, ends);
        Ok(())
    })?;
    Ok(source.split(scan.best().unwrap_or(scan.goal)))
}

/// Reads a text for the borders in it.
pub(super) struct Scan {
    layout: Layout,
    /// Borders count that lie behind `floor` and not behind `goal`.
    floor: u64,
    goal: u64,
    offset: u64,
    /// The present line's beginning, and how much of it is there.
    line: [u8; 4],
    line_bytes: u64,
    document: Option<u64>,
    /// Where no document ends there, the nearest end to `goal` of those in the second half.
    near: Option<u64>,
    bytes: u64,
    blank: Option<u64>,
    any_line: Option<u64>,
    documents: u64,
}

impl Scan {
    /// A scan of a text of so many bytes for a border near its last tenth.
    pub fn new(layout: Layout, bytes: u64) -> Self {
        Self {
            layout,
            floor: bytes - bytes / 5,
            goal: bytes - bytes / 10,
            offset: 0,
            line: [0; 4],
            line_bytes: 0,
            document: None,
            near: None,
            bytes,
            blank: None,
            any_line: None,
            documents: 0,
        }
    }

    /// Takes the next chunk; `ends` says that a document ends with it.
    pub fn feed(&mut self, chunk: &[u8], ends: bool) {
        if self.layout == Layout::Text && (self.offset + chunk.len() as u64 <= self.floor || self.offset > self.goal) {
            // Nothing here counts but whether the next chunk begins a line.
            self.offset += chunk.len() as u64;
            self.line_bytes = if chunk.ends_with(b"\n") { 0 } else { self.line.len() as u64 };
            return;
        }
        for &byte in chunk {
            self.offset += 1;
            if self.line_bytes < 4 {
                self.line[self.line_bytes as usize] = byte;
            }
            self.line_bytes += 1;
            if self.layout == Layout::WikiText && self.line_bytes == 4 && self.line.starts_with(b" = ") && byte != b'='
            {
                self.documents += 1;
                self.end_document(self.offset - 4);
            }
            if byte == b'\n' {
                let blank = self.line_bytes == 1 || (self.line_bytes == 2 && self.line[0] == b'\r');
                Self::note(&mut self.any_line, self.offset, self.floor, self.goal);
                if blank {
                    Self::note(&mut self.blank, self.offset, self.floor, self.goal);
                }
                if self.layout == Layout::Lines && !blank {
                    self.documents += 1;
                    self.end_document(self.offset);
                }
                self.line_bytes = 0;
            }
        }
        if ends {
            self.documents += 1;
            self.end_document(self.offset);
        }
    }

    fn end_document(&mut self, border: u64) {
        Self::note(&mut self.document, border, self.floor, self.goal);
        let is_nearer = |than: u64| border.abs_diff(self.goal) < than.abs_diff(self.goal);
        if (self.bytes / 2..self.bytes).contains(&border) && self.near.is_none_or(is_nearer) {
            self.near = Some(border);
        }
    }

    fn note(slot: &mut Option<u64>, border: u64, floor: u64, goal: u64) {
        if border > floor && border <= goal {
            *slot = Some(border);
        }
    }

    /// The last border of the best kind.
    pub fn best(&self) -> Option<u64> {
        self.document.or(self.near).or(self.blank).or(self.any_line)
    }

    /// Documents seen, at least one.
    pub fn documents(&self) -> u64 {
        self.documents.max(1)
    }
}
