//! Aligned memory.

use crate::Bytes;
use memmap2::MmapMut;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// The alignment of buffers: a cache line.
const LINE: usize = 64;
/// From so many bytes on, memory comes from the system in large pages where it has them: weights of large networks are read once in
/// a call, and with small pages the processor would look most of their addresses up anew.
const LARGE: usize = 4 << 20;
/// What allocators align to by themselves: only then do they take large zeros from the system as they are, unwritten.
const USUAL: usize = 16;

/// Bytes aligned to a cache line.
pub struct Buffer {
    address: NonNull<u8>,
    bytes: usize,
    owner: Owner,
}

enum Owner {
    /// Allocated there with this layout.
    Allocated(NonNull<u8>, Layout),
    /// Mapped by itself.
    Mapped { _pages: MmapMut },
    /// A part of a plan; only to be read.
    Shared { _bytes: Bytes },
}

// SAFETY: it owns plain bytes, or shares ones that nobody writes.
unsafe impl Send for Buffer {}
// SAFETY: shared access is through raw pointers alone; their users say who writes.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// `bytes` zeros. Where they are many, pages take up memory when they are written to, not before.
    pub fn zeroed(bytes: usize) -> Buffer {
        if bytes >= LARGE
            && let Ok(mut pages) = MmapMut::map_anon(bytes)
        {
            #[cfg(target_os = "linux")]
            if let Err(e) = pages.advise(memmap2::Advice::HugePage) {
                log::debug!("no large pages: {e}");
            }
            let address = NonNull::from(&mut pages[..]).cast();
            return Buffer { address, bytes, owner: Owner::Mapped { _pages: pages } };
        }
        let size = bytes.checked_add(LINE);
        let layout = size.and_then(|size| Layout::from_size_align(size, USUAL).ok());
        let layout = layout.expect("a size that fits the address space");
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: there is a line more than the bytes.
        let address = unsafe { start.add(start.align_offset(LINE)) };
        Buffer { address, bytes, owner: Owner::Allocated(start, layout) }
    }

    /// Bytes that others read too; nobody writes to them.
    pub fn shared(bytes: Bytes) -> Buffer {
        let bytes = bytes.into_aligned();
        let address = NonNull::from(&bytes[..]).cast();
        Buffer { address, bytes: bytes.len(), owner: Owner::Shared { _bytes: bytes } }
    }

    /// Was it allocated here, so that it may be written?
    pub fn is_own(&self) -> bool {
        !matches!(self.owner, Owner::Shared { .. })
    }

    /// The first byte.
    pub fn address(&self) -> *mut u8 {
        self.address.as_ptr()
    }

    /// Its bytes.
    ///
    /// # Safety
    /// Nobody writes to them meanwhile.
    pub unsafe fn read(&self) -> &[u8] {
        // SAFETY: so many initialised bytes are ours; the caller keeps writers away.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.bytes) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Owner::Allocated(start, layout) = self.owner {
            // SAFETY: allocated in `zeroed` with this layout.
            unsafe { dealloc(start.as_ptr(), layout) }
        }
    }
}
