//! Aligned memory.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Bytes aligned to a cache line.
pub struct Buffer {
    address: NonNull<u8>,
    layout: Layout,
}

// SAFETY: it owns plain bytes.
unsafe impl Send for Buffer {}
// SAFETY: shared access is through raw pointers alone; their users say who writes.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// `bytes` zeros.
    pub fn zeroed(bytes: usize) -> Buffer {
        let layout = Layout::from_size_align(bytes.max(64), 64).expect("a size that fits the address space");
        // SAFETY: the layout is not empty.
        let address = unsafe { alloc_zeroed(layout) };
        let address = NonNull::new(address).unwrap_or_else(|| handle_alloc_error(layout));
        Buffer { address, layout }
    }

    /// The first byte.
    pub fn address(&self) -> *mut u8 {
        self.address.as_ptr()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this layout.
        unsafe { dealloc(self.address.as_ptr(), self.layout) }
    }
}
