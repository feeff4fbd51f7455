//! Row programs.
//!
//! Without a reduction, an invocation computes one element (`flat`) or, where columns are summed, one column of a block of rows
//! (`columns`). With reductions (`rows`), a row is walked once a stage by one invocation or by a workgroup; what a later stage
//! needs of an earlier one is computed again from the loads, so a row of any length fits.
//!
//! Sums over rows leave as one partial a block of rows, added up in order by a second launch. Blocks depend on the shapes and the
//! variants only.

use super::express::{combine, declare};
use super::{collapse, sum, times, walk};
use crate::DType;
use crate::gpu::adapter::Variants;
use crate::gpu::launch::{Context, Location, Shader, Writer};
use crate::graph::ReduceOp;
use crate::plan::{Extent, RowOp, RowProgram, Store, StoreKind, View};

pub(super) fn lower(program: &RowProgram, context: &Context<'_>) -> Vec<Shader> {
    let sums: Vec<&Store> = program.stores.iter().filter(|s| s.kind == StoreKind::ColumnSum).collect();
    let by_element = !program.has_reduction() && !replaces_row_values(program, context);
    if by_element && sums.is_empty() {
        return vec![flat(program, context)];
    }
    let (main, blocks) = if by_element { columns(program, context) } else { rows(program, context) };
    let mut shaders: Vec<Shader> = main.into_iter().collect();
    for (i, store) in sums.iter().enumerate() {
        shaders.push(add_partials(&store.to, i * blocks * program.length, blocks, context));
    }
    shaders
}

/// Whether a row value goes to a buffer that is read: then no other invocation may still need the old value.
fn replaces_row_values(program: &RowProgram, context: &Context<'_>) -> bool {
    let read: Vec<Location> = program.loads.iter().map(|view| context.location(view.buffer)).collect();
    let row_stores = program.stores.iter().filter(|s| program.body[s.value].extent == Extent::Row);
    program.length != 1 && row_stores.into_iter().any(|s| read.contains(&context.location(s.to.buffer)))
}

/// One invocation an element; row values are computed by each element of the row and stored by its first.
fn flat(program: &RowProgram, context: &Context<'_>) -> Shader {
    let mut w = Writer::new(context);
    // Of the whole space where full values are stored, else of one element a row.
    let full = program.length > 0 && program.stores.iter().any(|s| program.body[s.value].extent == Extent::Full);
    let length = if full { program.length } else { 1 };
    let count = program.rows * length;
    let count_param = w.param(count as u32);
    w.invocation_id(&count_param);
    let row = if length == 1 { "id".to_owned() } else { format!("id / {}u", length.max(1)) };
    for (i, instruction) in program.body.iter().enumerate() {
        let needs_full = instruction.extent == Extent::Full;
        if needs_full && !full {
            continue;
        }
        let load = |w: &mut Writer<'_>, view: &View| {
            let mut dims = view.dims.clone();
            let mut strides = view.strides.clone();
            match (dims.last_mut(), strides.last_mut()) {
                (Some(dim), Some(stride)) if *dim == 1 => (*dim, *stride) = (length, 0),
                (None, _) => (dims, strides) = (vec![length], vec![0]),
                _ => {}
            }
            let offset = w.param(view.offset as u32);
            sum(&[&offset, &walk("id", &collapse(&dims, &strides))])
        };
        let linear = if needs_full { "id" } else { &row };
        let text = declare(&mut w, program, i, linear, load);
        w.line(&text);
    }
    for store in &program.stores {
        let instruction = &program.body[store.value];
        if instruction.extent == Extent::Full && !full {
            continue;
        }
        let binding = w.write(store.to.buffer);
        let offset = w.param(store.to.offset as u32);
        let value = format!("v{}", store.value);
        let blocks = collapse(&store.to.dims, &store.to.strides);
        if instruction.extent == Extent::Full || length == 1 {
            let at = sum(&[&offset, &walk("id", &blocks)]);
            w.store(binding, instruction.dtype, &at, &value);
        } else {
            let at = sum(&[&offset, &walk(&row, &blocks)]);
            w.line(&format!("if (id % {length}u == 0u) {{"));
            w.store(binding, instruction.dtype, &at, &value);
            w.line("}");
        }
    }
    w.finish("row/flat", count)
}

/// One invocation a column and block of rows: its sums stay in registers.
fn columns(program: &RowProgram, context: &Context<'_>) -> (Option<Shader>, usize) {
    let target = match context.variants {
        Variants::Software => 4096,
        Variants::Discrete => 65_536,
    };
    let wanted = (target / program.length.max(1)).clamp(1, program.rows.div_ceil(16).max(1));
    let height = program.rows.div_ceil(wanted).max(1);
    let blocks = program.rows.div_ceil(height);
    if blocks * program.length == 0 {
        return (None, blocks);
    }
    let mut w = Writer::new(context);
    let length = program.length;
    w.invocation_id(&format!("{}u", blocks * length));
    w.line(&format!("let block = id / {length}u;"));
    w.line(&format!("let c = id % {length}u;"));
    let sums = column_sums(program);
    for (i, _) in sums.iter().enumerate() {
        w.line(&format!("var sum{i} = 0.0f;"));
    }
    w.line(&format!("let end = min(block * {height}u + {height}u, {}u);", program.rows));
    w.line(&format!("for (var r = block * {height}u; r < end; r++) {{"));
    for (i, instruction) in program.body.iter().enumerate() {
        let linear = if instruction.extent == Extent::Full { format!("r * {length}u + c") } else { "r".to_owned() };
        let text = declare(&mut w, program, i, &linear, |_, view| {
            let (row, stride) = split(view);
            sum(&[&row, &times("c", if instruction.extent == Extent::Full { stride } else { 0 })])
        });
        w.line(&text);
    }
    for store in program.stores.iter().filter(|s| s.kind == StoreKind::Elements) {
        let (row, stride) = split(&store.to);
        let instruction = &program.body[store.value];
        let binding = w.write(store.to.buffer);
        let value = format!("v{}", store.value);
        if instruction.extent == Extent::Full {
            w.store(binding, instruction.dtype, &sum(&[&row, &times("c", stride)]), &value);
        } else {
            w.line("if (c == 0u) {");
            w.store(binding, instruction.dtype, &row, &value);
            w.line("}");
        }
    }
    for (i, store) in sums.iter().enumerate() {
        w.line(&format!("sum{i} += v{};", store.value));
    }
    w.line("}");
    let partials = w.bind(Location::Auxiliary, DType::F32, true);
    w.auxiliary = sums.len() * blocks * length;
    for i in 0..sums.len() {
        w.line(&format!("b{partials}[{}u + id] = sum{i};", i * blocks * length));
    }
    (Some(w.finish("row/columns", blocks * length)), blocks)
}

/// One invocation or one workgroup a block of rows.
fn rows(program: &RowProgram, context: &Context<'_>) -> (Option<Shader>, usize) {
    let (count, length) = (program.rows, program.length);
    let shares = match context.variants {
        Variants::Software => count < 16 && length >= 256,
        Variants::Discrete => length > 32,
    };
    let sums = column_sums(program);
    let height = match (sums.is_empty(), shares) {
        (true, _) => 1,
        (false, false) => 16,
        (false, true) => count.div_ceil(512).max(1),
    };
    let blocks = count.div_ceil(height);
    if blocks == 0 {
        return (None, 0);
    }
    let mut w = Writer::new(context);
    let lanes = if shares {
        (length as u32).next_power_of_two().clamp(8, 256).min(w.context.granted.max_invocations)
    } else {
        1
    };
    if shares {
        // The largest power of two that the device lets a workgroup have.
        let lanes = 1u32 << lanes.ilog2();
        w.workgroup = lanes;
        w.line("let block = group;");
        w.line(&format!("if (block >= {blocks}u) {{ return; }}"));
    } else {
        w.invocation_id(&format!("{blocks}u"));
        w.line("let block = id;");
    }
    let lanes = if shares { w.workgroup } else { 1 };
    let partials = (!sums.is_empty()).then(|| w.bind(Location::Auxiliary, DType::F32, true));
    w.auxiliary = sums.len() * blocks * length;
    // Loops of a length known to the compiler would be unrolled, at seconds each on a software adapter.
    let [width, depth] = [length, height].map(|value| w.param(value as u32));
    if height > 1 {
        w.line(&format!("for (var k = 0u; k < {depth}; k++) {{"));
        w.line(&format!("let r = block * {height}u + k;"));
        w.line(&format!("if (r >= {count}u) {{ break; }}"));
    } else {
        w.line("let k = 0u;");
        w.line("let r = block;");
    }
    let emitter = Rows { program, width, stages: stages(program), lanes };
    emitter.body(&mut w);
    emitter.stores(&mut w, &sums, partials, blocks);
    if height > 1 {
        w.line("}");
    }
    let shader = if shares { w.finish_workgroups("row/shared", blocks as u64) } else { w.finish("row/rows", blocks) };
    (Some(shader), blocks)
}

/// The writer of [`rows`] and what it knows of the program.
struct Rows<'a> {
    program: &'a RowProgram,
    /// The length of a row, in WGSL.
    width: String,
    /// For each value, the pass over the row in which it can first be computed.
    stages: Vec<usize>,
    lanes: u32,
}

/// A row value is there before pass s where it needs reductions of passes before s; a full value can be computed in it.
fn stages(program: &RowProgram) -> Vec<usize> {
    let mut stages: Vec<usize> = Vec::with_capacity(program.body.len());
    for instruction in &program.body {
        let ready = instruction.operands.iter().map(|&o| stages[o]).max().unwrap_or(0);
        stages.push(ready + usize::from(matches!(instruction.op, RowOp::Reduce(_))));
    }
    stages
}

impl Rows<'_> {
    /// Everything up to the last pass: row values, and the passes that end in reductions.
    fn body(&self, w: &mut Writer<'_>) {
        let last = self.stages.iter().copied().max().unwrap_or(0);
        let offsets: Vec<(String, isize)> = self.program.loads.iter().map(split).collect();
        for (i, (row, _)) in offsets.iter().enumerate() {
            w.line(&format!("let o{i} = {row};"));
        }
        for pass in 0..=last {
            for (i, instruction) in self.program.body.iter().enumerate() {
                let is_reduction = matches!(instruction.op, RowOp::Reduce(_));
                if self.stages[i] == pass && instruction.extent == Extent::Row && !is_reduction {
                    self.value(w, i);
                }
            }
            let ends: Vec<(usize, ReduceOp)> = self.reductions(pass).collect();
            if !ends.is_empty() {
                self.reduce(w, &ends);
            }
        }
    }

    /// The reductions that are computed in a pass.
    fn reductions(&self, pass: usize) -> impl Iterator<Item = (usize, ReduceOp)> + '_ {
        self.program.body.iter().enumerate().filter_map(move |(i, instruction)| match instruction.op {
            RowOp::Reduce(op) if self.stages[i] == pass + 1 => Some((i, op)),
            _ => None,
        })
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

    /// Opens the loop over this invocation's elements of the row and computes what `roots` need.
    fn walk_row(&self, w: &mut Writer<'_>, roots: impl IntoIterator<Item = usize>) {
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
        let start = if self.lanes > 1 { "lane" } else { "0u" };
        w.line(&format!("for (var c = {start}; c < {}; c += {}u) {{", self.width, self.lanes));
        for (i, instruction) in self.program.body.iter().enumerate() {
            if needed[i] && instruction.extent == Extent::Full {
                self.value(w, i);
            }
        }
    }

    fn reduce(&self, w: &mut Writer<'_>, ends: &[(usize, ReduceOp)]) {
        for &(i, op) in ends {
            let identity = w.literal(op.identity() as f32);
            w.line(&format!("var a{i} = {identity};"));
        }
        let operands = ends.iter().map(|&(i, _)| self.program.body[i].operands[0]);
        // A reduction of a row value repeats it.
        self.walk_row(w, operands);
        for &(i, op) in ends {
            let operand = format!("v{}", self.program.body[i].operands[0]);
            w.line(&format!("a{i} = {};", combine(op, &format!("a{i}"), &operand)));
        }
        w.line("}");
        if self.lanes == 1 {
            for &(i, _) in ends {
                w.line(&format!("let v{i} = a{i};"));
            }
            return;
        }
        for &(i, op) in ends {
            w.global(&format!("var<workgroup> s{i}: array<f32, {}>;", self.lanes));
            w.line(&format!("s{i}[lane] = a{i};"));
            let mut half = self.lanes / 2;
            while half > 0 {
                w.line("workgroupBarrier();");
                let combined = combine(op, &format!("s{i}[lane]"), &format!("s{i}[lane + {half}u]"));
                w.line(&format!("if (lane < {half}u) {{ s{i}[lane] = {combined}; }}"));
                half /= 2;
            }
            w.line("workgroupBarrier();");
            w.line(&format!("let v{i} = s{i}[0];"));
        }
        // The next row writes to the shared memory that this one has just read.
        w.line("workgroupBarrier();");
    }

    /// The last pass: everything that is stored.
    fn stores(&self, w: &mut Writer<'_>, sums: &[&Store], partials: Option<usize>, blocks: usize) {
        let elements = || self.program.stores.iter().filter(|s| s.kind == StoreKind::Elements);
        let full: Vec<&Store> = elements().filter(|s| self.program.body[s.value].extent == Extent::Full).collect();
        let length = self.program.length;
        if !full.is_empty() || !sums.is_empty() {
            self.walk_row(w, full.iter().chain(sums).map(|s| s.value));
            for store in full {
                let (row, stride) = split(&store.to);
                let binding = w.write(store.to.buffer);
                let dtype = self.program.body[store.value].dtype;
                w.store(binding, dtype, &sum(&[&row, &times("c", stride)]), &format!("v{}", store.value));
            }
            if let Some(partials) = partials {
                for (i, store) in sums.iter().enumerate() {
                    let value = format!("v{}", store.value);
                    w.line(&format!("let at{i} = {}u + block * {length}u + c;", i * blocks * length));
                    w.line(&format!("if (k == 0u) {{ b{partials}[at{i}] = {value}; }}"));
                    w.line(&format!("else {{ b{partials}[at{i}] = b{partials}[at{i}] + {value}; }}"));
                }
            }
            w.line("}");
        }
        let rows: Vec<&Store> = elements().filter(|s| self.program.body[s.value].extent == Extent::Row).collect();
        if rows.is_empty() {
            return;
        }
        if self.lanes > 1 {
            // Every lane has read what is replaced.
            w.line("workgroupBarrier();");
        }
        w.line(if self.lanes > 1 { "if (lane == 0u) {" } else { "{" });
        for store in rows {
            let binding = w.write(store.to.buffer);
            let dtype = self.program.body[store.value].dtype;
            w.store(binding, dtype, &split(&store.to).0, &format!("v{}", store.value));
        }
        w.line("}");
    }
}

/// Adds the partials of a column in the order of their blocks.
fn add_partials(to: &View, base: usize, blocks: usize, context: &Context<'_>) -> Shader {
    partial_sums(to, to.numel(), base, blocks, context)
}

/// `to[i] = Σ over blocks of partial[base + block·length + i]` for a contiguous view of `length` elements.
pub(super) fn partial_sums(to: &View, length: usize, base: usize, blocks: usize, context: &Context<'_>) -> Shader {
    let mut w = Writer::new(context);
    let [count, base, blocks, offset] = [length, base, blocks, to.offset].map(|value| w.param(value as u32));
    let partials = w.bind(Location::Auxiliary, DType::F32, false);
    w.auxiliary = 1;
    w.invocation_id(&count);
    w.line("var total = 0.0f;");
    w.line(&format!("for (var k = 0u; k < {blocks}; k++) {{ total += b{partials}[{base} + k * {count} + id]; }}"));
    let out = w.write(to.buffer);
    w.store(out, DType::F32, &format!("{offset} + id"), "total");
    w.finish("row/partials", length)
}

fn column_sums(program: &RowProgram) -> Vec<&Store> {
    program.stores.iter().filter(|s| s.kind == StoreKind::ColumnSum).collect()
}

/// Where row `r` of a view begins, and the distance between its elements.
fn split(view: &View) -> (String, isize) {
    let Some((_, lead)) = view.dims.split_last() else { return (format!("{}u", view.offset), 0) };
    let stride = view.strides[lead.len()];
    let row = walk("r", &collapse(lead, &view.strides[..lead.len()]));
    (sum(&[&format!("{}u", view.offset), &row]), stride)
}
