//! Every command line of `tch-trt` that the guides show is typed here once, on small files of the names that it uses.

use super::Folder;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use tch::{Device, Kind, Tensor};

/// The files that readers meet, in the order of their names.
fn guides() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let pages = root.join("docs").read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = pages.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    pages.push(root.join("README.md"));
    pages.sort();
    pages.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// The lines of a page's shell blocks that call the program, then those in running text that name a model.
fn commands(page: &str) -> Vec<&str> {
    let (mut found, mut spans, mut shell, mut block) = (Vec::new(), Vec::new(), false, false);
    for line in page.lines() {
        if let Some(kind) = line.trim_start().strip_prefix("```") {
            block = !block;
            shell = block && kind == "sh";
        } else if shell && line.starts_with("tch-trt ") {
            found.push(line);
        } else if !block {
            let code = line.split('`').skip(1).step_by(2);
            spans
                .extend(code.filter(|s| s.starts_with("tch-trt ") && s.contains(".pt ") && !s.contains('…')));
        }
    }
    found.append(&mut spans);
    found
}

/// A folder with the files that the guides speak of.
fn folder() -> Folder {
    let folder = Folder::new();
    let source = "
def forward(self, x):
    y = torch.relu(torch.conv2d(x, self.w.view([2, 1, 4, 8])[:, :, :3, :3].expand([2, 3, 3, 3]), None, [4, 4]))
    return torch.softmax(torch.matmul(torch.max_pool2d(y, [7, 7]).flatten(1)[:, :64].view([-1, 8, 8]), self.w), -1)
";
    folder.model("model.pt", source);
    std::fs::rename(super::plan::saved(&folder), folder.path("model.plan")).unwrap();
    let x = Tensor::ones([4, 8], (Kind::Float, Device::Cpu));
    Tensor::write_npz(&[("x", &x)], folder.path("in.npz")).unwrap();
    folder
}

/// Types a command line in a folder, where calls are timed briefly and names in shared memory are this process's.
fn type_in(folder: &Folder, line: &str) {
    let mut command = line.replace("recommender", &format!("guides-{}", std::process::id()));
    if command.starts_with("tch-trt bench") {
        command += " --duration 0.1 --warmup 0";
    }
    let program = Path::new(env!("CARGO_BIN_EXE_tch-trt"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-c", &command]).current_dir(folder.path("")).env("PATH", path);
    for name in ["USE_TRT", "TRT_PRECISION", "TRT_EXCLUDE_OPS", "TRT_MIN_BLOCK_SIZE", "TRT_REPORT"] {
        shell.env_remove(name);
    }
    let output = shell.env("TRT_BACKEND", "cpu").output().unwrap();
    let [said, errors] = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
    assert!(output.status.success(), "{line}\n{said}\n{errors}");
}

#[test]
fn every_command_of_the_guides_works() {
    let (folder, mut typed, mut all) = (folder(), BTreeSet::new(), 0);
    for (path, page) in guides() {
        for line in commands(&page) {
            all += 1;
            let (command, _comment) = line.split_once("  #").unwrap_or((line, ""));
            let words: Vec<&str> = command.split_whitespace().collect();
            let command = words.join(" ").replace("resnet18", "model");
            if typed.insert(command.clone()) {
                println!("{}: {line}", path.display());
                type_in(&folder, &command);
            }
        }
    }
    assert!(all >= 15, "the guides have lost their commands: {all}");
}
