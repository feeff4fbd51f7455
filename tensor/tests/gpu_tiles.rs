//! Attention and its gradient on a GPU, for a chunk of heads at a time.

use primer_tensor::Device;
use primer_tensor::gpu::{GpuOptions, Variants};
use primer_tensor::passes::TileLimits;

use crate::cpu_tiles::{BATCH, HEADS, check, run};
use crate::gpu_support::open;

/// A device that holds values of 64 KiB and more for no more heads at a time than that many bytes take, in blocks of so
/// many rows.
fn device(chunk: usize, rows: usize, options: GpuOptions) -> Device {
    let tiles = TileLimits { bytes: 64 << 10, rows, fewest: 2, chunk: Some(chunk) };
    Device::Gpu(open(GpuOptions { tiles: Some(tiles), ..options }))
}

#[test]
fn attention_in_chunks_is_right_and_the_same_for_any_of_them() {
    let large =
        GpuOptions { variants: Some(Variants { invocations: 1024, ..Variants::DISCRETE }), ..Default::default() };
    let few = GpuOptions { default_limits: true, runtime_checks: true, ..Default::default() };
    for options in [GpuOptions::default(), large, few] {
        for (n, rows) in [(48, usize::MAX), (67, usize::MAX), (67, 25)] {
            let (first, one) = run(&device(usize::MAX, rows, options), n);
            check(n, &first);
            // A head at a time, three, and more than a sequence's four.
            let head = 4 * n * n.min(rows);
            for (bytes, chunks) in [(1, 16), (4 * 3 * head, 8), (4 * 9 * head, 2)] {
                let (found, report) = run(&device(bytes, rows, options), n);
                assert!(found == first, "{n} tokens in chunks of {bytes} bytes");
                assert!(report.launches > one.launches, "{chunks} chunks: {} launches", report.launches);
            }
        }
    }
}

#[test]
fn scores_are_held_for_the_heads_in_hand_alone() {
    let one_head = 4 * 192 * 192;
    let device = device(8 * one_head, usize::MAX, GpuOptions::default());
    let [short, long] = [96, 192].map(|n| run(&device, n).1);
    let chunk = 8 * one_head as u64;
    assert!(long.scratch_bytes - chunk <= 2 * short.scratch_bytes, "{} {}", short.scratch_bytes, long.scratch_bytes);
    assert!(long.scratch_bytes < (BATCH * HEADS * one_head) as u64, "no scores of all heads: {}", long.scratch_bytes);
    // Whole they are where they are small, and nothing is computed twice.
    let whole = run(&Device::Gpu(open(GpuOptions::default())), 192).1;
    assert!(whole.scratch_bytes > 2 * (BATCH * HEADS * one_head) as u64 && whole.flops < long.flops);
}

#[test]
fn chunks_share_their_pipelines() {
    let [few, many] = [(16 << 20), 1].map(|chunk| {
        let device = open(GpuOptions {
            tiles: Some(TileLimits { bytes: 64 << 10, rows: usize::MAX, fewest: 2, chunk: Some(chunk) }),
            ..GpuOptions::default()
        });
        run(&Device::Gpu(device.clone()), 48);
        device.counts().pipelines
    });
    assert!(many <= few + 2, "{few} pipelines for one chunk, {many} for sixteen");
}
