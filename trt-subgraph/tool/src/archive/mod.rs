//! Named tensors in .npz and .safetensors files.

mod npz;
mod safetensors;

use crate::Failure;
use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use trt_subgraph::{DType, files};

/// What a file's numbers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Element {
    /// Real numbers, and truth values.
    Real(DType),
    /// Pairs of these: the real part, then the imaginary one.
    Complex(DType),
}

impl Element {
    /// Bytes of one.
    pub fn size(self) -> usize {
        match self {
            Element::Real(dtype) => dtype.size(),
            Element::Complex(part) => 2 * part.size(),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Real(dtype) => write!(f, "{dtype}"),
            Element::Complex(part) => write!(f, "complex of {part}"),
        }
    }
}

/// A dense tensor on the host, row-major, in this machine's order of bytes.
#[derive(Clone, PartialEq, Debug)]
pub struct Array {
    element: Element,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Array {
    /// Of as many bytes as its elements take; `None` where there are more or fewer.
    pub fn new(element: Element, shape: Vec<usize>, bytes: Vec<u8>) -> Option<Array> {
        let wanted = shape.iter().try_fold(element.size(), |n, &d| n.checked_mul(d))?;
        (bytes.len() == wanted).then_some(Array { element, shape, bytes })
    }

    /// What its elements are.
    pub fn element(&self) -> Element {
        self.element
    }

    /// How many there are along each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

enum Format {
    Npz,
    Safetensors,
}

fn format(path: &Path) -> Result<Format, Failure> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("npz") => Ok(Format::Npz),
        Some("safetensors") => Ok(Format::Safetensors),
        _ => Err(Failure::file(path, "the name must end in .npz or .safetensors")),
    }
}

/// Reads all tensors of a file, in which each has a name of its own.
///
/// # Errors
/// Says why the file cannot be read, or what in it is not taken.
pub fn read(path: &Path) -> Result<Vec<(String, Array)>, Failure> {
    let format = format(path)?;
    // Opening a pipe waits for its writer.
    let about = std::fs::metadata(path).map_err(|e| Failure::file(path, e))?;
    if !about.is_file() {
        return Err(Failure::file(path, "this is not a regular file"));
    }
    match format {
        Format::Npz => npz::read(path).map_err(|e| Failure::file(path, e)),
        Format::Safetensors => safetensors::read(path).map_err(|e| Failure::file(path, e)),
    }
}

/// Tells whether tensors can be written there, before there are any.
///
/// # Errors
/// Says why not.
pub fn unless_writable(path: &Path) -> Result<(), Failure> {
    format(path)?;
    Failure::unless_writable(path)
}

/// Writes tensors to a file, in which each needs a name of its own, whole or not at all.
///
/// # Errors
/// Says why it cannot be written.
pub fn write(path: &Path, tensors: &[(String, Array)]) -> Result<(), Failure> {
    let format = format(path)?;
    let mut names = HashSet::new();
    if let Some((name, _)) = tensors.iter().find(|(name, _)| !names.insert(name)) {
        let why = format!("two results would be called `{name}`, since a key has a dot in it");
        return Err(Failure::unwritten(path, why));
    }
    let whole = |other: &Path| match format {
        Format::Npz => npz::write(other, tensors).map_err(|e| Failure::unwritten(path, e)),
        Format::Safetensors => safetensors::write(other, tensors).map_err(|e| Failure::unwritten(path, e)),
    };
    files::write(path, whole, |e| Failure::unwritten(path, e))
}
