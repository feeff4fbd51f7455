//! Configuration files, overrides, metrics.

use std::fs;

use primer_models::metrics::{self, Metric, StepLog};
use primer_models::{Arch, Error, RunConfig, Size};
use proptest::prelude::*;
use tempfile::tempdir;

#[test]
fn a_configuration_survives_its_file() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let mut config = RunConfig::new(Arch::PrimerEz, Size::Micro);
    config.set("learning_rate=0.0123").unwrap();
    config.set("train.seed=12").unwrap();
    fs::write(&path, config.to_toml().unwrap()).unwrap();
    let mut read = RunConfig::new(Arch::Vanilla, Size::Nano);
    read.apply_file(&path).unwrap();
    assert_eq!(read, config);
}

#[test]
fn overrides_take_either_form() {
    let mut config = RunConfig::new(Arch::Vanilla, Size::Nano);
    config.set("model.d_model = 96").unwrap();
    config.set("batch=4").unwrap();
    config.set("norm_eps=0").unwrap();
    config.set("softmax=exp_mask").unwrap();
    config.set("arch=primer_ez").unwrap();
    assert_eq!((config.model.d_model, config.train.batch, config.model.norm_eps), (96, 4, 0.0));
    assert_eq!(config.model.arch, Arch::PrimerEz);
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let mut config = RunConfig::new(Arch::Vanilla, Size::Nano);
    let before = config.clone();
    for (key, expected) in [("lerning_rate=1", "optimizer.learning_rate"), ("model.d_modle=1", "model.d_model")] {
        match config.set(key) {
            Err(Error::UnknownKey { meant, .. }) => assert_eq!(meant, [expected]),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(config.set("foo=1"), Err(Error::UnknownKey { meant, .. }) if meant.is_empty()));
    let said = config.set("optimizer=sgd").unwrap_err().to_string();
    assert!(said.contains("there are adamw, adafactor"), "{said}");
    for bad in ["batch=many", "softmax=hard", "learning_rate=fast", "batch", "batch=-1"] {
        assert!(matches!(config.set(bad), Err(Error::BadValue { .. })), "{bad}");
    }
    assert_eq!(config, before);
}

#[test]
fn a_broken_file_is_named() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let mut config = RunConfig::new(Arch::Vanilla, Size::Nano);
    fs::write(&path, "model = = 3").unwrap();
    assert!(matches!(config.apply_file(&path), Err(Error::BadConfig { .. })));
    fs::write(&path, "[model]\nwidth = 3").unwrap();
    assert!(matches!(config.apply_file(&path), Err(Error::UnknownKey { .. })));
    assert!(matches!(config.apply_file(&folder.path().join("none")), Err(Error::Read { .. })));
}

#[test]
fn resumed_metrics_drop_what_lies_ahead_and_what_is_torn() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let line = |step| Metric { train_loss: Some(5.0), ..Metric::at(step, step as f64, 10 * step) };
    let mut writer = StepLog::create(&path).unwrap();
    for step in 1..=5 {
        writer.write(&line(step)).unwrap();
    }
    drop(writer);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"{\"step\": 6, \"sec");
    fs::write(&path, bytes).unwrap();

    let mut writer = StepLog::resume(&path, 3).unwrap();
    writer.write(&line(4)).unwrap();
    let steps: Vec<u64> = metrics::read(&path).unwrap().iter().map(|m| m.step).collect();
    assert_eq!(steps, [1, 2, 3, 4]);
}

proptest! {
    #[test]
    fn no_override_panics(text in "[a-z_.]{0,12}=?[-0-9a-z_.]{0,12}") {
        let mut config = RunConfig::new(Arch::Vanilla, Size::Nano);
        if config.set(&text).is_ok() {
            let _ = config.validate();
        }
    }
}

/// Experiments keep the settings of their runs as JSON, also those that were begun before there was a precision.
#[test]
fn settings_without_a_precision_are_f32() {
    let config = RunConfig::new(Arch::PrimerEz, Size::Nano);
    let mut json = serde_json::to_value(&config).unwrap();
    assert_eq!(json["train"].as_object_mut().unwrap().remove("precision"), Some("f32".into()));
    assert_eq!(serde_json::from_value::<RunConfig>(json).unwrap(), config);
}
