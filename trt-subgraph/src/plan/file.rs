//! Plans in files.

use super::PlanError;
use crate::{Bytes, files};
use memmap2::Mmap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

/// The bytes of a file, mapped.
pub fn map(path: &Path) -> Result<Bytes, PlanError> {
    let fail = |e: std::io::Error| PlanError::io(path, e);
    // Opening a pipe waits for its writer.
    if !fs::metadata(path).map_err(fail)?.is_file() {
        return Err(PlanError::io(path, "this is not a regular file"));
    }
    let file = File::open(path).map_err(fail)?;
    // SAFETY: plans are replaced, not written over (`replace`); the documentation asks the same of others.
    let map = unsafe { Mmap::map(&file) }.map_err(fail)?;
    Ok(Bytes::of(map))
}

/// Writes a plan's file: at every moment there is the old one or the new one, whole.
pub fn replace(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), PlanError>,
) -> Result<(), PlanError> {
    let fail = |e: std::io::Error| PlanError::io(path, e);
    let whole = |other: &Path| {
        let mut to = BufWriter::new(File::create(other).map_err(fail)?);
        write(&mut to).map_err(|e| match e {
            PlanError::Io { why, .. } => PlanError::io(path, why),
            e => e,
        })?;
        to.into_inner().map(drop).map_err(|e| fail(e.into_error()))
    };
    files::replace(path, whole, fail)
}
