//! What the CPU device allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use primer_tensor::{DType, Data, Device, Error, Program, State, Tensor};

/// Counts what each thread holds, so that tests on other threads don't disturb.
struct Counting;

thread_local! {
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(blocks: isize, bytes: isize) {
    // A thread that ends may free what it holds after its counters.
    let _ = HELD.try_with(|held| {
        let (b, n) = held.get();
        held.set((b + blocks, n + bytes));
    });
}

// SAFETY: everything is the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(0, size as isize - layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(start, layout, size) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(-1, -(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A small step: a product, a softmax, a sum over rows, an update in place.
fn small_step() -> Program {
    let x = Tensor::data("x", [64, 32], DType::F32);
    let w = Tensor::state("w", [32, 32]);
    let y = x.matmul(&w).softmax();
    let updates = [(w.clone(), &w * 0.99 + &y.sum_axis(0) * 1e-3)];
    Program::trace(&[y.square().mean()], &updates).expect("traces")
}

#[test]
fn memory_is_constant_over_runs() {
    // One thread: this one, whose allocations are counted.
    let device = Device::cpu_with_threads(1);
    let program = small_step();
    let before = HELD.get();
    let mut state = State::new(&device);
    state.insert("w", [32, 32], &[0.1; 1024]).expect("fits");
    let mut executable = device.compile(&program).expect("compiles");
    let mut held = Vec::with_capacity(500);
    for _ in 0..500 {
        executable.run(&mut state, &[("x", Data::F32(&[0.5; 2048]))]).expect("runs");
        executable.output(0).expect("reads back");
        held.push(HELD.get());
    }
    assert!(held[4].0 > before.0 && held[4].1 > before.1 + 4 * (2048 + 1024), "{before:?} to {:?}", held[4]);
    assert!(held[4..].iter().all(|now| *now == held[4]), "{:?} to {:?}", held[4], held[499]);
}

#[test]
fn a_program_over_the_budget_is_refused_before_anything_is_allocated() {
    let device = Device::cpu_with_threads(1);
    let x = Tensor::data("x", [1 << 20], DType::F32);
    let program = Program::trace(&[&x * 2.0], &[]).expect("traces");
    let refused = device.clone().with_memory_budget(5 << 20);
    assert_eq!(refused.memory_budget(), Some(5 << 20));
    let before = HELD.get();
    let error = refused.compile(&program).err().expect("too large");
    assert!(matches!(error, Error::MemoryBudget { needed: 8_388_608, available: 5_242_880 }), "{error:?}");
    assert_eq!(HELD.get(), before);
    device.clone().with_memory_budget(8 << 20).compile(&program).expect("fits exactly");
    // A row that is reduced is held whole: 8 MiB, beyond what each thread may have anyway.
    let row = Tensor::data("row", [1 << 21], DType::F32);
    let program = Program::trace(&[(&row * &row).sum()], &[]).expect("traces");
    let error = device.clone().with_memory_budget(9 << 20).compile(&program).err().expect("too large");
    assert!(matches!(error, Error::MemoryBudget { needed: 12_000_000.., .. }), "{error:?}");
    device.clone().with_memory_budget(40 << 20).compile(&program).expect("fits");
    // The machine's memory, where the system tells it.
    assert!(device.memory_budget().is_none_or(|bytes| bytes > 1 << 28));
    // More than any machine has.
    let huge = Tensor::data("huge", [1 << 50], DType::F32);
    let program = Program::trace(&[&huge * 2.0], &[]).expect("traces");
    let error = device.clone().with_memory_budget(1 << 40).compile(&program).err().expect("too large");
    assert!(matches!(error, Error::MemoryBudget { .. }), "{error:?}");
    // Where nobody knows how much there is, the system says no.
    let unlimited = device.with_memory_budget(u64::MAX);
    let error = unlimited.compile(&program).err().expect("too large");
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error:?}");
    let error = State::new(&unlimited).insert_zeros("huge", [1 << 50]).expect_err("too large");
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error:?}");
}
