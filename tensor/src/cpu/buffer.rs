//! Host memory that kernels share by raw pointer.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use crate::memory::Bytes;
use crate::{Error, Result};

/// f32 or u32 elements in host memory, aligned to a cache line and zero at first.
#[derive(Debug)]
pub struct CpuBuffer {
    start: NonNull<f32>,
    len: usize,
    allocation: NonNull<u8>,
}

// SAFETY: the buffer owns its memory; kernels write it through raw pointers only while the executable that runs them
// holds the state or the executable itself mutably.
unsafe impl Send for CpuBuffer {}
// SAFETY: as above: `&CpuBuffer` alone gives read access only.
unsafe impl Sync for CpuBuffer {}

/// Alignment in bytes: one cache line, one AVX-512 register.
const ALIGN: usize = 64;
/// Size in bytes and alignment of a large page.
const LARGE_PAGE: usize = 2 << 20;

impl CpuBuffer {
    /// `len` elements of zero bits. The memory of a long buffer is provided by the system as it is first touched.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where the system refuses, or there are no addresses for so much.
    pub(crate) fn zeroed(len: usize) -> Result<Self> {
        if len == 0 {
            return Ok(Self { start: NonNull::<Line>::dangling().cast(), len, allocation: NonNull::dangling() });
        }
        let refused =
            || Error::OutOfMemory { what: format!("no {} for a buffer", Bytes((len as u64).saturating_mul(4))) };
        let (layout, align) = Self::layout(len).ok_or_else(refused)?;
        // SAFETY: the layout's size is not zero.
        let allocation = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(refused)?;
        let skip = allocation.as_ptr().align_offset(align);
        // SAFETY: the layout holds `align` bytes more than the elements take, and `skip` is less.
        let start = unsafe { allocation.add(skip) };
        if align == LARGE_PAGE {
            ask_for_large_pages(start, layout.size() - LARGE_PAGE);
        }
        Ok(Self { start: start.cast(), len, allocation })
    }

    /// # Errors
    /// As [`CpuBuffer::zeroed`].
    pub(crate) fn from_slice(values: &[f32]) -> Result<Self> {
        let mut buffer = Self::zeroed(values.len())?;
        buffer.as_mut_slice().copy_from_slice(values);
        Ok(buffer)
    }

    /// What is allocated, and how the elements are aligned in it; none where no address space holds it. An allocation
    /// that is itself aligned would be cleared by hand, one of the plainest alignment comes from the system as zeros.
    fn layout(len: usize) -> Option<(Layout, usize)> {
        // The size is rounded up to whole cache lines, so that no two buffers share one.
        let bytes = len.checked_mul(4)?.checked_next_multiple_of(ALIGN)?;
        let align = if bytes >= LARGE_PAGE { LARGE_PAGE } else { ALIGN };
        let layout = Layout::from_size_align(bytes.checked_add(align)?, 16).ok()?;
        Some((layout, align))
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
        if self.len > 0
            && let Some((layout, _)) = Self::layout(self.len)
        {
            // SAFETY: allocated by `zeroed` with this layout.
            unsafe { dealloc(self.allocation.as_ptr(), layout) };
        }
    }
}

#[repr(align(64))]
struct Line;

/// Asks the system to back memory with large pages: a training step walks hundreds of megabytes, far more than the
/// processor has translations for in small pages. The system may refuse; nothing depends on it.
#[cfg(target_os = "linux")]
fn ask_for_large_pages(start: NonNull<u8>, bytes: usize) {
    const MADV_HUGEPAGE: std::ffi::c_int = 14;
    unsafe extern "C" {
        fn madvise(address: *mut std::ffi::c_void, length: usize, advice: std::ffi::c_int) -> std::ffi::c_int;
    }
    let whole = bytes / LARGE_PAGE * LARGE_PAGE;
    // SAFETY: advice on memory that this process owns; its contents do not change. Any result is fine.
    unsafe { madvise(start.as_ptr().cast(), whole, MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages(_start: NonNull<u8>, _bytes: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_zero() {
        for len in [0, 1, 15, 16, 17, 1000, (1 << 19) - 16, (1 << 19) + 1, 3 << 19] {
            let mut buffer = CpuBuffer::zeroed(len).expect("there is so much");
            assert_eq!(buffer.as_mut_ptr() as usize % ALIGN, 0);
            assert!(buffer.as_slice().iter().all(|x| x.to_bits() == 0));
            assert_eq!(buffer.len(), len);
        }
    }

    #[test]
    fn what_no_system_has_is_an_error() {
        for len in [1 << 50, usize::MAX / 4, usize::MAX] {
            let error = CpuBuffer::zeroed(len).expect_err("too much");
            assert!(matches!(error, Error::OutOfMemory { .. }), "{error:?}");
        }
    }
}
