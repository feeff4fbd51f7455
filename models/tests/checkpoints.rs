//! Checkpoint files: exact, atomic, and clear about what is wrong with a bad one.

use std::fs;
use std::path::Path;

use primer_models::checkpoint::{Checkpoint, CheckpointDir, NamedTensor, locate};
use primer_models::{Arch, Error, ModelConfig, Size};
use tempfile::tempdir;

fn tensor(name: &str, shape: &[usize], first: f32) -> NamedTensor {
    let len = shape.iter().product::<usize>();
    NamedTensor { name: name.into(), shape: shape.to_vec(), data: (0..len).map(|i| first + i as f32 / 3.0).collect() }
}

fn sample(step: u64) -> Checkpoint {
    let all = |first| vec![tensor("b", &[3], first), tensor("a", &[2, 4], first + 9.0)];
    Checkpoint {
        model: ModelConfig::new(Arch::Vanilla, Size::Nano),
        step,
        seconds: 1.25,
        corpus_sha256: "00ff".into(),
        tokenizer: "bytes".into(),
        weights: all(0.1),
        optimizer: Some(vec![tensor("adamw.m.b", &[3], 0.2), tensor("adamw.v.b", &[3], 0.3)]),
    }
}

fn expected() -> Vec<(String, Vec<usize>)> {
    vec![("b".into(), vec![3]), ("a".into(), vec![2, 4])]
}

fn read_fitted(path: &Path) -> Result<Checkpoint, Error> {
    Checkpoint::read(path)?.fit(path, &sample(0).model, &expected())
}

#[test]
fn every_bit_comes_back() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    let mut checkpoint = sample(7);
    checkpoint.weights[0].data = vec![f32::NAN, -0.0, f32::from_bits(1)];
    checkpoint.write(&path).unwrap();
    let back = read_fitted(&path).unwrap();
    let bits = |c: &Checkpoint| c.weights[0].data.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&back), bits(&checkpoint));
    assert_eq!((back.step, &back.optimizer, &back.model), (7, &checkpoint.optimizer, &checkpoint.model));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
}

#[test]
fn every_truncation_is_an_error_and_never_a_panic() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    sample(1).write(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    for len in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(matches!(Checkpoint::read(&path), Err(Error::DamagedCheckpoint { .. })), "{len} bytes");
    }
    fs::write(&path, b"not a checkpoint at all").unwrap();
    assert!(matches!(Checkpoint::read(&path), Err(Error::DamagedCheckpoint { .. })));
}

#[test]
fn another_model_is_named() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    sample(1).write(&path).unwrap();
    let stored = Checkpoint::read(&path).unwrap();
    let model = sample(0).model;

    let primer = ModelConfig::new(Arch::PrimerEz, Size::Nano);
    let error = stored.clone().fit(&path, &primer, &expected()).unwrap_err();
    assert!(matches!(error, Error::OtherArchitecture { .. }), "{error}");

    let wider = vec![("b".into(), vec![3]), ("a".into(), vec![2, 5])];
    let error = stored.clone().fit(&path, &model, &wider).unwrap_err();
    assert!(matches!(&error, Error::OtherShape { tensor, .. } if tensor == "a"), "{error}");

    let more = [expected(), vec![("c".into(), vec![1])]].concat();
    let error = stored.clone().fit(&path, &model, &more).unwrap_err();
    assert!(matches!(&error, Error::MissingTensor { tensor, .. } if tensor == "c"), "{error}");

    let error = stored.fit(&path, &model, &expected()[..1]).unwrap_err();
    assert!(matches!(error, Error::DamagedCheckpoint { .. }), "{error}");
}

#[test]
fn the_last_k_stay_and_latest_points_at_the_newest() {
    let folder = tempdir().unwrap();
    let checkpoints = CheckpointDir::new(folder.path().join("checkpoints"), 2);
    assert!(matches!(checkpoints.latest(), Err(Error::NoCheckpoint { .. })));
    for step in [1, 5, 12] {
        checkpoints.save(&sample(step)).unwrap();
    }
    let newest = checkpoints.latest().unwrap();
    assert_eq!(Checkpoint::read(&newest).unwrap().step, 12);
    assert_eq!(locate(folder.path()).unwrap(), newest, "a run's folder will do");
    assert_eq!(locate(&newest).unwrap(), newest);
    let files = fs::read_dir(folder.path().join("checkpoints")).unwrap().count();
    assert_eq!(files, 3, "two checkpoints and the pointer");
    // A lost pointer is no loss.
    fs::remove_file(folder.path().join("checkpoints/latest")).unwrap();
    assert_eq!(checkpoints.latest().unwrap(), newest);
}

#[test]
fn a_folder_that_cannot_be_written_harms_nothing() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "keep me").unwrap();
    let error = CheckpointDir::new(&file, 1).save(&sample(1)).unwrap_err();
    assert!(matches!(error, Error::Write { .. }), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "keep me");
}
