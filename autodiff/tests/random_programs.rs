//! Random programs, forward and backward: every device against the oracle, and every pass before against after.

use std::cell::Cell;
use std::collections::HashMap;

use primer_tensor::cpu::CpuDevice;
use primer_tensor::gpu::GpuOptions;
use primer_tensor::passes::{PlanLimits, TileLimits, canonicalize, plan};
use primer_tensor::plan::{BufferId, Kernel, Place, Plan, View};
use primer_tensor::reference::{Precision, evaluate, run_plan};
use primer_tensor::{DType, Device, NodeId, Program, Result};
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

use crate::devices::{cpus, gpu};
use crate::support::compare::{EPSILON, Expected, bits, expect, mismatch, run};
use crate::support::leaves::{Built, Values, wide};
use crate::support::programs::{Recipe, batched, recipe, regressions};
use crate::support::random::runner;

/// Lengths around those of vectors, blocks and tiles.
const LENGTHS: &[usize] = &[2, 1, 3, 5, 8, 17, 33, 70];
/// Most elements of a value.
const LARGEST: usize = 2400;

/// Everything that can be tiled is, and every causal square is cut.
const TILES: TileLimits = TileLimits { bytes: 1, rows: 1, fewest: 16, chunk: None };

/// The same chunk by chunk, of few tiles.
const CHUNKS: TileLimits = TileLimits { fewest: 2, chunk: Some(1000), ..TILES };

/// How many programs said something. The others are rejected, so that each runner draws until it has judged as many as
/// it was asked for.
#[derive(Default)]
struct Count {
    compared: Cell<u32>,
    discarded: Cell<u32>,
}

impl Count {
    /// A program and what the oracle says of it; rejected, and counted as discarded, where that is unstable or not
    /// `usable`.
    fn judge(
        &self,
        recipe: &Recipe,
        usable: impl Fn(&Expected) -> bool,
    ) -> Result<(Built, Program, Expected), TestCaseError> {
        let built = recipe.build();
        let program = built.program();
        let expected = expect(&program, &built.inputs);
        let says_something = expected.stable && usable(&expected);
        let counter = if says_something { &self.compared } else { &self.discarded };
        counter.set(counter.get() + 1);
        if says_something {
            Ok((built, program, expected))
        } else {
            Err(TestCaseError::reject("the oracle can't judge it"))
        }
    }

    /// At most 30% may be too unstable to say anything.
    fn check(&self) {
        let (compared, discarded) = (f64::from(self.compared.get()), f64::from(self.discarded.get()));
        let share = discarded / (discarded + compared);
        assert!(share <= 0.3, "{share} of all programs were discarded");
    }
}

/// Runs `test` on what `runner` draws, after the programs that once failed.
fn over_programs(mut runner: TestRunner, steps: usize, test: impl Fn(&Recipe) -> Result<(), TestCaseError>) {
    for recipe in regressions() {
        // Not every test can judge each of them.
        if let Err(TestCaseError::Fail(why)) = test(&recipe) {
            panic!("a program that once failed: {why}\n{recipe:?}");
        }
    }
    match runner.run(&recipe(LENGTHS, LARGEST, steps), |recipe| test(&recipe)) {
        Ok(()) => {}
        Err(TestError::Fail(why, recipe)) => panic!("{why}\nsmallest: {recipe:?}"),
        Err(other) => panic!("{other}"),
    }
}

/// The devices agree with the oracle, and among themselves in every bit.
fn devices_agree(recipe: &Recipe, devices: &[Device], count: &Count) -> Result<(), TestCaseError> {
    let gpu = devices.iter().any(|device| matches!(device, Device::Gpu(_)));
    let (built, program, expected) = count.judge(recipe, |expected| !gpu || expected.finite)?;
    let mut first: Option<Vec<Vec<u32>>> = None;
    for device in devices {
        let found = run(device, &program, &built.inputs)
            .map_err(|error| TestCaseError::fail(format!("{device}: {error}\n{}", program.graph)))?;
        let found_bits = bits(&found);
        match &first {
            Some(first) => prop_assert!(*first == found_bits, "{device} differs in bits\n{}", program.graph),
            None => {
                let wrong = mismatch(&program, &expected, &found, EPSILON * expected.largest);
                prop_assert!(wrong.is_none(), "{device}: {}\n{}", wrong.unwrap_or_default(), program.graph);
                first = Some(found_bits);
            }
        }
    }
    Ok(())
}

#[test]
fn cpu_agrees_for_any_number_of_threads() {
    let (devices, count) = (cpus(), Count::default());
    let runner = runner("cpu", file!(), 2000);
    over_programs(runner, 12, |recipe| devices_agree(recipe, &devices, &count));
    count.check();
}

#[test]
fn gpu_agrees_run_after_run() {
    let device = gpu(GpuOptions::default());
    let (devices, count) = ([device.clone(), device], Count::default());
    over_programs(runner("gpu", file!(), 30), 12, |recipe| devices_agree(recipe, &devices, &count));
    count.check();
}

/// What `canonicalize` and the whole of `plan` make of a program, in f64, with few and with many buffers a kernel, with
/// and without tiles. The pass that rounds operands to f16 is held against the plan without it, its values rounded.
#[test]
fn passes_before_and_after() {
    let (count, halves) = (Count::default(), Cell::new(0));
    over_programs(runner("passes", file!(), 300), 12, |recipe| {
        let (built, program, expected) = count.judge(recipe, |_| true)?;
        let failed = |error: primer_tensor::Error| TestCaseError::fail(format!("{error}\n{}", program.graph));
        let floor = EPSILON * expected.largest;
        let inputs = wide(&built.inputs);
        let canonical = canonicalize(&program).map_err(failed)?;
        canonical.graph.verify().map_err(failed)?;
        let values = evaluate(&canonical, &inputs, Precision::F64).map_err(failed)?;
        let narrow = |values: &[f64]| -> Vec<f32> { values.iter().map(|&x| x as f32).collect() };
        let found: Vec<Vec<f32>> = canonical.roots().map(|id| narrow(&values[&id].data)).collect();
        let wrong = mismatch(&program, &expected, &found, floor);
        prop_assert!(wrong.is_none(), "canonicalize: {}\n{}", wrong.unwrap_or_default(), program.graph);
        let plain = PlanLimits::default();
        for limits in [
            plain,
            PlanLimits { tiles: Some(TILES), ..plain },
            PlanLimits { tiles: Some(CHUNKS), ..plain },
            PlanLimits { epilogues: true, ..plain },
            PlanLimits { tiles: Some(CHUNKS), epilogues: true, ..plain },
            PlanLimits { buffers: 7, ..plain },
            PlanLimits { buffers: 7, epilogues: true, ..plain },
        ] {
            let plan = plan(&program, limits).map_err(failed)?;
            plan.check_views().map_err(failed)?;
            let most = plan.kernels.iter().map(|kernel| kernel.buffers().len()).max().unwrap_or(0);
            prop_assert!(most <= limits.buffers, "{most} buffers in one kernel\n{}", program.graph);
            let mut state = inputs.clone();
            let outputs = run_plan(&plan, &inputs, &mut state);
            let mut found: Vec<Vec<f32>> = outputs.iter().map(|values| narrow(values)).collect();
            for (target, _) in &program.updates {
                let info = program.graph.inputs().iter().find(|info| info.node == *target).expect("a state");
                found.push(narrow(&state[&info.name]));
            }
            let wrong = mismatch(&program, &expected, &found, floor);
            prop_assert!(wrong.is_none(), "plan within {limits:?}: {}\n{}", wrong.unwrap_or_default(), program.graph);
        }
        let limits = PlanLimits { tiles: Some(CHUNKS), epilogues: true, ..plain };
        halves.set(halves.get() + check_half(&program, limits, &inputs)?);
        Ok(())
    });
    count.check();
    assert!(halves.get() >= 20, "{} operands in half precision", halves.get());
}

/// Products alone read what the pass `half` stores in 16 bits, and but for the rounding of these values every number is,
/// bit for bit, what it is without the pass. Gives how many they are.
fn check_half(
    program: &Program,
    limits: PlanLimits,
    inputs: &HashMap<String, Vec<f64>>,
) -> Result<usize, TestCaseError> {
    let failed = |error: primer_tensor::Error| TestCaseError::fail(format!("{error}\n{}", program.graph));
    let halved = plan(program, PlanLimits { half_operands: true, ..limits }).map_err(failed)?;
    let is_whole = |view: &View| !halved.buffers[view.buffer.index()].half;
    for kernel in &halved.kernels {
        // The operands of a product are its first reads.
        let operands = if matches!(kernel, Kernel::MatMul(_)) { 2 } else { 0 };
        let others_are_whole = kernel.reads().into_iter().skip(operands).all(is_whole);
        prop_assert!(others_are_whole, "{kernel:?} reads f16\n{}", program.graph);
    }
    let mut rounded = plan(program, limits).map_err(failed)?;
    for (buffer, halved) in rounded.buffers.iter_mut().zip(&halved.buffers) {
        buffer.half = halved.half;
    }
    let run = |plan: &Plan| -> Vec<u64> {
        let mut state = inputs.clone();
        let outputs = run_plan(plan, inputs, &mut state);
        let updated = program.updates.iter().map(|(target, _)| {
            let info = program.graph.inputs().iter().find(|info| info.node == *target).expect("a state");
            state[&info.name].clone()
        });
        outputs.into_iter().chain(updated).flatten().map(f64::to_bits).collect()
    };
    prop_assert!(run(&halved) == run(&rounded), "more changes than is rounded to f16\n{}", program.graph);
    Ok(halved.buffers.iter().filter(|buffer| buffer.half).count())
}

/// Tiles of every size on the CPU with 1, 2 and 4 threads: the devices themselves tile only what is large.
#[test]
fn tiles_on_the_cpu() {
    let (count, tiled) = (Count::default(), Cell::new(0));
    let cpus = [1, 2, 4].map(|threads| CpuDevice::new(Some(threads)));
    let mut runner = runner("tiles", file!(), 300);
    let result = runner.run(&batched(10), |recipe| {
        let (built, program, expected) = count.judge(&recipe, |_| true)?;
        let failed = |error: primer_tensor::Error| TestCaseError::fail(format!("{error}\n{}", program.graph));
        let plan = plan(&program, PlanLimits { tiles: Some(TILES), ..PlanLimits::default() }).map_err(failed)?;
        tiled.set(tiled.get() + u32::from(plan.kernels.iter().any(|kernel| matches!(kernel, Kernel::Tiled(_)))));
        let mut first: Option<Vec<Vec<u32>>> = None;
        for cpu in &cpus {
            let found = run_on(cpu, &plan, &program, &built.inputs).map_err(failed)?;
            let wrong = mismatch(&program, &expected, &found, EPSILON * expected.largest);
            prop_assert!(wrong.is_none(), "{cpu}: {}\n{}", wrong.unwrap_or_default(), program.graph);
            let found = bits(&found);
            prop_assert!(*first.get_or_insert_with(|| found.clone()) == found, "{cpu} differs\n{}", program.graph);
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    count.check();
    assert!(5 * tiled.get() >= count.compared.get(), "tiles in {} of {:?}", tiled.get(), count.compared);
}

/// Chunks of few tiles on a GPU, in few programs, since each has kernels of its own to compile.
#[test]
fn chunks_on_a_gpu() {
    let device = gpu(GpuOptions { tiles: Some(CHUNKS), ..GpuOptions::default() });
    let (count, in_chunks) = (Count::default(), Cell::new(0));
    let result = runner("chunks", file!(), 10).run(&batched(10), |recipe| {
        let (built, program, expected) = count.judge(&recipe, |expected| expected.finite)?;
        let failed = |error: primer_tensor::Error| TestCaseError::fail(format!("{error}\n{}", program.graph));
        let planned = |tiles| plan(&program, PlanLimits { tiles, ..PlanLimits::default() });
        let [whole, cut] = [None, Some(CHUNKS)].map(planned);
        let (whole, cut) = (whole.map_err(failed)?, cut.map_err(failed)?);
        in_chunks.set(in_chunks.get() + u32::from(cut.kernels.len() > whole.kernels.len()));
        let found = run(&device, &program, &built.inputs).map_err(failed)?;
        let wrong = mismatch(&program, &expected, &found, EPSILON * expected.largest);
        prop_assert!(wrong.is_none(), "{}\n{}", wrong.unwrap_or_default(), program.graph);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    count.check();
    assert!(in_chunks.get() > 0, "no program ran in chunks");
}

/// Outputs and new state of a plan.
fn run_on(cpu: &CpuDevice, plan: &Plan, program: &Program, inputs: &[(String, Values)]) -> Result<Vec<Vec<f32>>> {
    // SAFETY: the passes made it.
    let mut runner = unsafe { cpu.runner(plan)? };
    let place = |i: usize| BufferId(i as u32);
    for (i, spec) in plan.buffers.iter().enumerate() {
        let (Place::Data(name) | Place::State(name)) = &spec.place else { continue };
        match inputs.iter().find(|(given, _)| given == name) {
            Some((_, Values::F32(values))) => runner.write(place(i), values)?,
            Some((_, Values::U32(values))) => runner.write_indices(place(i), values)?,
            None => return Err(primer_tensor::Error::MissingInput { name: name.clone() }),
        }
    }
    runner.run();
    let mut found: Vec<Vec<f32>> = plan.outputs.iter().map(|&output| runner.read(output).to_vec()).collect();
    for (target, _) in &program.updates {
        let info = program.graph.inputs().iter().find(|info| info.node == *target).expect("a state");
        let held = plan.buffers.iter().position(|spec| spec.place == Place::State(info.name.clone()));
        found.push(runner.read(place(held.expect("a buffer of the state"))).to_vec());
    }
    Ok(found)
}

/// Gradients for which some values are kept and the others computed again, against those for which all are kept: in f64
/// as they are, and planned.
#[test]
fn checkpoints_change_no_gradient() {
    use primer_autodiff::{checkpointed_grad_graph, grad_graph};
    let again = Cell::new(0);
    let mut runner = runner("checkpoints", file!(), 300);
    let result = runner.run(&recipe(&[2, 1, 3, 4], 48, 12), |recipe| {
        let Built { mut graph, loss, wrt, inputs, .. } = recipe.build();
        let inputs = wide(&inputs);
        let is_kept =
            |id: &NodeId| graph.dtype(*id) == DType::F32 && (id.index() as u64 * 7 + recipe.seed).is_multiple_of(5);
        let checkpoints: Vec<NodeId> = graph.ids().take(loss.index()).filter(is_kept).collect();
        let expected = grad_graph(&mut graph, loss, &wrt).expect("the loss is a scalar");
        let (before, kept) = (graph.nodes().len(), expected.clone());
        let found = checkpointed_grad_graph(&mut graph, loss, &wrt, &checkpoints).expect("the loss is a scalar");
        again.set(again.get() + u32::from(graph.nodes().len() > before));
        let program = Program::new(graph, kept.into_iter().chain(found).collect(), Vec::new()).expect("f32 outputs");
        program.graph.verify().expect("valid");
        let values = evaluate(&program, &inputs, Precision::F64).expect("evaluates");
        let planned = plan(&program, PlanLimits { tiles: Some(TILES), ..PlanLimits::default() }).expect("plans");
        let planned = run_plan(&planned, &inputs, &mut inputs.clone());
        let evaluated: Vec<&Vec<f64>> = program.outputs.iter().map(|id| &values[id].data).collect();
        for found in [evaluated, planned.iter().collect()] {
            let (kept, again) = found.split_at(expected.len());
            for ((a, b), x) in kept.iter().zip(again).zip(&wrt) {
                let scale = a.iter().map(|x| x.abs()).fold(1.0, f64::max);
                let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * scale || a == b || (a.is_nan() && b.is_nan());
                let agree = a.iter().zip(*b).all(|(&a, &b)| close(a, b));
                prop_assert!(agree, "by {x:?}: {a:?} and {b:?}\n{checkpoints:?}\n{}", program.graph);
            }
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    assert!(again.get() >= 100, "values were computed again in {} programs", again.get());
}

/// Gradients against central differences, in f64 on the reference.
#[test]
fn gradients() {
    use primer_autodiff::check::Options;
    use primer_autodiff::check_gradient;
    let (checked, discarded) = (Cell::new(0usize), Cell::new(0usize));
    let mut runner = runner("gradients", file!(), 500);
    let result = runner.run(&recipe(&[2, 1, 3, 4], 48, 12), |recipe| {
        let Built { graph, loss, wrt, inputs, .. } = recipe.build();
        let inputs = wide(&inputs);
        let report = check_gradient(&graph, loss, &wrt, &inputs, Options { probes: 6, ..Options::default() })
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        checked.set(checked.get() + report.probes.len());
        discarded.set(discarded.get() + report.discarded);
        prop_assert!(report.max_error() < 1e-6, "{:?}\n{graph}", report.worst());
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let share = discarded.get() as f64 / (checked.get() + discarded.get()) as f64;
    assert!(share <= 0.3, "{share} of all probes said nothing");
}
