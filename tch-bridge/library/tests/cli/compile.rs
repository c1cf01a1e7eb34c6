//! `tch-trt compile`.

use super::{Folder, json, text, tool, tool_with};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

const DENSE: &str = "
def forward(self, x):
    return torch.softmax(torch.relu(torch.matmul(x, self.w)), -1)

def other(self, x):
    return torch.tanh(x) * torch.sigmoid(x)
";

fn served(found: &Value) -> u64 {
    found["served"].as_u64().unwrap()
}

#[test]
fn a_compiled_file_is_a_model_like_any_other() {
    let folder = Folder::new();
    let (model, out, again) = (folder.mixed(), folder.path("out.pt"), folder.path("again.pt"));
    let compiled = json(
        &[
            "compile",
            &model,
            "-o",
            &out,
            "-i",
            "(4,8)",
            "-i",
            "[(1,8);(2,8);(3,8)]",
            "-i",
            "(2,2,8)",
            "--take-all",
        ],
        0,
    );
    assert_eq!(compiled["sets"].as_array().unwrap().len(), 5, "{compiled}");
    assert_eq!(compiled["forms"].as_array().unwrap().len(), 2, "{compiled}");
    assert_eq!(compiled["full"], false);
    assert!(compiled["forms"][0]["host"].to_string().contains("fft"), "{compiled}");
    let shapes = |form: usize| compiled["forms"][form]["engines"][0]["shapes"].as_array().unwrap().len();
    assert_eq!((shapes(0), shapes(1)), (1, 4), "{compiled}");
    // The tool compiles it as it does the original.
    let verified = json(&["verify", &out, "-i", "(4,8)", "--take-all"], 0);
    assert!(served(&verified) > 0 && verified["passed"] == true, "{verified}");
    let once_more = json(&["compile", &out, "-o", &again, "-i", "(4,8)", "--take-all"], 0);
    assert_eq!(once_more["forms"].as_array().unwrap().len(), 1, "{once_more}");
    let inspected = json(&["inspect", &again, "-i", "(4,8)", "--take-all"], 0);
    assert_eq!(inspected["engines"].as_array().unwrap().len(), 2, "{inspected}");
}

#[test]
fn bounds_are_those_of_each_argument() {
    let folder = Folder::new();
    let model = folder.model(
        "two.pt",
        "def forward(self, x, y):\n    return torch.tanh(torch.matmul(x, self.w)), torch.tanh(torch.matmul(y, self.w))\n",
    );
    let (out, small, large) = (folder.path("out.pt"), "[(1,8);(2,8);(4,8)]", "[(16,8);(20,8);(20,8)]");
    let arguments =
        ["compile", &model, "-o", &out, "--take-all", "-i", small, "-i", small, "-i", large, "-i", large];
    let said = text(&arguments, 0);
    let (small, large) = ("[1, 8] to [4, 8]", "[16, 8] to [20, 8]");
    let sizes = format!("x: {small} or {large} and y: {small} or {large}, each argument by itself");
    assert!(said.contains(&format!("for sizes within {sizes}; others are the host's")), "{said}");
    let ranges = &json(&arguments, 0)["bounds"][1]["ranges"];
    assert_eq!(ranges[1], serde_json::json!({"min": [16, 8], "max": [20, 8]}));
    let verify = |x: &str, y: &str, code| json(&["verify", &out, "-i", x, "-i", y, "--runs", "1"], code);
    assert!(served(&verify("(4,8)", "(20,8)", 0)) > 0);
    assert_eq!(served(&verify("(4,8)", "(10,8)", 1)), 0);
}

#[test]
fn what_has_to_be_full_is_or_is_not_written() {
    let folder = Folder::new();
    let (mixed, out) = (folder.mixed(), folder.path("out.pt"));
    let said = text(&["compile", &mixed, "-o", &out, "-i", "(4,8)", "--take-all", "--require-full"], 1);
    assert!(said.contains("aten::fft_fft") && said.contains("nothing was written"), "{said}");
    assert!(!std::path::Path::new(&out).exists());
    let dense = folder.model("dense.pt", DENSE);
    let said = text(&["compile", &dense, "-o", &out, "-i", "(4,8)", "--take-all", "--require-full"], 0);
    assert!(said.contains("written to"), "{said}");
}

#[test]
fn engines_go_into_the_file_where_that_is_asked_for() {
    let folder = Folder::new();
    let (dense, small, large) =
        (folder.model("dense.pt", DENSE), folder.path("small.pt"), folder.path("large.pt"));
    let compile = |out: &str, more: &[&str]| {
        json(&[&["compile", &dense, "-o", out, "-i", "(4,8)", "-i", "(2,8)", "--take-all"], more].concat(), 0)
    };
    let referenced = compile(&small, &[]);
    assert_eq!((&referenced["weights"], &referenced["embedded"]), (&"reference".into(), &0.into()));
    let embedded = compile(&large, &["--weights", "embed"]);
    assert_eq!((&embedded["weights"], &embedded["embedded"]), (&"embed".into(), &2.into()), "{embedded}");
    assert!(embedded["bytes"].as_u64() > referenced["bytes"].as_u64(), "{embedded}");
    let said = text(&["compile", &dense, "-o", &large, "-i", "(4,8)", "--take-all", "--weights", "embed"], 0);
    assert!(said.contains("with 1 engine in it"), "{said}");
    assert_eq!(json(&["verify", &large, "-i", "(4,8)", "--take-all"], 0)["passed"], true);
}

#[test]
fn every_level_gives_the_same_answers() {
    let folder = Folder::new();
    let model = folder.model(
        "convolution.pt",
        "
def forward(self, x):
    k = self.w.view(1, 1, 8, 8).expand(16, 3, 8, 8).contiguous()
    return torch.relu(torch.conv2d(x, k[:, :, :3, :3], None, 1, 1))
",
    );
    for level in ["0", "1", "2"] {
        let found =
            json(&["verify", &model, "-i", "(1,3,12,12)", "--take-all", "--runs", "1", "--level", level], 0);
        assert_eq!((&found["passed"], &found["served"]), (&true.into(), &1.into()), "{level}: {found}");
    }
    let timed = tool_with(
        &[("RUST_LOG", "trt_subgraph=debug"), ("TRT_CACHE_DIR", "off")],
        &["verify", &model, "-i", "(1,3,12,13)", "--take-all", "--level", "2"],
    );
    let told = String::from_utf8(timed.stderr).unwrap();
    assert!(["tiles takes", "onednn takes"].iter().all(|way| told.contains(way)), "{told}");
    let guessed = tool_with(
        &[("RUST_LOG", "trt_subgraph=debug"), ("TRT_CACHE_DIR", "off")],
        &["verify", &model, "-i", "(1,3,12,13)", "--take-all"],
    );
    assert!(!String::from_utf8(guessed.stderr).unwrap().contains("tiles takes"));
}

#[test]
fn plans_beside_the_file_run_alone() {
    let folder = Folder::new();
    let (dense, out, plans) =
        (folder.model("dense.pt", DENSE), folder.path("out.pt"), folder.path("new/plans"));
    let specs = ["-i", "(4,8)", "-i", "(2,8)", "--take-all"];
    let compiled = json(&[&["compile", &dense, "-o", &out, "--plan-dir", &plans], &specs[..]].concat(), 0);
    let names = [format!("{plans}/engine-0-4x8.plan"), format!("{plans}/engine-0-2x8.plan")];
    assert_eq!(compiled["plans"], serde_json::json!(names));
    let x = Tensor::arange(32, (Kind::Float, Device::Cpu)).view([4, 8]) / 7.0;
    let inputs = folder.path("in.npz");
    Tensor::write_npz(&[("x", &x)], &inputs).unwrap();
    let facts = json(&["plan", "info", &names[0]], 0);
    assert_eq!(facts["inputs"][0], serde_json::json!({"name": "x", "type": "f32[4,8]"}));
    assert_eq!((&facts["holds_weights"], &facts["engines"][0]["fits_here"]), (&true.into(), &true.into()));
    let answer = |command: &[&str]| {
        let file = folder.path("answer.npz");
        json(&[command, &["--inputs", &inputs, "-o", &file]].concat(), 0);
        Tensor::read_npz(&file).unwrap().remove(0).1
    };
    let (alone, host) = (answer(&["plan", "run", &names[0]]), answer(&["run", &dense, "--host"]));
    assert!(alone.allclose(&host, 1e-5, 1e-6, false), "{alone}\n{host}");
}

#[test]
fn inputs_of_plans_have_the_names_of_arguments() {
    let folder = Folder::new();
    let source = "
def forward(self, first, second):
    y = torch.tanh(torch.matmul(first, self.w))
    return y, torch.relu(torch.matmul(y, self.w)) + second
";
    let (model, out, plans) = (folder.model("two.pt", source), folder.path("out.pt"), folder.path("plans"));
    let specs = ["-i", "(4,8)", "-i", "(1,8)", "--take-all"];
    let compiled = json(&[&["compile", &model, "-o", &out, "--plan-dir", &plans], &specs[..]].concat(), 0);
    let plan = json(&["plan", "info", compiled["plans"][0].as_str().unwrap()], 0);
    let inputs = plan["inputs"].as_array().unwrap();
    let type_of = |name: &str| inputs.iter().find(|i| i["name"] == name).map(|i| &i["type"]);
    assert_eq!(type_of("first"), Some(&"f32[4,8]".into()), "{plan}");
    assert_eq!(type_of("second"), Some(&"f32[1,8]".into()), "{plan}");
}

#[test]
fn what_does_not_exist_is_refused() {
    let folder = Folder::new();
    let (dense, out) = (folder.model("dense.pt", DENSE), folder.path("out.pt"));
    for (option, value, why) in [
        ("--precision", "int8", "it takes: model, f16, bf16"),
        ("--level", "3", "it takes: 0, 1, 2"),
        ("--weights", "shared", "possible values: reference, embed"),
        ("--exclude-module", "layer4", "no submodule layer4 to leave on the host: it has none"),
    ] {
        let output = tool(&["compile", &dense, "-o", &out, "-i", "(4,8)", option, value]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(errors.contains(why), "{errors}");
    }
    assert!(!std::path::Path::new(&out).exists());
}

/// The first size of a file is served at once. Engines for the others are built beside, for which libtorch shows how their results lie: it may
/// be at work when all is said.
#[test]
fn a_process_that_ends_while_engines_are_built_ends_well() {
    let folder = Folder::new();
    let weights = "    w = self.w.repeat(24, 24).view(64, 64, 3, 3) * 0.02\n";
    let steps = "    x = torch.tanh(torch.conv2d(x, w, padding=[1, 1]))\n".repeat(60);
    let model = folder.model("deep.pt", &format!("\ndef forward(self, x):\n{weights}{steps}    return x\n"));
    let (out, given, result) = (folder.path("out.pt"), folder.path("given.npz"), folder.path("result.npz"));
    text(&["compile", &model, "-o", &out, "-i", "[(1,64,48,48);(2,64,48,48);(3,64,48,48)]"], 0);
    let image = tch::Tensor::rand([2, 64, 48, 48], tch::kind::FLOAT_CPU);
    tch::Tensor::write_npz(&[("x", image)], &given).unwrap();
    for _ in 0..8 {
        text(&["run", &out, "--inputs", &given, "-o", &result], 0);
    }
}
