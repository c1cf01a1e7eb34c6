//! The program as its users see it: what it prints, writes and returns.

mod alone;
mod bench;
mod cache;
mod command_line;
mod compile;
mod documents;
mod guides;
mod inspect;
mod plan;
mod run;
mod verify;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tch::{Device, Kind, Tensor};
use tch_bridge::jit::{Initial, Module};

/// A folder of one test, gone when dropped.
pub struct Folder(PathBuf);

static FOLDERS: AtomicU32 = AtomicU32::new(0);

impl Folder {
    /// An empty one.
    pub(crate) fn new() -> Folder {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tch-trt-tool-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// The text of a file in it.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }

    /// Saves a module of this source with one parameter `w` of 8 x 8.
    pub fn model(&self, name: &str, source: &str) -> String {
        let w = Tensor::arange(64, (Kind::Float, Device::Cpu)).view([8, 8]) / 64.0 - 0.5;
        let module = Module::from_source(source, &[("w", Initial::Parameter(w))]).unwrap();
        module.save(self.0.join(name)).unwrap();
        self.path(name)
    }

    /// A model that counts its calls.
    pub fn counting(&self) -> String {
        let source = "
def forward(self, x):
    y = torch.tanh(torch.matmul(x, self.w)) * 3.0
    self.w.add_(0.25)
    return torch.softmax(y, -1) + self.w.sum()
";
        self.model("counting.pt", source)
    }

    /// Two engines with a Fourier transform, which no engine takes, between them.
    pub fn mixed(&self) -> String {
        self.model(
            "mixed.pt",
            "
def forward(self, x, scale: float = 1.0):
    a = torch.relu(torch.matmul(x, self.w))
    b = torch.softmax(torch.tanh(a) + a, -1)
    c = torch.real(torch.fft_fft(b)) * scale
    d = torch.sigmoid(torch.matmul(c, self.w)) + b
    values, indices = torch.topk(d, 2, -1)
    return d, {'values': values, 'indices': indices}
",
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Runs the program without variables that would change its answers.
pub fn tool(arguments: &[&str]) -> Output {
    tool_with(&[], arguments)
}

/// As [`tool`], with these variables.
pub fn tool_with(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_tch-trt")));
    for name in ["USE_TRT", "TRT_BACKEND", "TRT_EXCLUDE_OPS", "TRT_MIN_BLOCK_SIZE", "TRT_REPORT", "RUST_LOG"]
    {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).args(arguments).output().unwrap()
}

/// What was written to a stream.
pub fn said(stream: &[u8]) -> String {
    String::from_utf8_lossy(stream).into_owned()
}

/// The text on the output stream, with the exit status that is expected.
pub fn text(arguments: &[&str], status: i32) -> String {
    let output = tool(arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "of {arguments:?}:\n{text}\n{errors}");
    assert!(!text.contains('\x1b'), "colours where there is no terminal");
    text
}

/// The JSON document, with the exit status that is expected.
pub fn json(arguments: &[&str], status: i32) -> Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&text(&arguments, status)).unwrap()
}
