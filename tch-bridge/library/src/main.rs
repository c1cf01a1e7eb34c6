//! The program `tch-trt`. It links no libtorch: `plan` runs without one, and all other commands are in `libtch_trt.so`, which is opened
//! for them.

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use trt_tool::{Failure, fail};

const NAME: &str = "libtch_trt.so";

/// Folders that may have it, seen from the program's: cargo's, whose copy is the newest, then the usual ones.
const FOLDERS: [&str; 3] = ["deps", "", "../lib"];

fn main() -> ExitCode {
    let status = match std::env::args_os().nth(1) {
        Some(command) if command == "plan" => trt_tool::plan::main(),
        _ => with_libtorch()
            .unwrap_or_else(|why| fail(&why, std::env::args_os().any(|argument| argument == "--json"))),
    };
    ExitCode::from(status)
}

fn with_libtorch() -> Result<u8, Failure> {
    let path = place().ok_or_else(|| {
        Failure::from(format!(
            "all commands but `plan` are in {NAME}, which is not beside this program; `cargo build --release -p tch-trt` makes both"
        ))
    })?;
    let told = |e: &libloading::Error, need: &str| {
        let why = e.source().map_or_else(|| e.to_string(), ToString::to_string);
        Failure::from(format!("{why}; {need}"))
    };
    // SAFETY: its initialisers register operators with libtorch and set the log; nothing else runs in this process yet.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|e| {
        told(&e, "all commands but `plan` need libtorch 2.11.0, whose folder of libraries LD_LIBRARY_PATH may name")
    })?;
    // SAFETY: `lib.rs` declares the function so.
    let main = unsafe { library.get(b"tch_trt_main\0") };
    let main: Symbol<extern "C" fn() -> u8> =
        main.map_err(|e| told(&e, "the library is not of this version of the program"))?;
    let status = main();
    // Its threads, and what libtorch does as the process ends, need its code.
    std::mem::forget(library);
    Ok(status)
}

fn place() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let beside = program.parent()?;
    FOLDERS.iter().map(|folder| beside.join(folder).join(NAME)).find(|path| path.is_file())
}
