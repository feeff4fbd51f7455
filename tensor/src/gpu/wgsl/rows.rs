//! Row programs with reductions: a row an invocation or a workgroup.

use super::express::{combine, declare};
use super::partials::Partials;
use super::row::{BLOCKS, column_sums, replaces_row_values, split};
use super::team::Team;
use super::{sum, times};
use crate::DType;
use crate::gpu::RowVariant;
use crate::gpu::launch::{Context, Location, Shader};
use crate::gpu::writer::Writer;
use crate::graph::ReduceOp;
use crate::plan::{Extent, RowOp, RowProgram, Store, StoreKind, View};

/// Terms of a row that an invocation adds up before it adds their sum to the rest.
const STRETCH: usize = 256;

/// One invocation or one workgroup a block of rows. Blocks are of one row where no columns are summed.
pub(super) fn lower(program: &RowProgram, context: &Context<'_>) -> (Vec<Shader>, Partials) {
    let shares = match context.variants.rows {
        RowVariant::Invocations => program.rows < 16 && program.length >= 256,
        RowVariant::Shared | RowVariant::Subgroups => program.length > 32,
    };
    let fits = |shaders: &[Shader]| shaders.iter().all(|shader| shader.rounds <= context.rounds());
    let (shaders, partials) = launches(program, shares, context);
    match shares || fits(&shaders) {
        true => (shaders, partials),
        // Too long a row for one invocation.
        false => launches(program, true, context),
    }
}

/// One launch; several over the rows of blocks where one would run through too many.
fn launches(program: &RowProgram, shares: bool, context: &Context<'_>) -> (Vec<Shader>, Partials) {
    let sums = program.stores.iter().any(|store| store.kind == StoreKind::ColumnSum);
    let height = match (sums, shares) {
        (false, _) => 1,
        (true, false) => program.rows.div_ceil(BLOCKS).max(16),
        (true, true) => program.rows.div_ceil(512).max(1),
    };
    let partials = Partials { base: 0, blocks: program.rows.div_ceil(height), length: program.length };
    if partials.blocks == 0 {
        return (Vec::new(), partials);
    }
    let launch = |rows: [usize; 2]| launch(program, &Blocks { shares, height, partials, rows }, context);
    let whole = launch([0, height]);
    if whole.rounds <= context.rounds() {
        return (vec![whole], partials);
    }
    let depth = (height as u64 * context.rounds() / whole.rounds).max(1) as usize;
    let shaders = (0..height).step_by(depth).map(|first| launch([first, (first + depth).min(height)]));
    (shaders.collect(), partials)
}

/// Blocks of rows as one launch sees them.
struct Blocks {
    /// Whether a workgroup shares a row.
    shares: bool,
    /// Rows of a block.
    height: usize,
    partials: Partials,
    /// The first of a block's rows that the launch computes, and the one that it stops before.
    rows: [usize; 2],
}

fn launch(program: &RowProgram, cut: &Blocks, context: &Context<'_>) -> Shader {
    let &Blocks { shares, height, partials, rows: [from, to] } = cut;
    let (count, length, blocks) = (program.rows, program.length, partials.blocks);
    let stages = stages(program);
    let first = String::from("0u");
    let alone = Rows { program, stages: &stages, team: Team::ALONE, first, end: String::new(), span: length };
    let ends = alone.most_ends();
    let team = if shares { Team::workgroup(context, length, ends) } else { Team::ALONE };
    let sums = column_sums(program);
    let mut w = Writer::new(context);
    team.gather(&mut w, ends);
    if team.is_shared() {
        w.line(&format!("if (group >= {blocks}u) {{ return; }}"));
        w.line("let block = group;");
    } else {
        w.invocation_id(&format!("{blocks}u"));
        w.line("let block = id;");
    }
    // Bound first: the plan left one binding for it.
    let auxiliary = (!sums.is_empty()).then(|| w.bind(Location::Auxiliary, DType::F32, true));
    w.auxiliary = partials.end(sums.len());
    // Loops of a length known to the compiler would be unrolled, at seconds each on a software adapter.
    let [width, first_row, last_row] = [length, from, to].map(|value| w.param(value as u32));
    if height > 1 {
        w.begin_loop(&format!("var k = {first_row}; k < {last_row}; k++"), to - from);
        w.line(&format!("let r = block * {height}u + k;"));
        w.line(&format!("if (r >= {count}u) {{ break; }}"));
    } else {
        w.line("let k = 0u;");
        w.line("let r = block;");
    }
    let first = if team.is_shared() { String::from("lane") } else { alone.first };
    let rows = Rows { team, first, end: width, ..alone };
    rows.offsets(&mut w);
    for pass in 0..=rows.last() {
        rows.row_values(&mut w, pass);
        let ends = rows.ends(pass);
        if !ends.is_empty() {
            rows.shares(&mut w, &ends);
            team.meet(&mut w, &ends);
        }
    }
    rows.store_full(&mut w, &sums, auxiliary.map(|binding| (binding, partials)));
    if team.is_shared() && replaces_row_values(program, context) {
        // Every lane has read what is replaced.
        w.line("storageBarrier();");
    }
    rows.store_rows(&mut w, if team.is_shared() { "lane == 0u" } else { "true" });
    if height > 1 {
        w.end_loop();
    }
    if team.is_shared() {
        w.finish_workgroups("row/workgroups", blocks as u64)
    } else {
        w.finish("row/invocations", blocks)
    }
}

/// For each value, the pass over the row in which it can first be computed: a row value is there before pass s where it
/// needs reductions of passes before s; a full value can be computed in it.
pub(super) fn stages(program: &RowProgram) -> Vec<usize> {
    let mut stages: Vec<usize> = Vec::with_capacity(program.body.len());
    for instruction in &program.body {
        let ready = instruction.operands.iter().map(|&o| stages[o]).max().unwrap_or(0);
        stages.push(ready + usize::from(matches!(instruction.op, RowOp::Reduce(_))));
    }
    stages
}

/// The writer of a row's passes.
pub(super) struct Rows<'a> {
    pub program: &'a RowProgram,
    /// As [`stages`] gives them.
    pub stages: &'a [usize],
    pub team: Team,
    /// The first position that this invocation walks, in WGSL.
    pub first: String,
    /// The position that it stops before.
    pub end: String,
    /// The most positions from 0 to there.
    pub span: usize,
}

impl Rows<'_> {
    /// The pass in which everything is stored.
    pub fn last(&self) -> usize {
        self.stages.iter().copied().max().unwrap_or(0)
    }

    /// The most reductions that end in one pass.
    pub fn most_ends(&self) -> usize {
        (0..=self.last()).map(|pass| self.ends(pass).len()).max().unwrap_or(0)
    }

    /// The reductions that are computed in a pass.
    pub fn ends(&self, pass: usize) -> Vec<(usize, ReduceOp)> {
        let ends = self.program.body.iter().enumerate().filter_map(|(i, instruction)| match instruction.op {
            RowOp::Reduce(op) if self.stages[i] == pass + 1 => Some((i, op)),
            _ => None,
        });
        ends.collect()
    }

    /// Where row `r` of each load and of each store of elements begins. Offsets are parameters, so that programs over
    /// other parts of their buffers share a pipeline.
    pub fn offsets(&self, w: &mut Writer<'_>) {
        let mut begin = |name: String, view: &View| {
            let offset = w.param(view.offset as u32);
            w.line(&format!("let {name} = {};", sum(&[&offset, &split(view).0])));
        };
        for (i, view) in self.program.loads.iter().enumerate() {
            begin(format!("o{i}"), view);
        }
        for (i, store) in self.elements() {
            begin(format!("q{i}"), &store.to);
        }
    }

    /// The row values that are there once the reductions before a pass are.
    pub fn row_values(&self, w: &mut Writer<'_>, pass: usize) {
        for (i, instruction) in self.program.body.iter().enumerate() {
            let is_reduction = matches!(instruction.op, RowOp::Reduce(_));
            if self.stages[i] == pass && instruction.extent == Extent::Row && !is_reduction {
                self.value(w, i);
            }
        }
    }

    fn value(&self, w: &mut Writer<'_>, i: usize) {
        let instruction = &self.program.body[i];
        let full = instruction.extent == Extent::Full;
        let linear = if full { format!("r * {}u + c", self.program.length) } else { "r".to_owned() };
        let program = self.program;
        let text = declare(w, program, i, &linear, |_, view| {
            let load = program.loads.iter().position(|v| std::ptr::eq(v, view)).unwrap_or_default();
            let stride = view.strides.last().copied().unwrap_or(0);
            sum(&[&format!("o{load}"), &times("c", if full { stride } else { 0 })])
        });
        w.line(&text);
    }

    /// Opens the loop over this invocation's elements of the row, from `first` to before `end`, of at most `span`
    /// positions for all, and computes what `roots` need.
    fn walk_row(
        &self,
        w: &mut Writer<'_>,
        (first, end, span): (&str, &str, usize),
        roots: impl IntoIterator<Item = usize>,
    ) {
        let mut needed = vec![false; self.program.body.len()];
        for root in roots {
            needed[root] = true;
        }
        for i in (0..needed.len()).rev() {
            let instruction = &self.program.body[i];
            if needed[i] && instruction.extent == Extent::Full {
                for &operand in &instruction.operands {
                    needed[operand] = true;
                }
            }
        }
        let rounds = span.div_ceil(self.team.lanes as usize);
        w.begin_loop(&format!("var c = {first}; c < {end}; c += {}u", self.team.lanes), rounds);
        for (i, instruction) in self.program.body.iter().enumerate() {
            if needed[i] && instruction.extent == Extent::Full {
                self.value(w, i);
            }
        }
    }

    /// This invocation's share `aI` of each reduction.
    pub fn shares(&self, w: &mut Writer<'_>, ends: &[(usize, ReduceOp)]) {
        let begin = |w: &mut Writer<'_>, name: &str| {
            for &(i, op) in ends {
                let identity = w.literal(op.identity() as f32);
                w.line(&format!("var {name}{i} = {identity};"));
            }
        };
        begin(w, "a");
        // Of many terms, stretches are summed by themselves: one sum of them all would lose what is small beside it.
        let stretch = STRETCH * self.team.lanes as usize;
        let in_stretches = self.program.length > 2 * stretch;
        if in_stretches {
            let header = format!("var begin = {}; begin < {}; begin += {stretch}u", self.first, self.end);
            w.begin_loop(&header, self.span.div_ceil(stretch));
            w.line(&format!("let stop = min({}, begin + {stretch}u);", self.end));
            begin(w, "p");
        }
        let (name, walked) = match in_stretches {
            true => ("p", ("begin", "stop", stretch)),
            false => ("a", (self.first.as_str(), self.end.as_str(), self.span)),
        };
        // A reduction of a row value repeats it.
        self.walk_row(w, walked, ends.iter().map(|&(i, _)| self.program.body[i].operands[0]));
        for &(i, op) in ends {
            let operand = format!("v{}", self.program.body[i].operands[0]);
            w.line(&format!("{name}{i} = {};", combine(op, &format!("{name}{i}"), &operand)));
        }
        w.end_loop();
        if in_stretches {
            for &(i, op) in ends {
                w.line(&format!("a{i} = {};", combine(op, &format!("a{i}"), &format!("p{i}"))));
            }
            w.end_loop();
        }
    }

    /// The last pass: full values are stored, and summed over the rows k of this `block` where columns are.
    pub fn store_full(&self, w: &mut Writer<'_>, sums: &[&Store], partials: Option<(usize, Partials)>) {
        let full: Vec<(usize, &Store)> = self.elements_of(Extent::Full).collect();
        if full.is_empty() && sums.is_empty() {
            return;
        }
        let length = self.program.length;
        let values = full.iter().map(|(_, store)| store).chain(sums).map(|store| store.value);
        self.walk_row(w, (&self.first, &self.end, self.span), values);
        for (i, store) in full {
            let stride = split(&store.to).1;
            let binding = w.write(store.to.buffer);
            let dtype = self.program.body[store.value].dtype;
            w.store(binding, dtype, &sum(&[&format!("q{i}"), &times("c", stride)]), &format!("v{}", store.value));
        }
        if let Some((binding, partials)) = partials {
            for (i, store) in sums.iter().enumerate() {
                let value = format!("v{}", store.value);
                w.line(&format!("let at{i} = {}u + block * {length}u + c;", partials.start(i)));
                w.line(&format!("if (k == 0u) {{ b{binding}[at{i}] = {value}; }}"));
                w.line(&format!("else {{ b{binding}[at{i}] = b{binding}[at{i}] + {value}; }}"));
            }
        }
        w.end_loop();
    }

    /// Row values are stored by the invocation for which `condition` holds.
    pub fn store_rows(&self, w: &mut Writer<'_>, condition: &str) {
        let rows: Vec<(usize, &Store)> = self.elements_of(Extent::Row).collect();
        if rows.is_empty() {
            return;
        }
        w.line(&format!("if ({condition}) {{"));
        for (i, store) in rows {
            let binding = w.write(store.to.buffer);
            let dtype = self.program.body[store.value].dtype;
            w.store(binding, dtype, &format!("q{i}"), &format!("v{}", store.value));
        }
        w.line("}");
    }

    /// The stores of elements, by their positions.
    fn elements(&self) -> impl Iterator<Item = (usize, &Store)> {
        self.program.stores.iter().enumerate().filter(|(_, store)| store.kind == StoreKind::Elements)
    }

    fn elements_of(&self, extent: Extent) -> impl Iterator<Item = (usize, &Store)> {
        self.elements().filter(move |(_, store)| self.program.body[store.value].extent == extent)
    }
}
