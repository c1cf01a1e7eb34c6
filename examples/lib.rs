//! What the examples share: images (made, or of a data set), ratings and text to train on, residual networks, the measured evaluation of a path, times of calls, how far
//! answers lie apart, weights for networks by hand, and plots.

pub mod cifar;
pub mod difference;
pub mod digits;
pub mod evaluation;
mod help;
pub mod idx;
pub mod plot;
pub mod ratings;
pub mod residual;
pub mod shapes;
pub mod text;
pub mod times;
pub mod weights;

pub use help::{arguments, explain};
use std::path::{Path, PathBuf};
use tch::Device;

/// Where an example's network lives: on the first GPU, where libtorch finds one and `TRT_BACKEND` is not `cpu`.
pub fn device() -> Device {
    match std::env::var("TRT_BACKEND") {
        Ok(name) if name == "cpu" => Device::Cpu,
        _ => Device::cuda_if_available(),
    }
}

/// Where an example leaves a picture, or other files: in the project's `target` folder, which is made where it does not exist.
pub fn picture(name: &str) -> std::io::Result<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the examples lie in the project");
    let folder = project.join("target");
    std::fs::create_dir_all(&folder)?;
    Ok(folder.join(name))
}

/// Prints what the program's documentation says and ends it, where `--help` asks for that.
#[macro_export]
macro_rules! help {
    () => {
        $crate::explain(include_str!("main.rs"))
    };
}
