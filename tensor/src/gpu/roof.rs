//! How fast a device can multiply, measured.

use std::time::Instant;

use super::{GpuDevice, GpuExecutable};
use crate::graph::{Graph, InputKind};
use crate::plan::{BufferId, BufferSpec, Kernel, MatMul, Place, Plan, PlanReport, View};
use crate::{DType, Program, Result, Shape, State};

impl GpuDevice {
    /// GFLOP/s of f32 products of square matrices, the best of three runs of about a tenth of a second.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where the driver fails.
    pub fn matmul_roof(&self) -> Result<f64> {
        let side = if self.info().is_software() { 512 } else { 2048 };
        self.matmul_speed([side, side, side])
    }

    /// GFLOP/s of one f32 product `[m, k]·[k, n]`, given m, k and n; the best of three runs.
    ///
    /// # Errors
    /// As [`GpuDevice::matmul_roof`].
    pub fn matmul_speed(&self, [m, k, n]: [usize; 3]) -> Result<f64> {
        let shapes: [Shape; 3] = [[m, k].into(), [k, n].into(), [m, n].into()];
        let places = [Place::State("a".into()), Place::State("b".into()), Place::Slot(0)];
        let buffers = shapes.iter().zip(places);
        let buffers = buffers.map(|(s, place)| BufferSpec::new(s.clone(), DType::F32, place)).collect();
        let view = |i: usize| View::contiguous(BufferId(i as u32), &shapes[i]);
        let product = Kernel::MatMul(MatMul { a: view(0), b: view(1), out: view(2), adds: false, epilogue: None });
        let flops = product.flops() as f64;
        let mut state = State::new(&crate::Device::Gpu(self.clone()));
        let mut graph = Graph::default();
        for (name, shape) in ["a", "b"].into_iter().zip(&shapes) {
            graph.input(name, InputKind::State, shape.clone(), DType::F32)?;
            let values: Vec<f32> = (0..shape.numel()).map(|i| ((i * 7919) % 1000) as f32 * 1e-3 - 0.5).collect();
            state.insert(name, shape.clone(), &values)?;
        }
        let program = Program::new(graph, Vec::new(), Vec::new())?;
        let plan = |repeat: usize| Plan {
            buffers: Vec::clone(&buffers),
            slots: vec![m * n],
            kernels: vec![product.clone(); repeat],
            outputs: vec![BufferId(2)],
            report: PlanReport::default(),
        };
        let mut timed = |executable: &mut GpuExecutable| -> Result<f64> {
            let started = Instant::now();
            executable.run(&mut state, &[])?;
            self.finish()?;
            Ok(started.elapsed().as_secs_f64())
        };
        let mut once = GpuExecutable::new(self, &program, plan(1))?;
        timed(&mut once)?;
        let single = timed(&mut once)?;
        let repeat = (0.1 / single.max(1e-6)).clamp(1.0, 200.0) as usize;
        let mut many = GpuExecutable::new(self, &program, plan(repeat))?;
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            best = best.min(timed(&mut many)?);
        }
        Ok(flops * repeat as f64 / best * 1e-9)
    }

    /// Blocks until everything submitted has run.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where the driver fails.
    pub fn finish(&self) -> Result<()> {
        self.wait(self.0.queue.submit([]))
    }
}
