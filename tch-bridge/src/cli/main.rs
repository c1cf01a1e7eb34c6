//! The program `tch-trt`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tch_bridge::cli::main()
}
