//! `tch-trt plan`: saved plans, in files and in shared memory.

mod bench;
mod info;
mod run;
mod share;

use crate::document::panic_message;
use crate::{Failure, finish, start};
use clap::{Args, Parser, Subcommand};
use std::path::Path;
use trt_subgraph::backend::{Backend, CompileOptions, choose};
use trt_subgraph::plan::Plan;

/// The program where it was asked for a plan alone.
#[derive(Parser)]
#[command(name = "tch-trt", version, max_term_width = 110)]
struct Program {
    #[command(subcommand)]
    command: Only,
}

#[derive(Subcommand)]
enum Only {
    /// Saved plans: look, run, time, share between processes
    Plan(PlanCommand),
}

/// Runs the program on the process's arguments, of which the first is `plan`.
pub fn main() -> u8 {
    let run = |Program { command: Only::Plan(args) }| args.run();
    start(run, panic_message)
}

/// Prints the program's name and version.
pub fn version() -> u8 {
    start(|Program { .. }| 0, panic_message)
}

/// Arguments of `plan`.
#[derive(Args)]
pub struct PlanCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What a plan takes, gives and holds, and whether it has an engine for this machine
    Info(info::Info),
    /// One call on tensors from a file
    Run(run::Run),
    /// How soon it starts, and how fast it runs
    Bench(bench::Bench),
    /// Put a plan, with an engine for this machine, into shared memory
    Share(share::Share),
    /// Take a plan out of shared memory; who runs it keeps it
    Unshare(share::Unshare),
}

impl PlanCommand {
    /// Runs it, prints what it found, and gives the exit status.
    pub fn run(&self) -> u8 {
        match &self.command {
            Command::Info(args) => finish(args.run(), args.json),
            Command::Run(args) => finish(args.run(), args.json),
            Command::Bench(args) => finish(args.run(), args.json),
            Command::Share(args) => finish(args.run(), args.json),
            Command::Unshare(args) => finish(args.run(), args.json),
        }
    }
}

/// A plan, and who runs it.
#[derive(Args)]
struct Source {
    /// The plan: a file, or `shm:NAME` in shared memory
    #[arg(value_name = "PLAN")]
    plan: String,
    /// Who runs it: auto, cuda, cpu or reference; what it was saved for otherwise
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Threads of one call
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
}

impl Source {
    fn open(&self) -> Result<Plan, Failure> {
        let plan = match self.plan.strip_prefix("shm:") {
            Some(name) => Plan::open_shared(name),
            None => return Plan::open(&self.plan).map_err(|e| told(&self.plan, e)),
        };
        plan.map_err(|e| told(&self.plan, e))
    }

    fn backend(&self, plan: &Plan) -> Result<&'static dyn Backend, Failure> {
        let variable = std::env::var("TRT_BACKEND").ok().filter(|name| !name.is_empty());
        let name = self.backend.as_deref().or(variable.as_deref()).or(plan.backend());
        choose(name.unwrap_or("auto")).map_err(|e| Failure::from(e.to_string()))
    }

    fn options(&self, plan: &Plan) -> CompileOptions {
        let usual = plan.options().clone();
        CompileOptions { threads: self.threads.map_or(usual.threads, |n| n as usize), ..usual }
    }
}

/// A failure that begins with the plan's name, once.
fn told(name: &str, why: impl std::fmt::Display) -> Failure {
    let why = why.to_string();
    if why.starts_with(name) { Failure::from(why) } else { Failure::file(Path::new(name), why) }
}
