//! Streams of our own, for work that no caller's stream orders: preparing weights, timing, capturing; and for callers that have none.

use super::device::Device;
use crate::backend::Stream;
use cudarc::driver::sys::CUstream;
use std::sync::Arc;

/// A stream that waits for no other.
pub struct OwnStream {
    device: Arc<Device>,
    pub(super) raw: CUstream,
}

// SAFETY: a stream may be used by any thread.
unsafe impl Send for OwnStream {}

impl OwnStream {
    /// An empty one.
    pub fn new(device: &Arc<Device>) -> Result<OwnStream, String> {
        const NON_BLOCKING: u32 = 1;
        let (_current, driver, mut raw) = (device.enter()?, device.driver, std::ptr::null_mut());
        // SAFETY: a place for the answer.
        driver.check("cuStreamCreate", unsafe { (driver.cuStreamCreate)(&mut raw, NON_BLOCKING) })?;
        Ok(OwnStream { device: device.clone(), raw })
    }

    /// As engines take it. An engine that ran on it remembers it for its next call, so it lives as long as that.
    pub fn stream(&self) -> Stream {
        Stream(self.raw.cast())
    }

    /// Waits for its work.
    pub fn wait(&self) -> Result<(), String> {
        let (_current, driver) = (self.device.enter()?, self.device.driver);
        // SAFETY: ours.
        driver.check("waiting for a stream", unsafe { (driver.cuStreamSynchronize)(self.raw) })
    }
}

impl Drop for OwnStream {
    fn drop(&mut self) {
        if let Ok(_current) = self.device.enter() {
            // SAFETY: ours; the driver finishes its work first.
            unsafe { (self.device.driver.cuStreamDestroy_v2)(self.raw) };
        }
    }
}
