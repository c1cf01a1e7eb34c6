//! The programs themselves, on little data; each checks its answers itself, and ends with exit code 1 when they are not the host's.

use std::path::PathBuf;
use std::process::{Command, Output};
use tch_bridge::jit::Module;

/// A file or folder of this process alone, gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, bytes: impl AsRef<[u8]>) -> Scratch {
        let path = std::env::temp_dir().join(format!("programs-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).expect("there is room");
        Scratch(path)
    }

    fn folder(name: &str, files: &[(&str, Vec<u8>)]) -> Scratch {
        let path = std::env::temp_dir().join(format!("programs-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("there is room");
        for (name, bytes) in files {
            std::fs::write(path.join(name), bytes).expect("there is room");
        }
        Scratch(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("its name is plain")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(if self.0.is_dir() { std::fs::remove_dir_all(&self.0) } else { std::fs::remove_file(&self.0) });
    }
}

/// Runs an example of this package, which cargo builds with the tests of a workspace, beside this program.
fn run(name: &str, arguments: &[&str]) -> Output {
    let tests = std::env::current_exe().expect("the test is a program");
    let target = tests.ancestors().nth(2).expect("it lies in target/PROFILE/deps");
    let program = target.join("examples").join(name);
    assert!(program.exists(), "`cargo build --workspace --example {name}` comes first");
    // One thread: tests run side by side.
    let mut command = Command::new(program);
    command.args(arguments).env("TRT_BACKEND", "cpu").env("OMP_NUM_THREADS", "1");
    command.output().expect("it is a program")
}

fn succeed(name: &str, arguments: &[&str]) -> String {
    let output = run(name, arguments);
    let said = String::from_utf8(output.stdout).expect("it writes text");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn each_tells_how_it_is_run() {
    for name in [
        "lenet5",
        "train_switch",
        "cifar_resnet",
        "wrap_model",
        "movielens_mlp",
        "char_rnn",
        "googlenet",
        "yolox",
    ] {
        let said = succeed(name, &["--help"]);
        assert!(said.contains(&format!("cargo run --release --example {name}")), "{said}");
        assert!(!said.contains("//!") && !said.contains("fn main"), "{said}");
    }
}

#[test]
fn workers_recommend_what_the_host_does() {
    // Users 1 to 60 rate every fourth of 120 items, high where both numbers leave the same rest.
    let rating = |user: usize, item: usize| {
        let stars = if user % 3 == item % 3 { 5 } else { 1 + (user + item) % 3 };
        format!("{user}::{item}::{stars}::978300760\n")
    };
    let of = |user: usize| (0..30).map(move |i| rating(user, 1000 + i * 4 + user % 4));
    let file = Scratch::new("ratings.dat", (1..=60).flat_map(of).collect::<String>());
    let said = succeed("movielens_mlp", &[file.path()]);
    assert!(said.contains("60 users, 120 items, 1620 ratings to train with, 180 held out"), "{said}");
    assert_eq!(said.matches("us a batch").count(), 3, "{said}");
    assert!(said.contains("all recommend what the host does"), "{said}");
}

#[test]
fn engines_write_the_text_of_the_host() {
    let verses = "the fox jumps over the dog; the dog sleeps under the fox, and so on.\n".repeat(80);
    let file = Scratch::new("verses.txt", &verses);
    let said = succeed("char_rnn", &[file.path()]);
    assert!(said.contains("4968 characters to train with"), "{said}");
    assert!(said.contains("from TorchScript") && said.contains("all three wrote the same text"), "{said}");
}

#[test]
fn googlenet_is_fused_and_saved() {
    let folder = std::env::temp_dir().join(format!("programs-{}-googlenet", std::process::id()));
    let said = succeed("googlenet", &["--folder", folder.to_str().expect("its name is plain"), "1"]);
    // Nine blocks, each with three convolutions that become one.
    let convolutions = |stage: &str| -> Option<usize> {
        said.lines().find(|l| l.starts_with(stage))?.split_whitespace().last()?.parse().ok()
    };
    let found = ["as defined", "fused vertically", "and horizontally"].map(convolutions);
    assert_eq!(found, [Some(57), Some(57), Some(57 - 9 * 2)], "{said}");
    assert!(said.contains("1 of 1"), "{said}");
    for kind in ["plan", "image", "probability"] {
        assert!(folder.join(format!("batch-1.{kind}")).exists(), "{kind}");
    }
    std::fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn yolox_finds_the_boxes_of_the_host() {
    let said = succeed("yolox", &["--side", "96"]);
    assert!(said.contains("25.3 million weights") && said.contains("1 engine"), "{said}");
    let boxes = |name: &str| -> Option<usize> {
        said.lines()
            .find(|l| l.starts_with(name) && l.ends_with('s'))?
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()
    };
    assert!(boxes("host ") > Some(10) && boxes("host ") == boxes("engines "), "{said}");
    assert!(said.contains("error against float64"), "{said}");
}

/// A batch of CIFAR-10's binary version: for each image a label, then its bytes.
fn cifar(images: usize) -> Vec<u8> {
    let image = |at: usize| (0..3072).map(move |i| (i * (at + 3) % 251) as u8);
    (0..images).flat_map(|at| std::iter::once((at % 10) as u8).chain(image(at))).collect()
}

const BATCHES: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];

#[test]
fn residual_networks_classify_cifar() {
    let mut files: Vec<(&str, Vec<u8>)> = BATCHES.iter().map(|name| (*name, cifar(8))).collect();
    files.push(("test_batch.bin", cifar(16)));
    let folder = Scratch::folder("cifar", &files);
    let said = succeed("cifar_resnet", &["--cifar", folder.path(), "resnet56_v1"]);
    let row = said.lines().find(|l| l.starts_with("resnet56_v1")).expect("it has its row");
    assert!(row.contains(" no ") && row.contains(" x") && row.matches('%').count() == 2, "{said}");
}

/// What a program says that ends with exit code 1.
fn fail(name: &str, arguments: &[&str]) -> String {
    let output = run(name, arguments);
    let errors = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(1), "{errors}\n{}", String::from_utf8_lossy(&output.stdout));
    assert!(!errors.contains("panicked"), "{errors}");
    errors
}

/// Does it fail and say all of this?
fn assert_blames(name: &str, arguments: &[&str], words: &[&str]) {
    let errors = fail(name, arguments);
    for word in words {
        assert!(errors.contains(word), "{name} {arguments:?} says nothing of {word:?}: {errors}");
    }
}

#[test]
fn a_folder_of_digits_that_is_cut_off_or_wrong_is_named() {
    let image = [[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 28].as_slice(), &[7; 784]].concat();
    let label = vec![0, 0, 8, 1, 0, 0, 0, 1, 5];
    let with = |name: &'static str, bytes: Vec<u8>| {
        let mut files = vec![
            ("train-images-idx3-ubyte", image.clone()),
            ("train-labels-idx1-ubyte", label.clone()),
            ("t10k-images-idx3-ubyte", image.clone()),
            ("t10k-labels-idx1-ubyte", label.clone()),
        ];
        files.iter_mut().find(|(n, _)| *n == name).expect("one of the four").1 = bytes;
        Scratch::folder("digits", &files)
    };
    let gzip = vec![0x1f, 0x8b, 8, 0, 0];
    for (name, bytes, words) in [
        ("train-images-idx3-ubyte", image[..500].to_vec(), "484 bytes of data, its header announces 784"),
        ("t10k-images-idx3-ubyte", gzip, "gunzip"),
        ("t10k-labels-idx1-ubyte", label[..6].to_vec(), "ends within its header"),
        ("train-labels-idx1-ubyte", image.clone(), "has 3 dimensions, 1 were expected"),
        ("t10k-labels-idx1-ubyte", vec![0, 0, 8, 1, 0, 0, 0, 1, 11], "not one digit"),
    ] {
        let folder = with(name, bytes);
        assert_blames("lenet5", &[folder.path()], &[name, words]);
    }
    let none = Scratch::folder("no-digits", &[]);
    assert_blames("lenet5", &[none.path()], &["train-images-idx3-ubyte", "the four files of MNIST"]);
}

#[test]
fn a_folder_of_cifar_that_is_cut_off_or_wrong_is_named() {
    let mut files: Vec<(&str, Vec<u8>)> = BATCHES.iter().map(|name| (*name, cifar(8))).collect();
    files.push(("test_batch.bin", cifar(15)));
    let folder = Scratch::folder("short-cifar", &files);
    let arguments = ["--cifar", folder.path(), "resnet20_v1"];
    assert_blames("cifar_resnet", &arguments, &["15 held out are too few"]);
    std::fs::write(folder.0.join("test_batch.bin"), &cifar(20)[..50_000]).expect("there is room");
    assert_blames("cifar_resnet", &arguments, &["test_batch.bin", "50000 bytes", "unpack it again"]);
    std::fs::remove_file(folder.0.join(BATCHES[3])).expect("it is there");
    assert_blames("cifar_resnet", &arguments, &[BATCHES[3], "binary version of CIFAR-10"]);
}

#[test]
fn a_photograph_or_weights_that_are_none_are_named() {
    let text = Scratch::new("photograph.jpg", "no picture");
    assert_blames("yolox", &["--cpu", "--side", "32", text.path()], &["photograph.jpg", "JPEG or PNG"]);
    assert_blames("yolox", &["--cpu", "--side", "32", "no/such.png"], &["no/such.png", "No such file"]);
    assert_blames("yolox", &["--wieghts", "w.pt"], &["--wieghts is unknown", "--weights"]);
    for (name, bytes) in
        [("weights.pt", "PK\x03\x04 cut off"), ("weights.safetensors", "\x08\0\0\0\0\0\0\0{}")]
    {
        let weights = Scratch::new(name, bytes);
        let (words, arguments) = (
            [name, "no weights of YOLOX-m", "safetensors"],
            ["--cpu", "--side", "32", "--weights", weights.path()],
        );
        assert_blames("yolox", &arguments, &words);
        assert!(!fail("yolox", &arguments).contains("frame #"), "{name}");
    }
    assert_blames("yolox", &["--side", "100"], &["a multiple of 32"]);
    assert_blames("googlenet", &["--image", "no/such.jpg"], &["no image in no/such.jpg", "No such file"]);
    assert_blames("googlenet", &["--image", text.path()], &["photograph.jpg", "JPEG or a PNG"]);
}

#[test]
fn a_model_is_wrapped_with_the_sizes_of_all_its_inputs() {
    let said = succeed("wrap_model", &[]);
    assert!(said.contains("1 engine") && said.contains("result 0: largest difference"), "{said}");
    let source = "def forward(self, x, w): return torch.relu(x @ w), torch.tanh(x @ w * 0.5 + 1.0)";
    let made = Module::from_source::<&str>(source, &[]).expect("it compiles").save_bytes();
    let file = Scratch::new("two.pt", made.expect("it can be saved"));
    let model = file.path();
    let said = succeed("wrap_model", &[model, "3,4", "4,5"]);
    assert!(said.contains("result 1: largest difference"), "{said}");
    let empty = succeed("wrap_model", &[model, "0,4", "4,5"]);
    assert!(empty.contains("result 1: largest difference"), "{empty}");
    assert_blames("wrap_model", &[model, "3,4"], &["the model takes x, w", "1 were given"]);
    assert_blames("wrap_model", &[model, "3,4", "4,five"], &["`4,five` is no shape"]);
    assert_blames("wrap_model", &["no/such.pt"], &["no/such.pt"]);
}

#[test]
fn arguments_that_a_program_does_not_take_are_named() {
    for (name, most) in [("lenet5", 1), ("train_switch", 1), ("partition_mixed", 0)] {
        assert_blames(name, &["--fast"], &["`--fast` is not understood", "usage: ", name]);
        let words = ["one", "two"];
        assert_blames(name, &words, &[&format!("`{}` is not understood", words[most])]);
    }
}

#[test]
fn a_file_that_is_none_is_named() {
    let file = Scratch::new("bad.dat", "1::2::3::4\nhello\n");
    assert_blames("movielens_mlp", &[file.path()], &["bad.dat, line 2: expected user::item", "MovieLens"]);
    let cut = Scratch::new("cut.dat", "1::2::3::4\n1::3::4");
    assert_blames("movielens_mlp", &[cut.path()], &["cut.dat, line 2"]);
    let table = Scratch::new("ratings.csv", "userId,movieId,rating,timestamp\n1,2,3.5,4\n");
    assert_blames("movielens_mlp", &[table.path()], &["ratings.csv, line 1", "`ratings.dat`"]);
    assert_blames("char_rnn", &["no/such.txt"], &["no/such.txt"]);
    let empty = Scratch::new("empty.txt", "");
    assert_blames("char_rnn", &[empty.path()], &["empty.txt"]);
    let short = Scratch::new("short.txt", "to be or not to be");
    assert_blames("char_rnn", &[short.path()], &["short.txt", "1,000 characters are enough"]);
}
