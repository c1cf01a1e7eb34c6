//! Finding shared libraries: first the copy that the process has already, then folders that the user names, then the dynamic linker's.

use crate::backend::dynamic::reason;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{OsString, c_int};
use std::path::{Path, PathBuf};

/// The variable that names folders (separated by colons) with CUDA's libraries, where neither the host has loaded them nor the
/// dynamic linker finds them.
pub const VARIABLE: &str = "TRT_CUDA_LIBRARIES";

/// Gives a handle only of what is loaded already.
const RTLD_NOLOAD: c_int = 4;

/// Opens the first of these files (by soname, in order of preference) that is loaded in the process, else the first that is found. A
/// host that links its own copy therefore shares it with us, whatever else is installed.
pub fn open(names: &[&str]) -> Result<Library, String> {
    for &name in names {
        // SAFETY: nothing is loaded and no initialiser runs.
        if let Ok(library) = unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD) } {
            return Ok(library);
        }
    }
    let folders = folders();
    let mut files: Vec<OsString> =
        folders.iter().flat_map(|f| names.iter().map(move |n| f.join(n).into_os_string())).collect();
    files.extend(names.iter().map(OsString::from));
    let mut why = String::new();
    for file in &files {
        // SAFETY: loading NVIDIA's libraries runs initialisers that have no preconditions.
        match unsafe { Library::open(Some(file), RTLD_NOW | RTLD_LOCAL) } {
            Ok(library) => return Ok(library),
            Err(e) => why = reason(&e),
        }
    }
    Err(why)
}

/// Where to look before the dynamic linker does: what the user names, then where CUDA libraries that the process has come from, then
/// beside libtorch.
fn folders() -> Vec<PathBuf> {
    let named = std::env::var_os(VARIABLE).unwrap_or_default();
    let mut out: Vec<PathBuf> = std::env::split_paths(&named).filter(|f| !f.as_os_str().is_empty()).collect();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for path in maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..]))) {
        let is_cuda = path.file_name().is_some_and(|n| {
            let n = n.to_string_lossy();
            n.starts_with("libcudart") || n.starts_with("libcublas") || n.starts_with("libcudnn")
        });
        if let Some(folder) = path.parent().filter(|f| is_cuda && !out.iter().any(|o| o == f)) {
            out.push(folder.to_path_buf());
        }
    }
    // Those of pip's libtorch, where a process without it is told its folder.
    let searched = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let of_pip =
        |f: PathBuf| ["cu13", "cudnn"].map(|package| f.join("../../nvidia").join(package).join("lib"));
    let folders = std::env::split_paths(&searched).filter(|f| f.join("libtorch_cuda.so").exists());
    out.extend(folders.flat_map(of_pip).filter(|f| f.is_dir()));
    out
}

/// A table of functions of one library, resolved together; the library stays loaded.
macro_rules! api {
    ($(#[$m:meta])* $name:ident { $($function:ident: fn($($arg:ty),* $(,)?) -> $ret:ty;)* }) => {
        $(#[$m])*
        #[allow(non_snake_case)]
        pub struct $name {
            $(pub $function: unsafe extern "C" fn($($arg),*) -> $ret,)*
            _library: libloading::os::unix::Library,
        }

        impl $name {
            /// Resolves every function; the error names the first that is missing.
            pub fn new(library: libloading::os::unix::Library) -> Result<$name, String> {
                // SAFETY: the types are those of the library's own headers.
                unsafe {
                    Ok($name {
                        $($function: *library
                            .get(concat!(stringify!($function), "\0").as_bytes())
                            .map_err(|e| format!("it has no {}: {e}", stringify!($function)))?,)*
                        _library: library,
                    })
                }
            }
        }
    };
}
pub(super) use api;
