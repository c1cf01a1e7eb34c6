//! Files that are whole at every moment.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Has `write` write a file of another name in the same folder, which is there already and empty, makes it durable, and gives it the name:
/// at every moment there is what was there before or the new file, whole. What is left of a failed attempt is removed.
///
/// # Errors
/// Those of `write`; those of the file system, as `fail` words them.
pub fn replace<E>(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
    fail: impl Fn(io::Error) -> E,
) -> Result<(), E> {
    let other = beside(path).map_err(&fail)?;
    let attempt = || {
        write(&other)?;
        let finish = || File::open(&other)?.sync_all().and_then(|()| fs::rename(&other, path));
        finish().map_err(&fail)
    };
    attempt().inspect_err(|_| drop(fs::remove_file(&other)))
}

/// As [`replace`], for a path that a user gives: a link leads to the same place as before, a file that was there hands its permissions on, and
/// what is no regular file, such as a pipe, is written as it is.
///
/// # Errors
/// As [`replace`].
pub fn write<E>(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
    fail: impl Fn(io::Error) -> E,
) -> Result<(), E> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let old = fs::metadata(&target).ok();
    if old.as_ref().is_some_and(|old| !old.is_file()) {
        return write(&target);
    }
    let with_permissions = |other: &Path| {
        write(other)?;
        old.map_or(Ok(()), |old| fs::set_permissions(other, old.permissions())).map_err(&fail)
    };
    replace(&target, with_permissions, &fail)
}

/// Can [`write()`] be expected to write there? Nothing is changed.
///
/// # Errors
/// Why not.
pub fn may_write(path: &Path) -> io::Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(&target) {
        Ok(old) if old.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(old) if !old.is_file() => Ok(()),
        _ => beside(&target).and_then(fs::remove_file),
    }
}

/// Can files be written into this folder, which is made where there is none? Nothing is changed.
///
/// # Errors
/// Why not.
pub fn may_fill(folder: &Path) -> io::Result<()> {
    // A link that leads nowhere.
    if folder.symlink_metadata().is_ok() && !folder.exists() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let whole = std::path::absolute(folder)?;
    let there = whole.ancestors().find(|f| f.exists()).unwrap_or(&whole);
    if !there.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    beside(&there.join("new")).and_then(fs::remove_file)
}

/// A new file in the same folder: nobody else's.
fn beside(path: &Path) -> io::Result<PathBuf> {
    static ATTEMPT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| io::Error::other("this is no file's name"))?;
    let mut other = OsString::from(".");
    other.push(name);
    other.push(format!(".{}-{}", std::process::id(), ATTEMPT.fetch_add(1, Ordering::Relaxed)));
    let other = path.with_file_name(other);
    File::options().write(true).create_new(true).open(&other)?;
    Ok(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_the_old_file_or_the_new_one() {
        let folder = std::env::temp_dir().join(format!("trt-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (file, link) = (folder.join("a"), folder.join("b"));
        let put = |path: &Path, text: &'static str| {
            write(path, |other| fs::write(other, text), |e| e).expect("it is written")
        };
        put(&file, "old");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let half = |other: &Path| {
            fs::write(other, "ne")?;
            assert_eq!(fs::read_to_string(&file)?, "old", "nobody sees the half");
            Err(io::Error::other("the disk is full"))
        };
        assert_eq!(write(&file, half, |e| e).unwrap_err().to_string(), "the disk is full");
        assert_eq!(fs::read_to_string(&link).unwrap(), "old");
        put(&link, "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "a link stays one");
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        put(Path::new("/dev/null"), "nothing");
        assert!(!fs::metadata("/dev/null").unwrap().is_file(), "a device stays one");
        replace(&link, |other| fs::write(other, "own"), |e: io::Error| e).expect("it is written");
        assert_eq!(fs::read_to_string(&file).unwrap(), "new", "a link is replaced, not followed");
        assert_eq!(fs::read_to_string(&link).unwrap(), "own");
        let (inner, below) = (folder.join("no/such/a"), file.join("a"));
        assert!(
            may_write(&file).is_ok() && may_write(&link).is_ok() && may_write(Path::new("/dev/null")).is_ok()
        );
        assert!([&folder, &inner, &below].iter().all(|path| may_write(path).is_err()));
        assert!(may_fill(&folder).is_ok() && may_fill(&inner).is_ok());
        assert!(may_fill(&file).is_err() && may_fill(&below).is_err());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "nothing is left behind");
        fs::remove_dir_all(&folder).unwrap();
    }
}
