//! `tch-trt verify`.

use super::{Folder, json, text};
use tch::{Device, Kind, Tensor};

#[test]
fn engines_that_agree_pass() {
    let folder = Folder::new();
    let found = json(&["verify", &folder.mixed(), "-i", "(4,8)", "--take-all", "--runs", "3"], 0);
    assert_eq!(found["passed"], true);
    let runs = found["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 3);
    assert_eq!(found["served"], 6, "two engines in three runs: {found}");
    let said = text(&["verify", &folder.mixed(), "-i", "(4,8)", "--take-all", "--runs", "3"], 0);
    assert!(
        said.contains("2 engines, with ") && said.contains(" served 6 calls (a set calls the method"),
        "{said}"
    );
    assert!(said.contains("tolerance: f32 1e-4 relative, and a tenth of that times the largest"), "{said}");
    assert!(found["fraction"].as_f64().is_some_and(|part| part > 0.5), "{found}");
    let outputs = runs[0]["outputs"].as_array().unwrap();
    let names: Vec<_> = outputs.iter().map(|o| o["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["output.0", "output.1.values", "output.1.indices"]);
    assert_eq!(outputs[2]["agreement"], 1.0);
    assert!(outputs[0]["cosine"].as_f64().unwrap() > 0.999999);
    assert_ne!(runs[0]["values"], runs[1]["values"], "several value ranges");
}

#[test]
fn a_tolerance_that_nothing_meets_fails_with_status_1() {
    let folder = Folder::new();
    let arguments =
        ["verify", &folder.mixed(), "-i", "(64,8)", "--take-all", "--rtol=0", "--atol=0", "--runs", "1"];
    assert_eq!(json(&arguments, 1)["passed"], false);
    assert!(text(&arguments, 1).contains("DIFFERS"));
}

#[test]
fn fewer_bits_are_judged_as_such() {
    let folder = Folder::new();
    let model =
        folder.model("dense.pt", "def forward(self, x):\n    return torch.tanh(torch.mm(x, x.t()))\n");
    let arguments = ["verify", &model, "-i", "(8,16)", "--take-all", "--runs", "1", "--precision", "f16"];
    let found = json(&arguments, 0);
    let off = found["runs"][0]["outputs"][0]["max_abs"].as_f64().unwrap();
    assert!(off > 1e-6, "nothing was rounded: {found}");
    assert_eq!(found["runs"][0]["outputs"][0]["rtol"], 1e-2, "{found}");
    assert!(text(&arguments, 0).contains("tolerance: f32 computed in f16 1e-2 relative"));
    assert_eq!(json(&[&arguments[..], &["--rtol", "1e-7", "--atol", "0"]].concat(), 1)["passed"], false);
}

#[test]
fn engines_in_a_file_are_judged_as_they_are() {
    let folder = Folder::new();
    let model =
        folder.model("dense.pt", "def forward(self, x):\n    return torch.tanh(torch.mm(x, x.t()))\n");
    let saved = folder.path("saved.pt");
    let made = ["compile", &model, "-i", "[(4,16);(8,16);(8,16)]", "--take-all", "-o", &saved];
    json(&[&made[..], &["--precision", "f16", "--weights", "embed"]].concat(), 0);
    let off = |more: &[&str]| {
        let found = json(&[&["verify", &saved, "-i", "(8,16)", "--runs", "1"], more].concat(), 0);
        assert_eq!((&found["engines"], &found["served"]), (&1.into(), &1.into()), "{found}");
        found["runs"][0]["outputs"][0]["max_abs"].as_f64().unwrap()
    };
    assert!(off(&[]) > 1e-6, "the engine in the file rounds");
    assert!(off(&["--precision", "model", "--take-all"]) < 1e-6, "one that is made anew does not");
    let outside = json(&["verify", &saved, "-i", "(12,16)", "--runs", "1"], 1);
    assert_eq!(outside["served"], 0, "libtorch serves beyond the bounds: {outside}");
    let timed = json(&["bench", &saved, "-i", "(8,16)", "--duration", "0.1", "--warmup", "0"], 0);
    assert!(
        timed["host_cost_us"].is_null() && timed["notes"].to_string().find("no engine").is_none(),
        "{timed}"
    );
}

#[test]
fn nothing_verified_is_a_failure() {
    let folder = Folder::new();
    let model = folder.model("fft.pt", "def forward(self, x):\n    return torch.real(torch.fft_fft(x))\n");
    let found = json(&["verify", &model, "-i", "(4,8)", "--runs", "1"], 1);
    assert_eq!((&found["passed"], &found["served"]), (&false.into(), &0.into()), "{found}");
    assert!(text(&["verify", &model, "-i", "(4,8)", "--runs", "1"], 1).contains("no engine served"));
}

#[test]
fn host_and_engines_have_each_their_own_state() {
    let folder = Folder::new();
    let found = json(&["verify", &folder.counting(), "-i", "(4,8)", "--take-all", "--runs", "3"], 0);
    assert_eq!(found["served"], 3, "{found}");
    let exact = json(&["verify", &folder.counting(), "-i", "(4,8)", "--take-all", "--against", "f64"], 0);
    assert_eq!(exact["served"], 4, "{exact}");
}

#[test]
fn float64_judges_both() {
    let folder = Folder::new();
    let found =
        json(&["verify", &folder.mixed(), "-i", "(4,8)", "--take-all", "--runs", "1", "--against", "f64"], 0);
    let run = &found["runs"][0];
    let (engine, host) = (&run["outputs"][0], &run["host"][0]);
    assert_eq!(engine["expected"], "f64[4,8]");
    for distance in [engine, host] {
        let off = distance["max_abs"].as_f64().unwrap();
        assert!(off > 0.0 && off < 1e-5, "{distance}");
    }
}

#[test]
fn ranges_are_verified_at_three_shapes() {
    let folder = Folder::new();
    let found =
        json(&["verify", &folder.mixed(), "-i", "[(1,8);(3,8);(9,8)]", "--take-all", "--runs", "1"], 0);
    let inputs: Vec<_> =
        found["runs"].as_array().unwrap().iter().map(|r| r["inputs"][0].as_str().unwrap()).collect();
    assert_eq!(inputs, ["f32[3,8]", "f32[1,8]", "f32[9,8]"]);
}

#[test]
fn given_inputs_are_used() {
    let folder = Folder::new();
    let x = Tensor::full([2, 8], f64::NAN, (Kind::Float, Device::Cpu));
    Tensor::write_npz(&[("x", &x)], folder.path("in.npz")).unwrap();
    Tensor::write_safetensors(&[("x", &x)], folder.path("in.safetensors")).unwrap();
    // Where all is NaN, which elements are the largest is anybody's guess.
    for file in ["in.npz", "in.safetensors"] {
        let found = json(
            &[
                "verify",
                &folder.mixed(),
                "--inputs",
                &folder.path(file),
                "--take-all",
                "-i",
                "scale=2.0",
                "--agreement",
                "0",
            ],
            0,
        );
        assert_eq!(found["runs"][0]["outputs"][0]["nan"], serde_json::json!([16, 16]), "{found}");
    }
    text(&["verify", &folder.mixed(), "--inputs", &folder.path("none.npz")], 2);
    std::fs::write(folder.path("bad.npz"), b"PK\x03\x04 not much of an archive").unwrap();
    text(&["verify", &folder.mixed(), "--inputs", &folder.path("bad.npz")], 2);
}

#[test]
fn why_no_engine_of_a_file_serves_is_told() {
    let folder = Folder::new();
    let model =
        folder.model("dense.pt", "def forward(self, x):\n    return torch.tanh(torch.mm(x, x.t()))\n");
    let saved = folder.path("saved.pt");
    let made = ["compile", &model, "-i", "[(4,16);(8,16);(8,16)]", "--take-all", "-o", &saved];
    let said = text(&made, 0);
    assert!(said.contains("for sizes within x: [4, 16] to [8, 16]; others are the host's"), "{said}");
    let bounds = serde_json::json!([{"argument": "x", "ranges": [{"min": [4, 16], "max": [8, 16]}]}]);
    assert_eq!(json(&made, 0)["bounds"], bounds);
    let verify = |spec: &str| text(&["verify", &saved, "-i", spec, "--runs", "1"], 1);
    let outside = verify("(9,16)");
    assert!(
        outside.contains("engines are for [4, 16] to [8, 16]") && !outside.contains("RUST_LOG"),
        "{outside}"
    );
    let other = verify("(8,16)@f64");
    assert!(other.contains("compiled for arguments of other element types"), "{other}");
}

#[test]
fn files_without_engines_are_called_that() {
    let folder = Folder::new();
    let model = folder.model("small.pt", "def forward(self, x):\n    return x + 1.0\n");
    let saved = folder.path("saved.pt");
    let said = text(&["compile", &model, "-i", "(4,16)", "-o", &saved], 0);
    assert!(said.contains("there is no engine in it"), "{said}");
    let said = text(&["verify", &saved, "-i", "(4,16)", "--runs", "1"], 1);
    assert!(said.contains("the file has no engine"), "{said}");
}

#[test]
fn values_are_called_what_they_are() {
    let folder = Folder::new();
    let source =
        "def forward(self, at, scale: float = 1.0):\n    return torch.embedding(self.w, at) * scale\n";
    let model = folder.model("table.pt", source);
    let found = json(&["verify", &model, "-i", "(4)@i64[0,8)", "--take-all", "--runs", "2"], 0);
    assert_eq!(
        (&found["runs"][0]["values"], &found["runs"][1]["values"]),
        (&"random".into(), &"random".into())
    );
    for command in ["verify", "inspect", "bench"] {
        let said = json(&[command, &model, "-i", "(4)"], 2)["error"].to_string();
        assert!(said.contains("@i64[0,N)"), "{said}");
    }
}

#[test]
fn threads_are_those_of_a_call() {
    let folder = Folder::new();
    let of = |n: &str| {
        json(&["inspect", &folder.mixed(), "-i", "(4,8)", "--threads", n], 0)["backend"].to_string()
    };
    assert!(of("1").contains(", 1 thread\"") && of("3").contains(", 3 threads\""), "{} {}", of("1"), of("3"));
}

#[test]
fn little_in_engines_and_what_is_not_compared_are_told() {
    let folder = Folder::new();
    let source = "
def forward(self, x):
    for i in range(3):
        x = torch.matmul(torch.real(torch.fft_fft(x)), self.w)
    return torch.tanh(x), 'name'
";
    let model = folder.model("little.pt", source);
    let arguments =
        ["verify", &model, "-i", "(4,8)", "--take-all", "--runs", "2", "--exclude-op", "aten::matmul"];
    let found = json(&arguments, 0);
    let notes = found["notes"].to_string();
    assert!(found["fraction"].as_f64().unwrap() < 0.5 && found["served"].as_u64().unwrap() > 0, "{found}");
    assert!(notes.contains("of the rest the host was compared with itself"), "{notes}");
    assert_eq!(notes.matches("neither tensors nor numbers, not compared: output.1").count(), 1, "{notes}");
    let timed = json(
        &[&["bench"], &arguments[1..5], &["--duration", "0.1", "--warmup", "0"], &arguments[7..]].concat(),
        0,
    );
    assert!(timed["notes"].to_string().contains("of the operations, and "), "{timed}");
}

#[test]
fn engines_of_a_file_that_are_damaged_are_told() {
    let folder = Folder::new();
    let model =
        folder.model("dense.pt", "def forward(self, x):\n    return torch.tanh(torch.matmul(x, self.w))\n");
    let (saved, inputs) = (folder.path("saved.pt"), folder.path("in.npz"));
    json(&["compile", &model, "-i", "(4,8)", "--take-all", "--weights", "embed", "-o", &saved], 0);
    let mut bytes = std::fs::read(&saved).unwrap();
    // Within the plan, which begins with its mark.
    let at = bytes.windows(8).position(|w| w == b"\x8fTRTPLN\n").expect("the file holds a plan");
    bytes[at + 200] ^= 1;
    std::fs::write(&saved, bytes).unwrap();
    Tensor::write_npz(&[("x", Tensor::ones([4, 8], (Kind::Float, Device::Cpu)))], &inputs).unwrap();
    let out = folder.path("out.npz");
    for command in [
        &["verify", &saved, "-i", "(4,8)", "--runs", "1"][..],
        &["bench", &saved, "-i", "(4,8)", "--duration", "0.1", "--warmup", "0"],
        &["run", &saved, "--inputs", &inputs, "-o", &out],
    ] {
        let notes = json(command, 0)["notes"].to_string();
        assert!(
            notes.contains("its engine is built anew: ") && notes.contains("damaged"),
            "{command:?}: {notes}"
        );
        assert!(text(command, 0).contains("note: forward, engine 0: its engine is built anew"));
    }
}
