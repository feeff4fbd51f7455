//! One token after another: the same logits as whole sequences.

use primer_models::arch::{Model, POSITION, TOKENS};
use primer_models::config::{Positions, Projections};
use primer_models::{Arch, ModelConfig};
use primer_tensor::{Data, Device, Program};

use crate::models::tiny;

fn whole(config: &ModelConfig, device: &Device, tokens: &[u32]) -> Vec<f32> {
    let model = Model::build(config, 1).unwrap();
    let mut state = model.initial_state(device, 5).unwrap();
    let mut executable = device.compile(&Program::trace(&[model.logits], &[]).unwrap()).unwrap();
    executable.run(&mut state, &[(TOKENS, Data::U32(tokens))]).unwrap();
    executable.output(0).unwrap()
}

fn step_by_step(config: &ModelConfig, device: &Device, tokens: &[u32]) -> Vec<f32> {
    let (model, caches) = Model::build_step(config, 1).unwrap();
    let mut state = model.initial_state(device, 5).unwrap();
    for cache in &caches {
        state.insert_zeros(cache.entry.name().unwrap(), cache.entry.shape().clone()).unwrap();
    }
    let updates: Vec<_> = caches.into_iter().map(|cache| (cache.entry, cache.next)).collect();
    let mut executable = device.compile(&Program::trace(&[model.logits], &updates).unwrap()).unwrap();
    let mut logits = Vec::new();
    for (position, &token) in tokens.iter().enumerate() {
        let inputs = [(TOKENS, Data::U32(&[token])), (POSITION, Data::U32(&[position as u32]))];
        executable.run(&mut state, &inputs).unwrap();
        logits.extend(executable.output(0).unwrap());
    }
    logits
}

#[test]
fn one_token_after_another_gives_the_logits_of_the_whole() {
    let device = Device::cpu();
    for arch in Arch::ALL {
        for (projections, positions) in
            [(Projections::Fused, Positions::Sinusoid), (Projections::Separate, Positions::Relative)]
        {
            // Room for every token, as there always is for a single one.
            let config = ModelConfig { projections, positions, expert_eval_capacity: 100.0, ..tiny(arch) };
            let tokens: Vec<u32> = (0..config.seq as u32).map(|i| (i * 37 + 11) % 256).collect();
            let (expected, found) = (whole(&config, &device, &tokens), step_by_step(&config, &device, &tokens));
            for (i, (a, b)) in expected.iter().zip(&found).enumerate() {
                assert!((a - b).abs() < 1e-5 * (1.0 + a.abs()), "{arch}, position {}: {a} {b}", i / 256);
            }
        }
    }
}
