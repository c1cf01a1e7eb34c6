//! Threads that build engines while the host serves.
//!
//! They use libtorch, which the end of the process takes apart. So the process, when it ends, has them leave off, and waits for them.

use std::cell::Cell;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use trt_subgraph::backend::ending;

/// The longest that the end of a process waits: a single step of a build takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// Those of the process with this number; a child that was forked has none of its parent's.
struct Builders {
    process: u32,
    /// How many are at work.
    count: usize,
    threads: Vec<JoinHandle<()>>,
}

static BUILDERS: Mutex<Builders> = Mutex::new(Builders { process: 0, count: 0, threads: Vec::new() });
static ONE_LESS: Condvar = Condvar::new();

thread_local! {
    static IS_BUILDER: Cell<bool> = const { Cell::new(false) };
    static LAST_OF_MAIN: LastOfMain = const { LastOfMain };
}

/// What the main thread has of its own goes before anything else when it ends the process: also before what libtorch made since, which goes
/// before whatever was registered earlier.
struct LastOfMain;

impl Drop for LastOfMain {
    fn drop(&mut self) {
        // SAFETY: these only return numbers.
        if unsafe { libc::gettid() == libc::getpid() } {
            leave_off();
        }
    }
}

/// Has a thread of its own do this.
///
/// # Errors
/// The system's, where it starts none.
pub(crate) fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    wait_at_the_end();
    let mut builders = builders();
    if builders.process != std::process::id() {
        std::mem::forget(std::mem::take(&mut builders.threads));
        (builders.process, builders.count) = (std::process::id(), 0);
    }
    builders.threads.retain(|thread| !thread.is_finished());
    let work = move || {
        IS_BUILDER.set(true);
        let _builder = Builder;
        if !ending::has_begun() {
            work();
        }
    };
    // It is counted before it can end, which takes the lock.
    let thread = std::thread::Builder::new().name("trt-build".into()).spawn(work)?;
    builders.count += 1;
    builders.threads.push(thread);
    Ok(())
}

/// Has the process wait when it ends, whichever thread ends it; surely where that is the main thread and has called this.
pub(crate) fn wait_at_the_end() {
    static AT_EXIT: Once = Once::new();
    LAST_OF_MAIN.with(|_| ());
    AT_EXIT.call_once(|| {
        // SAFETY: a function that lives as long as this library does, and neither panics nor calls what was taken apart before it.
        if unsafe { libc::atexit(leave_off) } != 0 {
            log::warn!("a process that ends while engines are built will not wait for them");
        }
    });
}

/// Counted until it is dropped.
struct Builder;

impl Drop for Builder {
    fn drop(&mut self) {
        let mut builders = builders();
        builders.count = builders.count.saturating_sub(1);
        ONE_LESS.notify_all();
    }
}

fn builders() -> MutexGuard<'static, Builders> {
    BUILDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Called when the process ends, before libtorch's own ends: what is registered last is called first.
extern "C" fn leave_off() {
    ending::begin();
    if IS_BUILDER.try_with(Cell::get).unwrap_or(true) {
        return;
    }
    let here = |b: &mut Builders| b.process == std::process::id() && b.count > 0;
    let waited = ONE_LESS.wait_timeout_while(builders(), PATIENCE, here);
    let (mut builders, outcome) = waited.unwrap_or_else(PoisonError::into_inner);
    if builders.process == std::process::id() && !outcome.timed_out() {
        let threads = std::mem::take(&mut builders.threads);
        drop(builders);
        // What they have of libtorch's goes with them.
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}
