//! Plans in named shared memory, for many processes of one machine.
//!
//! A segment begins with a line of 64 bytes: 8 that say what it is, 8 that say whether it is complete, 8 with the plan's length, 8 with the
//! writer's process; the plan follows. The writer writes the line at once, and its second field last, so that nobody reads half a plan and a segment
//! without a line has lost its writer. Readers map the segment for reading and hold nothing in it: one that is killed leaves no trace.

use super::{Plan, PlanError};
use crate::Bytes;
use memmap2::{Mmap, MmapMut};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const LINE: usize = 64;
const MAGIC: [u8; 8] = *b"\x8fTRTSHM\n";
const COMPLETE: u64 = u64::from_le_bytes(*b"complete");

/// Where in the line.
const STATE: usize = 8;
const LENGTH: usize = 16;
const WRITER: usize = 24;

/// A writer that lives has written its line by then.
const PATIENCE: Duration = Duration::from_millis(100);

/// Puts a plan into shared memory under a name, with these permissions (`0o600`: this user alone). A segment whose writer died
/// half-way is replaced; one that is complete is not.
pub fn share(name: &str, plan: &Plan, mode: u32) -> Result<(), PlanError> {
    let bytes = plan.bytes();
    let file = create(name, mode)?;
    let write = || {
        let mut line = [0; LINE];
        line[..8].copy_from_slice(&MAGIC);
        line[LENGTH..LENGTH + 8].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        line[WRITER..WRITER + 8].copy_from_slice(&u64::from(std::process::id()).to_le_bytes());
        file.write_all_at(&line, 0).map_err(|e| fault(name, e))?;
        reserve(&file, LINE + bytes.len()).map_err(|e| fault(name, e))?;
        // SAFETY: a segment of our own, which nobody shortens.
        let mut map = unsafe { MmapMut::map_mut(&file) }.map_err(|e| fault(name, e))?;
        map[LINE..].copy_from_slice(bytes);
        // SAFETY: eight aligned bytes of the map.
        unsafe { AtomicU64::from_ptr(map.as_mut_ptr().add(STATE).cast()) }
            .store(COMPLETE.to_le(), Ordering::Release);
        Ok(())
    };
    write().inspect_err(|_| drop(unshare(name)))
}

/// Removes a segment's name. Who maps it keeps it.
pub fn unshare(name: &str) -> Result<(), PlanError> {
    let path = path(name)?;
    // SAFETY: a string that ends in a zero.
    match unsafe { libc::shm_unlink(path.as_ptr()) } {
        0 => Ok(()),
        _ => Err(not_open(name, io::Error::last_os_error())),
    }
}

impl Plan {
    /// The plan in shared memory under this name: mapped, not copied, and checked.
    pub fn open_shared(name: &str) -> Result<Plan, PlanError> {
        path(name)?;
        let file = open(name, libc::O_RDONLY, 0).map_err(|e| not_open(name, e))?;
        // SAFETY: the writer does not shorten it; its permissions keep others away.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| fault(name, e))?;
        match state(&map) {
            State::Complete => {}
            State::Written(writer) => {
                let why = match writer {
                    0 => "it is being written, or was until its writer died".to_string(),
                    _ => format!("it is being written by process {writer}, or was until that died"),
                };
                return Err(fault(name, why));
            }
            State::Foreign => return Err(PlanError::NotAPlan),
        }
        let length = u64::from_le_bytes(map[LENGTH..LENGTH + 8].try_into().expect("eight bytes"));
        let bytes = Bytes::of(map);
        let plan = usize::try_from(length).ok().and_then(|n| bytes.part(LINE..LINE.checked_add(n)?));
        let cut =
            PlanError::Truncated { found: bytes.len() as u64, expected: length.saturating_add(LINE as u64) };
        Plan::from_bytes(plan.ok_or(cut)?)
    }
}

enum State {
    Complete,
    /// By this process; by 0 where it has no line.
    Written(u64),
    /// It is no segment of ours, or so young that it says nothing yet.
    Foreign,
}

fn state(map: &Mmap) -> State {
    if map.len() < LINE {
        return State::Written(0);
    }
    // SAFETY: eight aligned bytes of the map, which another process may be writing.
    let state = unsafe { AtomicU64::from_ptr(map.as_ptr().add(STATE).cast_mut().cast()) };
    let state = state.load(Ordering::Acquire);
    let writer = u64::from_le_bytes(map[WRITER..WRITER + 8].try_into().expect("eight bytes"));
    match map[..8] == MAGIC {
        true if state == COMPLETE.to_le() => State::Complete,
        true => State::Written(writer),
        false if map[..LINE].iter().all(|&b| b == 0) || map[..8] == [0; 8] => State::Written(writer),
        false => State::Foreign,
    }
}

/// A new segment. One that a dead process left half-written makes way.
fn create(name: &str, mode: u32) -> Result<File, PlanError> {
    path(name)?;
    let new = || open(name, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, mode);
    let file = match new() {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && abandoned(name) => {
            unshare(name)?;
            new()
        }
        other => other,
    };
    let file = file.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => fault(name, "something is shared under this name; unshare it first"),
        _ => fault(name, e),
    })?;
    use std::os::unix::fs::PermissionsExt;
    let exact = file.set_permissions(std::fs::Permissions::from_mode(mode));
    exact.map_err(|e| fault(name, e)).inspect_err(|_| drop(unshare(name)))?;
    Ok(file)
}

fn abandoned(name: &str) -> bool {
    let state_now = || {
        let file = open(name, libc::O_RDONLY, 0).ok()?;
        // SAFETY: as in `open_shared`.
        Some(state(&unsafe { Mmap::map(&file) }.ok()?))
    };
    let mut found = state_now();
    if let Some(State::Written(0)) = found {
        std::thread::sleep(PATIENCE);
        found = state_now();
    }
    match found {
        Some(State::Written(0)) => true,
        Some(State::Written(writer)) => {
            let process = libc::pid_t::try_from(writer).unwrap_or(libc::pid_t::MAX);
            // SAFETY: signal 0 asks whether the process is there.
            let gone = unsafe { libc::kill(process, 0) } != 0;
            gone && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
        }
        _ => false,
    }
}

/// Gives the file this size, and memory for all of it: what is written later has a place.
fn reserve(file: &File, bytes: usize) -> io::Result<()> {
    let bytes = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: a descriptor of our own.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

fn open(name: &str, flags: libc::c_int, mode: u32) -> io::Result<File> {
    let path = path(name).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e.to_string()))?;
    // SAFETY: a string that ends in a zero; the descriptor is ours alone.
    unsafe {
        match libc::shm_open(path.as_ptr(), flags | libc::O_CLOEXEC, mode as libc::c_uint) {
            -1 => Err(io::Error::last_os_error()),
            descriptor => Ok(File::from_raw_fd(descriptor)),
        }
    }
}

fn path(name: &str) -> Result<CString, PlanError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 200 || !name.chars().all(plain) {
        return Err(fault(name, "a name has 1 to 200 letters, digits, dots, dashes and underscores"));
    }
    Ok(CString::new(format!("/trt-plan-{name}")).expect("no zero among these letters"))
}

fn not_open(name: &str, why: io::Error) -> PlanError {
    match why.kind() {
        io::ErrorKind::NotFound => fault(name, "nothing is shared under this name"),
        _ => fault(name, why),
    }
}

fn fault(name: &str, why: impl std::fmt::Display) -> PlanError {
    PlanError::io(Path::new(&format!("shm:{name}")), why)
}
