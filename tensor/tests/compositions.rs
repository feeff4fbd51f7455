//! What is made of primitives, by example; random numbers as numbers; sums too long for a naive one.

use primer_tensor::gpu::GpuOptions;
use primer_tensor::{DType, Data, Device, Error, Graph, InputKind, Op, Program, State, Tensor};

use crate::gpu_support::open;

fn on_cpu(x: &Tensor) -> Vec<f32> {
    x.to_f32().to_vec(&Device::cpu_with_threads(2)).expect("a value")
}

#[test]
fn the_largest_in_order() {
    let x = Tensor::from_slice(&[3.0, -1.0, 7.0, 7.0, f32::NAN, 0.5, 2.0, -4.0], [2, 4]).unwrap();
    let (values, indices) = x.top_k(3, 1);
    assert_eq!((values.shape().to_vec(), indices.dtype()), (vec![2, 3], DType::U32));
    assert_eq!(on_cpu(&values), [7.0, 7.0, 3.0, 2.0, 0.5, -4.0]);
    assert_eq!(on_cpu(&indices), [2.0, 3.0, 0.0, 2.0, 1.0, 3.0]);
    // NaN comes last.
    assert_eq!(on_cpu(&x.top_k(4, 1).1)[4..], [2.0, 1.0, 3.0, 0.0]);
    assert_eq!(on_cpu(&x.argmax(1)), [2.0, 2.0]);
    assert_eq!(on_cpu(&x.argmax(0)), [0.0, 1.0, 0.0, 0.0]);
    // The same as sorting.
    let many: Vec<f32> = (0..300).map(|i| ((i * 7919) % 1009) as f32).collect();
    let mut order: Vec<usize> = (0..300).collect();
    order.sort_by(|&a, &b| many[b].total_cmp(&many[a]).then(a.cmp(&b)));
    let (_, found) = Tensor::from_slice(&many, [300]).unwrap().top_k(20, 0);
    assert_eq!(on_cpu(&found), order[..20].iter().map(|&i| i as f32).collect::<Vec<_>>());
}

#[test]
#[should_panic(expected = "top_k: no 4 largest along axis 1 of [2,3]")]
fn more_than_there_are() {
    Tensor::data("x", [2, 3], DType::F32).top_k(4, 1);
}

#[test]
fn running_sums_and_products() {
    let x = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0, 0.0, 6.0], [2, 3]).unwrap();
    assert_eq!(on_cpu(&x.cumsum(1)), [1.0, 3.0, 6.0, 4.0, 4.0, 10.0]);
    assert_eq!(on_cpu(&x.cumprod(1)), [1.0, 2.0, 6.0, 4.0, 0.0, 0.0]);
    assert_eq!(on_cpu(&x.cumsum(0)), [1.0, 2.0, 3.0, 5.0, 2.0, 9.0]);
}

#[test]
fn a_draw_is_its_key_and_stream() {
    let draw = |key: [u32; 2], stream: u32| on_cpu(&Tensor::from_indices(&key, [2]).unwrap().random([40_001], stream));
    let first = draw([1, 2], 0);
    assert_eq!(first, draw([1, 2], 0));
    for other in [draw([1, 3], 0), draw([2, 2], 0), draw([1, 2], 1)] {
        // Two independent numbers of 2²³ are rarely equal, and their covariance is within five of its deviations of 0.
        assert!(first.iter().zip(&other).filter(|(a, b)| a == b).count() < 3);
        let product = |(a, b): (&f32, &f32)| f64::from(a - 0.5) * f64::from(b - 0.5);
        let covariance = first.iter().zip(&other).map(product).sum::<f64>() / first.len() as f64;
        assert!(covariance.abs() < 5.0 / 12.0 / (first.len() as f64).sqrt(), "{covariance}");
    }
    let count = first.len() as f64;
    let mean = first.iter().map(|&u| f64::from(u)).sum::<f64>() / count;
    let variance = first.iter().map(|&u| (f64::from(u) - 0.5).powi(2)).sum::<f64>() / count;
    assert!((mean - 0.5).abs() < 5.0 * (1.0 / 12.0 / count).sqrt(), "{mean}");
    assert!((variance - 1.0 / 12.0).abs() < 5.0 * (1.0 / 180.0 / count).sqrt(), "{variance}");
    // A shorter draw of the same stream is its beginning.
    let short = Tensor::from_indices(&[1, 2], [2]).unwrap().random([7, 5], 0);
    assert_eq!(on_cpu(&short), first[..35]);
}

#[test]
fn streams_never_merge_and_keys_are_checked() {
    let mut graph = Graph::new();
    let key = graph.input("key", InputKind::Data, [2], DType::U32).unwrap();
    let (a, b, again) = (graph.random(key, [3], 0), graph.random(key, [3], 1), graph.random(key, [3], 0));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert!(a != b && again.unwrap() == a, "one stream is one draw");
    let wide = graph.input("wide", InputKind::Data, [3], DType::U32).unwrap();
    assert!(matches!(graph.random(wide, [3], 0), Err(Error::Shape { op: "random", .. })));
    assert!(matches!(graph.random(a, [3], 0), Err(Error::DType { op: "random", .. })));
}

#[test]
fn shapes_beyond_the_address_space_are_refused() {
    let mut graph = Graph::new();
    let huge = [1 << 32, 1 << 32];
    assert!(matches!(graph.input("x", InputKind::Data, huge, DType::F32), Err(Error::Invalid { .. })));
    assert!(matches!(
        graph.input("none", InputKind::Data, [0, huge[0], huge[1]], DType::F32),
        Err(Error::Invalid { .. })
    ));
    let one = graph.constant(1.0);
    let broadcast = Op::Broadcast(huge.into());
    assert!(matches!(graph.push(broadcast, &[one]), Err(Error::Shape { .. })));
    // Nor is the sum of the lengths taken for a small one.
    let four = graph.input("four", InputKind::Data, [4], DType::F32).unwrap();
    assert!(matches!(graph.pad(four, 0, usize::MAX, 1), Err(Error::Shape { .. })));
    assert!(Tensor::from_slice(&[1.0; 4], [usize::MAX, 4]).is_err());
    // As many bytes as there may be.
    graph.input("largest", InputKind::Data, [isize::MAX as usize / 4], DType::F32).unwrap();
}

/// Zeros of both signs in one kernel.
#[test]
fn a_zero_keeps_its_sign() {
    let x = Tensor::data("x", [3], DType::F32);
    let program = Program::trace(&[&x * 0.0, &x / -0.0], &[]).expect("traces");
    for device in [Device::reference(), Device::cpu_with_threads(1)] {
        let mut executable = device.compile(&program).expect("compiles");
        executable.run(&mut State::new(&device), &[("x", Data::F32(&[1.0, 2.0, 3.0]))]).expect("runs");
        assert_eq!(executable.output(1).expect("reads"), [f32::NEG_INFINITY; 3], "{device}");
    }
}

/// A sum of overlapping pads is no concatenation, which is seen before all of its thousand million leaves are.
#[test]
fn sums_of_sums_of_padded_values_are_planned_at_once() {
    let mut y = Tensor::from_slice(&[1.0, 2.0], [2]).expect("fits").pad(0, 0, 1);
    for _ in 0..30 {
        y = &y + &y;
    }
    assert_eq!(on_cpu(&y), [(1 << 30) as f32, (2u32 << 30) as f32, 0.0]);
}

#[test]
fn a_program_draws_anew_with_each_key() {
    let key = Tensor::data("key", [2], DType::U32);
    let program = Program::trace(&[key.random([9], 4)], &[]).unwrap();
    assert!(program.graph.nodes().iter().any(|node| matches!(node.op, Op::Random { stream: 4, .. })));
    let mut found: Vec<Vec<Vec<f32>>> = Vec::new();
    for device in [Device::reference(), Device::cpu_with_threads(1), Device::Gpu(open(GpuOptions::default()))] {
        let mut executable = device.compile(&program).unwrap();
        let mut state = State::new(&device);
        let draws = (0..3).map(|step| {
            executable.run(&mut state, &[("key", Data::U32(&[9, step]))]).unwrap();
            executable.output(0).unwrap()
        });
        found.push(draws.collect());
    }
    assert!(found[0][0] != found[0][1] && found[0][1] != found[0][2]);
    assert_eq!(found[0], found[1], "bit for bit");
    assert_eq!(found[0], found[2], "bit for bit");
}

#[test]
fn more_ones_than_f32_can_count_one_by_one() {
    // A naive sum sticks at 2²⁴.
    let count = (1 << 24) + 4096;
    let ones = vec![1f32; count];
    let gpu = Device::Gpu(open(GpuOptions::default()));
    // One row would be more rounds than a software adapter grants.
    for (device, rows) in [(Device::cpu_with_threads(2), 1), (gpu, 4096)] {
        let x = Tensor::data("x", [rows, count / rows], DType::F32);
        let mut executable = device.compile(&Program::trace(&[x.sum()], &[]).unwrap()).unwrap();
        executable.run(&mut State::new(&device), &[("x", Data::F32(&ones))]).unwrap();
        assert_eq!(executable.output(0).unwrap(), [count as f32], "{device}");
    }
}
