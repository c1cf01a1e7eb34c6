//! NVIDIA's libraries, loaded at run time: one binary runs with and without a GPU.
//!
//! Declarations of types come from `cudarc`; functions are resolved here, because whose copy is taken matters: a process that has a
//! CUDA libtorch has its libraries too, and a second cuDNN beside it is a trap.

mod cublaslt;
mod cudnn;
mod driver;
mod handles;
mod nvrtc;
mod open;

pub use cublaslt::CublasLt;
pub use cudnn::Cudnn;
pub use driver::{Address, Driver};
pub use handles::Handles;
pub use nvrtc::Nvrtc;
pub use open::VARIABLE;

use driver::Status;
use std::ffi::{CStr, c_int};
use std::sync::OnceLock;

/// The least major version of CUDA that a driver has to support: that of the cubins.
const DRIVER: i32 = 13;

/// The versions of all that is loaded, for people; kernels, plans and timings depend on them.
pub fn versions() -> String {
    let driver = Driver::get().map_or("no driver".to_string(), |driver| {
        let (major, minor) = driver.version();
        format!("driver for CUDA {major}.{minor}")
    });
    let nvrtc = Nvrtc::get().map_or("no NVRTC".to_string(), |nvrtc| {
        let (major, minor) = nvrtc.version();
        format!("NVRTC {major}.{minor}")
    });
    let numbers = |of: &str, version: usize| {
        format!("{of} {}.{}.{}", version / 10000, version / 100 % 100, version % 100)
    };
    let dnn = Cudnn::get().map_or("no cuDNN".to_string(), |dnn| numbers("cuDNN", dnn.version()));
    let lt = CublasLt::get().map_or("no cuBLASLt".to_string(), |lt| numbers("cuBLASLt", lt.version()));
    format!("{driver}, {nvrtc}, {dnn}, {lt}")
}

impl Driver {
    /// The process' driver, initialised; or one sentence that says what is missing and how to mend it.
    pub fn get() -> Result<&'static Driver, String> {
        static LOADED: OnceLock<Result<Driver, String>> = OnceLock::new();
        LOADED.get_or_init(load_driver).as_ref().map_err(String::clone)
    }

    /// The CUDA version that it supports: (major, minor).
    pub fn version(&self) -> (i32, i32) {
        let mut version: c_int = 0;
        // SAFETY: a place for the answer.
        unsafe { (self.cuDriverGetVersion)(&mut version) };
        (version / 1000, version % 1000 / 10)
    }

    /// Turns a result into an error that names the call.
    pub fn check(&self, call: &str, result: Status) -> Result<(), String> {
        if result == 0 {
            return Ok(());
        }
        Err(format!("{call}: {}", self.words(result)))
    }

    fn words(&self, result: Status) -> String {
        let mut text = std::ptr::null();
        // SAFETY: `text` is a place for the address of a static string.
        unsafe {
            match (self.cuGetErrorString)(result, &mut text) {
                0 if !text.is_null() => CStr::from_ptr(text).to_string_lossy().into_owned(),
                _ => format!("error {}", result),
            }
        }
    }
}

fn load_driver() -> Result<Driver, String> {
    let library = open::open(driver::FILES).map_err(|_| {
        "no libcuda.so.1: this machine has no NVIDIA driver; install one for a GPU".to_string()
    })?;
    let driver =
        Driver::new(library).map_err(|why| format!("libcuda is too old, update the driver: {why}"))?;
    // SAFETY: the first call into the driver.
    let begun = unsafe { (driver.cuInit)(0) };
    driver
        .check("cuInit", begun)
        .map_err(|why| format!("the NVIDIA driver does not start, see that a GPU is visible ({why})"))?;
    let (major, minor) = driver.version();
    if major < DRIVER {
        return Err(format!("the driver supports CUDA {major}.{minor}; update it to one for CUDA 13"));
    }
    Ok(driver)
}

impl Nvrtc {
    /// The process' run-time compiler; or one sentence that says what is missing and how to mend it.
    pub fn get() -> Result<&'static Nvrtc, String> {
        static LOADED: OnceLock<Result<Nvrtc, String>> = OnceLock::new();
        LOADED.get_or_init(load_nvrtc).as_ref().map_err(String::clone)
    }

    /// (major, minor).
    pub fn version(&self) -> (i32, i32) {
        let (mut major, mut minor) = (0, 0);
        // SAFETY: places for two integers.
        unsafe { (self.nvrtcVersion)(&mut major, &mut minor) };
        (major, minor)
    }

    /// Turns a result into an error that names the call.
    pub fn check(&self, call: &str, result: u32) -> Result<(), String> {
        if result == 0 {
            return Ok(());
        }
        // SAFETY: the result is a static string.
        let words = unsafe { CStr::from_ptr((self.nvrtcGetErrorString)(result)) };
        Err(format!("{call}: {}", words.to_string_lossy()))
    }
}

fn load_nvrtc() -> Result<Nvrtc, String> {
    let library = open::open(nvrtc::FILES).map_err(|_| {
        "no libnvrtc.so.13: use a libtorch for CUDA 13, or put CUDA 13's libraries on LD_LIBRARY_PATH"
            .to_string()
    })?;
    let nvrtc = Nvrtc::new(library)?;
    match nvrtc.version() {
        (13, minor) => {
            // It looks for this by name alone; found or not, its own search comes after.
            let builtins = open::open(&[&format!("libnvrtc-builtins.so.13.{minor}")]);
            std::mem::forget(builtins);
            Ok(nvrtc)
        }
        (major, minor) => Err(format!("libnvrtc is of CUDA {major}.{minor}; version 13 is needed")),
    }
}

impl Cudnn {
    /// The process' cuDNN, or why there is none: convolutions then run in our own kernels.
    pub fn get() -> Result<&'static Cudnn, String> {
        static LOADED: OnceLock<Result<Cudnn, String>> = OnceLock::new();
        let load = || open::open(cudnn::FILES).and_then(Cudnn::new);
        LOADED.get_or_init(load).as_ref().map_err(String::clone)
    }

    /// Such as 91900 for 9.19.0.
    pub fn version(&self) -> usize {
        // SAFETY: no preconditions.
        unsafe { (self.cudnnGetVersion)() }
    }
}

impl CublasLt {
    /// The process' cuBLASLt, or why there is none: matrix products then run in our own kernels.
    pub fn get() -> Result<&'static CublasLt, String> {
        static LOADED: OnceLock<Result<CublasLt, String>> = OnceLock::new();
        let load = || open::open(cublaslt::FILES).and_then(CublasLt::new);
        LOADED.get_or_init(load).as_ref().map_err(String::clone)
    }

    /// Such as 130100 for 13.1.0.
    pub fn version(&self) -> usize {
        // SAFETY: no preconditions.
        unsafe { (self.cublasLtGetVersion)() }
    }
}
