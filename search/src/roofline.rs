//! What a training step costs, by a roofline model: a number that any machine recomputes.

use primer_tensor::plan::KernelCost;
use primer_tensor::{Device, Executable};
use serde::{Deserialize, Serialize};

/// The machine of a study, as it was measured once on the study's seed program. A step is predicted to take
/// Σ max(flops / F, bytes / B) over its kernels, and τ for each launch (Williams et al. 2009, with a launch's
/// overhead).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roofline {
    /// What was measured, `cpu` or `gpu`. The two make other kernels of a program, so one kind works on a study.
    #[serde(default = "cpu")]
    pub device: String,
    /// F, floating-point operations a second.
    pub flops_per_second: f64,
    /// B, bytes a second.
    pub bytes_per_second: f64,
    /// τ, seconds a launch.
    pub seconds_per_launch: f64,
}

impl Default for Roofline {
    /// A plain CPU core, before anything is measured.
    fn default() -> Self {
        Roofline { device: cpu(), flops_per_second: 5e10, bytes_per_second: 1e10, seconds_per_launch: 2e-6 }
    }
}

fn cpu() -> String {
    "cpu".into()
}

/// The kind of a device, as [`Roofline::device`] has it.
pub fn kind_of(device: &Device) -> &'static str {
    match device {
        Device::Cpu(_) => "cpu",
        Device::Gpu(_) => "gpu",
        Device::Reference(_) => "reference",
    }
}

/// FLOPs a byte above which a kernel counts as a product when F is measured.
const PRODUCT: f64 = 8.0;

impl Roofline {
    /// Predicted seconds of one run.
    pub fn seconds(&self, executable: &Executable) -> f64 {
        let launches = executable.report().map_or(0, |report| report.launches);
        self.kernels(executable.kernel_costs()) + launches as f64 * self.seconds_per_launch
    }

    fn kernels<'a>(&self, kernels: impl IntoIterator<Item = &'a KernelCost>) -> f64 {
        let time =
            |k: &KernelCost| (k.flops as f64 / self.flops_per_second).max(k.bytes as f64 / self.bytes_per_second);
        kernels.into_iter().map(time).sum()
    }

    /// The model that fits a step: the shortest launches give τ, products F, all other single kernels B, each so that
    /// its part of the step is predicted in full; then all three are scaled to the step's own seconds. `launches` are
    /// the seconds of each launch; without any, only the scale of the default is fitted.
    ///
    /// `step` must be above 0, and `executable` not the reference's, which plans nothing.
    pub fn fit(device: &str, executable: &Executable, launches: &[f64], step: f64) -> Roofline {
        let mut model = Roofline::default();
        let costs = executable.kernel_costs();
        let mut sorted = launches.to_vec();
        sorted.sort_by(f64::total_cmp);
        if let Some(&short) = sorted.get(sorted.len() / 20) {
            model.seconds_per_launch = short;
            let single = |k: &&KernelCost| costs.iter().filter(|other| other.kernel == k.kernel).count() == 1;
            let is_product = |k: &&KernelCost| k.flops as f64 > PRODUCT * k.bytes as f64;
            let (products, others): (Vec<&KernelCost>, Vec<_>) = costs.iter().filter(single).partition(is_product);
            let seconds = |kernels: &[&KernelCost]| -> f64 {
                kernels.iter().filter_map(|k| launches.get(k.kernel)).map(|t| (t - short).max(0.0)).sum()
            };
            let flops: f64 = products.iter().map(|k| k.flops as f64).sum();
            let bytes: f64 = others.iter().map(|k| k.bytes as f64).sum();
            let positive = |rate: f64, otherwise: f64| if rate.is_normal() { rate } else { otherwise };
            model.flops_per_second = positive(flops / seconds(&products), model.flops_per_second);
            model.bytes_per_second = positive(bytes / seconds(&others), model.bytes_per_second);
        }
        let slower = step / model.seconds(executable);
        Roofline {
            device: device.to_owned(),
            flops_per_second: model.flops_per_second / slower,
            bytes_per_second: model.bytes_per_second / slower,
            seconds_per_launch: model.seconds_per_launch * slower,
        }
    }
}

#[cfg(test)]
mod tests {
    use primer_tensor::{Program, Tensor};

    use super::*;

    #[test]
    fn a_kernel_takes_what_its_slower_side_takes() {
        let roofline = Roofline {
            flops_per_second: 100.0,
            bytes_per_second: 10.0,
            seconds_per_launch: 0.5,
            ..Roofline::default()
        };
        let kernel = |flops, bytes| KernelCost { kernel: 0, flops, bytes };
        // 2 s of operations, 3 s of bytes, and 4 s of either.
        let kernels = [kernel(200, 10), kernel(100, 30), kernel(400, 40)];
        assert_eq!(roofline.kernels(&kernels), 2.0 + 3.0 + 4.0);
    }

    /// A step of a product and an elementwise operation: what is fitted predicts it in full, a launch's time included.
    #[test]
    fn the_step_that_was_measured_is_predicted() {
        let a = Tensor::state("a", [64, 64]);
        let program = Program::trace(&[a.sin(), a.matmul(&a)], &[]).unwrap();
        let executable = Device::cpu_with_threads(1).compile(&program).unwrap();
        let launches = executable.report().unwrap().launches;
        assert!(launches > 0);
        for seconds in [vec![], vec![1e-3; launches]] {
            let fitted = Roofline::fit("cpu", &executable, &seconds, 0.25);
            let predicted = fitted.seconds(&executable);
            assert!((predicted - 0.25).abs() < 1e-12, "{fitted:?} predicts {predicted}");
            let without = Roofline { seconds_per_launch: 0.0, ..fitted.clone() }.seconds(&executable);
            let difference = launches as f64 * fitted.seconds_per_launch;
            assert!((predicted - without - difference).abs() < 1e-12, "{fitted:?}");
        }
    }
}
