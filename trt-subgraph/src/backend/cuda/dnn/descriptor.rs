//! Backend descriptors with an owner.

use super::super::library::Cudnn;
use cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Kind, cudnnBackendDescriptor_t,
    cudnnBackendDescriptorType_t as DescriptorType, cudnnHandle_t,
};
use std::ffi::c_void;

/// A descriptor, destroyed on drop.
pub struct Descriptor {
    pub raw: cudnnBackendDescriptor_t,
    dnn: &'static Cudnn,
}

// SAFETY: a finalised descriptor is only read.
unsafe impl Send for Descriptor {}
// SAFETY: as above.
unsafe impl Sync for Descriptor {}

impl Descriptor {
    /// An empty one.
    pub fn new(dnn: &'static Cudnn, kind: DescriptorType) -> Result<Descriptor, String> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: a place for the answer.
        let result = unsafe { (dnn.cudnnBackendCreateDescriptor)(kind, &mut raw) };
        dnn.check("cudnnBackendCreateDescriptor", result)?;
        Ok(Descriptor { raw, dnn })
    }

    fn set<T>(self, name: Name, kind: Kind, values: &[T]) -> Result<Descriptor, String> {
        let (count, values) = (values.len() as i64, values.as_ptr().cast());
        // SAFETY: as many values of the named kind as are said; callers pair kinds with types.
        let result = unsafe { (self.dnn.cudnnBackendSetAttribute)(self.raw, name, kind, count, values) };
        self.dnn.check(&format!("{name:?}"), result)?;
        Ok(self)
    }

    /// Whole numbers.
    pub fn integers(self, name: Name, values: &[i64]) -> Result<Descriptor, String> {
        self.set(name, Kind::CUDNN_TYPE_INT64, values)
    }

    /// A float.
    pub fn float(self, name: Name, value: f32) -> Result<Descriptor, String> {
        self.set(name, Kind::CUDNN_TYPE_FLOAT, &[value])
    }

    /// A truth value.
    pub fn boolean(self, name: Name, value: bool) -> Result<Descriptor, String> {
        self.set(name, Kind::CUDNN_TYPE_BOOLEAN, &[value])
    }

    /// A value of an enumeration of this kind.
    pub fn one_of<T>(self, name: Name, kind: Kind, value: T) -> Result<Descriptor, String> {
        const { assert!(size_of::<T>() == 4) };
        self.set(name, kind, &[value])
    }

    /// Addresses.
    pub fn pointers(self, name: Name, values: &[*mut c_void]) -> Result<Descriptor, String> {
        self.set(name, Kind::CUDNN_TYPE_VOID_PTR, values)
    }

    /// A library handle.
    pub fn handle(self, name: Name, handle: cudnnHandle_t) -> Result<Descriptor, String> {
        self.set(name, Kind::CUDNN_TYPE_HANDLE, &[handle])
    }

    /// Other descriptors.
    pub fn descriptors(self, name: Name, values: &[&Descriptor]) -> Result<Descriptor, String> {
        let raw: Vec<cudnnBackendDescriptor_t> = values.iter().map(|d| d.raw).collect();
        self.set(name, Kind::CUDNN_TYPE_BACKEND_DESCRIPTOR, &raw)
    }

    /// Complete: the library says here whether it can do it.
    pub fn finish(self) -> Result<Descriptor, String> {
        // SAFETY: a live descriptor.
        let result = unsafe { (self.dnn.cudnnBackendFinalize)(self.raw) };
        self.dnn.check("cudnnBackendFinalize", result)?;
        Ok(self)
    }

    /// A whole number of a finished descriptor.
    pub fn integer(&self, name: Name) -> Result<i64, String> {
        let (mut value, mut count) = (0i64, 0i64);
        let (place, kind) = ((&raw mut value).cast(), Kind::CUDNN_TYPE_INT64);
        // SAFETY: a place for one number.
        let result =
            unsafe { (self.dnn.cudnnBackendGetAttribute)(self.raw, name, kind, 1, &mut count, place) };
        self.dnn.check(&format!("{name:?}"), result)?;
        Ok(value)
    }

    /// Values of an enumeration of a finished descriptor, at most 16.
    pub fn enumeration(&self, name: Name, kind: Kind) -> Result<Vec<u32>, String> {
        let (mut values, mut count) = ([0u32; 16], 0i64);
        let place = values.as_mut_ptr().cast();
        // SAFETY: places for 16 values.
        let result =
            unsafe { (self.dnn.cudnnBackendGetAttribute)(self.raw, name, kind, 16, &mut count, place) };
        self.dnn.check(&format!("{name:?}"), result)?;
        Ok(values[..count.clamp(0, 16) as usize].to_vec())
    }

    /// Fills empty descriptors of a kind with those of a finished one; gives as many as there were.
    pub fn fill(&self, name: Name, kind: DescriptorType, most: usize) -> Result<Vec<Descriptor>, String> {
        let mut out = (0..most).map(|_| Descriptor::new(self.dnn, kind)).collect::<Result<Vec<_>, _>>()?;
        let mut raw: Vec<cudnnBackendDescriptor_t> = out.iter().map(|d| d.raw).collect();
        let mut count = 0i64;
        let (place, kind) = (raw.as_mut_ptr().cast(), Kind::CUDNN_TYPE_BACKEND_DESCRIPTOR);
        // SAFETY: places for `most` descriptors, which the library fills in place.
        let result = unsafe {
            (self.dnn.cudnnBackendGetAttribute)(self.raw, name, kind, most as i64, &mut count, place)
        };
        self.dnn.check(&format!("{name:?}"), result)?;
        out.truncate(count.clamp(0, most as i64) as usize);
        Ok(out)
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: made in `new`.
        unsafe { (self.dnn.cudnnBackendDestroyDescriptor)(self.raw) };
    }
}
