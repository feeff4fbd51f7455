//! Byte-pair encoding: it loses nothing, it is the same every time, and a model never meets another one than its own.

use std::fs;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use primer_models::optim::Decay;
use primer_models::text::{Corpus, Part, TokenSet, Tokenizer, TokenizerSpec};
use primer_models::train::{Limit, RunFolder, Trainer};
use primer_models::{Arch, Error, LanguageModel, RunConfig, Size};
use primer_tensor::Device;
use proptest::prelude::*;
use tempfile::tempdir;

use crate::models::tiny;

static GO: AtomicBool = AtomicBool::new(false);

fn corpus() -> Corpus {
    let line = |i: u32| format!("{} sheep jump over the fence, {} stay;\r\n", i % 10, i * i % 10);
    let text: String = (0..400).map(line).collect::<String>() + &"unheard-of heldout words\n".repeat(60);
    Corpus::from_text("sheep", text.as_bytes()).unwrap()
}

fn text(part: Part) -> Vec<u8> {
    corpus().text(part, usize::MAX).unwrap()
}

fn spec() -> TokenizerSpec {
    "bpe:280".parse().unwrap()
}

fn trained() -> &'static Tokenizer {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    TOKENIZER.get_or_init(|| spec().train(&corpus()).unwrap())
}

fn config(tokenizer: &Tokenizer) -> RunConfig {
    let mut config = RunConfig { model: tiny(Arch::PrimerEz), ..RunConfig::new(Arch::PrimerEz, Size::Nano) };
    config.model.vocab = tokenizer.vocab();
    config.text.tokenizer = spec();
    config.train.batch = 4;
    // The rate at a step doesn't depend on when the run ends.
    (config.schedule.warmup, config.schedule.decay) = (0, Decay::Constant);
    config
}

#[test]
fn names_are_read_and_written() {
    for name in ["bytes", "bpe:257", "bpe:32768"] {
        assert_eq!(name.parse::<TokenizerSpec>().unwrap().to_string(), name);
    }
    for name in ["", "byte", "bpe", "bpe:", "bpe:256", "bpe:-1", "bpe:9999999", "words"] {
        let error = name.parse::<TokenizerSpec>().unwrap_err();
        assert!(matches!(error, Error::BadValue { .. }), "{name:?}: {error}");
    }
}

#[test]
fn merges_are_learned_from_the_training_part_alone() {
    let tokenizer = trained();
    assert_eq!(tokenizer.vocab(), 280);
    let count = |text: &[u8]| tokenizer.encode(text).unwrap().len();
    assert!(count(b" sheep jump over the fence") < 10);
    // `heldout` stands in the validation part only.
    assert!(!String::from_utf8_lossy(&text(Part::Train)).contains("heldout"));
    assert!(count(b" heldout") > 6);
    // A short text doesn't give that many merges.
    let short = Corpus::from_text("short", &b"ab ab ab\n".repeat(20)).unwrap();
    assert!((257..264).contains(&spec().train(&short).unwrap().vocab()));
}

#[test]
fn training_again_gives_the_same_file_and_reading_it_the_same_tokens() {
    let folder = tempdir().unwrap();
    let again = spec().train(&corpus()).unwrap();
    assert_eq!(again.id(), trained().id());
    again.save(folder.path()).unwrap();
    let path = folder.path().join("tokenizer.json");
    let read = Tokenizer::read(&path).unwrap();
    let text = text(Part::Train);
    assert_eq!(read.encode(&text).unwrap(), again.encode(&text).unwrap());
    assert_eq!((read.id(), read.vocab()), (again.id(), again.vocab()));
    // The form that other implementations read.
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!((&json["model"]["type"], &json["pre_tokenizer"]["type"]), (&"BPE".into(), &"ByteLevel".into()));
    assert_eq!(json["model"]["vocab"].as_object().unwrap().len(), 280);
    assert_eq!(json["normalizer"], serde_json::Value::Null);
}

fn any_text() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        "\\PC{0,20}".prop_map(String::into_bytes),
        "(sheep|fence| |\r\n|\n\n|\t|\u{a0}|\u{2003}){0,20}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn every_byte_string_round_trips(text in any_text()) {
        for tokenizer in [&Tokenizer::Bytes, trained()] {
            let tokens = tokenizer.encode(&text).unwrap();
            prop_assert!(tokens.iter().all(|&t| (t as usize) < tokenizer.vocab()));
            prop_assert_eq!(tokens.iter().map(|&t| tokenizer.byte_len(t)).sum::<usize>(), text.len());
            prop_assert_eq!(tokenizer.decode(&tokens), text.clone());
        }
    }
}

#[test]
fn bits_are_counted_by_the_bytes_of_the_tokens() {
    let corpus = corpus().with_tokenizer(trained().clone());
    let trainer = Trainer::new(&config(trained()), &corpus, &Device::cpu()).unwrap();
    let mut model = trainer.language_model().unwrap();
    let text = TokenSet::whole(&corpus).unwrap();
    let e = model.evaluate(&text).unwrap();
    let all = self::text(Part::Whole);
    let first = trained().byte_len(trained().encode(&all).unwrap()[0]);
    assert_eq!((e.tokens, e.bytes), (text.len() as u64 - 1, (all.len() - first) as u64));
    assert!(e.tokens * 2 < e.bytes, "{e:?}");
    let bits = e.loss_nats * e.tokens as f64 / std::f64::consts::LN_2 / e.bytes as f64;
    assert!((e.bits_per_byte - bits).abs() < 1e-9, "{e:?}, expected {bits}");

    let bytes = TokenSet::whole(&self::corpus()).unwrap();
    assert!(matches!(model.evaluate(&bytes), Err(Error::OtherTokenizer { .. })));
}

#[test]
fn a_run_keeps_its_tokenizer_and_goes_on_with_no_other() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let corpus = corpus().with_tokenizer(trained().clone());
    let config = config(trained());
    let mut run = RunFolder::create(path, &config, &corpus, &Device::cpu()).unwrap();
    run.run(Limit::Steps(4), &GO, &mut |_| {}).unwrap();
    drop(run);
    let mut whole = Trainer::new(&config, &corpus, &Device::cpu()).unwrap();
    whole.run(8, &GO, &mut |_| {}).unwrap();

    let kept = Tokenizer::of_run(path).unwrap();
    assert_eq!(kept.id(), trained().id());
    let resume = |tokenizer: Tokenizer| {
        RunFolder::resume(path, &config, &self::corpus().with_tokenizer(tokenizer), &Device::cpu())
    };
    let mut run = resume(kept).unwrap();
    run.run(Limit::Steps(8), &GO, &mut |_| {}).unwrap();
    assert!(run.trainer().checkpoint().unwrap().weights == whole.checkpoint().unwrap().weights, "other weights");

    let error = resume(Tokenizer::Bytes).unwrap_err();
    assert!(matches!(error, Error::OtherTokenizer { .. }), "{error}");
    let other = Corpus::from_text("other", &b"quite another text\n".repeat(100)).unwrap();
    let other = TokenizerSpec::Bpe(270).train(&other).unwrap();
    let error = resume(other.clone()).unwrap_err();
    assert!(matches!(error, Error::OtherTokenizer { .. }), "{error}");

    assert_eq!(LanguageModel::load(path, &Device::cpu()).unwrap().tokenizer().id(), trained().id());
    other.save(path).unwrap();
    let load = || LanguageModel::load(path, &Device::cpu()).unwrap_err();
    assert!(matches!(load(), Error::OtherTokenizer { .. }), "{}", load());
    let file = path.join("tokenizer.json");
    let kept = path.join("kept.json");
    fs::copy(&file, &kept).unwrap();
    for text in ["", "{}", "not json", "{\"model\":{\"type\":\"WordLevel\",\"vocab\":{},\"unk_token\":\"?\"}}"] {
        fs::write(&file, text).unwrap();
        assert!(matches!(load(), Error::BadTokenizer { .. }), "{text}: {}", load());
    }
    // The longest token is gone, and the merge that makes it isn't.
    let mut json: serde_json::Value = serde_json::from_str(&fs::read_to_string(kept).unwrap()).unwrap();
    let vocab = json["model"]["vocab"].as_object_mut().unwrap();
    let longest = vocab.keys().max_by_key(|token| token.len()).unwrap().clone();
    vocab.remove(&longest);
    fs::write(&file, json.to_string()).unwrap();
    assert!(matches!(load(), Error::BadTokenizer { .. }), "{}", load());
    fs::remove_file(&file).unwrap();
    assert!(matches!(load(), Error::NoTokenizer { .. }), "{}", load());
}

#[test]
fn a_vocabulary_too_small_for_the_tokenizer_is_refused() {
    let mut config = config(trained());
    config.model.vocab = 279;
    let corpus = corpus().with_tokenizer(trained().clone());
    let error = Trainer::new(&config, &corpus, &Device::cpu()).unwrap_err();
    assert!(matches!(&error, Error::BadValue { key, .. } if key == "model.vocab"), "{error}");
}
