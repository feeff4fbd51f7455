//! The second launch of a sum in parts.

use super::team::Team;
use crate::DType;
use crate::gpu::launch::{Context, Location, Shader};
use crate::gpu::writer::Writer;
use crate::graph::ReduceOp;
use crate::plan::View;

/// Where partial sums lie in the auxiliary memory: `sums` of `length` columns each, in `blocks`; column c of block k of
/// sum s is at
/// `base + (s·blocks + k)·length + c`.
#[derive(Clone, Copy)]
pub(super) struct Partials {
    pub base: usize,
    pub blocks: usize,
    pub length: usize,
}

impl Partials {
    /// Words that `sums` of them end at.
    pub fn end(&self, sums: usize) -> usize {
        self.base + sums * self.blocks * self.length
    }

    /// Where sum `s` begins.
    pub fn start(&self, s: usize) -> usize {
        self.end(s)
    }
}

/// More parts than this are added up by several invocations, where there are few columns.
const SERIAL: usize = 256;

/// Adds up the parts of each column in the order of their blocks; sum s goes to the contiguous view `to[s]`.
pub(super) fn add(to: &[&View], partials: Partials, context: &Context<'_>) -> Shader {
    let Partials { base, blocks, length } = partials;
    let columns = to.len() * length;
    let shares = blocks > SERIAL && (columns < SERIAL || blocks as u64 >= context.rounds());
    let team = if shares { Team::workgroup(context, blocks, 1) } else { Team::ALONE };
    let mut w = Writer::new(context);
    team.gather(&mut w, 1);
    let rounds = blocks.div_ceil(team.lanes as usize);
    let [count, length, base, blocks] = [columns, length, base, blocks].map(|value| w.param(value as u32));
    let from = w.bind(Location::Auxiliary, DType::F32, false);
    // What is bound is never empty, even where there are no blocks.
    w.auxiliary = partials.end(to.len()).max(1);
    if team.is_shared() {
        w.line(&format!("if (group >= {count}) {{ return; }}"));
        w.line("let id = group;");
        w.line("let first = lane;");
    } else {
        w.invocation_id(&count);
        w.line("let first = 0u;");
    }
    w.line(&format!("let sum = id / {length};"));
    w.line(&format!("let c = id % {length};"));
    w.line(&format!("let at = {base} + sum * {blocks} * {length} + c;"));
    w.line("var a0 = 0.0f;");
    w.begin_loop(&format!("var k = first; k < {blocks}; k += {}u", team.lanes), rounds);
    w.line(&format!("a0 += b{from}[at + k * {length}];"));
    w.end_loop();
    team.meet(&mut w, &[(0, ReduceOp::Sum)]);
    if team.is_shared() {
        w.line("if (lane != 0u) { return; }");
    }
    for (s, view) in to.iter().enumerate() {
        let offset = w.param(view.offset as u32);
        let out = w.write(view.buffer);
        w.line(&format!("if (sum == {s}u) {{"));
        w.store(out, DType::F32, &format!("{offset} + c"), "v0");
        w.line("}");
    }
    match team.is_shared() {
        true => w.finish_workgroups("partials/workgroups", columns as u64),
        false => w.finish("partials/invocations", columns),
    }
}
