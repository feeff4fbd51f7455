//! What training steps cost as planned: a fusion that is lost, a copy that creeps in or a buffer that lives too long
//! shows here.

use primer_models::optim::OptimizerConfig;
use primer_models::{Arch, RunConfig, Size, train};
use primer_search::dna::{Dna, seeds};
use primer_search::evaluate;
use primer_search::lower::{Sizes, plan_with_unit};
use primer_tensor::passes::{self, PlanLimits};
use primer_tensor::{Device, Program};

/// Launches, bytes moved and bytes held at once by one step: on the CPU with one thread, and on a GPU that lets a
/// kernel bind at least 24 buffers (one of them for the partial sums of a row program, which launches of their own
/// finish: how many depends on the adapter, so they aren't counted).
const COSTS: &str = "\
step                 on  launches    bytes moved     bytes held
vanilla             cpu       157     1157806968      200906276
vanilla             gpu       186     1456129012      268451872
primer_ez           cpu       182     1309210708      226183728
primer_ez           gpu       209     1607530684      293730332
dna:discovered      cpu       280     2621942236      594424876
dna:discovered      gpu       318     2836081284      592099348
dna:softmax         cpu       231     1532479640      343283752
dna:softmax         gpu       266     1834536220      377359392
dna:depthwise       cpu       303     1633361048      268247620
dna:depthwise       gpu       355     2019822952      334979104
dna:squared_relu    cpu       200     1262602088      211377700
dna:squared_relu    gpu       228     1581933532      276806680
dna:rows            cpu       251     1845934148      395062812
dna:rows            gpu       296     2215565552      462313496
";

/// Programs as a search might find them; those that are not built in are the Transformer with a part replaced.
fn evolved() -> [(&'static str, Dna); 5] {
    [
        ("dna:discovered", seeds::discovered().unwrap()),
        ("dna:softmax", include_str!("evolved/softmax.dna").parse().unwrap()),
        ("dna:depthwise", include_str!("evolved/depthwise.dna").parse().unwrap()),
        ("dna:squared_relu", include_str!("evolved/squared_relu.dna").parse().unwrap()),
        ("dna:rows", include_str!("evolved/rows.dna").parse().unwrap()),
    ]
}

/// The steps of the reference size: d 256, 4 layers, 8 heads, sequence 128, batch 16, vocabulary 1,024; ff 1,024, and
/// for the discovered program 3,072.
fn steps() -> Vec<(String, Program)> {
    let mut steps = Vec::new();
    for arch in [Arch::Vanilla, Arch::PrimerEz] {
        let mut config = RunConfig::new(arch, Size::Mini);
        config.model.vocab = 1024;
        steps.push((arch.name().to_owned(), train::step_program(&config).unwrap()));
    }
    let sizes = Sizes { layers: 4, vocab: 1024, sequence: 128, batch: 16 };
    for (name, dna) in evolved() {
        let plan = plan_with_unit(&dna, 256 / u64::from(dna.dims[0]), sizes).unwrap();
        assert_eq!(plan.width(), 256, "{name}");
        steps.push((name.to_owned(), evaluate::step_program(&plan, &OptimizerConfig::default()).unwrap()));
    }
    steps
}

#[test]
fn steps_cost_what_they_did() {
    let mut found = format!("{:<18}{:>5}{:>10}{:>15}{:>15}\n", "step", "on", "launches", "bytes moved", "bytes held");
    for (name, program) in steps() {
        let cpu = *Device::cpu_with_threads(1).compile(&program).unwrap().report().unwrap();
        let gpu = passes::plan(&program, PlanLimits { buffers: 23, epilogues: true, ..PlanLimits::default() })
            .unwrap()
            .report;
        for (device, cost) in [("cpu", cpu), ("gpu", gpu)] {
            let (launches, moved, held) = (cost.launches, cost.bytes, cost.peak_bytes());
            found += &format!("{name:<18}{device:>5}{launches:>10}{moved:>15}{held:>15}\n");
        }
    }
    assert!(
        found == COSTS,
        "The costs of a step have changed.\n\nThey were\n{COSTS}\nand are\n{found}\nIf that is meant, and no line costs more \
         for no reason, put the new table into COSTS in search/tests/costs.rs."
    );
}
