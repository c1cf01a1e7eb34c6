//! What takes long to make, kept on disk from process to process: machine code of kernels, and which way of running a layer is fastest.
//!
//! An entry is a file of its own that holds the whole key beside the value, both under checksums; it is used only where the key is the
//! same to the last byte. Files appear whole (written apart, then renamed), so that any number of processes may read and write at once
//! and one that is killed leaves at most a file that nobody reads, which [`Cache::prune`] removes. When the cache outgrows its limit, the entries that were not
//! used for longest go. A cache that cannot be read or written is no fault: things are made again.

mod folder;
#[cfg(test)]
mod tests;

use crate::Bytes;
use crate::plan::container::{Section, read, write};
use crate::plan::{PlanError, file};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};
use xxhash_rust::xxh3::xxh3_128;

/// The variable that names the folder; `off` does without a cache.
pub const VARIABLE: &str = "TRT_CACHE_DIR";

/// Bytes that the process' cache holds at most.
pub const LIMIT: u64 = 1 << 30;

/// The sections of an entry.
const KEY: u32 = 16;
const VALUE: u32 = 17;

/// Unfinished files older than this have lost their writer.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A folder of entries.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    limit: u64,
}

/// An entry, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What it holds: `kernels`, `ways`.
    pub kind: String,
    /// Its file's name.
    pub file: String,
    /// Its file's size.
    pub bytes: u64,
    /// When it was used last.
    pub used: SystemTime,
}

/// What came of removing entries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Removal {
    /// Those that are gone.
    pub removed: Vec<Entry>,
    /// Those that were to go and are there, as in a folder that can only be read.
    pub left: Vec<Entry>,
    /// Why the first of these is.
    pub fault: Option<String>,
}

impl Cache {
    /// The process' cache: in `TRT_CACHE_DIR`, else in the platform's folder for such things. `None` where it is `off`, or
    /// where there is no such folder.
    pub fn of_process() -> Option<&'static Cache> {
        static CACHE: OnceLock<Option<Cache>> = OnceLock::new();
        CACHE.get_or_init(|| folder::of_process().map(|folder| Cache::new(folder, LIMIT))).as_ref()
    }

    /// A cache in a folder, which is made when something is kept, of at most so many bytes.
    pub fn new(folder: impl Into<PathBuf>, limit: u64) -> Cache {
        Cache { folder: folder.into(), limit }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Why nothing can be kept there, where that is so: something else is in the folder's place, or it cannot be made.
    pub fn fault(&self) -> Option<String> {
        folder::fault(&self.folder)
    }

    /// What was kept under this very key.
    pub fn get(&self, kind: &str, key: &[u8]) -> Option<Bytes> {
        let path = self.path(kind, key);
        let bytes = file::map(&path).ok()?;
        let name = |kind| match kind {
            KEY => Some("the key"),
            VALUE => Some("the value"),
            _ => None,
        };
        let sections = read(&bytes, name).ok()?;
        let [stored, value] = &sections[..] else { return None };
        if (stored.kind, value.kind) != (KEY, VALUE) || stored.bytes(&bytes)[..] != *key {
            return None;
        }
        touch(&path);
        Some(value.bytes(&bytes))
    }

    /// Keeps a value under a key, which tells everything that the value depends on. `kind` is a word.
    pub fn put(&self, kind: &str, key: &[u8], value: &[u8]) {
        let sections = [(KEY, key), (VALUE, value)];
        let sections = sections.map(|(kind, bytes)| Section { kind, required: true, chunks: vec![bytes] });
        let path = self.path(kind, key);
        let kept = std::fs::create_dir_all(&self.folder).map_err(|e| PlanError::io(&self.folder, e));
        let kept = kept.and_then(|()| {
            file::replace(&path, |to| write(&sections, to).map_err(|e| PlanError::io(&path, e)))
        });
        match kept {
            Ok(()) => {
                touch(&path);
                drop(self.shrink(self.limit, path.file_name()));
            }
            Err(e) => log::warn!("{VARIABLE}: nothing is kept: {e}"),
        }
    }

    /// The entries, the one that was used last first.
    pub fn list(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.files().filter(|f| f.is_entry()).map(|f| f.entry).collect();
        entries.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.file.cmp(&b.file)));
        entries
    }

    /// Removes what was not used for longest until at most so many bytes are left, and what killed writers left.
    pub fn prune(&self, limit: u64) -> Removal {
        self.shrink(limit, None)
    }

    /// Prunes; the entry of this file counts as the newest, whatever clocks say.
    fn shrink(&self, limit: u64, newest: Option<&OsStr>) -> Removal {
        let now = SystemTime::now();
        for lost in self.files().filter(|f| f.is_unfinished()) {
            if now.duration_since(lost.entry.used).is_ok_and(|age| age > ABANDONED) {
                drop(std::fs::remove_file(self.folder.join(&lost.entry.file)));
            }
        }
        let mut held = 0;
        let mut is_past = |e: &Entry| {
            held += e.bytes;
            held > limit
        };
        let mut entries = self.list();
        entries.sort_by_key(|e| Some(OsStr::new(&e.file)) != newest);
        let mut removal = Removal::default();
        for entry in entries.into_iter().filter(|e| is_past(e)) {
            match std::fs::remove_file(self.folder.join(&entry.file)) {
                // One that another process removed meanwhile is gone as well.
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    removal.fault.get_or_insert_with(|| e.to_string());
                    removal.left.push(entry);
                }
                _ => removal.removed.push(entry),
            }
        }
        removal
    }

    /// Removes everything.
    pub fn clear(&self) -> Removal {
        self.prune(0)
    }

    fn path(&self, kind: &str, key: &[u8]) -> PathBuf {
        self.folder.join(format!("{:032x}.{kind}", xxh3_128(key)))
    }

    fn files(&self) -> impl Iterator<Item = folder::File> {
        folder::files_in(&self.folder)
    }
}

/// Notes that an entry was used now, so that it is not the next to go. A file system's own clock may lag behind by milliseconds.
fn touch(entry: &Path) {
    let opened = std::fs::File::options().append(true).open(entry);
    drop(opened.and_then(|f| f.set_modified(SystemTime::now())));
}
