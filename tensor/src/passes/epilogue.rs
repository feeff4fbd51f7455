//! Epilogues: what follows a matrix product element by element is done before the product leaves the kernel.

use crate::plan::{BufferId, Extent, Kernel, MatMul, Place, Plan, RowOp, RowProgram, Store, StoreKind, View};

/// Longest inner dimension of a product with an epilogue: a longer one may take several launches, which add up in
/// memory.
pub(super) const LONGEST: usize = 1 << 14;

/// Moves products into the row programs that read them, in a plan whose slots are not assigned yet: bias, activation,
/// scale and residual then cost no launch, and the product no memory where nothing else reads it. No kernel binds more
/// than `buffers`.
pub(super) fn fuse(plan: &mut Plan, buffers: usize) {
    let mut position = 0;
    while position < plan.kernels.len() {
        let found = candidates(plan, position).into_iter().find_map(|product| {
            let fused = fused(plan, product, position)?;
            (fused.buffers().len() <= buffers).then_some((product, fused))
        });
        match found {
            Some((product, fused)) => {
                if let Kernel::MatMul(MatMul { out, .. }) = &fused
                    && !fused.writes().iter().any(|view| view.buffer == out.buffer)
                    && is_written_once(plan, out.buffer)
                {
                    plan.buffers[out.buffer.index()].place = Place::Tile;
                }
                plan.kernels[position] = fused;
                plan.kernels.remove(product);
            }
            None => position += 1,
        }
    }
}

/// Whether one kernel alone writes a buffer: blocks of a square take turns in theirs.
fn is_written_once(plan: &Plan, buffer: BufferId) -> bool {
    plan.kernels.iter().flat_map(Kernel::writes).filter(|view| view.buffer == buffer).count() == 1
}

/// The products that the row program at `position` reads and may take over, the latest first.
fn candidates(plan: &Plan, position: usize) -> Vec<usize> {
    let reads: Vec<_> = match &plan.kernels[position] {
        Kernel::Row(program) if is_elementwise(program) => program.loads.iter().map(|view| view.buffer).collect(),
        _ => Vec::new(),
    };
    let is_read = |at: &usize| match &plan.kernels[*at] {
        Kernel::MatMul(product) => !product.adds && product.epilogue.is_none() && reads.contains(&product.out.buffer),
        _ => false,
    };
    (0..position).rev().filter(is_read).collect()
}

fn is_elementwise(program: &RowProgram) -> bool {
    !program.has_reduction() && program.stores.iter().all(|store| store.kind == StoreKind::Elements)
}

/// The product at `at` with the row program at `position` as its epilogue, in the place of the latter; none where
/// values would be read or overwritten at another time, or the rows of the two differ.
fn fused(plan: &Plan, at: usize, position: usize) -> Option<Kernel> {
    let (Kernel::MatMul(product), Kernel::Row(program)) = (&plan.kernels[at], &plan.kernels[position]) else {
        return None;
    };
    let out = &product.out;
    let (batch, m, n, k) = product.dims();
    let whole = |view: &View| view.offset == 0 && view.is_contiguous() && view.numel() == batch * m * n;
    let fits = matches!(plan.buffers[out.buffer.index()].place, Place::Slot(_))
        && plan.buffers[out.buffer.index()].shape.numel() == batch * m * n
        && (program.rows, program.length) == (batch * m, n)
        && k <= LONGEST
        && whole(out)
        && program.loads.iter().filter(|view| view.buffer == out.buffer).all(whole);
    let place = |view: &View| &plan.buffers[view.buffer.index()].place;
    let is_operand = |view: &&View| {
        let same = |operand: &View| operand.buffer == view.buffer || is_same_state(place(operand), place(view));
        same(&product.a) || same(&product.b)
    };
    let between = &plan.kernels[at + 1..position];
    let late = between.iter().any(|kernel| {
        let is_product = |view: &&View| view.buffer == out.buffer;
        kernel.reads().iter().any(is_product) || kernel.writes().iter().any(|view| is_product(view) || is_operand(view))
    });
    // One element a row is stored by another invocation than those that read it along the row.
    let replaces_row_values = program.stores.iter().any(|store| {
        let is_row = program.body[store.value].extent == Extent::Row;
        is_row && program.loads.iter().any(|load| is_same_state(place(load), place(&store.to)))
    });
    if !fits || late || replaces_row_values || program.stores.iter().any(|store| is_operand(&&store.to)) {
        return None;
    }
    let mut program = program.clone();
    let later = plan.kernels[position + 1..].iter().flat_map(Kernel::reads);
    if plan.outputs.contains(&out.buffer) || later.into_iter().any(|view| view.buffer == out.buffer) {
        let is_product = |op: &RowOp| matches!(*op, RowOp::Load(load) if program.loads[load].buffer == out.buffer);
        let value = program.body.iter().position(|instruction| is_product(&instruction.op))?;
        program.stores.push(Store { value, to: out.reshape(&[batch * m, n])?, kind: StoreKind::Elements });
    }
    Some(Kernel::MatMul(MatMul { epilogue: Some(Box::new(program)), ..product.clone() }))
}

fn is_same_state(a: &Place, b: &Place) -> bool {
    a == b && matches!(a, Place::State(_))
}
