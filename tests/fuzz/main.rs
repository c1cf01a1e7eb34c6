//! Random TorchScript programs on the host and with engines.
//!
//! `cargo test --workspace --test fuzz -- [--programs N] [--seed FIRST] [--show SEED]` makes N programs (500), each of a seed of
//! its own; `--show` prints a program, runs it here and says how it fares. Programs run in child processes, so that a crash and a
//! program without end are failures like any other. What fails is made as small as it can be and printed; the exit code is then 1.

mod check;
mod children;
mod compare;
mod generate;
mod inputs;
mod kinds;
mod program;
mod shrink;

use check::{Outcome, check};
use std::process::ExitCode;

/// No shrinking tries more programs.
const TRIES: usize = 400;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|a| a == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    // `cargo test FILTER` runs every test program, and editors list their tests.
    let filtered = arguments.first().is_some_and(|a| !a.starts_with('-') && !"fuzz".contains(a.as_str()));
    if filtered || arguments.iter().any(|a| a == "--list") {
        return ExitCode::SUCCESS;
    }
    tch::set_num_threads(1);
    tch_bridge::set_enabled(true);
    if let Some(seed) = number("--show") {
        return show(seed);
    }
    if let (Some(first), Some(count)) = (number("--child"), number("--count")) {
        return child(first, count);
    }
    if let Some(seed) = number("--one") {
        let steps: Option<Vec<usize>> =
            arguments.last().map(|s| s.split(',').filter_map(|n| n.parse().ok()).collect());
        return one(seed, &steps.unwrap_or_default());
    }
    children::run(number("--seed").unwrap_or(0), number("--programs").unwrap_or(500))
}

/// Runs programs one after the other; the parent reads what they come to.
fn child(first: u64, count: u64) -> ExitCode {
    for seed in first..first + count {
        println!("{}", children::Word::Begins(seed).line());
        let program = generate::program(seed);
        let outcome = check(&program);
        let outcome = match outcome {
            Outcome::Differs(_) => {
                let mut tries = TRIES;
                let (small, _) = shrink::shrink(program, |p, _| {
                    tries = tries.saturating_sub(1);
                    tries > 0 && matches!(check(p), Outcome::Differs(_))
                });
                let Outcome::Differs(why) = check(&small) else { continue };
                Outcome::Differs(described(&small, &why))
            }
            other => other,
        };
        println!("{}", children::Word::Ends(seed, outcome).line());
    }
    ExitCode::SUCCESS
}

fn described(program: &program::Program, why: &str) -> String {
    let inputs = inputs::inputs(program, 0, inputs::Form::Own);
    let form = |t: &tch::Tensor| format!("{:?} {:?} strides {:?}", t.kind(), t.size(), t.stride());
    let arguments: Vec<String> =
        inputs.arguments.iter().enumerate().map(|(i, t)| format!("x{i}: {}", form(t))).collect();
    let layouts: Vec<_> = program.arguments.iter().map(|a| (&a.layout, a.fill)).collect();
    format!(
        "{}{}\n{layouts:?}, attributes {:?}, calls {:?}\n{why}",
        program.source(),
        arguments.join("; "),
        program.attributes,
        program.calls
    )
}

/// Runs one step of the shrinking of a crash.
fn one(seed: u64, steps: &[usize]) -> ExitCode {
    let mut program = generate::program(seed);
    for &at in steps {
        let Some(next) = program.smaller().into_iter().nth(at) else { return ExitCode::SUCCESS };
        program = next;
    }
    drop(check(&program));
    ExitCode::SUCCESS
}

fn show(seed: u64) -> ExitCode {
    let program = generate::program(seed);
    println!("{}", described(&program, ""));
    let outcome = check(&program);
    println!("{outcome:?}");
    match outcome {
        Outcome::Differs(why) => {
            println!("{why}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
