//! Threads that help a caller.
//!
//! A caller posts a job of a few parts, works on it itself, and waits for parts that a helper has begun; never for a helper
//! that is not there yet. On a busy machine, where helpers come late, a job therefore takes no longer than on one thread.
//! Helpers watch for the next job for a moment and then sleep, so that an idle engine costs nothing.
//!
//! There is one pool for the process. Several callers may post at once; each helper serves one at a time.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The most parts of a job.
pub const PARTS: usize = 64;
/// Jobs that may be posted at once; callers beyond work alone.
const BOARD: usize = 16;
/// How long a helper watches before it sleeps.
const WATCH: Duration = Duration::from_micros(60);

/// A job: `f(participant, part)` for every part.
struct Job<'a> {
    f: &'a (dyn Fn(usize, usize) + Sync),
    parts: usize,
    threads: usize,
    /// A bit for each part that nobody has begun.
    left: AtomicU64,
    /// Helpers that have joined.
    joined: AtomicUsize,
    /// A part panicked.
    failed: AtomicBool,
}

impl Job<'_> {
    /// Works on parts until none is left: first on those that this participant would have alone.
    fn work(&self, participant: usize) {
        let first = (participant * self.parts / self.threads) as u32;
        loop {
            let left = self.left.load(Ordering::Relaxed);
            if left == 0 {
                return;
            }
            let part = (left.rotate_right(first).trailing_zeros() + first) % 64;
            if self.left.fetch_and(!(1 << part), Ordering::AcqRel) & (1 << part) != 0 {
                let run = || (self.f)(participant, part as usize);
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
                    self.failed.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}

/// A place for a job. Its lowest bit says that it is open, the others count the helpers that are looking at the job.
#[derive(Default)]
struct Place {
    state: AtomicU32,
    job: AtomicPtr<()>,
}

const OPEN: u32 = 1;
const HELPER: u32 = 2;

struct Pool {
    board: [Place; BOARD],
    /// Changes with each job.
    posted: AtomicUsize,
    sleeping: AtomicUsize,
    lock: Mutex<()>,
    bell: Condvar,
    helpers: usize,
}

fn pool() -> &'static Pool {
    static POOL: OnceLock<&'static Pool> = OnceLock::new();
    POOL.get_or_init(|| {
        let wanted = std::thread::available_parallelism().map_or(1, |n| n.get()).min(PARTS) - 1;
        let pool = |helpers| Pool {
            board: Default::default(),
            posted: AtomicUsize::new(0),
            sleeping: AtomicUsize::new(0),
            lock: Mutex::new(()),
            bell: Condvar::new(),
            helpers,
        };
        let pool: &'static Pool = Box::leak(Box::new(pool(wanted)));
        for i in 0..wanted {
            let spawned = std::thread::Builder::new().name(format!("trt-{i}")).spawn(|| pool.help());
            if let Err(e) = spawned {
                log::warn!("a helper thread could not be started: {e}");
            }
        }
        pool
    })
}

/// Calls `f(participant, part)` once for each `part < parts`, on at most `threads` participants, numbered from 0 (the caller).
///
/// # Panics
/// When `f` has, in any part.
pub fn run(threads: usize, parts: usize, f: &(dyn Fn(usize, usize) + Sync)) {
    let pool = pool();
    assert!(parts <= PARTS, "a job has at most {PARTS} parts");
    let all = if parts == PARTS { u64::MAX } else { (1 << parts) - 1 };
    let job = Job {
        f,
        parts,
        threads,
        left: AtomicU64::new(all),
        joined: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
    };
    let place = if threads > 1 && pool.helpers > 0 { pool.post(&job) } else { None };
    job.work(0);
    if let Some(place) = place {
        place.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut turns = 0u32;
        while place.state.load(Ordering::Acquire) != 0 {
            // A helper whose processor was taken away needs one to finish.
            if turns < 2000 {
                spin_loop()
            } else {
                std::thread::yield_now()
            }
            turns += 1;
        }
        place.job.store(std::ptr::null_mut(), Ordering::Release);
    }
    assert!(!job.failed.load(Ordering::Relaxed), "a part of a parallel loop panicked");
}

impl Pool {
    /// Puts a job on the board and wakes who sleeps. The place must be closed, and left by all, before the job goes.
    fn post(&self, job: &Job) -> Option<&Place> {
        let address = std::ptr::from_ref(job).cast::<()>().cast_mut();
        let free = |p: &&Place| {
            let taken =
                p.job.compare_exchange(std::ptr::null_mut(), address, Ordering::AcqRel, Ordering::Relaxed);
            taken.is_ok()
        };
        let place = self.board.iter().find(free)?;
        place.state.fetch_or(OPEN, Ordering::SeqCst);
        self.posted.fetch_add(1, Ordering::SeqCst);
        if self.sleeping.load(Ordering::SeqCst) > 0 {
            let _held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            if job.threads > 2 { self.bell.notify_all() } else { self.bell.notify_one() }
        }
        Some(place)
    }

    /// What a helper does all its life.
    fn help(&self) {
        let mut seen = 0;
        loop {
            seen = self.watch(seen);
            for place in &self.board {
                if place.state.load(Ordering::Relaxed) & OPEN != 0 {
                    place.join();
                }
            }
        }
    }

    /// Waits until something else than `seen` was posted.
    fn watch(&self, seen: usize) -> usize {
        let now = || self.posted.load(Ordering::SeqCst);
        let start = Instant::now();
        loop {
            for _ in 0..64 {
                if now() != seen {
                    return now();
                }
                spin_loop();
            }
            if start.elapsed() > WATCH {
                break;
            }
        }
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        while now() == seen {
            held = self.bell.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleeping.fetch_sub(1, Ordering::SeqCst);
        now()
    }
}

impl Place {
    /// Works on the job here, unless it has closed or has enough helpers.
    fn join(&self) {
        let before = self.state.fetch_add(HELPER, Ordering::AcqRel);
        if before & OPEN != 0 {
            // SAFETY: the place is open: its caller waits until this helper has left before the job goes.
            let job = unsafe { &*self.job.load(Ordering::Acquire).cast::<Job>().cast_const() };
            let participant = job.joined.fetch_add(1, Ordering::Relaxed) + 1;
            if participant < job.threads {
                job.work(participant);
            }
        }
        self.state.fetch_sub(HELPER, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_once_whoever_helps() {
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                std::thread::spawn(move || {
                    for round in 0..300 {
                        let parts = (round + caller) % PARTS + 1;
                        let hits: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                        run(3, parts, &|participant, part| {
                            assert!(participant < 3);
                            hits[part].fetch_add(1, Ordering::Relaxed);
                        });
                        assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 1));
                    }
                })
            })
            .collect();
        callers.into_iter().for_each(|c| c.join().expect("no part ran twice or never"));
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let fail = || run(2, 8, &|_, part| assert!(part != 5));
        assert!(std::panic::catch_unwind(fail).is_err());
        let done = AtomicUsize::new(0);
        run(2, 8, &|_, _| {
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.load(Ordering::Relaxed), 8);
    }
}
