//! Finding and opening the library that has the commands.

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};
use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use trt_tool::Failure;

const NAME: &str = "libtch_trt.so";

/// Folders that may have it, seen from the program's: cargo's, whose copy is the newest, then the usual ones.
const FOLDERS: [&str; 3] = ["deps", "", "../lib"];

/// Runs the command in the first library that opens, and gives the exit status.
pub fn main() -> Result<u8, Failure> {
    let mut wrong = None;
    for path in places() {
        match open(&path) {
            Ok((library, main)) => {
                let status = main();
                // Its threads, and what libtorch does as the process ends, need its code.
                std::mem::forget(library);
                return Ok(status);
            }
            Err(why) => wrong = wrong.or(Some(why)),
        }
    }
    let why = wrong.unwrap_or_else(|| {
        format!("{NAME} is not beside this program; `cargo build --release -p tch-trt` makes both")
    });
    Err(format!("{why}. All commands but `plan` are in that library").into())
}

fn places() -> Vec<PathBuf> {
    let program = std::env::current_exe().unwrap_or_default();
    let folders = FOLDERS.iter().filter_map(|folder| Some(program.parent()?.join(folder).join(NAME)));
    folders.filter(|path| path.is_file()).collect()
}

/// The library and its `main`, or what is wrong.
fn open(path: &Path) -> Result<(Library, Symbol<extern "C" fn() -> u8>), String> {
    let words = |e: &libloading::Error| e.source().map_or_else(|| e.to_string(), ToString::to_string);
    let damaged = |why: &str| format!("{}: {why}; copy or build it again", path.display());
    if is_cut(path).map_err(|e| format!("{}: {e}", path.display()))? {
        return Err(damaged("the file is cut short or no library"));
    }
    // SAFETY: its initialisers register operators with libtorch and set the log; nothing else runs in this process yet.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|e| {
        let why = words(&e);
        match why.contains("cannot open shared object file") || why.contains("undefined symbol") {
            true => format!(
                "{NAME} needs libtorch 2.11.0, whose folder of libraries LD_LIBRARY_PATH may name: {why}"
            ),
            false => damaged(&why),
        }
    })?;
    // SAFETY: `lib.rs` declares the function so.
    match unsafe { library.get(b"tch_trt_main\0") } {
        Ok(main) => Ok((library, main)),
        Err(e) => Err(damaged(&words(&e))),
    }
}

/// Is this no whole 64-bit ELF file? Opening one that is cut short ends the process. The table of sections, which linkers put last, has to
/// be there.
fn is_cut(path: &Path) -> std::io::Result<bool> {
    let file = File::open(path)?;
    let mut head = [0; 64];
    if file.read_exact_at(&mut head, 0).is_err() || !head.starts_with(b"\x7fELF\x02") {
        return Ok(true);
    }
    let number = |at: usize| u64::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let table = u64::from_le_bytes(std::array::from_fn(|i| head[0x28 + i]));
    let (size, count) = (number(0x3a), number(0x3c));
    Ok(table.saturating_add(size * count) > file.metadata()?.len())
}
