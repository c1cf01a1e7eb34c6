//! The program `tch-trt`: what a module's engines take, whether they are right, how fast they are.
//!
//! Each command gathers its facts and prints them once: as text, or with `--json` as the JSON that `docs/tool.md`
//! describes. Progress goes to the error stream. The exit status is 0 when all is well, 1 when a check failed or a part of the work could not be done, 2 when the
//! command line, the model or an input is not usable.

mod archive;
mod bench;
mod cache;
mod compile;
mod completions;
mod failure;
mod inspect;
mod leaves;
mod logging;
mod model;
mod npz;
mod parts;
mod plan;
mod run;
mod spec;
mod surroundings;
mod terminal;
mod verify;

use crate::jit::engine::panic_message;
use clap::{Parser, Subcommand};
use failure::Failure;
use serde::Serialize;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use terminal::Style;

/// What a command found.
trait Document: Serialize {
    /// For people, with a final line break.
    fn text(&self, style: Style) -> String;

    /// Did what was checked hold?
    fn passed(&self) -> bool {
        true
    }
}

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
    Plan(plan::PlanCommand),
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
pub fn main() -> ExitCode {
    logging::init();
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return usage(&error),
    };
    // Where tch has no other way it panics with torch's error, C++ stack and all.
    std::panic::set_hook(Box::new(|panic| log::debug!("{panic}")));
    catch_unwind(AssertUnwindSafe(|| run(&command))).unwrap_or_else(|panic| {
        let failure = Failure::from(format!("tch-trt gave up: {}", panic_message(panic.as_ref())));
        finish::<completions::Script>(Err(failure), false)
    })
}

/// Prints help, or what is wrong with the command line, which cannot say yet whether it wants JSON.
fn usage(error: &clap::Error) -> ExitCode {
    drop(error.print());
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        drop(std::io::stdout().write_all(pretty(&Failure::usage(error)).as_bytes()));
    }
    ExitCode::from(u8::from(error.use_stderr()) * 2)
}

fn run(command: &Command) -> ExitCode {
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

/// Prints what a command found, or why it found nothing, and gives the exit status.
fn finish<D: Document>(found: Result<D, Failure>, json: bool) -> ExitCode {
    let (text, status) = match &found {
        Ok(document) if json => (pretty(document), u8::from(!document.passed())),
        Ok(document) => {
            let style = Style::of_stdout();
            (style.printable(&document.text(style)), u8::from(!document.passed()))
        }
        Err(failure) => {
            let style = Style::of_stderr();
            eprintln!("{} {}", style.red("error:"), style.printable(&failure.to_string()));
            (if json { pretty(failure) } else { String::new() }, 2)
        }
    };
    let mut to = std::io::stdout();
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        // A reader that has gone, as `head` does, is no fault of ours.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("{} cannot print: {e}", Style::of_stderr().red("error:"));
            ExitCode::from(2)
        }
        _ => ExitCode::from(status),
    }
}

fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("documents have only string keys");
    text.push('\n');
    text
}
