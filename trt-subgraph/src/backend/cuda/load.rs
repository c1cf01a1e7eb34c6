//! A program's kernels on a device.

use super::compile::Compiled;
use super::device::Device;
use super::program::{Action, Program, Source};
use cudarc::driver::sys::{CUfunction, CUfunction_attribute, CUmodule};
use std::ffi::CString;
use std::sync::Arc;

/// A program whose modules are loaded.
pub struct Loaded {
    pub device: Arc<Device>,
    pub program: Program,
    /// By kernel.
    pub functions: Vec<CUfunction>,
    modules: Vec<CUmodule>,
}

// SAFETY: modules and functions are handles that any thread may use.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

impl Loaded {
    /// Loads the modules, whole and at once: nothing is left for the first call.
    pub fn new(device: &Arc<Device>, program: Program, code: &[Compiled]) -> Result<Loaded, String> {
        let (_current, driver) = (device.enter()?, device.driver);
        let functions = vec![std::ptr::null_mut(); program.kernels.len()];
        let mut out = Loaded { device: device.clone(), program, functions, modules: Vec::new() };
        for compiled in code {
            let mut module = std::ptr::null_mut();
            let (none, nothing) = (std::ptr::null_mut(), std::ptr::null_mut());
            // SAFETY: the code is a whole cubin for this device.
            let result = unsafe {
                (driver.cuModuleLoadDataEx)(&mut module, compiled.code.as_ptr().cast(), 0, none, nothing)
            };
            driver.check("loading kernels", result)?;
            out.modules.push(module);
            let (at, name) = (compiled.kernel, out.program.kernels[compiled.kernel].0.name(0));
            let name = CString::new(name).map_err(|e| e.to_string())?;
            // SAFETY: the module has a kernel of this name.
            let result =
                unsafe { (driver.cuModuleGetFunction)(&mut out.functions[at], module, name.as_ptr()) };
            driver.check("finding a kernel", result)?;
        }
        for step in &out.program.steps {
            // What a kernel declares of its own counts as well.
            if let Action::Launch(launch) = &step.action
                && launch.shared > 40 << 10
            {
                let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                let function = out.functions[launch.kernel];
                // SAFETY: a kernel of a loaded module.
                let result =
                    unsafe { (driver.cuFuncSetAttribute)(function, attribute, launch.shared as i32) };
                driver.check("shared memory of a kernel", result)?;
            }
        }
        Ok(out)
    }

    /// Bytes of the caller's output (`write`) or input at this position that steps touch, from its start.
    pub fn reach(&self, tensor: usize, write: bool) -> usize {
        let is_it = |slot: &Source| match *slot {
            Source::Input(i) => !write && i == tensor,
            Source::Output(i) => write && i == tensor,
            _ => false,
        };
        let arguments = self.program.steps.iter().flat_map(|s| &s.arguments);
        let ends =
            arguments.filter(|a| is_it(&self.program.slots[a.slot.0 as usize])).map(|a| a.reach.1.max(0));
        ends.max().unwrap_or(0) as usize
    }

    /// A line for each step.
    pub fn describe(&self) -> Vec<String> {
        let line = |step: &super::program::Step| {
            let what = match &step.action {
                Action::Launch(l) => {
                    let blocks: u64 = l.grid.iter().map(|&n| n as u64).product();
                    format!("{} {blocks} x {}", self.program.kernels[l.kernel].0.name(l.kernel), l.threads)
                }
                Action::Call(call) => call.describe(),
            };
            format!("{what} ({})", step.origin)
        };
        self.program.steps.iter().map(line).collect()
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if let Ok(_relaxed) = self.device.enter_relaxed() {
            for &module in &self.modules {
                // SAFETY: loaded in `new`; the driver waits for kernels that run.
                unsafe { (self.device.driver.cuModuleUnload)(module) };
            }
        }
    }
}
