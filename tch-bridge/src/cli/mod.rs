//! The program `tch-trt`: what a module's engines take, whether they are right, how fast they are. What it needs of no framework,
//! `tch-trt plan` among it, is in `trt-tool`.

mod archive;
mod bench;
mod cache;
mod compile;
mod completions;
mod failure;
mod inspect;
mod leaves;
mod model;
mod parts;
mod run;
mod spec;
mod surroundings;
mod verify;

use crate::jit::engine::panic_message;
use crate::jit::foreign_libtorch;
use clap::{Parser, Subcommand};
use trt_tool::plan::PlanCommand;
use trt_tool::{fail, finish, json_is_wanted, start};

/// Look at, check and time TorchScript modules whose subgraphs run in engines.
#[derive(Parser)]
#[command(name = "tch-trt", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Who runs what, and why not: engines, host operators, coverage, fused layers
    Inspect(inspect::Inspect),
    /// A TorchScript file with engines in it
    Compile(compile::Compile),
    /// Do engines give the host's answers?
    Verify(verify::Verify),
    /// How fast are the engines, and whom do they beat?
    Bench(bench::Bench),
    /// One call on tensors from a file
    Run(run::Run),
    /// Saved plans: look, run, time, share between processes
    Plan(PlanCommand),
    /// What is kept on disk from process to process
    Cache(cache::CacheCommand),
    /// What this machine can run, and if not, why
    Backends(surroundings::Plain),
    /// The environment variables and their values
    Env(surroundings::Plain),
    /// A script that completes the command line in a shell
    Completions(completions::Completions),
}

/// Runs the program on the process's arguments.
pub fn main() -> u8 {
    let run = |Cli { command }| match foreign_libtorch() {
        Some(why) => fail(&why.into(), json_is_wanted()),
        None => run(&command),
    };
    start(run, panic_message)
}

fn run(command: &Command) -> u8 {
    match command {
        Command::Inspect(args) => finish(args.run(), args.json),
        Command::Compile(args) => finish(args.run(), args.json),
        Command::Verify(args) => finish(args.run(), args.json),
        Command::Bench(args) => finish(args.run(), args.json),
        Command::Run(args) => finish(args.run(), args.json),
        Command::Plan(args) => args.run(),
        Command::Cache(args) => args.run(),
        Command::Backends(args) => finish(surroundings::Backends::gather(), args.json),
        Command::Env(args) => finish(surroundings::Environment::gather(), args.json),
        Command::Completions(args) => finish(args.run(), args.json),
    }
}
