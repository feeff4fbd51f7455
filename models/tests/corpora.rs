//! Corpora as users name them.

use std::fs;

use primer_models::Error;
use primer_models::text::{Corpus, CorpusKind, Part, TokenSet};
use tempfile::tempdir;

fn train(corpus: &Corpus) -> Vec<u8> {
    corpus.text(Part::Train, usize::MAX).unwrap()
}

fn valid(corpus: &Corpus) -> Vec<u8> {
    corpus.text(Part::Valid, usize::MAX).unwrap()
}

fn whole(corpus: &Corpus) -> Vec<u8> {
    corpus.text(Part::Whole, usize::MAX).unwrap()
}

#[test]
fn a_file_is_split_at_a_blank_line_and_loses_nothing() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.txt");
    let text: String = (0..100).map(|i| format!("paragraph {i}\nsecond line\n\n")).collect();
    fs::write(&path, &text).unwrap();
    let corpus = Corpus::open(path.to_str().unwrap()).unwrap();
    assert_eq!(corpus.kind(), CorpusKind::File);
    assert_eq!(whole(&corpus), text.as_bytes());
    assert!(train(&corpus).ends_with(b"\n\n"));
    let share = corpus.bytes(Part::Valid) as f64 / text.len() as f64;
    assert!((0.1..0.2).contains(&share), "{share}");
}

#[test]
fn invalid_utf8_and_carriage_returns_are_text() {
    let text = b"caf\xe9\r\n\xff\xfe\r\n".repeat(20);
    let corpus = Corpus::from_text("latin", &text).unwrap();
    assert_eq!(whole(&corpus), text);
    assert!(train(&corpus).ends_with(b"\r\n"));
}

#[test]
fn sha256_of_a_file_is_that_of_its_bytes() {
    let corpus = Corpus::from_text("abc", b"abc").unwrap();
    assert_eq!(corpus.sha256(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn a_folder_is_split_by_document() {
    let folder = tempdir().unwrap();
    fs::create_dir(folder.path().join("inner")).unwrap();
    for i in 0..40 {
        let name = if i % 2 == 0 { format!("{i}.txt") } else { format!("inner/{i}.txt") };
        fs::write(folder.path().join(name), format!("document {i} ").repeat(20)).unwrap();
    }
    fs::write(folder.path().join(".hidden"), "no").unwrap();
    fs::write(folder.path().join("picture"), [0u8, 1, 2]).unwrap();
    let corpus = Corpus::from_path(folder.path()).unwrap();
    assert_eq!((corpus.documents(), corpus.skipped()), (40, 1));
    let (train, valid) =
        (String::from_utf8_lossy(&train(&corpus)).into_owned(), String::from_utf8_lossy(&valid(&corpus)).into_owned());
    assert!(!valid.is_empty());
    for i in 0..40 {
        let line = format!("document {i} ");
        assert_ne!(train.contains(&line), valid.contains(&line), "{i} must be in one part");
    }
    assert_eq!(corpus.sha256(), Corpus::from_path(folder.path()).unwrap().sha256());
}

#[test]
fn what_is_no_text_is_a_sentence() {
    let folder = tempdir().unwrap();
    let missing = folder.path().join("missing");
    assert!(matches!(Corpus::from_path(&missing), Err(Error::Read { path, .. }) if path == missing));
    assert!(matches!(Corpus::from_path(folder.path()), Err(Error::EmptyCorpus { .. })));
    let empty = folder.path().join("empty.txt");
    fs::write(&empty, "").unwrap();
    assert!(matches!(Corpus::from_path(&empty), Err(Error::EmptyCorpus { .. })));
}

#[test]
fn a_text_shorter_than_a_sequence_says_what_is_needed() {
    let corpus = Corpus::from_text("short", b"ten bytes.").unwrap();
    let error = TokenSet::whole(&corpus).unwrap().check(64).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("short") && message.contains("10") && message.contains("65"), "{message}");
}

#[test]
fn rust_is_the_locked_crates_and_always_the_same() {
    let corpus = Corpus::rust().unwrap();
    assert_eq!(corpus.kind(), CorpusKind::RustSources, "{:?}", corpus.note());
    assert_eq!(corpus.name(), "rust");
    let bytes = corpus.bytes(Part::Whole);
    assert!((4 << 20..=8 << 20).contains(&bytes), "{bytes} bytes");
    assert!(corpus.bytes(Part::Valid) > 400 << 10, "{} bytes", corpus.bytes(Part::Valid));
    assert_eq!(corpus.sha256(), Corpus::rust().unwrap().sha256());
}

#[test]
fn the_embedded_sources_have_their_own_name() {
    let corpus = Corpus::own_sources().unwrap();
    assert_eq!((corpus.name(), corpus.kind()), ("own-sources", CorpusKind::OwnSources));
    assert!(corpus.bytes(Part::Train) > 10_000 && corpus.bytes(Part::Valid) > 500);
}
