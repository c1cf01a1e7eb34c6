//! The child processes that programs run in, and what is made of their words.

use crate::check::Outcome;
use crate::program::Program;
use crate::{TRIES, generate, shrink};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Programs that one child runs.
const CHUNK: u64 = 50;
/// No program, shrinking included, takes as long.
const PATIENCE: Duration = Duration::from_secs(120);
/// No step of the shrinking of a crash takes as long.
const STEP_PATIENCE: Duration = Duration::from_secs(20);

/// What a child says.
pub enum Word {
    Begins(u64),
    Ends(u64, Outcome),
}

impl Word {
    /// As one line.
    pub fn line(&self) -> String {
        let json = |s: &str| serde_json::to_string(s).expect("a text is JSON");
        match self {
            Word::Begins(seed) => format!("fuzz begins {seed}"),
            Word::Ends(seed, Outcome::Agrees(served)) => format!("fuzz agrees {seed} {served}"),
            Word::Ends(seed, Outcome::Raises(why)) => format!("fuzz raises {seed} {}", json(why)),
            Word::Ends(seed, Outcome::Rejected(why)) => format!("fuzz rejected {seed} {}", json(why)),
            Word::Ends(seed, Outcome::Differs(why)) => format!("fuzz differs {seed} {}", json(why)),
        }
    }

    fn parse(line: &str) -> Option<Word> {
        let mut parts = line.strip_prefix("fuzz ")?.splitn(3, ' ');
        let (word, seed) = (parts.next()?, parts.next()?.parse().ok()?);
        let rest = parts.next().unwrap_or_default();
        let why = || serde_json::from_str(rest).ok();
        Some(match word {
            "begins" => Word::Begins(seed),
            "agrees" => Word::Ends(seed, Outcome::Agrees(rest == "true")),
            "raises" => Word::Ends(seed, Outcome::Raises(why()?)),
            "rejected" => Word::Ends(seed, Outcome::Rejected(why()?)),
            "differs" => Word::Ends(seed, Outcome::Differs(why()?)),
            _ => return None,
        })
    }
}

#[derive(Default)]
struct Tally {
    agree: u64,
    /// Of those that agree.
    served: u64,
    raise: u64,
    rejected: Vec<String>,
    failures: Vec<String>,
}

/// Runs the programs of these seeds; failures are printed as they come.
pub fn run(first: u64, count: u64) -> ExitCode {
    let start = Instant::now();
    let (next, tally) = (AtomicU64::new(first), Mutex::new(Tally::default()));
    let bar = ProgressBar::new(count).with_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} programs, {msg}, {eta} left")
            .expect("a valid template"),
    );
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let from = next.fetch_add(CHUNK, Ordering::Relaxed);
                    if from >= first + count {
                        break;
                    }
                    chunk(from, CHUNK.min(first + count - from), &tally, &bar);
                }
            });
        }
    });
    bar.finish_and_clear();
    let tally = tally.into_inner().expect("no worker panicked");
    println!(
        "fuzz: {count} programs from seed {first} in {} s: {} agree ({} in engines), {} raise on both sides, {} are no TorchScript, {} fail",
        start.elapsed().as_secs(),
        tally.agree,
        tally.served,
        tally.raise,
        tally.rejected.len(),
        tally.failures.len()
    );
    if tally.rejected.len() as u64 * 50 > count {
        println!("Too many are no TorchScript, as\n{}", tally.rejected[0]);
        return ExitCode::FAILURE;
    }
    if tally.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a chunk, in as many children as crashes make necessary.
fn chunk(from: u64, count: u64, tally: &Mutex<Tally>, bar: &ProgressBar) {
    let end = from + count;
    let mut seed = from;
    while seed < end {
        let mut running = None;
        let words = [("--child", seed), ("--count", end - seed)];
        let arguments: Vec<String> = words.iter().flat_map(|(a, n)| [a.to_string(), n.to_string()]).collect();
        let fate = child(&arguments, PATIENCE, |line| match Word::parse(line) {
            Some(Word::Begins(at)) => running = Some(at),
            Some(Word::Ends(at, outcome)) => {
                running = None;
                seed = at + 1;
                note(at, outcome, tally, bar);
            }
            None => {}
        });
        match (running, fate) {
            (Some(at), Fate::Ended(how) | Fate::Hung(how)) => {
                note(at, Outcome::Differs(format!("{how}\n{}", smallest(at))), tally, bar);
                seed = at + 1;
            }
            (None, _) if seed >= end => {}
            (None, Fate::Ended(how) | Fate::Hung(how)) => {
                note(seed, Outcome::Differs(format!("{how} before or after a program")), tally, bar);
                seed = end;
            }
        }
    }
}

fn note(seed: u64, outcome: Outcome, tally: &Mutex<Tally>, bar: &ProgressBar) {
    let mut tally = tally.lock().expect("no worker panicked");
    match outcome {
        Outcome::Agrees(served) => {
            tally.agree += 1;
            tally.served += u64::from(served);
        }
        Outcome::Raises(_) => tally.raise += 1,
        Outcome::Rejected(why) => tally.rejected.push(format!("seed {seed}: {why}")),
        Outcome::Differs(why) => {
            bar.suspend(|| println!("seed {seed}:\n{why}"));
            tally.failures.push(why);
        }
    }
    bar.set_message(format!("{} fail", tally.failures.len()));
    bar.inc(1);
}

enum Fate {
    Ended(String),
    Hung(String),
}

/// Runs this program with other arguments, and gives what it prints to `heard`.
fn child(arguments: &[String], patience: Duration, mut heard: impl FnMut(&str)) -> Fate {
    let program = std::env::current_exe().expect("this program has a path");
    let mut child = Command::new(program)
        .args(arguments)
        .env("OMP_NUM_THREADS", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child process starts");
    let (sender, lines) = mpsc::channel();
    let out = BufReader::new(child.stdout.take().expect("the output is a pipe"));
    let reader = std::thread::spawn(move || {
        out.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
    });
    let fate = loop {
        match lines.recv_timeout(patience) {
            Ok(line) => heard(&line),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                break Fate::Ended(child.wait().expect("the child can be waited for").to_string());
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                drop(child.kill());
                drop(child.wait());
                break Fate::Hung(format!("no end after {} s", patience.as_secs()));
            }
        }
    };
    drop(reader.join());
    fate
}

/// The smallest program that still crashes or has no end, as text.
fn smallest(seed: u64) -> String {
    let mut tries = TRIES / 4;
    let crashes = |_: &Program, steps: &[usize]| {
        tries = tries.saturating_sub(1);
        let steps: Vec<String> = steps.iter().map(usize::to_string).collect();
        let arguments = ["--one".to_string(), seed.to_string(), steps.join(",")];
        tries > 0
            && match child(&arguments, STEP_PATIENCE, |_| {}) {
                Fate::Ended(how) => !how.contains("exit status: 0"),
                Fate::Hung(_) => true,
            }
    };
    let (small, _) = shrink::shrink(generate::program(seed), crashes);
    small.source()
}
