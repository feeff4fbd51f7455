//! Corpora as they are distributed, files of tokens, and texts that are trouble.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use primer_models::Error;
use primer_models::text::{Corpus, Part, TokenSet, Tokenizer, TokenizerSpec};
use tempfile::{TempDir, tempdir};

fn put(folder: &Path, name: &str, text: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn text(corpus: &Corpus, part: Part) -> String {
    String::from_utf8(corpus.text(part, usize::MAX).unwrap()).unwrap()
}

fn open(path: impl AsRef<Path>) -> Corpus {
    Corpus::from_path(path.as_ref()).unwrap()
}

#[test]
fn lm1b_is_a_sentence_a_line_with_its_own_held_out_part() {
    let folder = tempdir().unwrap();
    let train = "training-monolingual.tokenized.shuffled/news.en-0000";
    put(folder.path(), &format!("{train}1-of-00100"), "One sentence .\nAnother one .\n");
    put(folder.path(), &format!("{train}2-of-00100"), "A third .\n");
    put(folder.path(), "heldout-monolingual.tokenized.shuffled/news.en.heldout-00000-of-00050", "Held out .\n");
    put(folder.path(), "README", "not a text of either part\n");
    let corpus = open(folder.path());
    assert_eq!(text(&corpus, Part::Train), "One sentence .\nAnother one .\nA third .\n");
    assert_eq!(text(&corpus, Part::Valid), "Held out .\n");
    assert_eq!((corpus.documents(), corpus.skipped()), (4, 1));
    // One file of it is split between sentences.
    let lines: String = (0..100).map(|i| format!("sentence {i} .\n")).collect();
    put(folder.path(), "alone/news.en-00003-of-00100", &lines);
    let corpus = open(folder.path().join("alone/news.en-00003-of-00100"));
    assert_eq!(text(&corpus, Part::Whole), lines);
    assert!(text(&corpus, Part::Valid).starts_with("sentence 9"));
    assert_eq!(corpus.documents(), 100);
}

#[test]
fn c4_is_packed_lines_of_json() {
    let folder = tempdir().unwrap();
    let line =
        |text: &str| format!("{}\n", serde_json::json!({"text": text, "timestamp": "2019", "url": "https://a.b"}));
    let first = line("First page.\nIts second line: \u{e9}\u{1f600}") + &line("Second page.");
    // Two members one after the other, as `cat` makes them.
    put(folder.path(), "en/c4-train.00000-of-01024.json.gz", [gzip(&first), gzip(&line("Third page."))].concat());
    put(folder.path(), "en/c4-validation.00000-of-00008.json.gz", gzip(&line("Held out.")));
    let corpus = open(folder.path());
    let train = "First page.\nIts second line: \u{e9}\u{1f600}\nSecond page.\nThird page.\n";
    assert_eq!((text(&corpus, Part::Train).as_str(), text(&corpus, Part::Valid).as_str()), (train, "Held out.\n"));
    assert_eq!(corpus.documents(), 4);

    // Unpacked, the same text; a single file is split between documents.
    let plain = tempdir().unwrap();
    put(plain.path(), "c4-train.json", first + "\n" + &line("Third page."));
    put(plain.path(), "c4-validation.jsonl", line("Held out."));
    assert_eq!(open(plain.path()).sha256(), corpus.sha256());
    let pages: String = (0..100).map(|i| line(&format!("page {i}\n\nwith a blank line"))).collect();
    put(plain.path(), "one.jsonl.gz", gzip(&pages));
    let corpus = open(plain.path().join("one.jsonl.gz"));
    assert!(text(&corpus, Part::Train).ends_with("with a blank line\n"));
    assert!(text(&corpus, Part::Valid).starts_with("page 9"));
    assert_eq!(corpus.documents(), 100);
}

/// However long the documents are, about a tenth is held out, and none is in both parts where there are two.
#[test]
fn long_documents_are_held_out_whole() {
    let folder = tempdir().unwrap();
    let page =
        |n: usize, lines: usize| serde_json::json!({ "text": format!("page {n}\n").repeat(lines) }).to_string() + "\n";
    let cut = |pages: String| {
        put(folder.path(), "pages.jsonl", pages);
        let corpus = open(folder.path().join("pages.jsonl"));
        (text(&corpus, Part::Train), text(&corpus, Part::Valid))
    };
    let (train, valid) = cut((0..3).map(|n| page(n, 100)).collect());
    assert_eq!((train, valid), ("page 0\n".repeat(100) + &"page 1\n".repeat(100), "page 2\n".repeat(100)));
    let (train, valid) = cut(page(0, 950) + &page(1, 50));
    assert_eq!((train, valid), ("page 0\n".repeat(950), "page 1\n".repeat(50)));
    // A single one is cut, at the end of a line.
    let (train, valid) = cut(page(7, 1000));
    assert_eq!((train, valid), ("page 7\n".repeat(900), "page 7\n".repeat(100)));
    // What is left would be nearly all or nothing.
    let (train, valid) = cut(page(0, 100) + &page(1, 900));
    assert_eq!((train.len(), valid.len()), (6300, 700));
}

#[test]
fn pg19_is_a_folder_of_books() {
    let folder = tempdir().unwrap();
    for (part, book) in [("train", "10"), ("train", "9"), ("validation", "11"), ("test", "12")] {
        put(folder.path(), &format!("{part}/{book}.txt"), format!("Book {book}\r\n\r\nends without a line break"));
    }
    put(folder.path(), "train/empty.txt", "");
    let corpus = open(folder.path());
    let book = |n: &str| format!("Book {n}\r\n\r\nends without a line break\n");
    assert_eq!(text(&corpus, Part::Train), book("10") + &book("9"));
    assert_eq!(text(&corpus, Part::Valid), book("11"));
    assert_eq!((corpus.documents(), corpus.skipped()), (3, 2), "one for testing, one empty");
    assert!(corpus.note().unwrap().contains("as its files are named"));

    // Without a part for validation, some books are held out, and never one for testing.
    fs::remove_dir_all(folder.path().join("validation")).unwrap();
    let corpus = open(folder.path());
    assert_eq!((corpus.documents(), corpus.skipped()), (2, 2));
    assert!(!text(&corpus, Part::Whole).contains("Book 12") && corpus.bytes(Part::Valid) > 0);
}

#[test]
fn a_name_among_others_splits_nothing() {
    let folder = tempdir().unwrap();
    for i in 0..20 {
        put(folder.path(), &format!("{i}.rs"), format!("source {i}\n").repeat(100));
    }
    put(folder.path(), "train.rs", "to train\n");
    put(folder.path(), "valid.rs", "to check\n");
    let corpus = open(folder.path());
    assert_eq!((corpus.documents(), corpus.skipped(), corpus.note()), (22, 0, None));
}

#[test]
fn one_text_split_in_two_ways_has_two_files_of_tokens() {
    let folder = tempdir().unwrap();
    let lines: Vec<String> = (0..200).map(|i| format!("line {i} of the text\n")).collect();
    put(folder.path(), "all/text.txt", lines.concat());
    put(folder.path(), "named/train.txt", lines[..150].concat());
    put(folder.path(), "named/valid.txt", lines[150..].concat());
    let tokenizer = TokenizerSpec::Bpe(280).train(&open(folder.path().join("all"))).unwrap();
    let [all, named] = ["all", "named"].map(|name| {
        let corpus = open(folder.path().join(name)).with_tokenizer(tokenizer.clone());
        corpus.with_cache(folder.path().join("cache"))
    });
    assert_eq!(all.sha256(), named.sha256(), "the same text");
    for corpus in [&all, &named] {
        let set = TokenSet::train(corpus).unwrap();
        assert_eq!(tokenizer.decode(&tokens(&set)), corpus.text(Part::Train, usize::MAX).unwrap());
        assert_eq!(TokenSet::train(corpus).unwrap().note(), None, "each finds its own");
    }
}

#[test]
fn wikitext_is_split_at_headings_of_articles() {
    let folder = tempdir().unwrap();
    let article = |i: u32| format!(" \n = Article {i} = \n \n Some words .\n = = Section = = \n \n More of them .\n");
    let all: String = (0..50).map(article).collect();
    put(folder.path(), "wiki.train.tokens", &all);
    let alone = open(folder.path().join("wiki.train.tokens"));
    assert!(text(&alone, Part::Valid).starts_with(" = Article 4"), "{}", text(&alone, Part::Valid));
    assert_eq!((alone.documents(), text(&alone, Part::Whole)), (50, all.clone()));
    put(folder.path(), "wiki.valid.tokens", " \n = Held = \n");
    put(folder.path(), "wiki.test.tokens", " \n = Tested = \n");
    let corpus = open(folder.path());
    assert_eq!((text(&corpus, Part::Train), text(&corpus, Part::Valid)), (all, " \n = Held = \n".into()));
}

#[test]
fn a_bad_file_among_good_ones_is_named() {
    let folder = tempdir().unwrap();
    let good = "{\"text\": \"a page\"}\n";
    put(folder.path(), "a.jsonl", good.repeat(3));
    for (bad, words) in [
        (good.to_owned() + "{\"text\": \"cut of", "line 2"),
        ("{\"text\": 3}\n".into(), "line 1"),
        (good.repeat(2) + "\n{\"words\": \"none\"}\n", "line 4"),
    ] {
        put(folder.path(), "b.jsonl", bad);
        let error = Corpus::from_path(folder.path()).unwrap_err();
        assert!(matches!(&error, Error::Read { path, .. } if path.ends_with("b.jsonl")), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let mut packed = gzip(&"a page of text\n".repeat(1000));
    packed.truncate(packed.len() / 2);
    put(folder.path(), "b.jsonl", good);
    for bad in [packed, b"no gzip at all\n".to_vec()] {
        put(folder.path(), "c.txt.gz", bad);
        let error = Corpus::from_path(folder.path()).unwrap_err();
        assert!(matches!(&error, Error::Read { path, .. } if path.ends_with("c.txt.gz")), "{error}");
    }
}

/// A corpus with what texts may have in them, its byte-pair tokenizer, and a folder for tokens.
fn troubled() -> (TempDir, Corpus) {
    let folder = tempdir().unwrap();
    for i in 0..12u32 {
        let text = format!("document {i}\r\nhas caf\u{e9} and\r\n\r\n").repeat(200 + i as usize);
        put(
            folder.path(),
            &format!("text/{i}.txt"),
            [text.as_bytes(), b"caf\xe9 \xff\xfe\r\n", &[0xE2, 0x82]].concat(),
        );
    }
    put(folder.path(), "text/empty.txt", "");
    put(folder.path(), "text/line.txt", "no end of line ".repeat(20_000));
    let corpus = open(folder.path().join("text"));
    assert_eq!((corpus.documents(), corpus.skipped()), (13, 1));
    let tokenizer = TokenizerSpec::Bpe(400).train(&corpus).unwrap();
    (folder, corpus.with_tokenizer(tokenizer))
}

/// Every token of a set, by its evaluation windows of one token.
fn tokens(set: &TokenSet) -> Vec<u32> {
    let batches: Vec<_> = set.windows(1, 1).unwrap().collect();
    batches[..1].iter().flat_map(|b| b.inputs.clone()).chain(batches.iter().flat_map(|b| b.targets.clone())).collect()
}

fn files(cache: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn tokens_from_a_file_are_those_made_in_memory() {
    let (folder, corpus) = troubled();
    let cache = folder.path().join("cache");
    let cached = corpus.clone().with_cache(&cache);
    for part in [Part::Train, Part::Valid, Part::Whole] {
        let (made, mapped) = (TokenSet::of(&corpus, part).unwrap(), TokenSet::of(&cached, part).unwrap());
        let all = tokens(&made);
        assert_eq!(tokens(&mapped), all);
        assert_eq!((mapped.len(), all.len()), (made.len(), made.len()));
        let text = corpus.text(part, usize::MAX).unwrap();
        assert_eq!(corpus.tokenizer().decode(&all), text);
        assert_eq!(corpus.tokenizer().encode(&text).unwrap(), all, "read at once");
        assert_eq!(mapped.batch(4, 16, 9, 3).unwrap(), made.batch(4, 16, 9, 3).unwrap());
    }
    assert_eq!(files(&cache).len(), 3, "and no temporary file stays");
}

#[test]
fn a_file_of_tokens_is_made_once_and_again_if_it_is_not_what_it_should_be() {
    let (folder, corpus) = troubled();
    let cache = folder.path().join("cache");
    let corpus = corpus.with_cache(&cache);
    let expected = tokens(&TokenSet::valid(&corpus).unwrap());
    let file = files(&cache).pop().unwrap();
    let whole = fs::read(&file).unwrap();
    let made = fs::metadata(&file).unwrap().modified().unwrap();
    assert_eq!(TokenSet::valid(&corpus).unwrap().note(), None);
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), made, "it is made once");

    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let foreign = [b"primer-tokens-9\n", &whole[16..]].concat();
    for bad in [
        vec![],
        whole[..100].to_vec(),
        whole[..whole.len() - 2].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        flipped,
        foreign,
    ] {
        fs::write(&file, &bad).unwrap();
        let set = TokenSet::valid(&corpus).unwrap();
        assert_eq!(tokens(&set), expected, "{} bytes", bad.len());
        let note = set.note().unwrap();
        assert!(note.contains(file.to_str().unwrap()) && note.contains("made again"), "{note}");
        assert_eq!(fs::read(&file).unwrap(), whole);
    }
    // Another tokenizer has files of its own.
    let other = TokenizerSpec::Bpe(260).train(&corpus).unwrap();
    assert_ne!(other.id(), corpus.tokenizer().id());
    TokenSet::valid(&corpus.clone().with_tokenizer(other)).unwrap();
    assert_eq!(files(&cache).len(), 2);
    // A small text read byte by byte needs none.
    TokenSet::valid(&corpus.clone().with_tokenizer(Tokenizer::Bytes)).unwrap();
    assert_eq!(files(&cache).len(), 2);

    let blocked = folder.path().join("text/0.txt");
    let error = TokenSet::valid(&corpus.with_cache(&blocked)).unwrap_err();
    assert!(matches!(error, Error::Write { .. }), "{error}");
}

#[cfg(target_os = "linux")]
mod gibibyte {
    use super::*;
    use crate::alone::{alone, status};

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    /// A folder with a line of a gibibyte in `line.txt`, no white space in it. It lies beside what is built: the
    /// system's folder for temporary files may be in memory.
    fn line() -> TempDir {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut file = fs::File::create(folder.path().join("line.txt")).unwrap();
        let words: String = (0..131_072u32).map(|i| format!("w{:07x}", i.wrapping_mul(2_654_435_761) >> 4)).collect();
        for _ in 0..GIB / words.len() as u64 {
            file.write_all(words.as_bytes()).unwrap();
        }
        folder
    }

    /// The most memory that this process held since the last call, in bytes; pages of mapped files count.
    fn peak() -> u64 {
        let peak = status("VmHWM");
        fs::write("/proc/self/clear_refs", "5").unwrap();
        peak
    }

    /// In a process with no other test, since the system counts whole processes.
    #[test]
    #[ignore = "run by `a_line_of_a_gibibyte_is_read_in_little_memory`, alone in a process"]
    fn in_a_process_of_its_own() {
        let folder = line();
        let corpus = open(folder.path().join("line.txt")).with_cache(folder.path().join("cache"));
        assert_eq!((corpus.bytes(Part::Whole), corpus.documents()), (GIB, 1));
        // Chunks of 64 KiB; 7 MiB were measured for all of the process.
        let reading = peak();
        assert!(reading < 32 * MIB, "{} MiB", reading / MIB);
        let set = TokenSet::train(&corpus).unwrap();
        assert_eq!(set.len() as u64, corpus.bytes(Part::Train));
        assert!(set.len() as u64 > GIB * 8 / 10 && set.batch(2, 64, 1, 2).is_ok());
        // The mapped pages themselves, which were all read to check them, and no copy of them.
        let mapping = peak();
        assert!(mapping < set.len() as u64 + 32 * MIB, "{} MiB", mapping / MIB);
    }

    #[test]
    fn a_line_of_a_gibibyte_is_read_in_little_memory() {
        alone("layouts::gibibyte::in_a_process_of_its_own", &[]);
    }

    /// Alone in its process: `cargo test -p primer-models --test main -- --ignored gibibyte::by_byte_pairs`.
    #[test]
    #[ignore = "takes minutes"]
    fn by_byte_pairs() {
        let folder = line();
        let corpus = open(folder.path().join("line.txt")).with_cache(folder.path().join("cache"));
        let tokenizer = TokenizerSpec::Bpe(1000).train(&corpus).unwrap();
        let learning = peak();
        let corpus = corpus.with_tokenizer(tokenizer);
        let set = TokenSet::valid(&corpus).unwrap();
        assert!(set.len() as u64 > 16 * MIB);
        let writing = peak();
        // The sample of 64 MiB and what the crate makes of it: 136 MiB were measured, the pages of the tokens among
        // them.
        assert!(learning < 256 * MIB && writing < 256 * MIB, "{} MiB, {} MiB", learning / MIB, writing / MIB);
    }
}
