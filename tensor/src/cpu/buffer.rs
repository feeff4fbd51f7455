//! Host memory that kernels share by raw pointer.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// f32 or u32 elements in host memory, aligned to a cache line and zero at first.
#[derive(Debug)]
pub struct CpuBuffer {
    start: NonNull<f32>,
    len: usize,
}

// SAFETY: the buffer owns its memory; kernels write it through raw pointers only while the executable that runs them holds the
// state or the executable itself mutably.
unsafe impl Send for CpuBuffer {}
// SAFETY: as above: `&CpuBuffer` alone gives read access only.
unsafe impl Sync for CpuBuffer {}

/// Alignment in bytes: one cache line, one AVX-512 register.
const ALIGN: usize = 64;

impl CpuBuffer {
    /// `len` elements of zero bits.
    pub(crate) fn zeroed(len: usize) -> Self {
        if len == 0 {
            return Self { start: NonNull::<Line>::dangling().cast(), len };
        }
        let layout = Self::layout(len);
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start.cast()) else { handle_alloc_error(layout) };
        Self { start, len }
    }

    pub(crate) fn from_slice(values: &[f32]) -> Self {
        let mut buffer = Self::zeroed(values.len());
        buffer.as_mut_slice().copy_from_slice(values);
        buffer
    }

    fn layout(len: usize) -> Layout {
        // The size is rounded up to whole cache lines, so that no two buffers share one.
        let bytes = len.checked_mul(4).and_then(|b| b.checked_next_multiple_of(ALIGN));
        let layout = bytes.and_then(|b| Layout::from_size_align(b, ALIGN).ok());
        layout.unwrap_or_else(|| panic!("a buffer of {len} elements exceeds the address space"))
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        // SAFETY: `len` elements are allocated and initialised; every bit pattern is an f32.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as for `as_slice`, and `&mut self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// Where the elements begin, for kernels.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.start.as_ptr()
    }
}

impl Drop for CpuBuffer {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: allocated by `zeroed` with this layout.
            unsafe { dealloc(self.start.as_ptr().cast(), Self::layout(self.len)) };
        }
    }
}

#[repr(align(64))]
struct Line;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_zero() {
        for len in [0, 1, 15, 16, 17, 1000] {
            let mut buffer = CpuBuffer::zeroed(len);
            assert_eq!(buffer.as_mut_ptr() as usize % ALIGN, 0);
            assert!(buffer.as_slice().iter().all(|x| x.to_bits() == 0));
            assert_eq!(buffer.len(), len);
        }
    }
}
