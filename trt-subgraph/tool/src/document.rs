//! How a command begins and ends.

use crate::failure::Failure;
use crate::logging;
use crate::terminal::Style;
use clap::Parser;
use serde::Serialize;
use std::any::Any;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a command found.
pub trait Document: Serialize {
    /// For people, with a final line break.
    fn text(&self, style: Style) -> String;

    /// Did what was checked hold?
    fn passed(&self) -> bool {
        true
    }
}

/// Reads the process's arguments and runs the command that they name. A panic is a failure of the command, in these `words`.
pub fn start<C: Parser>(run: impl FnOnce(C) -> u8, words: fn(&(dyn Any + Send)) -> String) -> u8 {
    logging::init();
    let command = match C::try_parse() {
        Ok(command) => command,
        Err(error) => return usage(&error),
    };
    // Where tch has no other way it panics with torch's error, C++ stack and all.
    std::panic::set_hook(Box::new(|panic| log::debug!("{panic}")));
    catch_unwind(AssertUnwindSafe(|| run(command))).unwrap_or_else(|panic| {
        fail(&format!("tch-trt gave up: {}", words(panic.as_ref())).into(), json_is_wanted())
    })
}

/// Prints help, or what is wrong with the command line, which cannot say yet whether it wants JSON.
fn usage(error: &clap::Error) -> u8 {
    drop(error.print());
    let json = error.use_stderr() && json_is_wanted();
    print(
        &if json { pretty(&Failure::usage(error)) } else { String::new() },
        u8::from(error.use_stderr()) * 2,
    )
}

/// Prints what a command found, or why it found nothing, and gives the exit status.
pub fn finish<D: Document>(found: Result<D, Failure>, json: bool) -> u8 {
    let document = match found {
        Ok(document) => document,
        Err(failure) => return fail(&failure, json),
    };
    let style = Style::of_stdout();
    let text = if json { pretty(&document) } else { style.printable(&document.text(style)) };
    print(&text, u8::from(!document.passed()))
}

/// Says why a command found nothing, and gives the exit status.
pub fn fail(failure: &Failure, json: bool) -> u8 {
    let style = Style::of_stderr();
    tell(&style.printable(&failure.to_string()));
    if json { print(&pretty(failure), 2) } else { 2 }
}

/// Prints the text for that exit status, or one that tells that it could not.
fn print(text: &str, status: u8) -> u8 {
    let mut to = std::io::stdout();
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        // A reader that has gone, as `head` does, is no fault of ours.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            tell(&format!("cannot print: {e}"));
            2
        }
        _ => status,
    }
}

/// Says on the error stream what is wrong, where anybody listens.
fn tell(why: &str) {
    drop(writeln!(std::io::stderr(), "{} {why}", Style::of_stderr().red("error:")));
}

/// Does the command line ask for JSON? Where it could not be read, too.
pub fn json_is_wanted() -> bool {
    std::env::args_os().any(|argument| argument == "--json")
}

fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("documents have only string keys");
    text.push('\n');
    text
}

/// What a panic of ours says.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".into())
}

/// A number of seconds on the command line.
pub fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "seconds, such as 2.5".to_string())?;
    if (0.0..=86_400.0).contains(&value) { Ok(value) } else { Err("seconds from 0 to 86400".into()) }
}
