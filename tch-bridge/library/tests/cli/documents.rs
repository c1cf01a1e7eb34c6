//! `docs/tool.md` describes the JSON of every command: each path that is printed, and no other.

use super::{Folder, json, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tch::{Device, Kind, Tensor};

const DOCUMENT: &str = include_str!("../../../../docs/tool.md");

/// Path to type of each row in the table under `### JSON of NAME`.
fn described(name: &str) -> BTreeMap<String, String> {
    let name = if name.contains(' ') { name.to_string() } else { format!("`{name}`") };
    let heading = format!("### JSON of {name}\n");
    let start =
        DOCUMENT.find(&heading).unwrap_or_else(|| panic!("docs/tool.md lacks {heading}")) + heading.len();
    let section = DOCUMENT[start..].split("\n#").next().unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((cells.next()?.trim_end_matches('`').to_string(), cells.next()?.to_string()))
    };
    section.lines().filter_map(row).collect()
}

/// Every path of a document with the type of what is there.
fn paths(value: &Value, path: &str, found: &mut BTreeSet<(String, &'static str)>) {
    let ty = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !path.is_empty() && !path.ends_with("[]") || matches!(ty, "number" | "string" | "boolean") {
        found.insert((path.to_string(), ty));
    }
    match value {
        Value::Array(items) => items.iter().for_each(|v| paths(v, &format!("{path}[]"), found)),
        Value::Object(entries) => entries.iter().for_each(|(key, v)| {
            paths(v, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, found);
        }),
        _ => {}
    }
}

fn check(name: &str, documents: &[Value]) {
    let described = described(name);
    let mut printed = BTreeSet::new();
    documents.iter().for_each(|d| paths(d, "", &mut printed));
    for (path, ty) in &printed {
        let declared =
            described.get(path).unwrap_or_else(|| panic!("docs/tool.md, {name}: lacks `{path}` ({ty})"));
        assert!(
            declared.split(" or ").any(|t| t == *ty),
            "docs/tool.md, {name}: `{path}` is {ty}, not {declared}"
        );
    }
    for path in described.keys() {
        assert!(printed.iter().any(|(p, _)| p == path), "docs/tool.md, {name}: no `{path}` was printed");
    }
}

#[test]
fn documents_are_as_described() {
    let folder = Folder::new();
    let model = folder.mixed();
    let x = Tensor::ones([4, 8], (Kind::Float, Device::Cpu));
    Tensor::write_npz(&[("x", &x)], folder.path("in.npz")).unwrap();
    let inputs = folder.path("in.npz");

    let guarded = ["--precision", "bf16", "--parity-guard", "1e-5"];
    let inspect = ["inspect", &model, "-i", "(4,8)", "--take-all"];
    let in_fewer_bits: Vec<&str> = inspect.into_iter().chain(guarded).collect();
    check("inspect", &[json(&inspect, 0), json(&in_fewer_bits, 0)]);
    check(
        "verify",
        &[
            json(
                &[
                    "verify",
                    &model,
                    "-i",
                    "(4,8)",
                    "--take-all",
                    "--runs",
                    "1",
                    "--against",
                    "f64",
                    "--rtol",
                    "1e-4",
                    "--atol",
                    "1e-4",
                ],
                0,
            ),
            json(&["verify", &model, "--inputs", &inputs, "--take-all"], 0),
            json(&["verify", &model, "--inputs", &inputs, "--min-block-size", "99"], 1),
            json(
                &[
                    "verify",
                    &model,
                    "--inputs",
                    &inputs,
                    "--take-all",
                    "--rtol=0",
                    "--atol=0",
                    "--bisect",
                    "--out",
                    &folder.path(""),
                ],
                1,
            ),
        ],
    );
    let bench = ["bench", &model, "-i", "(4,8)", "--take-all", "--duration", "0.05", "--warmup", "0"];
    let compared: Vec<&str> = bench.iter().copied().chain(["--compare", "host", "--layers"]).collect();
    check("bench", &[json(&bench, 0), json(&compared, 0)]);
    let named =
        folder.model("named.pt", "def forward(self, x):\n    return 'name', torch.tanh(x @ self.w)\n");
    let run = |model: &str| {
        json(&["run", model, "--take-all", "--inputs", &inputs, "-o", &folder.path("out.npz")], 0)
    };
    let module = folder.path("out.pt");
    json(&["compile", &named, "-o", &module, "-i", "[(1,8);(2,8);(3,8)]", "--take-all"], 0);
    check(
        "run",
        &[
            run(&model),
            run(&named),
            json(&["run", &module, "--inputs", &inputs, "-o", &folder.path("out.npz")], 0),
        ],
    );
    let compile = ["compile", &model, "-o", &module, "-i", "(4,8)"];
    let refused: Vec<&str> =
        compile.iter().copied().chain(["--min-block-size", "99", "--require-full"]).collect();
    let plans = folder.path("plans");
    let more = ["-i", "[(1,8);(2,8);(3,8)]", "--take-all", "--plan-dir", &plans];
    let ranges: Vec<&str> = compile.iter().copied().chain(more).collect();
    let in_fewer_bits: Vec<&str> = compile.iter().copied().chain(["--take-all"]).chain(guarded).collect();
    check("compile", &[json(&refused, 1), json(&ranges, 0), json(&in_fewer_bits, 0)]);
    let plan = super::plan::saved(&folder);
    let (out, name) = (folder.path("plan.npz"), format!("documents-{}", std::process::id()));
    check("plan info", &[json(&["plan", "info", &plan, "--network"], 0), json(&["plan", "info", &plan], 0)]);
    let call = ["plan", "run", &plan, "--inputs", &inputs, "-o", &out, "--json"];
    // Where the engine in the plan is of another machine.
    let ran = [&[][..], &[("TRT_CPU_ISA", "portable")]].map(|variables| super::tool_with(variables, &call));
    check("plan run", &ran.map(|ran| serde_json::from_slice(&ran.stdout).unwrap()));
    let bench = |seconds| json(&["plan", "bench", &plan, "--warmup", "0", "--duration", seconds], 0);
    check("plan bench", &[bench("0"), bench("0.05")]);
    let share = |backend| json(&["plan", "share", &plan, &name, "--backend", backend], 0);
    let unshare = || json(&["plan", "unshare", &name], 0);
    check("plan share", &[share("cpu"), (unshare(), share("reference")).1]);
    check("plan unshare", &[unshare()]);
    check("cache commands", &super::cache::documents(&folder));
    check("backends", &[json(&["backends"], 0)]);
    let unknown = super::tool_with(&[("TRT_EXCLUDE_OPS", "aten::softmaxx")], &["env", "--json"]);
    check("env", &[json(&["env"], 0), serde_json::from_slice(&unknown.stdout).unwrap()]);
    check("completions", &[json(&["completions", "bash"], 0)]);
    check("a failure", &[json(&["inspect", "no/such/model.pt"], 2)]);
}

#[test]
fn every_command_and_option_is_described() {
    let commands = [
        "inspect",
        "compile",
        "verify",
        "bench",
        "run",
        "plan info",
        "plan run",
        "plan bench",
        "plan share",
        "plan unshare",
        "cache list",
        "cache prune",
        "cache clear",
        "backends",
        "env",
        "completions",
    ];
    for command in commands {
        assert!(DOCUMENT.contains(&format!("`tch-trt {command}")), "docs/tool.md lacks {command}");
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = text(&words, 0);
        for word in help.split_whitespace().filter(|w| w.starts_with("--") && w.len() > 2) {
            let option = word.trim_end_matches(|c: char| !c.is_alphanumeric());
            assert!(DOCUMENT.contains(option), "docs/tool.md lacks {option} of {command}");
        }
    }
}
