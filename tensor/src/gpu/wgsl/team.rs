//! The invocations that share a reduction, and how their shares meet.

use super::express::combine;
use crate::gpu::RowVariant;
use crate::gpu::launch::Context;
use crate::gpu::writer::Writer;
use crate::graph::ReduceOp;

/// Invocations that compute a row together: one, or a workgroup.
#[derive(Clone, Copy)]
pub(super) struct Team {
    /// How many.
    pub lanes: u32,
    meeting: Meeting,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Meeting {
    /// One invocation has it all.
    Alone,
    /// The workgroup is one subgroup: no memory, no barrier.
    Subgroup,
    /// Each subgroup reduces; the results of at most so many meet in shared memory.
    Subgroups { most: u32 },
    /// Halving in shared memory.
    Shared,
}

/// The most invocations of a team.
const LANES: u32 = 256;

impl Team {
    pub const ALONE: Self = Self { lanes: 1, meeting: Meeting::Alone };

    /// A workgroup for rows of `length`, of which at most `ends` reductions meet at once.
    pub fn workgroup(context: &Context<'_>, length: usize, ends: usize) -> Self {
        let granted = &context.granted;
        if context.variants.rows == RowVariant::Invocations && granted.subgroup > 1 {
            return Self { lanes: granted.subgroup, meeting: Meeting::Subgroup };
        }
        let wanted = u32::try_from(length.next_power_of_two()).unwrap_or(LANES).clamp(8, LANES);
        let room = granted.shared_bytes / (4 * ends.max(1) as u32);
        // The largest power of two that the device lets a workgroup have.
        let lanes = 1u32 << wanted.min(granted.max_invocations).min(room).max(1).ilog2();
        let meeting = match context.variants.rows {
            RowVariant::Subgroups => Meeting::Subgroups { most: lanes.div_ceil(granted.smallest_subgroup.max(1)) },
            _ => Meeting::Shared,
        };
        Self { lanes, meeting }
    }

    /// Whether it is more than one invocation.
    pub fn is_shared(&self) -> bool {
        self.meeting != Meeting::Alone
    }

    /// Makes the shader's workgroups such teams, for at most `ends` reductions at once.
    pub fn gather(&self, w: &mut Writer<'_>, ends: usize) {
        if self.is_shared() {
            w.workgroup = self.lanes;
        }
        let room = match self.meeting {
            Meeting::Alone => return,
            Meeting::Subgroup => return w.use_one_subgroup(),
            Meeting::Subgroups { most } => {
                w.use_subgroups();
                most
            }
            Meeting::Shared => self.lanes,
        };
        for i in 0..ends {
            w.global(&format!("var<workgroup> s{i}: array<f32, {room}>;"));
        }
    }

    /// From each invocation's share `aI` of reduction I to the whole, `vI`, for every one of the team.
    pub fn meet(&self, w: &mut Writer<'_>, ends: &[(usize, ReduceOp)]) {
        match self.meeting {
            Meeting::Alone => {
                for (i, _) in ends {
                    w.line(&format!("let v{i} = a{i};"));
                }
            }
            Meeting::Subgroup => {
                for &(i, op) in ends {
                    w.line(&format!("let v{i} = {}(a{i});", across_subgroup(op)));
                }
            }
            Meeting::Subgroups { most } => {
                for (slot, &(i, op)) in ends.iter().enumerate() {
                    w.line(&format!("let t{i} = {}(a{i});", across_subgroup(op)));
                    w.line(&format!("if (place == 0u) {{ s{slot}[subgroup] = t{i}; }}"));
                }
                w.line("workgroupBarrier();");
                for (slot, &(i, op)) in ends.iter().enumerate() {
                    let combined = combine(op, &format!("m{i}"), &format!("s{slot}[q]"));
                    w.line(&format!("var m{i} = s{slot}[0];"));
                    w.begin_loop("var q = 1u; q < subgroups; q++", most as usize);
                    w.line(&format!("m{i} = {combined};"));
                    w.end_loop();
                    w.line(&format!("let v{i} = m{i};"));
                }
                // The next reduction writes to the memory that this one has just read.
                w.line("workgroupBarrier();");
            }
            Meeting::Shared => {
                for (slot, (i, _)) in ends.iter().enumerate() {
                    w.line(&format!("s{slot}[lane] = a{i};"));
                }
                let mut half = self.lanes / 2;
                while half > 0 {
                    w.line("workgroupBarrier();");
                    w.line(&format!("if (lane < {half}u) {{"));
                    for (slot, &(_, op)) in ends.iter().enumerate() {
                        let combined = combine(op, &format!("s{slot}[lane]"), &format!("s{slot}[lane + {half}u]"));
                        w.line(&format!("s{slot}[lane] = {combined};"));
                    }
                    w.line("}");
                    half /= 2;
                }
                w.line("workgroupBarrier();");
                for (slot, (i, _)) in ends.iter().enumerate() {
                    w.line(&format!("let v{i} = s{slot}[0];"));
                }
                w.line("workgroupBarrier();");
            }
        }
    }
}

fn across_subgroup(op: ReduceOp) -> &'static str {
    match op {
        ReduceOp::Sum => "subgroupAdd",
        ReduceOp::Prod => "subgroupMul",
        ReduceOp::Max => "subgroupMax",
        ReduceOp::Min => "subgroupMin",
    }
}
