//! What the examples share: the digits, the measured evaluation of a path through them, and how far answers lie apart.

pub mod difference;
pub mod digits;
pub mod evaluation;
pub mod idx;

use std::path::{Path, PathBuf};

/// Where an example leaves a picture: in the project's `target` folder, which is made where it does not exist.
pub fn picture(name: &str) -> std::io::Result<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the examples lie in the project");
    let folder = project.join("target");
    std::fs::create_dir_all(&folder)?;
    Ok(folder.join(name))
}
