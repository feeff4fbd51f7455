//! The device of a machine with no GPU: threads, packed matrix products, vectorised row programs.
//!
//! How a kernel is cut into tasks depends on shapes only, and no task's result depends on another's, so that the same
//! program on the same inputs gives the same bits for any number of threads on one instruction set.

mod arena;
mod buffer;
mod conv;
mod executable;
mod gemm;
mod indexed;
mod isa;
mod kernels;
mod linrec;
mod math;
mod matmul;
mod random;
mod row;
mod runner;
mod team;
mod tiled;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use buffer::CpuBuffer;
pub use executable::CpuExecutable;
pub use runner::PlanRunner;

use crate::memory::MemoryBudget;
use crate::plan::{BufferId, BufferSpec, Kernel, MatMul, Place, Plan, View};
use crate::{DType, Result, Shape};
use isa::Isa;
use kernels::Bases;
use team::Team;

/// Threads of this machine. Cloning shares them.
#[derive(Clone)]
pub struct CpuDevice(Arc<Inner>, MemoryBudget);

struct Inner {
    team: Team,
    isa: Isa,
    model: Option<String>,
}

impl CpuDevice {
    /// A team of `threads`, or one for each core that the process may use. Results do not depend on the number.
    pub fn new(threads: Option<usize>) -> Self {
        let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let inner = Inner { team: Team::new(threads), isa: Isa::detect(), model: model_name() };
        Self(Arc::new(inner), MemoryBudget::of_machine())
    }

    pub(crate) fn budget(&self) -> MemoryBudget {
        self.1
    }

    pub(crate) fn with_budget(self, budget: MemoryBudget) -> Self {
        Self(self.0, budget)
    }

    /// Number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.0.team.threads()
    }

    /// Compiles a plan to be run by itself, on buffers of its own: for tests and benchmarks of kernels.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where a view reaches past its buffer;
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    ///
    /// # Safety
    /// The views of each kernel have the dimensions that the kernel's description asks for, and none that it writes
    /// overlaps one that it reads at another element: so are the plans of [`passes::plan`](crate::passes::plan).
    pub unsafe fn runner(&self, plan: &Plan) -> Result<PlanRunner> {
        PlanRunner::new(self, plan)
    }

    /// The speed of a 1024³ f32 matrix product on all threads, in GFLOP/s: the best of several runs over a third of a
    /// second.
    ///
    /// # Errors
    /// As [`CpuDevice::runner`].
    pub fn matmul_roof(&self) -> Result<f64> {
        const N: usize = 1024;
        let shape = Shape::from([N, N]);
        let spec = |slot| BufferSpec::new(shape.clone(), DType::F32, Place::Slot(slot));
        let view = |buffer| View::contiguous(BufferId(buffer), &shape);
        let product = Kernel::MatMul(MatMul { a: view(0), b: view(1), out: view(2), adds: false, epilogue: None });
        let plan = Plan { buffers: (0..3).map(spec).collect(), kernels: vec![product], ..Plan::default() };
        // SAFETY: one product of N × N into a third buffer.
        let mut runner = unsafe { self.runner(&plan)? };
        let values: Vec<f32> = (0..N * N).map(|i| (i % 7) as f32 - 3.0).collect();
        runner.write(BufferId(0), &values)?;
        runner.write(BufferId(1), &values)?;
        let (start, mut best) = (Instant::now(), Duration::MAX);
        while start.elapsed() < Duration::from_millis(333) || best == Duration::MAX {
            let once = Instant::now();
            runner.run();
            best = best.min(once.elapsed());
        }
        Ok(2.0 * (N * N * N) as f64 / best.as_secs_f64() / 1e9)
    }

    fn team(&self) -> &Team {
        &self.0.team
    }

    fn isa(&self) -> Isa {
        self.0.isa
    }
}

/// The processor's name, where the system tells it in a file.
fn model_name() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

impl fmt::Display for CpuDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = self.threads();
        f.write_str("cpu: ")?;
        if let Some(model) = &self.0.model {
            write!(f, "{model}, ")?;
        }
        write!(f, "{threads} thread{}, {}", if threads == 1 { "" } else { "s" }, self.0.isa)
    }
}
