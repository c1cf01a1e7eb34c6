//! Usage, bad input, and what needs no model.

use super::{Folder, json, text, tool, tool_with};

fn error(arguments: &[&str]) -> String {
    let output = tool(arguments);
    assert_eq!(output.status.code(), Some(2), "of {arguments:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn bad_usage_and_bad_input_give_status_2_and_say_what_to_do() {
    let folder = Folder::new();
    let model = folder.mixed();
    assert!(error(&["inspect"]).contains("MODEL"));
    assert!(error(&["inspect", "no/such/model.pt"]).contains("no/such/model.pt"));
    let spec = error(&["inspect", &model, "--input", "(1,2"]);
    assert!(spec.contains("'(1,2' for '--input <SPEC>': column 5: expected `,`"), "{spec}");
    let missing = error(&["verify", &model]);
    assert!(
        missing.contains("no input is given for `x`; the method takes x: Tensor, scale: float (optional)"),
        "{missing}"
    );
    let name = error(&["bench", &model, "-i", "y=(2,8)"]);
    assert!(name.contains("there is no argument `y`"), "{name}");
    let twice = error(&["bench", &model, "-i", "x=(2,8)", "-i", "x=(2,8)"]);
    assert!(twice.contains("given twice"), "{twice}");
    let placed = error(&["bench", &model, "-i", "(2,8)", "-i", "x=(2,8)"]);
    assert!(placed.contains("`x` is given twice: by its name, and by its place as (2,8)@f32"), "{placed}");
    let shape = error(&["inspect", &model, "-i", "(2,7)"]);
    assert!(shape.contains("the model failed") && !shape.contains("frame #"), "{shape}");
    let method = error(&["inspect", &model, "--method", "forwrd"]);
    assert!(method.contains("no method `forwrd`; there are: forward; is forward meant?"), "{method}");
    let backend = error(&["inspect", &model, "--backend", "abacus"]);
    assert!(backend.contains("it takes: auto, cpu"), "{backend}");
    let usage = |more: &[&str]| error(&[&["verify", &model, "-i", "(2,8)"], more].concat());
    for (more, why) in [
        (["--rtol", "nan"], "a number from 0"),
        (["--atol", "-1"], "a number from 0"),
        (["--agreement", "2"], "a number from 0 to 1"),
        (["--exclude-op", "aten::gellu"], "is aten::gelu or"),
        (["--exclude-op", "relux"], "is aten::relu"),
        (["--parity-guard", "0.01"], "it goes with --precision f16 or bf16"),
        (["--library", "no/such/library.so"], "no/such/library.so: cannot open"),
    ] {
        let said = usage(&more);
        assert!(said.contains(why), "{said}");
    }
    let page = folder.path("page");
    let both = error(&["inspect", &model, "-i", "(2,8)", "--html", &page, "--dot", &page]);
    assert!(both.contains("the same file"), "{both}");
    let bare = error(&["inspect", &model, "-i", "2,8"]);
    assert!(bare.contains("as in (1,3,224,224)"), "{bare}");
    std::fs::write(folder.path("text.pt"), "hello").unwrap();
    assert!(error(&["inspect", &folder.path("text.pt"), "-i", "(2,8)"]).contains("not a TorchScript file"));
}

#[test]
fn a_command_line_that_is_not_understood_is_told_as_json_too() {
    let told = json(&["inspect", "model.pt", "--input", "(1,2"], 2);
    let error = told["error"].as_str().unwrap();
    assert!(error.contains("column 5: expected `,` or `)`") && !error.contains("--help"), "{error}");
}

#[test]
fn variables_that_mean_nothing_are_told_once() {
    let folder = Folder::new();
    let model = folder.mixed();
    let lost = folder.path("no/such/report.txt");
    let unknown = [("TRT_EXCLUDE_OPS", "aten::softmaxx")];
    let said = String::from_utf8(tool_with(&unknown, &["env"]).stdout).unwrap();
    assert!(
        said.contains("note: TRT_EXCLUDE_OPS: aten::softmaxx is to stay on the host, but torch has no"),
        "{said}"
    );
    let variables = [("TRT_EXCLUDE_OPS", "aten::softmaxx,aten::relu"), ("TRT_REPORT", &lost)];
    let output = tool_with(&variables, &["verify", &model, "-i", "(4,8)", "--take-all"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    assert_eq!(
        errors.matches("aten::softmaxx is to stay on the host, but torch has no such operator").count(),
        1
    );
    assert!(errors.contains("is aten::softmax") && !errors.contains("aten::relu"), "{errors}");
    assert_eq!(errors.matches(&format!("TRT_REPORT: cannot write {lost}")).count(), 1, "{errors}");
}

#[test]
fn what_torch_cannot_allocate_is_told_without_its_stack() {
    let folder = Folder::new();
    let model = folder.mixed();
    for spec in ["(1000000,1000000)", "(1000000,1000000)@i64[0,9)"] {
        let said = error(&["inspect", &model, "-i", spec]);
        assert!(said.contains("no tensor can be made for"), "{said}");
        assert!(
            !said.contains("frame #") && !said.contains("enforce fail") && said.lines().count() == 1,
            "{said}"
        );
    }
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_no_files() {
    let folder = Folder::new();
    let (model, plan) = (folder.mixed(), super::plan::saved(&folder));
    let pipe = folder.path("pipe.npz");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for file in [&pipe, "/dev/zero", &folder.path("")] {
        for arguments in [
            &["plan", "info", file][..],
            &["inspect", file, "-i", "(4,8)"],
            &["run", &model, "--inputs", file, "-o", "out.npz"],
            &["plan", "run", &plan, "--inputs", file, "-o", "out.npz"],
        ] {
            let said = error(arguments);
            assert!(said.contains("not a regular file") || said.contains("must end in .npz"), "{said}");
        }
    }
}

#[test]
fn a_failure_is_json_too() {
    let found = json(&["inspect", "no/such/model.pt"], 2);
    assert!(found["error"].as_str().unwrap().contains("no/such/model.pt"), "{found}");
    let missing = json(&["run"], 2)["error"].as_str().unwrap().to_string();
    assert!(missing.contains("<MODEL>") && missing.lines().count() == 1, "{missing}");
}

#[test]
fn backends_and_variables_are_listed() {
    let found = json(&["backends"], 0);
    let names: Vec<_> =
        found["backends"].as_array().unwrap().iter().map(|b| b["name"].as_str().unwrap()).collect();
    assert!(["cuda", "cpu", "reference"].iter().all(|b| names.contains(b)), "{found}");
    assert!(text(&["backends"], 0).contains("reference"));
    let listed = json(&["env"], 0);
    let names: Vec<_> =
        listed["variables"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(names, tch_bridge::env::ALL.iter().map(|v| v.name).collect::<Vec<_>>());
    assert!(text(&["env"], 0).contains("USE_TRT"));
}

#[test]
fn completions_are_for_shells() {
    for (shell, word) in
        [("bash", "complete -F"), ("zsh", "#compdef tch-trt"), ("fish", "complete -c tch-trt")]
    {
        let script = text(&["completions", shell], 0);
        assert!(script.contains(word) && script.contains("inspect"), "{shell}");
    }
    let typed = "COMP_WORDS=(tch-trt verify --agai); COMP_CWORD=2; _tch__trt tch-trt --agai verify; echo ${COMPREPLY[@]}";
    let script = format!("{}\n{typed}", text(&["completions", "bash"], 0));
    let found = std::process::Command::new("bash").args(["-c", &script]).output().expect("bash runs");
    assert_eq!(String::from_utf8_lossy(&found.stdout).trim(), "--against", "{found:?}");
}

#[test]
fn an_operator_without_its_library_is_one_line() {
    let folder = Folder::new();
    let model = folder.model("own.pt", "def forward(self, x):\n    return torch.neg(x)\n");
    let mut bytes = std::fs::read(&model).unwrap();
    let at = bytes.windows(9).position(|w| w == b"torch.neg").unwrap();
    bytes[at..at + 9].copy_from_slice(b"ops.a.neg");
    std::fs::write(&model, bytes).unwrap();
    let said = error(&["inspect", &model, "-i", "(2)"]);
    assert!(
        said.contains("the operator a::neg, which is not registered; give its library by --library FILE: `"),
        "{said}"
    );
    assert!(said.contains("return ops.a.neg(x)`, ") && said.lines().count() == 1, "{said}");
}
