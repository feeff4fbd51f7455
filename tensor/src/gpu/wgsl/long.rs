//! Row programs over few long rows: a row in parts, each a workgroup's.
//!
//! Every pass that ends in reductions is a launch that leaves a partial a part in the auxiliary memory; the next
//! launches put the partials together before they go on. The last one stores. So a sum of millions of numbers is many
//! workgroups' work.

use super::express::combine;
use super::partials::Partials;
use super::row::{column_sums, replaces_row_values};
use super::rows::{Rows, stages};
use super::team::Team;
use crate::DType;
use crate::gpu::RowVariant;
use crate::gpu::launch::{Context, Location, Shader};
use crate::gpu::writer::Writer;
use crate::graph::ReduceOp;
use crate::plan::{Extent, RowProgram, Store, StoreKind};

/// The fewest elements of a part.
const PART: usize = 4096;

/// The most parts of a row: each part reads the partials of all.
const PARTS: usize = 256;

/// In how many parts a row is cut; None where whole rows keep the device busy.
pub(super) fn parts(program: &RowProgram, context: &Context<'_>) -> Option<usize> {
    if !program.has_reduction() || program.rows == 0 {
        return None;
    }
    let workgroups = match context.variants.rows {
        RowVariant::Invocations => 16,
        RowVariant::Shared | RowVariant::Subgroups => context.variants.invocations / 256,
    };
    let parts = (program.length / PART).min(workgroups / program.rows).min(PARTS);
    (parts > 1).then_some(parts)
}

/// A launch a pass, and one more where row values are replaced: every part must have read them.
pub(super) fn lower(program: &RowProgram, parts: usize, context: &Context<'_>) -> (Vec<Shader>, Partials) {
    let stages = stages(program);
    let sums = column_sums(program);
    let span = program.length.div_ceil(parts);
    let whole = Rows { program, stages: &stages, team: Team::ALONE, first: String::new(), end: String::new(), span };
    let (last, most) = (whole.last(), whole.most_ends());
    let shares =
        Shares { rows: program.rows, parts, reductions: (0..last).flat_map(|pass| whole.ends(pass)).collect() };
    let partials = Partials { base: shares.words(), blocks: program.rows, length: program.length };
    let stores_full = |s: &Store| s.kind == StoreKind::ColumnSum || program.body[s.value].extent == Extent::Full;
    // A program that stores row values alone has nothing to walk at last.
    let walks_at_last = program.stores.iter().any(stores_full);
    let replaces = walks_at_last && replaces_row_values(program, context);
    let team = Team::workgroup(context, span, most);
    // Pass `last + 1` stores row values alone.
    let launch = |pass: usize| {
        let mut w = Writer::new(context);
        team.gather(&mut w, most);
        let auxiliary = w.bind(Location::Auxiliary, DType::F32, true);
        w.auxiliary = partials.end(sums.len());
        let here = if pass < last || (pass == last && walks_at_last) { parts } else { 1 };
        let [width, step, cut] = [program.length, span, parts].map(|value| w.param(value as u32));
        w.line(&format!("if (group >= {}u) {{ return; }}", program.rows * here));
        w.line(&format!("let r = group / {here}u;"));
        w.line(&format!("let part = group % {here}u;"));
        w.line(&format!("let start = part * {step};"));
        w.line(&format!("let end = min(start + {step}, {width});"));
        let rows = Rows { team, first: "start + lane".into(), end: "end".into(), ..whole };
        rows.offsets(&mut w);
        for earlier in 0..pass.min(last) {
            rows.row_values(&mut w, earlier);
            let ends = rows.ends(earlier);
            shares.read(&mut w, &ends, auxiliary, &cut, team.lanes);
            team.meet(&mut w, &ends);
        }
        rows.row_values(&mut w, pass.min(last));
        let ends = rows.ends(pass);
        if pass < last {
            rows.shares(&mut w, &ends);
            team.meet(&mut w, &ends);
            shares.write(&mut w, &ends, auxiliary, &cut);
        } else {
            if pass == last {
                w.line("let block = r;");
                w.line("let k = 0u;");
                rows.store_full(&mut w, &sums, Some((auxiliary, partials)));
            }
            if pass > last || !replaces {
                if here == 1 && team.is_shared() && replaces_row_values(program, context) {
                    // Every lane has read what is replaced.
                    w.line("storageBarrier();");
                }
                rows.store_rows(&mut w, "lane == 0u && part == 0u");
            }
        }
        w.finish_workgroups(if pass < last { "row/part" } else { "row/parts" }, (program.rows * here) as u64)
    };
    ((0..=last + usize::from(replaces)).map(launch).collect(), partials)
}

/// What each part leaves of each reduction: that of part q of row r is at `(j·rows + r)·parts + q` for the j-th
/// reduction.
struct Shares {
    rows: usize,
    parts: usize,
    reductions: Vec<(usize, ReduceOp)>,
}

impl Shares {
    fn words(&self) -> usize {
        self.reductions.len() * self.rows * self.parts
    }

    /// The position of part 0 of row `r`.
    fn at(&self, reduction: usize, cut: &str) -> String {
        let j = self.reductions.iter().position(|(i, _)| *i == reduction).unwrap_or_default();
        format!("({}u + r) * {cut}", j * self.rows)
    }

    /// Each invocation's share `aI` of what the parts left.
    fn read(&self, w: &mut Writer<'_>, ends: &[(usize, ReduceOp)], auxiliary: usize, cut: &str, lanes: u32) {
        for &(i, op) in ends {
            let identity = w.literal(op.identity() as f32);
            w.line(&format!("var a{i} = {identity};"));
            let next = combine(op, &format!("a{i}"), &format!("b{auxiliary}[{} + q]", self.at(i, cut)));
            w.begin_loop(&format!("var q = lane; q < {cut}; q += {lanes}u"), self.parts.div_ceil(lanes as usize));
            w.line(&format!("a{i} = {next};"));
            w.end_loop();
        }
    }

    fn write(&self, w: &mut Writer<'_>, ends: &[(usize, ReduceOp)], auxiliary: usize, cut: &str) {
        w.line("if (lane == 0u) {");
        for &(i, _) in ends {
            w.line(&format!("b{auxiliary}[{} + part] = v{i};", self.at(i, cut)));
        }
        w.line("}");
    }
}
