//! A GPU of this process, by its primary context: the one that libtorch uses too.

use super::capture::Apart;
use super::library::{Driver, versions};
use super::target::Target;
use cudarc::driver::sys::{
    CUcontext, CUdevice, CUdevice_attribute as Attribute, CUstream, CUstreamCaptureMode,
};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_int};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A device with its primary context, which stays retained.
pub struct Device {
    pub(super) driver: &'static Driver,
    /// What kernels are compiled for.
    pub target: Target,
    /// Its number in this process.
    pub ordinal: usize,
    /// The vendor's name.
    pub name: String,
    /// Bytes of memory.
    pub memory: usize,
    pub(super) context: CUcontext,
    raw: CUdevice,
    apart: OnceLock<Option<Apart>>,
}

// SAFETY: the driver's functions may be called from any thread, and a context may be current in several.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

/// While it lives, the device's context is current on this thread.
pub(super) struct Current<'a> {
    device: &'a Device,
    pushed: bool,
}

impl Device {
    /// The device of this ordinal, one for the process; or one sentence that says why there is none.
    pub fn open(ordinal: usize) -> Result<Arc<Device>, String> {
        static OPENED: Mutex<BTreeMap<usize, Arc<Device>>> = Mutex::new(BTreeMap::new());
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(device) = opened.get(&ordinal) {
            return Ok(device.clone());
        }
        let device = Device::find(ordinal)?;
        opened.insert(ordinal, device.clone());
        Ok(device)
    }

    /// What decides how fast anything is here: the device, the driver, the libraries, this crate.
    pub(super) fn circumstances(&self) -> String {
        format!("{}, {}, {}, kernels {}", self.name, self.target, versions(), env!("TRT_SUBGRAPH_SOURCES"))
    }

    fn find(ordinal: usize) -> Result<Arc<Device>, String> {
        let driver = Driver::get()?;
        let mut count: c_int = 0;
        let mut device = 0;
        let mut name = [0u8; 256];
        let mut memory = 0usize;
        let mut context = std::ptr::null_mut();
        let numbers = [
            Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
        ];
        let mut found = [0 as c_int; 3];
        // SAFETY: every pointer is a place for the answer; the name's length is given.
        unsafe {
            driver.check("cuDeviceGetCount", (driver.cuDeviceGetCount)(&mut count))?;
            if ordinal >= count.max(0) as usize {
                return Err(match count {
                    0 => "no GPU is visible; see nvidia-smi and CUDA_VISIBLE_DEVICES".to_string(),
                    n => format!("there is no GPU {ordinal}, only {n}"),
                });
            }
            driver.check("cuDeviceGet", (driver.cuDeviceGet)(&mut device, ordinal as c_int))?;
            driver
                .check("cuDeviceGetName", (driver.cuDeviceGetName)(name.as_mut_ptr().cast(), 255, device))?;
            driver.check("cuDeviceTotalMem", (driver.cuDeviceTotalMem_v2)(&mut memory, device))?;
            for (to, attribute) in found.iter_mut().zip(numbers) {
                driver.check("cuDeviceGetAttribute", (driver.cuDeviceGetAttribute)(to, attribute, device))?;
            }
            driver
                .check("cuDevicePrimaryCtxRetain", (driver.cuDevicePrimaryCtxRetain)(&mut context, device))?;
        }
        let [major, minor, multiprocessors] = found;
        let target = Target {
            capability: (major * 10 + minor) as u32,
            multiprocessors: multiprocessors.max(1) as usize,
        };
        let name = CStr::from_bytes_until_nul(&name).unwrap_or_default().to_string_lossy().into_owned();
        if target.capability < 80 {
            return Err(format!(
                "{name} has compute capability {major}.{minor}; 8.0 (Ampere) or newer is needed"
            ));
        }
        let apart = OnceLock::new();
        Ok(Arc::new(Device { driver, target, ordinal, name, memory, context, raw: device, apart }))
    }

    /// Makes the device's context current on this thread, and what was current before again afterwards.
    pub(super) fn enter(&self) -> Result<Current<'_>, String> {
        let driver = self.driver;
        let mut now = std::ptr::null_mut();
        // SAFETY: `now` is a place for the answer; the context is retained.
        unsafe {
            driver.check("cuCtxGetCurrent", (driver.cuCtxGetCurrent)(&mut now))?;
            let pushed = now != self.context;
            if pushed {
                driver.check("cuCtxPushCurrent", (driver.cuCtxPushCurrent_v2)(self.context))?;
            }
            Ok(Current { device: self, pushed })
        }
    }

    /// As [`Device::enter`], for work that allocates and waits: another thread's capture of a graph is not disturbed meanwhile.
    pub(super) fn enter_relaxed(&self) -> Result<(Relaxed<'_>, Current<'_>), String> {
        let mut mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        let current = self.enter()?;
        // SAFETY: `mode` gives the new mode and takes the old one.
        let result = unsafe { (self.driver.cuThreadExchangeStreamCaptureMode)(&mut mode) };
        self.driver.check("cuThreadExchangeStreamCaptureMode", result)?;
        Ok((Relaxed { device: self, before: mode }, current))
    }

    /// The context for captures; `None` where the driver gives none.
    pub(super) fn apart(&self) -> Option<&Apart> {
        let make = || Apart::new(self.driver, self.raw).inspect_err(|why| log::warn!("{}: {why}", self.name));
        self.apart.get_or_init(|| make().ok()).as_ref()
    }

    /// Has earlier work failed so that the context does no more?
    pub fn is_lost(&self) -> bool {
        let (mut free, mut total) = (0, 0);
        let Ok(_current) = self.enter() else { return true };
        // SAFETY: places for the answers. The call reports what earlier work has met.
        let result = unsafe { (self.driver.cuMemGetInfo_v2)(&mut free, &mut total) };
        self.driver.check("cuMemGetInfo", result).is_err()
    }

    /// Waits for all work of the context; fails while somebody captures a graph, and spoils that. Engines wait for streams instead.
    pub fn synchronize(&self) -> Result<(), String> {
        let _current = self.enter()?;
        // SAFETY: no preconditions.
        self.driver.check("waiting for the device", unsafe { (self.driver.cuCtxSynchronize)() })
    }

    /// Waits for what a stream has to do; what its owner captures from it is no work yet. While a stream that the default one waits for is
    /// captured, the driver does not wait for the default one: it is asked again for a moment.
    ///
    /// # Safety
    /// `stream` is one of the device, or null for the default one.
    pub(super) unsafe fn wait_for(&self, stream: CUstream) -> Result<(), String> {
        const CAPTURED_ELSEWHERE: u32 = 906;
        const PATIENCE: Duration = Duration::from_millis(500);
        let (_current, start, mut capturing) = (self.enter()?, Instant::now(), 0);
        loop {
            // SAFETY: the caller's promise; a place for the answer.
            match unsafe { (self.driver.cuStreamIsCapturing)(stream, &mut capturing) } {
                0 if capturing != 0 => return Ok(()),
                CAPTURED_ELSEWHERE if start.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                0 => {
                    // SAFETY: as above.
                    let done = unsafe { (self.driver.cuStreamSynchronize)(stream) };
                    return self.driver.check("waiting for a stream", done);
                }
                failed => return self.driver.check("cuStreamIsCapturing", failed),
            }
        }
    }
}

/// While it lives, this thread does not mind others' captures.
pub(super) struct Relaxed<'a> {
    device: &'a Device,
    before: CUstreamCaptureMode,
}

impl Drop for Relaxed<'_> {
    fn drop(&mut self) {
        // SAFETY: gives back the mode that was found.
        unsafe { (self.device.driver.cuThreadExchangeStreamCaptureMode)(&mut self.before) };
    }
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        if self.pushed {
            let mut context = std::ptr::null_mut();
            // SAFETY: pops what `enter` pushed.
            unsafe { (self.device.driver.cuCtxPopCurrent_v2)(&mut context) };
        }
    }
}
