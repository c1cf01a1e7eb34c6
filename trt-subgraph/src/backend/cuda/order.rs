//! Calls of one engine share an arena, so they follow each other even when their streams differ.

use super::device::Device;
use cudarc::driver::sys::{CUevent, CUstream};
use std::sync::Arc;

/// The stream of the latest call.
pub struct Order {
    device: Arc<Device>,
    event: CUevent,
    last: Option<CUstream>,
}

// SAFETY: the handles may be used by any thread, one at a time.
unsafe impl Send for Order {}

impl Order {
    /// No call yet.
    pub fn new(device: &Arc<Device>) -> Result<Order, String> {
        const DISABLE_TIMING: u32 = 2;
        let (_current, driver, mut event) = (device.enter()?, device.driver, std::ptr::null_mut());
        // SAFETY: a place for the answer.
        driver.check("cuEventCreate", unsafe { (driver.cuEventCreate)(&mut event, DISABLE_TIMING) })?;
        Ok(Order { device: device.clone(), event, last: None })
    }

    /// What comes on `stream` from here waits for the latest call, if that was on another stream.
    ///
    /// # Safety
    /// `stream` is a stream of the device; so is that of the latest call, still.
    pub unsafe fn follow(&mut self, stream: CUstream) -> Result<(), String> {
        if let Some(last) = self.last.filter(|&last| last != stream) {
            let (_current, driver) = (self.device.enter()?, self.device.driver);
            // SAFETY: the caller's promise; the event is ours.
            unsafe {
                driver.check("cuEventRecord", (driver.cuEventRecord)(self.event, last))?;
                driver.check("cuStreamWaitEvent", (driver.cuStreamWaitEvent)(stream, self.event, 0))?;
            }
        }
        self.last = Some(stream);
        Ok(())
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        if let Ok(_current) = self.device.enter() {
            // SAFETY: ours.
            unsafe { (self.device.driver.cuEventDestroy_v2)(self.event) };
        }
    }
}
