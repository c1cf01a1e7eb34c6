//! `tch-trt completions`: the script that teaches a shell to complete the command line.

use super::Cli;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde::Serialize;
use trt_tool::Document;
use trt_tool::Failure;
use trt_tool::terminal::Style;

/// Arguments of `completions`.
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The script of one shell.
#[derive(Serialize)]
pub(crate) struct Script {
    shell: String,
    script: String,
}

impl Completions {
    pub(crate) fn run(&self) -> Result<Script, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "tch-trt", &mut script);
        // For bash, clap_complete 4.6 writes the hyphen of the name in one way where it sets a state, in another where it asks for it.
        let script = String::from_utf8_lossy(&script).replace("tch__subcmd__trt", "tch__trt");
        Ok(Script { shell: self.shell.to_string(), script })
    }
}

impl Document for Script {
    fn text(&self, _: Style) -> String {
        self.script.clone()
    }
}
