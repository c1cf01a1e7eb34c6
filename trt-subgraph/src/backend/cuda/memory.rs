//! Device memory, and the page of host memory that kernels report faults in.

use super::device::Device;
use super::library::Address;
use cudarc::driver::sys::CUpointer_attribute as Attribute;
use std::ffi::c_void;
use std::sync::Arc;

/// Device memory, freed on drop once all work on the device is done with it.
pub struct Buffer {
    device: Arc<Device>,
    address: Address,
    bytes: usize,
}

impl Buffer {
    /// Memory of unspecified content, aligned to 256 bytes.
    pub fn new(device: &Arc<Device>, bytes: usize) -> Result<Buffer, String> {
        let mut address = 0;
        if bytes > 0 {
            let _current = device.enter()?;
            // SAFETY: `address` is a place for the answer.
            let result = unsafe { (device.driver.cuMemAlloc_v2)(&mut address, bytes) };
            device.driver.check(&format!("allocating {bytes} bytes on {}", device.name), result)?;
        }
        Ok(Buffer { device: device.clone(), address, bytes })
    }

    /// Device memory with these bytes.
    pub fn holding(device: &Arc<Device>, bytes: &[u8]) -> Result<Buffer, String> {
        let buffer = Buffer::new(device, bytes.len())?;
        // SAFETY: `bytes` is that long.
        unsafe { buffer.fill(bytes.as_ptr()) }?;
        Ok(buffer)
    }

    /// Copies the buffer's length from host memory or a device's; complete on return.
    ///
    /// # Safety
    /// `from` is the address of that many readable bytes.
    pub unsafe fn fill(&self, from: *const u8) -> Result<(), String> {
        if self.bytes == 0 {
            return Ok(());
        }
        let (_current, driver) = (self.device.enter()?, self.device.driver);
        // SAFETY: the caller's promise; the buffer is as long.
        let result = unsafe { (driver.cuMemcpy)(self.address, from as Address, self.bytes) };
        driver.check("copying to the device", result)?;
        self.settle()
    }

    /// Sets every byte; complete on return.
    pub fn set(&self, byte: u8) -> Result<(), String> {
        if self.bytes == 0 {
            return Ok(());
        }
        let (_current, driver) = (self.device.enter()?, self.device.driver);
        // SAFETY: the buffer is that long.
        driver.check("setting memory", unsafe { (driver.cuMemsetD8_v2)(self.address, byte, self.bytes) })?;
        self.settle()
    }

    /// Waits for the default stream, on which copies from pageable memory may still be under way.
    fn settle(&self) -> Result<(), String> {
        let driver = self.device.driver;
        // SAFETY: the default stream.
        driver.check("copying to the device", unsafe { (driver.cuStreamSynchronize)(std::ptr::null_mut()) })
    }

    /// Copies the content to the host.
    pub fn read(&self, to: &mut [u8]) -> Result<(), String> {
        let bytes = to.len().min(self.bytes);
        if bytes == 0 {
            return Ok(());
        }
        let (_current, driver) = (self.device.enter()?, self.device.driver);
        // SAFETY: both sides have that many bytes.
        let result = unsafe { (driver.cuMemcpyDtoH_v2)(to.as_mut_ptr().cast(), self.address, bytes) };
        driver.check("copying from the device", result)
    }

    /// Where it starts; 0 for an empty one.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.address != 0
            && let Ok(_relaxed) = self.device.enter_relaxed()
        {
            // SAFETY: allocated in `new`; the call waits for work that uses it.
            unsafe { (self.device.driver.cuMemFree_v2)(self.address) };
        }
    }
}

/// Is this the address of memory on this device?
pub fn is_on(device: &Device, address: *const u8) -> bool {
    const ON_DEVICE: u32 = 2;
    let (mut kind, mut ordinal) = (0u32, -1i32);
    let Ok(_current) = device.enter() else { return false };
    let mut attributes =
        [Attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE, Attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL];
    let mut places = [(&raw mut kind).cast(), (&raw mut ordinal).cast()];
    let (all, places) = (attributes.len() as u32, places.as_mut_ptr());
    // SAFETY: a place for each answer; addresses that the driver does not know have no kind.
    let found = unsafe {
        (device.driver.cuPointerGetAttributes)(all, attributes.as_mut_ptr(), places, address as Address) == 0
    };
    found && kind == ON_DEVICE && ordinal == device.ordinal as i32
}

/// Host memory that kernels read and write where it lies.
pub struct Mapped {
    device: Arc<Device>,
    host: *mut c_void,
    address: Address,
}

// SAFETY: it does nothing by itself; who reads and writes it takes care.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// So many bytes, all 0; not none.
    pub fn new(device: &Arc<Device>, bytes: usize) -> Result<Mapped, String> {
        const MAPPED: u32 = 2;
        let (_current, driver) = (device.enter()?, device.driver);
        let (mut host, mut address) = (std::ptr::null_mut(), 0);
        // SAFETY: places for the answers; the memory is ours.
        unsafe {
            driver.check("allocating host memory", (driver.cuMemHostAlloc)(&mut host, bytes, MAPPED))?;
            host.cast::<u8>().write_bytes(0, bytes);
            driver
                .check("mapping host memory", (driver.cuMemHostGetDevicePointer_v2)(&mut address, host, 0))?;
        }
        Ok(Mapped { device: device.clone(), host, address })
    }

    /// Where the host finds it.
    pub fn host(&self) -> *mut c_void {
        self.host
    }

    /// Where kernels find it.
    pub fn address(&self) -> Address {
        self.address
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if let Ok(_relaxed) = self.device.enter_relaxed() {
            // SAFETY: allocated in `new`.
            unsafe { (self.device.driver.cuMemFreeHost)(self.host) };
        }
    }
}

/// Three words of host memory that kernels write and the host reads without waiting: which layer found an index out of range (its
/// position + 1, or 0), the index, and the axis' size.
pub struct Record(Mapped);

impl Record {
    /// No fault.
    pub fn new(device: &Arc<Device>) -> Result<Record, String> {
        Ok(Record(Mapped::new(device, 64)?))
    }

    /// Where kernels find it.
    pub fn address(&self) -> Address {
        self.0.address()
    }

    /// The layer, index and size of a fault since the last call, if any.
    pub fn take(&self) -> Option<(usize, i64, usize)> {
        let words = self.0.host().cast::<i64>();
        // SAFETY: three words that live as long as the record, and are only read and written as volatile ones.
        unsafe {
            let layer = words.read_volatile();
            if layer == 0 {
                return None;
            }
            words.write_volatile(0);
            Some((layer as usize - 1, words.add(1).read_volatile(), words.add(2).read_volatile() as usize))
        }
    }
}
