//! `libtch_trt.so`: what a saved module with engines needs in a process that is not a Rust program.
//!
//! ```python
//! torch.ops.load_library("libtch_trt.so")   # once, before torch.jit.load
//! model = torch.jit.load("model.pt")
//! ```
//!
//! C++ links it, or opens it with `dlopen`, before `torch::jit::load`. Loading registers the operators of `trt::` and the
//! classes of saved modules, by static initialisers of its C++ part. It uses the libtorch of the process.
//!
//! The program `tch-trt` finds its commands in it.

use env_logger::{Builder, Env, Logger};
use log::{Log, Metadata, Record};
use trt_tool::logging;

/// Runs the command that the process's arguments name, and gives the exit status.
#[unsafe(no_mangle)]
pub extern "C" fn tch_trt_main() -> u8 {
    tch_bridge::cli::main()
}

/// The log of the program where that is who uses the library; else warnings on the error stream, or what `RUST_LOG` asks for.
struct Outlet(Logger);

impl Log for Outlet {
    fn enabled(&self, about: &Metadata) -> bool {
        logging::of_program().unwrap_or(&self.0).enabled(about)
    }

    fn log(&self, record: &Record) {
        logging::of_program().unwrap_or(&self.0).log(record);
    }

    fn flush(&self) {
        logging::of_program().unwrap_or(&self.0).flush();
    }
}

/// Leaves a logger that is set already.
extern "C" fn start_log() {
    let logger = Builder::from_env(Env::default().default_filter_or("warn")).build();
    let most = logger.filter();
    if log::set_boxed_logger(Box::new(Outlet(logger))).is_ok() {
        log::set_max_level(most);
    }
    if let Some(why) = tch_bridge::jit::foreign_libtorch() {
        log::error!("{why}");
    }
}

// SAFETY: the dynamic linker calls each pointer in this section once, as a function without arguments or result; it unwinds
// nothing, and needs nothing that is set up later than the Rust runtime, which has no set-up of its own in a library.
#[used]
#[unsafe(link_section = ".init_array")]
static ON_LOAD: extern "C" fn() = start_log;
