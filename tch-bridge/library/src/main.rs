//! The program `tch-trt`. It links no libtorch: `plan` runs without one, and all other commands are in `libtch_trt.so`, which is opened
//! for them.

mod shared;

use std::process::ExitCode;
use trt_tool::{fail, json_is_wanted};

fn main() -> ExitCode {
    let first = std::env::args_os().nth(1).unwrap_or_default();
    ExitCode::from(match first.to_str() {
        Some("plan") => trt_tool::plan::main(),
        Some("--version" | "-V") => trt_tool::plan::version(),
        _ => shared::main().unwrap_or_else(|why| fail(&why, json_is_wanted())),
    })
}
