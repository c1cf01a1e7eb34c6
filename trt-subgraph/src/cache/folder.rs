//! Where a cache is, and what lies there. Files of others are left alone.

use super::{Entry, VARIABLE};
use crate::files;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The folder of the process' cache.
pub fn of_process() -> Option<PathBuf> {
    match std::env::var_os(VARIABLE).filter(|v| !v.is_empty()) {
        Some(named) if named == "off" => None,
        Some(named) => Some(named.into()),
        None => platform().map(|folder| folder.join("tch-trt")),
    }
}

/// Where programs of this user keep what they can make again.
fn platform() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        variable("HOME").map(|home| home.join("Library/Caches"))
    } else {
        variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")))
    }
}

/// Why there is and can be no such folder.
pub fn fault(folder: &Path) -> Option<String> {
    match std::fs::metadata(folder) {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some("it is not a folder".into()),
        // It is made when something is kept, where it can be.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            files::may_fill(folder).err().map(|e| format!("the folder cannot be made: {e}"))
        }
        Err(e) => Some(e.to_string()),
    }
}

/// A file of a cache.
pub struct File {
    pub entry: Entry,
    unfinished: bool,
}

impl File {
    pub fn is_entry(&self) -> bool {
        !self.unfinished
    }

    /// Is it being written, or was until its writer died?
    pub fn is_unfinished(&self) -> bool {
        self.unfinished
    }
}

/// The files of a cache in a folder; none where that cannot be read.
pub fn files_in(folder: &Path) -> impl Iterator<Item = File> {
    std::fs::read_dir(folder).into_iter().flatten().filter_map(|found| {
        let found = found.ok()?;
        let meta = found.metadata().ok().filter(|m| m.is_file())?;
        let name = found.file_name().into_string().ok()?;
        let (unfinished, plain) = match name.strip_prefix('.') {
            Some(rest) => (true, rest),
            None => (false, name.as_str()),
        };
        let (hash, kind) = plain.split_once('.')?;
        let ours = hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        let kind = if unfinished { kind.split_once('.')?.0 } else { kind };
        let word = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_lowercase());
        let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let entry = Entry { kind: kind.to_string(), file: name.clone(), bytes: meta.len(), used };
        (ours && word).then_some(File { entry, unfinished })
    })
}
