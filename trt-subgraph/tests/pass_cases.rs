//! Cases of passes: `tests/cases/pass/*.txt`, each a few words and then a
//! list of
//!
//! ```text
//! == pointwise, epilogue: what it shows
//! network in the text form
//! ->
//! the network after those passes (`all`: the whole optimiser)
//! ```
//!
//! The result has the expected text, verifies, and computes what the input does. `BLESS=1` writes the expected part anew;
//! `PASSES=name` runs the files whose name contains it.

use std::path::{Path, PathBuf};
use trt_subgraph::backend::reference::evaluate;
use trt_subgraph::network::Network;
use trt_subgraph::pass::{Options, by_name, optimize};
use trt_subgraph::{Literal, Random, compare, tolerance};

#[test]
fn passes_rewrite_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/pass");
    let filter = std::env::var("PASSES").unwrap_or_default();
    let mut files: Vec<PathBuf> =
        folder.read_dir().expect("the folder of cases").map(|e| e.expect("a file").path()).collect();
    files.retain(|f| f.file_stem().is_some_and(|n| n.to_string_lossy().contains(&filter)));
    files.sort();
    assert!(!files.is_empty(), "no file of cases matches '{filter}'");
    let failures: Vec<String> = files.iter().flat_map(|f| file(f)).collect();
    assert!(
        failures.is_empty(),
        "{} failures; BLESS=1 accepts new texts\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Runs a file's cases and gives their failures.
fn file(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("a readable file");
    let bless = std::env::var_os("BLESS").is_some();
    let mut failures = Vec::new();
    let mut parts = text.split("\n== ");
    let mut written = parts.next().unwrap_or_default().trim_end().to_string() + "\n\n";
    for case in parts {
        let (head, body) = case.split_once('\n').expect("a network after its title");
        let (input, expected) = body.split_once("->\n").unwrap_or((body, ""));
        match run(head, input) {
            Err(e) => failures.push(format!("{}: {head}\n{e}", path.display())),
            Ok(found) if found.trim() != expected.trim() && !bless => {
                failures.push(format!("{}: {head}\nfound\n{found}expected\n{expected}", path.display()));
            }
            Ok(found) => written.push_str(&format!("== {head}\n{}\n->\n{found}\n", input.trim_end())),
        }
    }
    if bless && failures.is_empty() {
        std::fs::write(path, written.trim_end().to_string() + "\n").expect("a writable file");
    }
    failures
}

/// The text of the rewritten network, checked against the input's values.
fn run(head: &str, input: &str) -> Result<String, String> {
    let names = head.split_once(':').ok_or("a title is `passes: what it shows`")?.0;
    let before = Network::parse(input).map_err(|e| e.to_string())?;
    before.verify().map_err(|e| e.to_string())?;
    let mut after = before.clone();
    for name in names.split(',').map(str::trim) {
        after = match (name, by_name(name)) {
            ("all", _) => optimize(after, &Options::default()),
            (_, Some(pass)) => pass.run(after, &Options::default(), &mut usize::MAX.clone()),
            (_, None) => return Err(format!("there is no pass '{name}'")),
        };
        after.verify().map_err(|e| format!("after {name}: {e}"))?;
    }
    same_values(&before, &after).map_err(|e| format!("{e}\n{after}"))?;
    after.renumber();
    Ok(after.to_string())
}

fn same_values(before: &Network, after: &Network) -> Result<(), String> {
    let mut random = Random::of_text(&before.to_string());
    let parameters: Vec<Literal> = before.parameters.iter().map(|p| random.literal(p.ty.clone())).collect();
    let inputs: Vec<Literal> = before.inputs.iter().map(|&v| random.literal(before.ty(v).clone())).collect();
    let run = |n: &Network| evaluate(n, &parameters, &inputs).map_err(|e| e.to_string());
    let (expected, found) = (run(before)?, run(after)?);
    if expected.len() != found.len() {
        return Err(format!("{} outputs instead of {}", found.len(), expected.len()));
    }
    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
        compare(found, expected, tolerance(expected.ty().dtype)).map_err(|e| format!("output {at}: {e}"))?;
    }
    Ok(())
}
