//! Models as ONNX files. That another runtime computes the same from them is shown by `bench/peers/onnx_check.py`.

use primer_models::config::Arch;
use primer_models::{Error, LanguageModel, ModelConfig, RunConfig, Size, onnx, train};
use primer_tensor::{DType, Device, Program, Tensor};

use crate::models::tiny;

/// The fields of one message: number and content, for a number its little-endian bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (&byte, rest) = bytes.split_first().expect("a number ends");
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let content = match key & 7 {
            0 => varint(&mut bytes).to_le_bytes().to_vec(),
            wire => {
                let length = if wire == 2 { varint(&mut bytes) as usize } else { 4 };
                let (content, rest) = bytes.split_at(length);
                bytes = rest;
                content.to_vec()
            }
        };
        all.push((key >> 3, content));
    }
    all
}

fn each(fields: &[(u64, Vec<u8>)], number: u64) -> impl Iterator<Item = &[u8]> {
    fields.iter().filter(move |(found, _)| *found == number).map(|(_, content)| content.as_slice())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Every architecture is a chain of nodes, each reading what is there before it, whose initializers are its parameters.
#[test]
fn every_architecture_is_a_whole_model() {
    for arch in Arch::ALL {
        let config: ModelConfig = tiny(arch);
        let model = primer_models::arch::Model::build(&config, 1).unwrap();
        let state = model.initial_state(&Device::cpu_with_threads(1), 3).unwrap();
        let weights: Vec<_> = model
            .shapes()
            .into_iter()
            .map(|(name, shape)| {
                let data = state.read(&name).unwrap();
                primer_models::checkpoint::NamedTensor { name, shape, data }
            })
            .collect();
        let language = LanguageModel::new(&config, &weights, &Device::cpu_with_threads(1)).unwrap();
        let file = fields(&language.to_onnx(2).unwrap());
        let graph = fields(each(&file, 7).next().unwrap());
        let mut known: Vec<String> = Vec::new();
        for tensor in each(&graph, 5).map(fields) {
            known.push(text(each(&tensor, 8).next().unwrap()));
        }
        for weight in &weights {
            let stored = each(&graph, 5).map(fields).find(|t| text(each(t, 8).next().unwrap()) == weight.name);
            let stored = stored.unwrap_or_else(|| panic!("{}: {} is missing", arch.name(), weight.name));
            let bytes: Vec<u8> = weight.data.iter().flat_map(|x| x.to_le_bytes()).collect();
            assert_eq!(each(&stored, 9).next().unwrap(), bytes, "{}: {}", arch.name(), weight.name);
        }
        let inputs: Vec<String> = each(&graph, 11).map(|info| text(each(&fields(info), 1).next().unwrap())).collect();
        assert_eq!(inputs, ["tokens"], "{}", arch.name());
        known.extend(inputs);
        for node in each(&graph, 1).map(fields) {
            for input in each(&node, 1).map(text) {
                assert!(known.contains(&input), "{}: {input} is read before it is there", arch.name());
            }
            known.push(text(each(&node, 2).next().unwrap()));
        }
        assert_eq!(known.last().unwrap(), "logits", "{}", arch.name());
    }
}

#[test]
fn what_only_training_computes_has_no_operator() {
    let mut config = RunConfig::new(Arch::PrimerEz, Size::Nano);
    config.model = tiny(Arch::PrimerEz);
    let step = train::step_program(&config).unwrap();
    let updates = Program { outputs: vec![step.updates[0].1], ..step };
    let refused = onnx::model(&updates, &|_| Some(vec![0.0; 1 << 16]), "next", &[1]);
    assert!(matches!(&refused, Err(Error::Onnx { reason }) if reason.contains("conv")), "{refused:?}");

    let key = Tensor::data("key", [2], DType::U32);
    let draw = Program::trace(&[key.random([4], 0)], &[]).unwrap();
    assert!(matches!(onnx::model(&draw, &|_| None, "y", &[4]), Err(Error::Onnx { .. })));
    let missing = Program::trace(&[Tensor::state("w", [4]).exp()], &[]).unwrap();
    let refused = onnx::model(&missing, &|_| None, "y", &[4]);
    assert!(matches!(&refused, Err(Error::Onnx { reason }) if reason.contains('w')), "{refused:?}");
}
