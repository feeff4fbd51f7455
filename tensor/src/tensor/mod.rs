//! What a user holds: a lazily recorded tensor.

mod compose;
mod ops;
mod record;

pub use compose::{COMPOSITIONS, Composition};

use std::sync::Arc;

use crate::graph::{InputKind, Op};
use crate::{DType, Data, Device, Error, Result, Shape, State};

/// A recorded value: a leaf, or a primitive applied to other tensors. Nothing is computed before a device is asked for
/// it.
///
/// Operators look eager and record nodes through the same rules as [`Graph`](crate::Graph); they panic on a shape error
/// and say where (`# Panics`). Whatever touches data or a device returns a [`Result`]. Cloning copies a pointer.
///
/// ```
/// use primer_tensor::{Device, Tensor};
/// let x = Tensor::from_slice(&[1f32, -2., 3., 4.], [2, 2])?;
/// let y = x.relu().square().sum_axis(1);
/// assert_eq!(y.to_vec(&Device::cpu())?, [1., 25.]);
/// # Ok::<(), primer_tensor::Error>(())
/// ```
#[derive(Clone)]
pub struct Tensor(Arc<Recorded>);

pub(crate) struct Recorded {
    pub(crate) origin: Origin,
    pub(crate) shape: Shape,
    pub(crate) dtype: DType,
}

pub(crate) enum Origin {
    /// A named input, given at run time.
    Named {
        name: String,
        kind: InputKind,
    },
    /// An input that carries its own data.
    Bound(Arc<HostData>),
    Op {
        op: Op,
        operands: Vec<Tensor>,
    },
}

/// Host data of a leaf, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum HostData {
    /// Floats.
    F32(Vec<f32>),
    /// Indices.
    U32(Vec<u32>),
}

impl HostData {
    /// A borrow for one run.
    pub fn as_data(&self) -> Data<'_> {
        match self {
            HostData::F32(values) => Data::F32(values),
            HostData::U32(values) => Data::U32(values),
        }
    }
}

impl Tensor {
    fn new(origin: Origin, shape: Shape, dtype: DType) -> Self {
        Self(Arc::new(Recorded { origin, shape, dtype }))
    }

    /// A leaf that holds f32 data, row-major.
    ///
    /// # Errors
    /// [`Error::DataLength`] where the slice doesn't fill the shape.
    pub fn from_slice(values: &[f32], shape: impl Into<Shape>) -> Result<Self> {
        Self::from_host(HostData::F32(values.to_vec()), shape.into())
    }

    /// A leaf that holds indices, row-major.
    ///
    /// # Errors
    /// [`Error::DataLength`] where the slice doesn't fill the shape.
    pub fn from_indices(values: &[u32], shape: impl Into<Shape>) -> Result<Self> {
        Self::from_host(HostData::U32(values.to_vec()), shape.into())
    }

    fn from_host(data: HostData, shape: Shape) -> Result<Self> {
        let found = data.as_data().len();
        if found != shape.numel() {
            return Err(Error::DataLength { name: "a tensor".into(), found, shape });
        }
        let dtype = data.as_data().dtype();
        Ok(Self::new(Origin::Bound(Arc::new(data)), shape, dtype))
    }

    /// A named input whose data each run brings: a batch of token ids, a learning rate.
    pub fn data(name: &str, shape: impl Into<Shape>, dtype: DType) -> Self {
        Self::new(Origin::Named { name: name.into(), kind: InputKind::Data }, shape.into(), dtype)
    }

    /// A named entry of the [`State`]: a parameter or an optimizer moment, f32.
    pub fn state(name: &str, shape: impl Into<Shape>) -> Self {
        Self::new(Origin::Named { name: name.into(), kind: InputKind::State }, shape.into(), DType::F32)
    }

    /// An f32 scalar constant.
    pub fn constant(value: f64) -> Self {
        Self::record(Op::Constant(crate::graph::Scalar::new(value), DType::F32), Vec::new())
    }

    /// The index along `axis`, in a tensor of that shape.
    ///
    /// # Panics
    /// If the shape has no such axis.
    #[track_caller]
    pub fn iota(shape: impl Into<Shape>, axis: usize, dtype: DType) -> Self {
        Self::record(Op::Iota { shape: shape.into(), axis, dtype }, Vec::new())
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.0.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// The name, if this is a named input or state.
    pub fn name(&self) -> Option<&str> {
        match &self.0.origin {
            Origin::Named { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Computes the tensor and reads it back, row-major.
    ///
    /// # Errors
    /// [`Error::MissingInput`] or [`Error::MissingState`] where its history has named leaves; what the device says
    /// otherwise.
    pub fn to_vec(&self, device: &Device) -> Result<Vec<f32>> {
        let program = crate::Program::trace(std::slice::from_ref(self), &[])?;
        let bound = Self::bound_data(std::slice::from_ref(self));
        let inputs: Vec<(&str, Data<'_>)> = bound.iter().map(|(name, data)| (name.as_str(), data.as_data())).collect();
        let mut executable = device.compile(&program)?;
        executable.run(&mut State::new(device), &inputs)?;
        executable.output(0)
    }

    /// Computes a tensor of one element and reads it back.
    ///
    /// # Errors
    /// As [`Tensor::to_vec`]; [`Error::DataLength`] where it holds another number of elements than one.
    pub fn item(&self, device: &Device) -> Result<f32> {
        match self.to_vec(device)?.as_slice() {
            [value] => Ok(*value),
            values => Err(Error::DataLength { name: "item".into(), found: values.len(), shape: Shape::scalar() }),
        }
    }

    /// The same value without its history: computed now, held as data.
    ///
    /// # Errors
    /// As [`Tensor::to_vec`].
    pub fn realize(&self, device: &Device) -> Result<Self> {
        Self::from_slice(&self.to_vec(device)?, self.shape())
    }
}

impl Drop for Recorded {
    /// Iterative: a history of a million nodes must not overflow the stack.
    fn drop(&mut self) {
        let Origin::Op { operands, .. } = &mut self.origin else { return };
        let mut pending = std::mem::take(operands);
        while let Some(tensor) = pending.pop() {
            if let Some(mut last) = Arc::into_inner(tensor.0)
                && let Origin::Op { operands, .. } = &mut last.origin
            {
                pending.append(operands);
            }
        }
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({}{})", self.dtype(), self.shape())
    }
}
