//! Half precision: what matrix products alone read is stored in 16 bits.

use super::epilogue::LONGEST;
use crate::DType;
use crate::plan::{BufferId, Kernel, Place, Plan};

/// Stores as f16 each value that is an operand of matrix products and nothing else, in a plan whose slots are not
/// assigned yet. It is rounded when it is stored; products read it as f32 and add up in f32. Parameters, data, outputs,
/// whatever another kernel reads, and what may be computed in several launches, which go on from what is stored, stay
/// f32.
pub(super) fn store_operands(plan: &mut Plan) {
    let mut reads = vec![Reads::None; plan.buffers.len()];
    plan.kernels.iter().for_each(|kernel| count(kernel, &mut reads));
    for (i, (buffer, reads)) in plan.buffers.iter_mut().zip(reads).enumerate() {
        let is_scratch = matches!(buffer.place, Place::Slot(_)) && buffer.dtype == DType::F32;
        buffer.half = is_scratch && reads == Reads::Products && !plan.outputs.contains(&BufferId(i as u32));
    }
}

/// Who reads a buffer, or reads it while it is computed.
#[derive(Clone, Copy, PartialEq)]
enum Reads {
    None,
    Products,
    Others,
}

fn count(kernel: &Kernel, reads: &mut [Reads]) {
    match kernel {
        Kernel::Tiled(tiled) => tiled.kernels.iter().for_each(|kernel| count(kernel, reads)),
        Kernel::MatMul(product) => {
            for view in kernel.reads() {
                let read = &mut reads[view.buffer.index()];
                let is_operand = [product.a.buffer, product.b.buffer].contains(&view.buffer);
                let in_epilogue = product.epilogue.iter().flat_map(|program| &program.loads);
                let is_more = in_epilogue.into_iter().any(|load| load.buffer == view.buffer);
                *read = if is_operand && !is_more && *read != Reads::Others { Reads::Products } else { Reads::Others };
            }
        }
        _ => kernel.reads().into_iter().for_each(|view| reads[view.buffer.index()] = Reads::Others),
    }
    let in_launches = match kernel {
        Kernel::MatMul(product) => product.adds || product.dims().3 > LONGEST,
        Kernel::LinRec { .. } | Kernel::ScatterAdd { .. } => true,
        _ => false,
    };
    if in_launches {
        kernel.writes().into_iter().for_each(|view| reads[view.buffer.index()] = Reads::Others);
    }
}
