//! The instruction set, chosen once at run time.
//!
//! Every hot loop is written once, generic over [`Simd`], and compiled for each instruction set by [`Isa::dispatch`].
//! Results may differ in the last bits between instruction sets (fused multiply-add, number of accumulators), never
//! between thread counts.

use std::fmt;

/// What the loops may rely on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Isa {
    /// What the target guarantees.
    Baseline,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, VL, DQ, BW, CD.
    Avx512,
}

/// What a loop must know of its instruction set at compile time.
pub(super) trait Simd {
    /// Whether a fused multiply-add is one instruction.
    const FMA: bool;
    /// Number of independent f32 accumulators of a sum: four vector registers.
    const LANES: usize;
}

pub(super) struct Baseline;
pub(super) struct Avx2;
pub(super) struct Avx512;

impl Simd for Baseline {
    // On AArch64 the fused form is part of the base instruction set.
    const FMA: bool = cfg!(target_arch = "aarch64");
    const LANES: usize = 16;
}

impl Simd for Avx2 {
    const FMA: bool = true;
    const LANES: usize = 32;
}

impl Simd for Avx512 {
    const FMA: bool = true;
    const LANES: usize = 64;
}

/// a·b + c, fused where that is cheap.
#[inline(always)]
pub(super) fn mul_add<S: Simd>(a: f32, b: f32, c: f32) -> f32 {
    if S::FMA { a.mul_add(b, c) } else { a * b + c }
}

/// A loop that can be compiled for each instruction set. `run` must be `#[inline(always)]`, as must all that it calls.
pub(super) trait Vectorised {
    type Output;
    fn run<S: Simd>(self) -> Self::Output;
}

impl Isa {
    /// The best that this machine has.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
            if avx2
                && std::is_x86_feature_detected!("avx512f")
                && std::is_x86_feature_detected!("avx512vl")
                && std::is_x86_feature_detected!("avx512dq")
                && std::is_x86_feature_detected!("avx512bw")
                && std::is_x86_feature_detected!("avx512cd")
            {
                return Isa::Avx512;
            }
            if avx2 {
                return Isa::Avx2;
            }
        }
        Isa::Baseline
    }

    /// Every instruction set that this machine can run, the plainest first.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<Self> {
        match Self::detect() {
            Isa::Baseline => vec![Isa::Baseline],
            Isa::Avx2 => vec![Isa::Baseline, Isa::Avx2],
            Isa::Avx512 => vec![Isa::Baseline, Isa::Avx2, Isa::Avx512],
        }
    }

    /// Runs the version of `work` that is compiled for this instruction set.
    #[inline]
    pub(super) fn dispatch<V: Vectorised>(self, work: V) -> V::Output {
        match self {
            Isa::Baseline => work.run::<Baseline>(),
            // SAFETY: these variants are made by `detect` only, where the features are there.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2(work) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512(work) },
            #[cfg(not(target_arch = "x86_64"))]
            _ => work.run::<Baseline>(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<V: Vectorised>(work: V) -> V::Output {
    work.run::<Avx2>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx512cd,avx2,fma")]
fn avx512<V: Vectorised>(work: V) -> V::Output {
    work.run::<Avx512>()
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Baseline => "baseline",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        })
    }
}
