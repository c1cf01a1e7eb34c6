//! `libtch_trt.so`: what a saved module with engines needs in a process that is not a Rust program.
//!
//! ```python
//! torch.ops.load_library("libtch_trt.so")   # once, before torch.jit.load
//! model = torch.jit.load("model.pt")
//! ```
//!
//! C++ links it, or opens it with `dlopen`, before `torch::jit::load`. Loading registers the operators of `trt::` and the
//! classes of saved modules. It uses the libtorch of the process.

// The registrations are static initialisers of its C++ part.
use tch_bridge as _;

/// Sends warnings to the error stream; `RUST_LOG` changes what is said. Leaves a logger that is set already.
extern "C" fn start_log() {
    let environment = env_logger::Env::default().default_filter_or("warn");
    drop(env_logger::Builder::from_env(environment).try_init());
}

// SAFETY: the dynamic linker calls each pointer in this section once, as a function without arguments or result; it unwinds
// nothing, and needs nothing that is set up later than the Rust runtime, which has no set-up of its own in a library.
#[used]
#[unsafe(link_section = ".init_array")]
static ON_LOAD: extern "C" fn() = start_log;
