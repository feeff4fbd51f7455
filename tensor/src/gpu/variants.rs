//! Which kernels a device runs: one table by the class of the adapter.

use std::fmt;

use super::adapter::Granted;

/// How matrix products are computed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MatMulVariant {
    /// A square of outputs an invocation, nothing shared: for lanes of a CPU.
    Registers,
    /// As registers, with the left operand handed round a subgroup. Needs subgroups of one size, 4, 8 or 16.
    Subgroups,
    /// 64 × 64 outputs a workgroup through shared memory, 4 × 4 an invocation. Needs workgroups of 256.
    Tiles4,
    /// 128 × 128 outputs a workgroup, 8 × 8 an invocation, where a product has enough of them; else as
    /// [`Self::Tiles4`].
    Tiles8,
}

impl MatMulVariant {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Registers, Self::Subgroups, Self::Tiles4, Self::Tiles8];

    /// Its name in a device's signature and in what a tuning stores.
    pub fn name(self) -> &'static str {
        match self {
            Self::Registers => "registers",
            Self::Subgroups => "subgroups",
            Self::Tiles4 => "tiles-4x4",
            Self::Tiles8 => "tiles-8x8",
        }
    }

    /// The variant of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variant| variant.name() == name)
    }

    /// Whether products are computed by tiles in shared memory. The others are for lanes of a CPU, where an epilogue
    /// would cost more to compile than the launch that it saves.
    pub fn is_tiled(self) -> bool {
        matches!(self, Self::Tiles4 | Self::Tiles8)
    }
}

/// How the reductions of row programs are computed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RowVariant {
    /// A row an invocation, or a few long rows a subgroup or workgroup each: for lanes of a CPU.
    Invocations,
    /// A row a workgroup, whose invocations meet in shared memory.
    Shared,
    /// A row a workgroup, whose subgroups reduce on their own before they meet. Needs subgroups.
    Subgroups,
}

impl RowVariant {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Invocations, Self::Shared, Self::Subgroups];

    /// Its name in a device's signature and in what a tuning stores.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invocations => "invocations",
            Self::Shared => "shared",
            Self::Subgroups => "subgroups",
        }
    }

    /// The variant of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variant| variant.name() == name)
    }
}

/// The kernels of a device. Results have the same bits run after run while these are the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Variants {
    /// Matrix products.
    pub matmul: MatMulVariant,
    /// Row programs with reductions.
    pub rows: RowVariant,
    /// Invocations that keep the adapter busy: sums are cut in about as many parts.
    pub invocations: usize,
    /// Whether what matrix products alone read is stored as f16. No class of adapters does so unless it is asked to.
    pub half_operands: bool,
}

impl Variants {
    /// For adapters that compute on the CPU.
    pub const SOFTWARE: Self = Self {
        matmul: MatMulVariant::Subgroups,
        rows: RowVariant::Invocations,
        invocations: 4096,
        half_operands: false,
    };
    /// For GPUs that share the CPU's memory.
    pub const INTEGRATED: Self = Self { matmul: MatMulVariant::Tiles4, invocations: 16_384, ..Self::DISCRETE };
    /// For GPUs with memory of their own, and whatever else there is.
    pub const DISCRETE: Self =
        Self { matmul: MatMulVariant::Tiles8, rows: RowVariant::Subgroups, invocations: 65_536, half_operands: false };

    /// The variants for an adapter of that kind, as [`GpuInfo::kind`](super::GpuInfo::kind) names it.
    pub fn of_kind(kind: &str) -> Self {
        match kind {
            "software" => Self::SOFTWARE,
            "integrated" => Self::INTEGRATED,
            _ => Self::DISCRETE,
        }
    }

    /// The same, with what the device can't run replaced by what it can.
    pub(super) fn within(self, granted: &Granted) -> Self {
        let mut can = self;
        if can.matmul.is_tiled() && (granted.max_invocations < 256 || granted.shared_bytes < 16_384) {
            can.matmul = MatMulVariant::Registers;
        }
        if can.matmul == MatMulVariant::Subgroups && !matches!(granted.subgroup, 4 | 8 | 16) {
            can.matmul = MatMulVariant::Registers;
        }
        if can.rows == RowVariant::Subgroups && granted.smallest_subgroup == 0 {
            can.rows = RowVariant::Shared;
        }
        can.half_operands &= granted.f16;
        can
    }
}

impl fmt::Display for Variants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { matmul, rows, invocations, half_operands } = self;
        write!(f, "matmul {}, rows {}, {invocations} invocations", matmul.name(), rows.name())?;
        if *half_operands { f.write_str(", operands f16") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_lacks_is_replaced() {
        let webgpu = Granted::WEBGPU;
        let got = Variants::DISCRETE.within(&webgpu);
        assert_eq!((got.matmul, got.rows), (MatMulVariant::Tiles8, RowVariant::Shared));
        assert_eq!(Variants::SOFTWARE.within(&webgpu).matmul, MatMulVariant::Registers);
        let lanes = Granted { subgroup: 8, smallest_subgroup: 8, ..webgpu };
        assert_eq!(Variants::SOFTWARE.within(&lanes), Variants::SOFTWARE);
        assert_eq!(Variants::DISCRETE.within(&lanes), Variants::DISCRETE);
        let small = Granted { max_invocations: 128, ..webgpu };
        assert_eq!(Variants::INTEGRATED.within(&small).matmul, MatMulVariant::Registers);
    }

    #[test]
    fn every_variant_has_a_name_of_its_own() {
        assert!(MatMulVariant::ALL.into_iter().all(|variant| MatMulVariant::parse(variant.name()) == Some(variant)));
        assert!(RowVariant::ALL.into_iter().all(|variant| RowVariant::parse(variant.name()) == Some(variant)));
        assert_eq!(MatMulVariant::parse("tiles"), None);
    }
}
