//! Finding and loading oneDNN.
//!
//! Tried in order: `TRT_ONEDNN_LIBRARY` (a file, or a folder that holds `libdnnl.so.3`); `libdnnl.so.3` where the dynamic
//! linker looks (run paths of the executable, `LD_LIBRARY_PATH`, the system); beside the executable, and in `../lib` from there; the file that `TRT_ONEDNN_LIBRARY` named when
//! this crate was built, else the one that the project's set-up had put beside its sources by then.

use super::sys::{self, Api};
use crate::backend::cpu::isa::Isa;
use crate::backend::dynamic::reason;
use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The variable that names the library.
pub const VARIABLE: &str = "TRT_ONEDNN_LIBRARY";
const FILE: &str = if cfg!(target_os = "macos") { "libdnnl.3.dylib" } else { "libdnnl.so.3" };

/// A loaded oneDNN with its CPU engine. There is one for the process; it stays loaded.
pub struct OneDnn {
    pub api: Api,
    pub engine: sys::Engine,
    pub version: (i32, i32, i32),
    /// Does it run its loops in OpenMP?
    pub openmp: bool,
}

// SAFETY: oneDNN's functions may be called from any thread, and its engine object is immutable.
unsafe impl Send for OneDnn {}
// SAFETY: as above.
unsafe impl Sync for OneDnn {}

impl OneDnn {
    /// The process' oneDNN, loaded at the first call; or one sentence that says why there is none.
    pub fn get() -> Result<Arc<OneDnn>, String> {
        static LOADED: OnceLock<Result<Arc<OneDnn>, String>> = OnceLock::new();
        LOADED.get_or_init(|| find().map(Arc::new)).clone()
    }
}

fn find() -> Result<OneDnn, String> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|v| !v.is_empty()) {
        let mut path = PathBuf::from(named);
        if path.is_dir() {
            path.push(FILE);
        }
        return load(&path).map_err(|why| format!("{VARIABLE} names a oneDNN that does not load: {why}"));
    }
    let why = match load(Path::new(FILE)) {
        Ok(loaded) => return Ok(loaded),
        Err(why) => why,
    };
    let program = std::env::current_exe().unwrap_or_default();
    let beside = ["", "../lib"].map(|folder| program.with_file_name(folder).join(FILE));
    let known = option_env!("TRT_SUBGRAPH_ONEDNN").map(PathBuf::from);
    let mut files = beside.into_iter().chain(known).filter(|file| file.is_file());
    if let Some(loaded) = files.find_map(|file| load(&file).ok()) {
        return Ok(loaded);
    }
    Err(format!("no oneDNN 3 was found ({why}); `make setup` gets one, or name yours with {VARIABLE}"))
}

fn load(path: &Path) -> Result<OneDnn, String> {
    let library = open(path).map_err(|e| reason(&e))?;
    // SAFETY: `dnnl_version` has this type in every oneDNN since 1.0; the result is static.
    let version = unsafe {
        let get = library
            .get::<unsafe extern "C" fn() -> *const sys::Version>(b"dnnl_version\0")
            .map_err(|e| reason(&e))?;
        &*get()
    };
    let found = (version.major, version.minor, version.patch);
    if version.major != 3 {
        return Err(format!("{} is oneDNN {}.{}, not 3", path.display(), found.0, found.1));
    }
    // SAFETY: it is a oneDNN 3.
    let api = unsafe { Api::new(library) }.map_err(|e| reason(&e))?;
    hold(&api, Isa::of_process()?, Isa::detect())?;
    let mut engine = std::ptr::null_mut();
    // SAFETY: `engine` is a place for the handle.
    let status = unsafe { (api.dnnl_engine_create)(&mut engine, sys::CPU, 0) };
    if status != 0 {
        return Err(format!("oneDNN gives no CPU engine (status {status})"));
    }
    Ok(OneDnn { api, engine, version: found, openmp: version.cpu_runtime == sys::RUNTIME_OMP })
}

/// Holds the library to fewer instructions than the machine has, as our own loops are; SSE4.1 is the fewest that it knows on x86-64.
fn hold(api: &Api, isa: Isa, best: Isa) -> Result<(), String> {
    if isa == best {
        return Ok(());
    }
    let least = match isa {
        Isa::Portable => sys::ISA_SSE41,
        Isa::Avx2 => sys::ISA_AVX2,
        Isa::Avx512 | Isa::Avx512Bf16 => sys::ISA_AVX512_CORE,
    };
    // SAFETY: any number may be given; nothing of the library was used before.
    let status = unsafe { (api.dnnl_set_max_cpu_isa)(least) };
    if status == 0 {
        Ok(())
    } else {
        Err(format!("oneDNN cannot be held to {} (status {status})", isa.word()))
    }
}

/// Opens a library so that it binds to its own symbols first: a host may carry another oneDNN.
#[cfg(unix)]
fn open(path: &Path) -> Result<libloading::Library, libloading::Error> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    const DEEP_BIND: c_int = if cfg!(all(target_os = "linux", target_env = "gnu")) { 8 } else { 0 };
    // SAFETY: loading oneDNN runs initialisers that have no preconditions.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL | DEEP_BIND) }.map(Into::into)
}

#[cfg(not(unix))]
fn open(path: &Path) -> Result<libloading::Library, libloading::Error> {
    // SAFETY: loading oneDNN runs initialisers that have no preconditions.
    unsafe { libloading::Library::new(path) }
}
