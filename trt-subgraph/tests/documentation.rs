//! The guide shows code and cases that are in the tree.

use std::path::Path;

#[test]
fn the_operator_guide_quotes_the_tree() {
    let quotes = quoted("docs/adding-an-operator.md", "trt-subgraph/src/op", "tests/cases/op");
    assert!(quotes >= 4, "the guide has lost its examples");
}

#[test]
fn the_pass_guide_quotes_the_tree() {
    let quotes = quoted("docs/adding-a-pass.md", "trt-subgraph/src/pass", "tests/cases/pass");
    assert!(quotes >= 3, "the guide has lost its examples");
}

/// How many Rust and case blocks a guide has, each of which stands word for word in a file of those folders.
fn quoted(guide: &str, code: &str, cases: &str) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let guide = std::fs::read_to_string(root.join(guide)).unwrap();
    let texts = |folder: &str| -> Vec<String> {
        let entries = root.join(folder).read_dir().unwrap();
        entries.map(|e| std::fs::read_to_string(e.unwrap().path()).unwrap()).collect()
    };
    let (code, cases) = (texts(code), texts(cases));
    let mut quotes = 0;
    for block in guide.split("\n```").skip(1).step_by(2) {
        let (kind, body) = block.split_once('\n').unwrap();
        let held = match kind {
            "rust" => code.iter().any(|t| t.contains(body)),
            "text" => body.lines().all(|line| cases.iter().any(|t| t.lines().any(|l| l == line))),
            _ => continue,
        };
        assert!(held, "not in the tree:\n{body}");
        quotes += 1;
    }
    quotes
}

/// The program of the page on networks by hand is the example, which runs.
#[test]
fn the_builder_page_shows_a_whole_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let page = read("docs/network-builder.md");
    let (_, shown) = page.split_once("```rust\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let example = read("trt-subgraph/examples/network_builder.rs");
    let program = &example[example.find("use ").unwrap()..];
    assert!(shown == program, "docs/network-builder.md shows another program than the example");
}

/// What runs on a machine with a GPU picks tests that there are, from programs that the bundle has.
#[test]
fn the_gpu_bundle_names_what_there_is() {
    let (run, bundle) =
        (include_str!("../../scripts/gpu/run.sh"), include_str!("../../scripts/gpu-bundle.sh"));
    let files = [include_str!("cuda/main.rs"), include_str!("cuda/rehearsal.rs")];
    let tests: Vec<&str> = files.iter().flat_map(|file| file.split("#[test]\nfn ").skip(1)).collect();
    let mut filters = 0;
    for line in run.lines().filter_map(|line| line.split("./test-engine ").nth(1)) {
        let words = line.split_whitespace().take_while(|w| !w.starts_with('>'));
        for filter in words.filter(|w| !w.starts_with("--")) {
            let named = tests.iter().any(|t| t.split('(').next().is_some_and(|name| name.contains(filter)));
            assert!(named, "run.sh picks '{filter}', which no test of the CUDA backend is called");
            filters += 1;
        }
    }
    assert!(filters >= 5, "{filters} filters");
    for program in run
        .split(" ./")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !(c.is_alphanumeric() || "-_./".contains(c))).next())
    {
        let made = program == "run.sh"
            || [format!("add {program} "), format!("$bundle.programs/{program}\"")]
                .iter()
                .any(|how| bundle.contains(how));
        assert!(made, "run.sh runs '{program}', which gpu-bundle.sh does not make");
    }
}
