//! The strongest test of the lowering: the seed programs and the hand-written models are one
//! computation. From the same weights they give the same logits and the same gradients.

use std::collections::HashMap;

use primer_autodiff::grad_tensors;
use primer_models::arch::Model;
use primer_models::{Arch, ModelConfig, Size};
use primer_search::dna::{Dna, seeds};
use primer_search::lower::{Plan, Sizes, plan_with_unit, positions};
use primer_search::rng::{Purpose, Rng};
use primer_tensor::reference::{Precision, evaluate};
use primer_tensor::{DType, Device, Executable, Graph, Program, Tensor};

const DIMS: [u32; 6] = [2, 8, 1, 1, 4, 16];
const BATCH: usize = 2;

/// d 16, 2 layers, 4 heads of 4, ff 64: the seed with unit 8.
fn config(arch: Arch) -> ModelConfig {
    ModelConfig { vocab: 13, d_model: 16, layers: 2, heads: 4, d_ff: 64, seq: 8, ..ModelConfig::new(arch, Size::Nano) }
}

fn planned(dna: &Dna) -> Plan {
    plan_with_unit(dna, 8, Sizes { layers: 2, vocab: 13, sequence: 8, batch: BATCH }).unwrap()
}

/// The hand-written model's name for a parameter of the program.
fn twin_name(name: &str, arch: Arch) -> String {
    let names: &[&str] = match arch {
        Arch::Vanilla => &[
            "norm1.scale",
            "norm1.shift",
            "attn.wk",
            "attn.wq",
            "attn.wv",
            "attn.wo",
            "norm2.scale",
            "norm2.shift",
            "ffn.w1",
            "ffn.b1",
            "ffn.w2",
            "ffn.b2",
        ],
        Arch::PrimerEz => &[
            "norm1.scale",
            "norm1.shift",
            "attn.wk",
            "attn.taps_k",
            "attn.wq",
            "attn.taps_q",
            "attn.wv",
            "attn.taps_v",
            "attn.wo",
            "norm2.scale",
            "norm2.shift",
            "ffn.w1",
            "ffn.b1",
            "ffn.w2",
            "ffn.b2",
        ],
        Arch::TransformerPlusplus => &[
            "norm1.scale",
            "attn.wk",
            "attn.wq",
            "attn.wv",
            "attn.wo",
            "norm2.scale",
            "ffn.w1",
            "ffn.b1",
            "ffn.v",
            "ffn.c",
            "ffn.w2",
            "ffn.b2",
        ],
        Arch::Primer => &[
            "norm1.scale",
            "norm1.shift",
            "attn.wk",
            "attn.taps_k",
            "attn.wq",
            "attn.wv",
            "attn.taps_v",
            "attn.wo",
            "ffn.w1",
            "ffn.b1",
            "ffn.w2",
            "ffn.b2",
            "norm2.scale",
            "norm2.shift",
        ],
        other => panic!("{other} has no program"),
    };
    match name.split('.').collect::<Vec<_>>()[..] {
        ["blocks", layer, number, _] => format!("blocks.{layer}.{}", names[number.parse::<usize>().unwrap()]),
        _ => name.to_owned(),
    }
}

/// Logits, and the gradients of the mean loss by the hand-written model's names.
type Outcome = (Vec<f64>, HashMap<String, Vec<f64>>);

/// Logits and gradients in that precision.
fn results(
    logits: &Tensor,
    parameters: &[(String, Tensor)],
    inputs: &HashMap<String, Vec<f64>>,
    precision: Precision,
) -> Outcome {
    let targets = Tensor::data("targets", [BATCH * 8], DType::U32);
    let loss = logits.cross_entropy(&targets).mean();
    let weights: Vec<Tensor> = parameters.iter().map(|(_, tensor)| tensor.clone()).collect();
    let mut outputs = vec![logits.clone()];
    outputs.extend(grad_tensors(&loss, &weights).unwrap());
    let program = Program::trace(&outputs, &[]).unwrap();
    let values = evaluate(&program, inputs, precision).unwrap();
    let mut data = program.outputs.iter().map(|id| values[id].data.clone());
    let logits = data.next().unwrap();
    (logits, parameters.iter().map(|(name, _)| name.clone()).zip(data).collect())
}

/// Both sides of a twin in one precision: (program, hand-written), parameters by the latter's names.
fn both(dna: &Dna, config: &ModelConfig, precision: Precision) -> [Outcome; 2] {
    let plan = planned(dna);
    let mut rng = Rng::new(9, 0, Purpose::InitialValues);
    let mut inputs: HashMap<String, Vec<f64>> = HashMap::new();
    for parameter in plan.parameters() {
        let values: Vec<f64> = (0..parameter.numel()).map(|_| f64::from(0.4 * rng.normal() as f32)).collect();
        inputs.insert(twin_name(&parameter.name, config.arch), values.clone());
        inputs.insert(parameter.name.clone(), values);
    }
    inputs.insert("positions".into(), positions(8, plan.width()).into_iter().map(f64::from).collect());
    for name in ["tokens", "targets"] {
        inputs.insert(name.into(), (0..BATCH * 8).map(|_| rng.below(13) as f64).collect());
    }

    let mut graph = Graph::new();
    let lowered = plan.build(&mut graph).unwrap();
    let tensors = Tensor::raise(&graph, &HashMap::new());
    let parameters: Vec<(String, Tensor)> = plan
        .parameters()
        .iter()
        .zip(&lowered.parameters)
        .map(|(p, id)| (twin_name(&p.name, config.arch), tensors[id.index()].clone()))
        .collect();
    let program = results(&tensors[lowered.logits.index()], &parameters, &inputs, precision);

    let model = Model::build(config, BATCH).unwrap();
    let names = model.params.iter().map(|p| p.name.clone());
    let parameters: Vec<(String, Tensor)> = names.zip(model.weights.iter().cloned()).collect();
    assert_eq!(parameters.len(), plan.parameters().len());
    [program, results(&model.logits, &parameters, &inputs, precision)]
}

/// The greatest difference, relative to the greatest value.
fn difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(0f64, |m, x| m.max(x.abs()));
    a.iter().zip(b).fold(0f64, |m, (x, y)| m.max((x - y).abs())) / scale.max(1e-12)
}

fn worst([program, model]: &[Outcome; 2]) -> f64 {
    let gradients = program.1.iter().map(|(name, gradient)| difference(gradient, &model.1[name]));
    gradients.fold(difference(&program.0, &model.0), f64::max)
}

fn twins() -> [(Dna, ModelConfig); 4] {
    let program = |dna: Dna| seeds::with_banks(dna, 4, 4, DIMS).unwrap();
    [
        (program(seeds::transformer().unwrap()), config(Arch::Vanilla)),
        (program(seeds::primer_ez().unwrap()), config(Arch::PrimerEz)),
        (program(seeds::transformer_plusplus().unwrap()), config(Arch::TransformerPlusplus)),
        (program(seeds::primer().unwrap()), config(Arch::Primer)),
    ]
}

#[test]
fn the_seed_is_its_hand_written_twin() {
    for (dna, config) in twins() {
        let config = config.with_dna_conventions();
        let exact = worst(&both(&dna, &config, Precision::F64));
        assert!(exact <= 1e-10, "{}: {exact:e} in f64", config.arch);
        let rounded = worst(&both(&dna, &config, Precision::RoundedF32));
        assert!(rounded <= 1e-4, "{}: {rounded:e} in f32", config.arch);
    }
}

/// ε, the subtracted maximum and the fused projections of the default model change little: the
/// logits to 1e-3, and not nothing, which would mean that the conventions are not switched at all.
#[test]
fn the_default_model_is_near() {
    for (dna, config) in twins() {
        let dna_like = ModelConfig {
            projections: primer_models::config::Projections::Separate,
            query_scale: primer_models::config::QueryScale::Runtime,
            shared_queries: primer_models::config::SharedQueries::PerHead,
            final_norm: primer_models::config::FinalNorm::Layer,
            ..config
        };
        let [program, model] = both(&dna, &dna_like, Precision::F64);
        let distance = difference(&program.0, &model.0);
        assert!(distance > 1e-9 && distance < 1e-3, "{distance:e}");
    }
}

/// A step of plain gradient descent as the CPU plans it: what the twins' launches are counted on.
fn step(logits: &Tensor, weights: &[Tensor], rows: usize) -> Executable {
    let loss = logits.cross_entropy(&Tensor::data("targets", [rows], DType::U32)).mean();
    let gradients = grad_tensors(&loss, weights).unwrap();
    let updates: Vec<(Tensor, Tensor)> =
        weights.iter().zip(gradients).map(|(w, g)| (w.clone(), w - g * 0.01)).collect();
    Device::cpu_with_threads(1).compile(&Program::trace(&[loss], &updates).unwrap()).unwrap()
}

/// The seed costs at most 10% more launches, bytes and FLOPs a step than its hand-written twin.
#[test]
fn the_seed_costs_what_its_twin_costs() {
    for (dna, config) in twins() {
        let config = config.with_dna_conventions();
        let plan = planned(&dna);
        let mut graph = Graph::new();
        let lowered = plan.build(&mut graph).unwrap();
        let tensors = Tensor::raise(&graph, &HashMap::new());
        let weights: Vec<Tensor> = lowered.parameters.iter().map(|id| tensors[id.index()].clone()).collect();
        let program = *step(&tensors[lowered.logits.index()], &weights, BATCH * 8).report().unwrap();
        let model = Model::build(&config, BATCH).unwrap();
        let twin = *step(&model.logits, &model.weights, BATCH * 8).report().unwrap();
        assert!(program.launches * 10 <= twin.launches * 11, "{}: {program:?} beside {twin:?}", config.arch);
        assert!(program.bytes * 10 <= twin.bytes * 11, "{}: {program:?} beside {twin:?}", config.arch);
    }
}
