//! Plans in files.

use super::PlanError;
use crate::Bytes;
use memmap2::Mmap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// Writes a file under another name in the same folder, makes it durable, and gives it its name: at every moment there is the
/// old file or the new one, whole. What is left of a failed attempt is removed.
pub fn replace(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), PlanError>,
) -> Result<(), PlanError> {
    static ATTEMPT: AtomicU64 = AtomicU64::new(0);
    let fail = |e: std::io::Error| PlanError::io(path, e);
    let name = path.file_name().ok_or_else(|| PlanError::io(path, "this is no file's name"))?;
    let mut other = std::ffi::OsString::from(".");
    other.push(name);
    other.push(format!(".{}-{}", std::process::id(), ATTEMPT.fetch_add(1, Ordering::Relaxed)));
    let other = path.with_file_name(other);
    let attempt = || {
        let file = File::options().write(true).create_new(true).open(&other).map_err(fail)?;
        let mut to = BufWriter::new(file);
        write(&mut to).map_err(|e| match e {
            PlanError::Io { why, .. } => PlanError::io(path, why),
            e => e,
        })?;
        let file = to.into_inner().map_err(|e| fail(e.into_error()))?;
        file.sync_all().map_err(fail)?;
        fs::rename(&other, path).map_err(fail)
    };
    attempt().inspect_err(|_| drop(fs::remove_file(&other)))
}
