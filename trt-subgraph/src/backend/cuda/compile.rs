//! CUDA C to machine code. Needs the run-time compiler, but no device.

use super::library::Nvrtc;
use super::program::Program;
use super::render::{Kernel, module};
use super::target::Target;
use crate::backend::ending;
use crate::cache::Cache;
use cudarc::nvrtc::sys::nvrtcProgram;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use xxhash_rust::xxh3::xxh3_128;

/// The variable that names a folder for the text of every kernel that is compiled, for people to read.
pub const DUMP_VARIABLE: &str = "TRT_CUDA_DUMP";

/// Machine code of a kernel of a program.
pub struct Compiled {
    /// Its position among the program's kernels.
    pub kernel: usize,
    /// What the driver loads. The kernel has the name that it has at position 0: the same code serves wherever the same kernel is.
    pub code: Arc<Vec<u8>>,
}

/// Compiles every kernel of a program, side by side.
pub fn compile(program: &Program, target: &Target) -> Result<Vec<Compiled>, String> {
    let kernels: Vec<usize> = (0..program.kernels.len()).collect();
    let compiled = side_by_side(&kernels, |&kernel| {
        ending::check()?;
        let (text, origins) = &program.kernels[kernel];
        cached(text, origins, target).map(|code| Compiled { kernel, code })
    });
    compiled.into_iter().collect()
}

/// What `make` makes of each item, in their order, on all cores.
pub fn side_by_side<T: Sync, R: Send>(items: &[T], make: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let next = AtomicUsize::new(0);
    let made: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::new());
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return };
            let result = make(item);
            made.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..cores.min(items.len())).map(|_| scope.spawn(work)).collect();
        work();
        drop(others);
    });
    let mut made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
    made.sort_by_key(|(at, _)| *at);
    made.into_iter().map(|(_, result)| result).collect()
}

/// The machine code of a kernel, compiled once in a process, and once for all processes that share a [`Cache`].
fn cached(kernel: &Kernel, origins: &[String], target: &Target) -> Result<Arc<Vec<u8>>, String> {
    let text = alone(kernel);
    let key = (Text::digest(&text), target.capability);
    if let Some(code) = known().get(&key) {
        return Ok(code.clone());
    }
    dump(|| module([(0, kernel, origins)]), target);
    let start = std::time::Instant::now();
    let code = Arc::new(kept(&text, target)?);
    log::trace!("{}: {:.1?} to compile {} bytes", key.0, start.elapsed(), text.len());
    known().insert(key, code.clone());
    Ok(code)
}

/// A kernel as it is compiled, without the layers' names: the same kernel is the same code.
fn alone(kernel: &Kernel) -> String {
    module([(0, kernel, &[][..])])
}

/// The digest of a kernel's text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Text([u64; 2]);

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}{:016x}", self.0[0], self.0[1])
    }
}

impl Text {
    /// Of a kernel alone.
    pub fn of(kernel: &Kernel) -> Text {
        Text::digest(&alone(kernel))
    }

    fn digest(text: &str) -> Text {
        let digest = xxh3_128(text.as_bytes());
        Text([(digest >> 64) as u64, digest as u64])
    }
}

/// The code of kernels, by their text and the compute capability.
type Known = HashMap<(Text, u32), Arc<Vec<u8>>>;

/// What this process knows.
fn known() -> MutexGuard<'static, Known> {
    static KNOWN: OnceLock<Mutex<Known>> = OnceLock::new();
    KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// This is the code of the kernel with this text, from the same compiler.
pub fn know(text: Text, target: &Target, code: impl FnOnce() -> Vec<u8>) {
    known().entry((text, target.capability)).or_insert_with(|| Arc::new(code()));
}

static COMPILED: AtomicUsize = AtomicUsize::new(0);

/// How many modules this process has compiled.
pub fn compiled() -> usize {
    COMPILED.load(Ordering::Relaxed)
}

fn kept(text: &str, target: &Target) -> Result<Vec<u8>, String> {
    let Some(disk) = Cache::of_process() else { return translate(text, target) };
    let (major, minor) = Nvrtc::get()?.version();
    let key = format!("NVRTC {major}.{minor} {}\n{text}", options(target).join(" "));
    if let Some(code) = disk.get("kernels", key.as_bytes()) {
        return Ok(code.to_vec());
    }
    let code = translate(text, target)?;
    disk.put("kernels", key.as_bytes(), &code);
    Ok(code)
}

/// What a module is compiled with.
fn options(target: &Target) -> [String; 3] {
    // Every step of an expression rounds for itself, as the reference has it; products ask for fused steps by name.
    [target.architecture(), "--std=c++17".to_string(), "--fmad=false".to_string()]
}

pub fn dump(text: impl FnOnce() -> String, target: &Target) {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let Some(folder) = std::env::var_os(DUMP_VARIABLE).filter(|v| !v.is_empty()) else { return };
    let text = text();
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let file =
        std::path::Path::new(&folder).join(format!("sm{}-{:016x}.cu", target.capability, hasher.finish()));
    if let Err(e) = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, text)) {
        log::warn!("{DUMP_VARIABLE}: {} cannot be written: {e}", file.display());
    }
}

/// Compiles a module. The error holds the compiler's words.
pub fn translate(text: &str, target: &Target) -> Result<Vec<u8>, String> {
    let nvrtc = Nvrtc::get()?;
    COMPILED.fetch_add(1, Ordering::Relaxed);
    let text = CString::new(text).map_err(|_| "a module's text has a zero byte".to_string())?;
    let options: Vec<CString> = options(target).into_iter().filter_map(|o| CString::new(o).ok()).collect();
    let pointers: Vec<_> = options.iter().map(|o| o.as_ptr()).collect();
    let mut program: nvrtcProgram = std::ptr::null_mut();
    // SAFETY: the text and the options outlive the calls; sizes come from the library.
    unsafe {
        let (none, name) = (std::ptr::null(), c"engine.cu");
        let created = (nvrtc.nvrtcCreateProgram)(&mut program, text.as_ptr(), name.as_ptr(), 0, none, none);
        nvrtc.check("nvrtcCreateProgram", created)?;
        let result = (nvrtc.nvrtcCompileProgram)(program, pointers.len() as i32, pointers.as_ptr());
        let code = if result == 0 {
            let mut size = 0;
            let sized = nvrtc.check("nvrtcGetCUBINSize", (nvrtc.nvrtcGetCUBINSize)(program, &mut size));
            let mut code = vec![0u8; size];
            sized.and_then(|()| {
                nvrtc
                    .check("nvrtcGetCUBIN", (nvrtc.nvrtcGetCUBIN)(program, code.as_mut_ptr().cast()))
                    .map(|()| code)
            })
        } else {
            let mut size = 0;
            (nvrtc.nvrtcGetProgramLogSize)(program, &mut size);
            let mut log = vec![0u8; size + 1];
            (nvrtc.nvrtcGetProgramLog)(program, log.as_mut_ptr().cast());
            let log = CStr::from_bytes_until_nul(&log).unwrap_or_default().to_string_lossy();
            nvrtc.check("nvrtcCompileProgram", result).map(|()| vec![]).map_err(|why| format!("{why}\n{log}"))
        };
        (nvrtc.nvrtcDestroyProgram)(&mut program);
        code
    }
}
