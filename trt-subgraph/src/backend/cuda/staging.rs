//! Page-locked host memory beside device memory, and a stream between them.

use super::device::Device;
use super::memory::Buffer;
use super::stream::OwnStream;
use crate::TensorType;
use crate::backend::{Call, Io, RunError, Signature, Staging, Stream};
use cudarc::driver::sys::CUevent;
use std::sync::Arc;
use std::time::Duration;

/// Host memory that the device reads and writes by itself.
struct Pinned {
    device: Arc<Device>,
    address: *mut u8,
    bytes: usize,
}

// SAFETY: it owns plain bytes.
unsafe impl Send for Pinned {}

impl Pinned {
    fn new(device: &Arc<Device>, bytes: usize) -> Result<Pinned, String> {
        let mut address = std::ptr::null_mut();
        if bytes > 0 {
            let (_current, driver) = (device.enter()?, device.driver);
            // SAFETY: a place for the answer.
            let result = unsafe { (driver.cuMemHostAlloc)(&mut address, bytes, 0) };
            driver.check(&format!("allocating {bytes} bytes of page-locked memory"), result)?;
            // SAFETY: fresh memory of that size.
            unsafe { address.cast::<u8>().write_bytes(0, bytes) };
        }
        Ok(Pinned { device: device.clone(), address: address.cast(), bytes })
    }

    fn bytes(&self) -> &[u8] {
        if self.bytes == 0 {
            return &[];
        }
        // SAFETY: allocated and set in `new`.
        unsafe { std::slice::from_raw_parts(self.address, self.bytes) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        if self.bytes == 0 {
            return &mut [];
        }
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.address, self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if !self.address.is_null()
            && let Ok(_current) = self.device.enter()
        {
            // SAFETY: allocated in `new`.
            unsafe { (self.device.driver.cuMemFreeHost)(self.address.cast()) };
        }
    }
}

/// A tensor on both sides.
struct Tensor {
    host: Pinned,
    device: Buffer,
}

/// The tensors of one call at a time.
pub struct CudaStaging {
    device: Arc<Device>,
    signature: Signature,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    /// Made when they are asked for first.
    marks: Option<Marks>,
    /// Dropped last: what is queued is done then.
    stream: OwnStream,
}

impl CudaStaging {
    /// Zeros for the tensors of a signature.
    pub fn new(device: &Arc<Device>, signature: &Signature) -> Result<CudaStaging, String> {
        let _relaxed = device.enter_relaxed()?;
        let tensor = |ty: &TensorType| {
            Ok::<Tensor, String>(Tensor {
                host: Pinned::new(device, ty.bytes())?,
                device: Buffer::new(device, ty.bytes())?,
            })
        };
        Ok(CudaStaging {
            inputs: signature.inputs.iter().map(tensor).collect::<Result<_, _>>()?,
            outputs: signature.outputs.iter().map(tensor).collect::<Result<_, _>>()?,
            signature: signature.clone(),
            marks: None,
            stream: OwnStream::new(device)?,
            device: device.clone(),
        })
    }

    fn queue_inputs(&self) -> Result<(), String> {
        let (_current, driver) = (self.device.enter()?, self.device.driver);
        for t in self.inputs.iter().filter(|t| t.host.bytes > 0) {
            let (to, from, bytes) = (t.device.address(), t.host.address.cast(), t.host.bytes);
            // SAFETY: both sides have that many bytes and outlive the stream's work.
            let queued = unsafe { (driver.cuMemcpyHtoDAsync_v2)(to, from, bytes, self.stream.raw) };
            driver.check("sending an input", queued)?;
        }
        Ok(())
    }

    fn queue_outputs(&self) -> Result<(), String> {
        let (_current, driver) = (self.device.enter()?, self.device.driver);
        for t in self.outputs.iter().filter(|t| t.host.bytes > 0) {
            let (to, from, bytes) = (t.host.address.cast(), t.device.address(), t.host.bytes);
            // SAFETY: as for inputs.
            let queued = unsafe { (driver.cuMemcpyDtoHAsync_v2)(to, from, bytes, self.stream.raw) };
            driver.check("fetching an output", queued)?;
        }
        Ok(())
    }
}

impl Staging for CudaStaging {
    fn input(&mut self, at: usize) -> &mut [u8] {
        self.inputs[at].host.bytes_mut()
    }

    fn output(&self, at: usize) -> &[u8] {
        self.outputs[at].host.bytes()
    }

    fn stream(&self) -> Stream {
        self.stream.stream()
    }

    fn send(&mut self) -> Result<(), RunError> {
        self.queue_inputs().map_err(RunError::Device)
    }

    fn call(&mut self, call: &mut Call<'_>) -> Result<(), RunError> {
        let inputs: Vec<*const u8> = self.inputs.iter().map(|t| t.device.address() as *const u8).collect();
        let outputs: Vec<*mut u8> = self.outputs.iter().map(|t| t.device.address() as *mut u8).collect();
        call(&Io { inputs: &inputs, outputs: &outputs }, self.stream.stream())
    }

    fn fetch(&mut self) -> Result<(), RunError> {
        self.queue_outputs().map_err(RunError::Device)
    }

    fn wait(&mut self) -> Result<(), RunError> {
        self.stream.wait().map_err(RunError::Device)
    }

    fn mark(&mut self, at: usize) -> Result<(), RunError> {
        if self.marks.is_none() {
            self.marks = Some(Marks::new(&self.device).map_err(RunError::Device)?);
        }
        let marks = self.marks.as_ref().expect("made above");
        marks.record(at, &self.stream).map_err(RunError::Device)
    }

    fn between(&mut self) -> Result<[Duration; 3], RunError> {
        let marks = self.marks.as_ref().ok_or("nothing was marked".to_string());
        marks.and_then(Marks::between).map_err(RunError::Device)
    }

    fn fork(&self) -> Result<Box<dyn Staging>, RunError> {
        Ok(Box::new(CudaStaging::new(&self.device, &self.signature).map_err(RunError::Device)?))
    }
}

impl Drop for CudaStaging {
    fn drop(&mut self) {
        // Memory that copies still use is not freed; a device that is gone copies nothing.
        drop(self.stream.wait());
    }
}

/// Four events of a stream that know their times.
struct Marks {
    device: Arc<Device>,
    events: [CUevent; 4],
}

// SAFETY: events may be used by any thread.
unsafe impl Send for Marks {}

impl Marks {
    fn new(device: &Arc<Device>) -> Result<Marks, String> {
        let (_current, driver) = (device.enter()?, device.driver);
        let mut out = Marks { device: device.clone(), events: [std::ptr::null_mut(); 4] };
        for event in &mut out.events {
            // SAFETY: a place for the answer.
            driver.check("cuEventCreate", unsafe { (driver.cuEventCreate)(event, 0) })?;
        }
        Ok(out)
    }

    fn record(&self, at: usize, stream: &OwnStream) -> Result<(), String> {
        let (_current, driver) = (self.device.enter()?, self.device.driver);
        // SAFETY: an event of ours, a stream of the same device.
        driver.check("cuEventRecord", unsafe { (driver.cuEventRecord)(self.events[at], stream.raw) })
    }

    fn between(&self) -> Result<[Duration; 3], String> {
        let (_current, driver) = (self.device.enter()?, self.device.driver);
        let mut times = [Duration::ZERO; 3];
        for (time, ends) in times.iter_mut().zip(self.events.windows(2)) {
            let mut milliseconds = 0f32;
            // SAFETY: events of ours, a place for the answer.
            let result = unsafe {
                driver.check("cuEventSynchronize", (driver.cuEventSynchronize)(ends[1]))?;
                (driver.cuEventElapsedTime)(&mut milliseconds, ends[0], ends[1])
            };
            driver.check("cuEventElapsedTime", result)?;
            *time = Duration::from_secs_f64(f64::from(milliseconds.max(0.0)) / 1e3);
        }
        Ok(times)
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        if let Ok(_current) = self.device.enter() {
            for &event in self.events.iter().filter(|e| !e.is_null()) {
                // SAFETY: made in `new`.
                unsafe { (self.device.driver.cuEventDestroy_v2)(event) };
            }
        }
    }
}
