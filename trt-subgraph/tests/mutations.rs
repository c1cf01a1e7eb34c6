//! Plans, source graphs and networks that were changed at random: reading them gives an error or a value that reads back, and
//! never ends the process. Begins with what the targets in `fuzz/` begin with.

#[path = "../../fuzz/checks.rs"]
mod checks;

use std::path::Path;
use trt_subgraph::Random;
use trt_subgraph::network::Network;
use trt_subgraph::plan::Recipe;

/// Changed texts or plans for each beginning.
const CHANGES: usize = 20_000;

/// What is put where something else was.
const WORDS: [&str; 24] = [
    "%1",
    "%x",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    ",",
    "\"",
    "...",
    ":",
    "-1",
    "0",
    "18446744073709551616",
    "9223372036854775807",
    "4294967296",
    "1e999",
    "nan",
    "f32",
    "i64",
    "[99999999,99999999,99999999]",
    "\u{1F600}",
    "\\",
];

fn corpus(target: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).expect("the corpus is there");
    let mut paths: Vec<_> = entries.map(|e| e.expect("it can be listed").path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths.iter().map(|p| std::fs::read_to_string(p).expect("it is text")).collect()
}

/// One to four changes: bytes flipped, left out, repeated, exchanged, or words put in.
fn changed(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let (at, other) = (random.below(out.len() + 1), random.below(out.len() + 1));
        let (from, to) = (at.min(other), at.max(other).min(at.min(other) + 40));
        match random.below(6) {
            0 if at < out.len() => out[at] ^= 1 << random.below(8),
            1 if at < out.len() => out[at] = *random.pick(&[0, 1, 0x7f, 0x80, 0xff]),
            2 => drop(out.drain(from..to)),
            3 => {
                let part = out[from..to].to_vec();
                let at = random.below(out.len() + 1);
                drop(out.splice(at..at, part));
            }
            4 => out.truncate(at.max(1)),
            _ => {
                let word = random.pick(&WORDS).as_bytes().to_vec();
                drop(out.splice(from..if random.chance(0.5) { from } else { to.min(from + 3) }, word));
            }
        }
    }
    out
}

fn change_texts(target: &str, check: impl Fn(&str)) {
    for text in corpus(target) {
        check(&text);
        for seed in 0..CHANGES as u64 {
            check(&String::from_utf8_lossy(&changed(text.as_bytes(), &mut Random::new(seed))));
        }
    }
}

#[test]
fn source_graphs() {
    change_texts("source_graph", checks::source_graph);
}

#[test]
fn networks() {
    change_texts("network", checks::network);
}

#[test]
fn plans() {
    for text in corpus("network") {
        let network = Network::parse(&text).expect("the beginnings are valid");
        let mut random = Random::new(1);
        let weights: Vec<_> = network.parameters.iter().map(|p| random.literal(p.ty.clone())).collect();
        let bytes = Recipe::new(&network, &weights).note("model", "small").to_bytes().expect("it is written");
        checks::plan(&bytes);
        for seed in 0..CHANGES as u64 {
            checks::plan(&changed(&bytes, &mut Random::new(seed)));
        }
    }
}
