//! Page-locked host memory beside device memory, and a stream between them.

use super::device::Device;
use super::memory::Buffer;
use super::stream::OwnStream;
use crate::TensorType;
use crate::backend::{Io, RunError, Signature, Staging, Stream};
use std::sync::Arc;

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
            stream: OwnStream::new(device)?,
            device: device.clone(),
        })
    }

    fn send(&self) -> Result<(), String> {
        let (_current, driver) = (self.device.enter()?, self.device.driver);
        for t in self.inputs.iter().filter(|t| t.host.bytes > 0) {
            let (to, from, bytes) = (t.device.address(), t.host.address.cast(), t.host.bytes);
            // SAFETY: both sides have that many bytes and outlive the stream's work.
            let queued = unsafe { (driver.cuMemcpyHtoDAsync_v2)(to, from, bytes, self.stream.raw) };
            driver.check("sending an input", queued)?;
        }
        Ok(())
    }

    fn fetch(&self) -> Result<(), String> {
        let (_current, driver) = (self.device.enter()?, self.device.driver);
        for t in self.outputs.iter().filter(|t| t.host.bytes > 0) {
            let (to, from, bytes) = (t.host.address.cast(), t.device.address(), t.host.bytes);
            // SAFETY: as in `send`.
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

    fn pass(
        &mut self,
        call: &mut dyn FnMut(&Io<'_>, Stream) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let inputs: Vec<*const u8> = self.inputs.iter().map(|t| t.device.address() as *const u8).collect();
        let outputs: Vec<*mut u8> = self.outputs.iter().map(|t| t.device.address() as *mut u8).collect();
        self.send().map_err(RunError::Device)?;
        call(&Io { inputs: &inputs, outputs: &outputs }, self.stream.stream())?;
        self.fetch().map_err(RunError::Device)
    }

    fn wait(&mut self) -> Result<(), RunError> {
        self.stream.wait().map_err(RunError::Device)
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
