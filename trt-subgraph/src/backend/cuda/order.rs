//! Calls of one engine share an arena, so they follow each other even when their streams differ; and who prepares weights anew waits for the
//! calls of every fork.

use super::device::Device;
use cudarc::driver::sys::{CUevent, CUstream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The stream of a fork's latest call, as a number.
struct Latest(AtomicUsize);

impl Latest {
    /// No stream has this address.
    const NONE: usize = usize::MAX;

    fn stream(&self) -> Option<CUstream> {
        let address = self.0.load(Ordering::Acquire);
        (address != Latest::NONE).then_some(address as CUstream)
    }
}

/// The forks of an engine that have called.
#[derive(Default)]
pub struct Orders(Mutex<Vec<Weak<Latest>>>);

impl Orders {
    /// Waits for all that forks have enqueued.
    ///
    /// # Safety
    /// The streams of their latest calls are streams of the device still.
    pub unsafe fn wait(&self, device: &Device) -> Result<(), String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|latest| latest.strong_count() > 0);
        let mut streams: Vec<CUstream> = all.iter().filter_map(|latest| latest.upgrade()?.stream()).collect();
        streams.sort_unstable();
        streams.dedup();
        // SAFETY: the caller's promise.
        streams.into_iter().try_for_each(|stream| unsafe { device.wait_for(stream) })
    }
}

/// The stream of the latest call.
pub struct Order {
    device: Arc<Device>,
    event: CUevent,
    latest: Arc<Latest>,
}

// SAFETY: the handles may be used by any thread, one at a time.
unsafe impl Send for Order {}

impl Order {
    /// No call yet, of one fork more.
    pub fn new(device: &Arc<Device>, all: &Orders) -> Result<Order, String> {
        const DISABLE_TIMING: u32 = 2;
        let (_current, driver, mut event) = (device.enter()?, device.driver, std::ptr::null_mut());
        // SAFETY: a place for the answer.
        driver.check("cuEventCreate", unsafe { (driver.cuEventCreate)(&mut event, DISABLE_TIMING) })?;
        let latest = Arc::new(Latest(AtomicUsize::new(Latest::NONE)));
        all.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&latest));
        Ok(Order { device: device.clone(), event, latest })
    }

    /// What comes on `stream` from here waits for the latest call, if that was on another stream.
    ///
    /// # Safety
    /// `stream` is a stream of the device; so is that of the latest call, still.
    pub unsafe fn follow(&mut self, stream: CUstream) -> Result<(), String> {
        if let Some(last) = self.latest.stream().filter(|&last| last != stream) {
            let (_current, driver) = (self.device.enter()?, self.device.driver);
            // SAFETY: the caller's promise; the event is ours.
            unsafe {
                driver.check("cuEventRecord", (driver.cuEventRecord)(self.event, last))?;
                driver.check("cuStreamWaitEvent", (driver.cuStreamWaitEvent)(stream, self.event, 0))?;
            }
        }
        self.latest.0.store(stream as usize, Ordering::Release);
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
