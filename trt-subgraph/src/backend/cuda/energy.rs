//! What a GPU has used, as NVIDIA's management library (NVML) counts it. The library comes with the driver; where it is not there, or
//! does not count, nothing is told.

use libloading::Library;
use std::ffi::{CString, c_char, c_int, c_uint, c_ulonglong, c_void};

type Handle = *mut c_void;
type Init = unsafe extern "C" fn() -> c_int;
type Count = unsafe extern "C" fn(*mut c_uint) -> c_int;
type ByIndex = unsafe extern "C" fn(c_uint, *mut Handle) -> c_int;
type ByName = unsafe extern "C" fn(*const c_char, *mut Handle) -> c_int;
type Energy = unsafe extern "C" fn(Handle, *mut c_ulonglong) -> c_int;

/// The counter of one GPU.
pub struct Meter {
    device: Handle,
    energy: Energy,
    /// Keeps the functions loaded.
    _library: Library,
}

impl Meter {
    /// That of the device that has this number in the process; `None` where NVML does not answer or does not tell which GPU it is.
    pub fn of(ordinal: usize) -> Option<Meter> {
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        // SAFETY: the driver's own library, whose initialisers do nothing that matters here.
        let library = unsafe { Library::new("libnvidia-ml.so.1") }.ok()?;
        // SAFETY: the functions have these types in every version of NVML; places for the answers are given.
        unsafe {
            let symbol = |name: &str| library.get::<*const c_void>(name.as_bytes()).ok().map(|s| *s);
            let init: Init = std::mem::transmute(symbol("nvmlInit_v2")?);
            let count: Count = std::mem::transmute(symbol("nvmlDeviceGetCount_v2")?);
            let by_index: ByIndex = std::mem::transmute(symbol("nvmlDeviceGetHandleByIndex_v2")?);
            let by_name: ByName = std::mem::transmute(symbol("nvmlDeviceGetHandleByUUID")?);
            let energy: Energy = std::mem::transmute(symbol("nvmlDeviceGetTotalEnergyConsumption")?);
            let (mut devices, mut handle) = (0, std::ptr::null_mut());
            if init() != 0 || count(&mut devices) != 0 {
                return None;
            }
            let found = match named(visible.as_deref(), ordinal, devices)? {
                Named::Index(index) => by_index(index, &mut handle),
                Named::Uuid(uuid) => by_name(uuid.as_ptr(), &mut handle),
            };
            let meter = Meter { device: handle, energy, _library: library };
            (found == 0 && meter.joules().is_some()).then_some(meter)
        }
    }

    /// Joules since the driver was loaded, all programs together.
    pub fn joules(&self) -> Option<f64> {
        let mut millijoules = 0;
        // SAFETY: a device of the library, and a place for the answer.
        let told = unsafe { (self.energy)(self.device, &mut millijoules) };
        (told == 0).then_some(millijoules as f64 / 1e3)
    }
}

/// What NVML calls a device of CUDA's.
#[derive(PartialEq, Eq, Debug)]
enum Named {
    Index(u32),
    Uuid(CString),
}

/// The device of this number among those that `CUDA_VISIBLE_DEVICES` lists, of so many in the machine. `None` where the variable
/// cuts a GPU into parts or has no such entry.
fn named(visible: Option<&str>, ordinal: usize, devices: u32) -> Option<Named> {
    let Some(visible) = visible else {
        let index = u32::try_from(ordinal).ok()?;
        return (index < devices).then_some(Named::Index(index));
    };
    let entry = visible.split(',').nth(ordinal)?.trim();
    match entry.parse::<u32>() {
        Ok(index) => (index < devices).then_some(Named::Index(index)),
        Err(_) if entry.starts_with("GPU-") => Some(Named::Uuid(CString::new(entry).ok()?)),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_visible_device_is_the_one_that_counts() {
        assert_eq!(named(None, 1, 2), Some(Named::Index(1)));
        assert_eq!(named(None, 2, 2), None);
        assert_eq!(named(Some("3, 1"), 1, 4), Some(Named::Index(1)));
        assert_eq!(named(Some("3"), 1, 4), None);
        let uuid = "GPU-8a56a4bc-e184-a047-2620-be19fdf913d5";
        assert_eq!(named(Some(uuid), 0, 4), Some(Named::Uuid(CString::new(uuid).expect("it has no zero"))));
        assert_eq!(named(Some("MIG-8a56a4bc"), 0, 4), None);
    }
}
