//! What lives on a device between runs.

use std::collections::HashMap;

use crate::cpu::CpuBuffer;
use crate::device::Device;
use crate::gpu::GpuBuffer;
use crate::{Error, Result, Shape};

/// Named f32 tensors on one device: parameters, optimizer moments, counters. Several executables share one state; a
/// program's updates replace entries in place.
pub struct State {
    device: Device,
    entries: HashMap<String, (Shape, Buffer)>,
    names: Vec<String>,
}

pub(crate) enum Buffer {
    Reference(Vec<f64>),
    Cpu(CpuBuffer),
    Gpu(GpuBuffer),
}

impl State {
    /// An empty state on `device`.
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone(), entries: HashMap::new(), names: Vec::new() }
    }

    /// The device that holds it.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Adds an entry of zeros, or replaces one.
    ///
    /// # Errors
    /// What the device says of the allocation.
    pub fn insert_zeros(&mut self, name: &str, shape: impl Into<Shape>) -> Result<()> {
        let shape = shape.into();
        if let Device::Cpu(_) = self.device {
            // Not touched before it is used.
            let zeros = CpuBuffer::zeroed(shape.numel())?;
            self.put(name, shape, Buffer::Cpu(zeros));
            return Ok(());
        }
        let zeros = vec![0.0; shape.numel()];
        self.insert(name, shape, &zeros)
    }

    /// Adds or replaces an entry, row-major.
    ///
    /// # Errors
    /// [`Error::DataLength`] where `values` doesn't fill `shape`; what the device says of the allocation.
    pub fn insert(&mut self, name: &str, shape: impl Into<Shape>, values: &[f32]) -> Result<()> {
        let shape = shape.into();
        if values.len() != shape.numel() {
            return Err(Error::DataLength { name: name.into(), found: values.len(), shape });
        }
        let buffer = match &self.device {
            Device::Reference(_) => Buffer::Reference(values.iter().map(|&x| f64::from(x)).collect()),
            Device::Cpu(_) => Buffer::Cpu(CpuBuffer::from_slice(values)?),
            Device::Gpu(gpu) => Buffer::Gpu(gpu.upload(values)?),
        };
        self.put(name, shape, buffer);
        Ok(())
    }

    fn put(&mut self, name: &str, shape: Shape, buffer: Buffer) {
        if self.entries.insert(name.to_owned(), (shape, buffer)).is_none() {
            self.names.push(name.to_owned());
        }
    }

    /// Reads an entry back, row-major.
    ///
    /// # Errors
    /// [`Error::MissingState`]; what the device says of the transfer.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        let (_, buffer) = self.entries.get(name).ok_or_else(|| Error::MissingState { name: name.into() })?;
        match (buffer, &self.device) {
            (Buffer::Reference(values), _) => Ok(values.iter().map(|&x| x as f32).collect()),
            (Buffer::Cpu(values), _) => Ok(values.as_slice().to_vec()),
            (Buffer::Gpu(buffer), Device::Gpu(gpu)) => gpu.download(buffer),
            (Buffer::Gpu(_), _) => Err(Error::DeviceMismatch { what: "a state entry" }),
        }
    }

    /// The shape of an entry, if it is there.
    pub fn shape(&self, name: &str) -> Option<&Shape> {
        self.entries.get(name).map(|(shape, _)| shape)
    }

    /// All names in the order of their insertion.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The buffer of an entry, checked against the program's shape.
    pub(crate) fn buffer(&mut self, name: &str, expected: &Shape) -> Result<&mut Buffer> {
        let (found, buffer) = self.entries.get_mut(name).ok_or_else(|| Error::MissingState { name: name.into() })?;
        if found != expected {
            return Err(Error::StateShape { name: name.into(), found: found.clone(), expected: expected.clone() });
        }
        Ok(buffer)
    }

    /// Checks that every entry of `names` is there with its shape.
    ///
    /// # Errors
    /// [`Error::MissingState`] or [`Error::StateShape`].
    pub fn check<'a>(&self, wanted: impl IntoIterator<Item = (&'a str, &'a Shape)>) -> Result<()> {
        for (name, expected) in wanted {
            let found = self.shape(name).ok_or_else(|| Error::MissingState { name: name.into() })?;
            if found != expected {
                return Err(Error::StateShape { name: name.into(), found: found.clone(), expected: expected.clone() });
            }
        }
        Ok(())
    }
}
