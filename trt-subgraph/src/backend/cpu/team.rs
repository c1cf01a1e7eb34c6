//! The threads that one call may use.
//!
//! Loops run on helpers of our own ([`pool`]). oneDNN's OpenMP threads keep the machine busy for a moment after each primitive,
//! and a second pool would fight them for the cores: in a program with steps of oneDNN's, loops run on the very same threads,
//! through the entry point that compilers emit for a parallel region.

use super::onednn::OneDnn;
use super::pool;
use std::ffi::{c_int, c_uint, c_void};
use std::ops::Range;
use std::sync::Arc;

/// Parts of a loop for each thread, so that one that comes late leaves the others its work.
const PARTS_A_THREAD: usize = 2;

type Parallel = unsafe extern "C" fn(unsafe extern "C" fn(*mut c_void), *mut c_void, c_uint, c_uint);
type Get = unsafe extern "C" fn() -> c_int;
type Set = unsafe extern "C" fn(c_int);

/// The OpenMP runtime that oneDNN runs on.
#[derive(Clone, Copy)]
struct OpenMp {
    parallel: Parallel,
    thread: Get,
    threads: Get,
    max_threads: Get,
    set_max_threads: Set,
}

/// The threads of one engine. Cloning gives the same threads.
#[derive(Clone)]
pub struct Team {
    threads: usize,
    /// The runtime that oneDNN runs its loops on; also ours while its threads may be at work.
    openmp: Option<OpenMp>,
    shared: bool,
    /// Keeps the runtime loaded.
    _library: Option<Arc<OneDnn>>,
}

impl Team {
    /// `threads` threads, 0 for as many as the machine has, from our own pool.
    pub fn new(threads: usize, library: Option<&Arc<OneDnn>>) -> Team {
        let openmp = library.filter(|l| l.openmp).and_then(|l| OpenMp::of(l));
        let available = || std::thread::available_parallelism().map_or(1, |n| n.get());
        let threads = if threads == 0 { available() } else { threads };
        Team { threads: threads.min(pool::PARTS), openmp, shared: false, _library: library.cloned() }
    }

    /// The team for a program: on oneDNN's threads where the program has steps of oneDNN's.
    pub fn with_onednn(&self, with: bool) -> Team {
        Team { shared: with && self.openmp.is_some(), ..self.clone() }
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `f` once for each part of `0..count`, cut into a few parts a thread with at least `grain` each.
    /// `f` is given the thread's number (below [`Team::threads`]) and its part.
    pub fn split(&self, count: usize, grain: usize, f: impl Fn(usize, Range<usize>) + Sync) {
        let most = (count / grain.max(1)).max(1);
        if most == 1 || self.threads == 1 {
            return f(0, 0..count);
        }
        let parts = most.min(if self.shared {
            self.threads
        } else {
            (PARTS_A_THREAD * self.threads).min(pool::PARTS)
        });
        let part = |i: usize| count * i / parts..count * (i + 1) / parts;
        match self.openmp.filter(|_| self.shared) {
            Some(openmp) => openmp.each(parts, |i| f(i, part(i))),
            None => pool::run(self.threads, parts, &|thread, i| f(thread, part(i))),
        }
    }

    /// Runs `f` with oneDNN held to this team's number of threads.
    pub fn scoped<T>(&self, f: impl FnOnce() -> T) -> T {
        let Some(omp) = self.openmp.filter(|_| self.shared) else {
            return f();
        };
        // SAFETY: the setting belongs to the calling thread alone.
        let before = unsafe { (omp.max_threads)() };
        let ours = self.threads as c_int;
        if before == ours {
            return f();
        }
        struct Restore(Set, c_int);
        impl Drop for Restore {
            fn drop(&mut self) {
                // SAFETY: as above.
                unsafe { (self.0)(self.1) }
            }
        }
        let _restore = Restore(omp.set_max_threads, before);
        // SAFETY: as above.
        unsafe { (omp.set_max_threads)(ours) };
        f()
    }
}

impl OpenMp {
    /// Looks the runtime up among oneDNN's own dependencies.
    #[cfg(unix)]
    fn of(library: &OneDnn) -> Option<OpenMp> {
        // SAFETY: these are the C types of OpenMP's entry points; the library stays loaded.
        unsafe {
            let l = &library.api.library;
            Some(OpenMp {
                parallel: *l.get::<Parallel>(b"GOMP_parallel\0").ok()?,
                thread: *l.get::<Get>(b"omp_get_thread_num\0").ok()?,
                threads: *l.get::<Get>(b"omp_get_num_threads\0").ok()?,
                max_threads: *l.get::<Get>(b"omp_get_max_threads\0").ok()?,
                set_max_threads: *l.get::<Set>(b"omp_set_num_threads\0").ok()?,
            })
        }
    }

    #[cfg(not(unix))]
    fn of(_library: &OneDnn) -> Option<OpenMp> {
        None
    }

    /// Calls `f(i)` once for each `i < parts`, each on its own thread where there are as many.
    fn each<F: Fn(usize) + Sync>(self, parts: usize, f: F) {
        struct Job<'a, F> {
            f: &'a F,
            parts: usize,
            omp: OpenMp,
        }
        unsafe extern "C" fn work<F: Fn(usize) + Sync>(data: *mut c_void) {
            // SAFETY: `data` is the job below, which outlives the region.
            let job = unsafe { &*data.cast::<Job<F>>() };
            // SAFETY: both only read the state of the region that we are in.
            let (me, all) = unsafe { ((job.omp.thread)() as usize, (job.omp.threads)() as usize) };
            (me..job.parts).step_by(all.max(1)).for_each(job.f);
        }
        let mut job = Job { f: &f, parts, omp: self };
        // SAFETY: the region ends before this call returns; `f` may be called from several threads.
        unsafe { (self.parallel)(work::<F>, (&raw mut job).cast(), parts as c_uint, 0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_element_is_in_one_part() {
        let library = OneDnn::get().ok();
        for threads in [0, 1, 3] {
            let team = Team::new(threads, library.as_ref());
            let teams = [team.with_onednn(true), team];
            for (count, team) in [0, 1, 7, 1000].iter().flat_map(|&n| teams.iter().map(move |t| (n, t))) {
                let hits: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                team.split(count, 2, |thread, part| {
                    assert!(thread < team.threads());
                    part.for_each(|i| {
                        hits[i].fetch_add(1, Ordering::Relaxed);
                    });
                });
                assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 1));
            }
        }
    }
}
