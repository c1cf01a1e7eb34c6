//! `tch-trt bench`.

use super::{Folder, json, text, tool};

#[test]
fn contenders_are_timed_in_turns_and_layers_add_up() {
    let folder = Folder::new();
    let svg = folder.path("latency.svg");
    let model = folder.mixed();
    let arguments = [
        "bench",
        &model,
        "-i",
        "(64,8)",
        "--take-all",
        "--duration",
        "0.2",
        "--warmup",
        "0.05",
        "--compare",
        "host,jit",
        "--layers",
        "--svg",
        &svg,
    ];
    let found = json(&arguments, 0);
    let contenders = found["contenders"].as_array().unwrap();
    let names: Vec<_> = contenders.iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["engines", "host", "jit"]);
    for contender in contenders {
        let of = |key: &str| contender[key].as_f64().unwrap();
        let rising = ["min_us", "median_us", "p90_us", "p95_us", "p99_us", "max_us"].map(of);
        assert!(rising.is_sorted() && rising[0] > 0.0, "{contender}");
        assert!(of("throughput") > 0.0 && contender["turns_us"].as_array().unwrap().len() == 10);
    }
    assert!(
        contenders[0]["engines_ahead"].is_null() && contenders[1]["engines_ahead"][0].as_f64().unwrap() > 0.0
    );
    let layers = &found["layers"];
    let of = |key: &str| layers[key].as_f64().unwrap();
    assert!((of("engines_us") + of("host_us") - of("whole_us")).abs() < 1e-6 * of("whole_us"));
    let engines = layers["engines"].as_array().unwrap();
    assert_eq!(engines.len(), 2);
    for engine in engines {
        let steps: f64 = engine["steps"].as_array().unwrap().iter().map(|s| s["us"].as_f64().unwrap()).sum();
        assert!((steps - engine["sum_us"].as_f64().unwrap()).abs() < 1e-3, "{engine}");
        assert!(steps > 0.0 && steps <= engine["whole_us"].as_f64().unwrap(), "{engine}");
    }
    assert!(folder.read("latency.svg").starts_with("<svg"));
}

#[test]
fn several_callers_share_the_engines() {
    let folder = Folder::new();
    let model = folder.mixed();
    let arguments = [
        "bench",
        &model,
        "-i",
        "(4,8)",
        "--take-all",
        "--duration",
        "0.1",
        "--warmup",
        "0",
        "--streams",
        "3",
        "--threads",
        "1",
    ];
    let found = json(&arguments, 0);
    assert_eq!((found["streams"].as_u64(), found["threads"].as_u64()), (Some(3), Some(1)));
    assert!(text(&arguments, 0).contains("3 callers"));
}

#[test]
fn a_picture_that_cannot_be_written_costs_no_measurement() {
    let folder = Folder::new();
    let model = folder.mixed();
    let bench = |svg: &str, duration: &str| {
        let output =
            tool(&["bench", &model, "-i", "(4,8)", "--duration", duration, "--warmup", "0", "--svg", svg]);
        let words = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (output.status.code(), words)
    };
    let (status, [said, errors]) = bench(&folder.path("no/such/a.svg"), "3600");
    assert!(status == Some(2) && said.is_empty() && errors.contains("cannot write"), "{errors}");
    let (status, [said, _]) = bench("/dev/full", "0.1");
    assert!(
        status == Some(1) && said.contains("calls/s") && said.contains("error: cannot write /dev/full"),
        "{said}"
    );
    let page = folder.path("");
    for command in [
        &["inspect", &model, "-i", "(4,8)", "--html", &page][..],
        &["compile", &model, "-i", "(4,8)", "-o", &folder.path("no/such/a.pt")],
        &["verify", &model, "-i", "(4,8)", "--bisect", "--out", &format!("{model}/below")],
    ] {
        let said = json(command, 2)["error"].to_string();
        assert!(said.contains("cannot write"), "{said}");
    }
}

#[test]
fn without_engines_nothing_is_called_theirs() {
    let folder = Folder::new();
    let model = folder.model("fft.pt", "def forward(self, x):\n    return torch.real(torch.fft_fft(x))\n");
    let arguments =
        ["bench", &model, "-i", "(4,8)", "--duration", "0.1", "--warmup", "0", "--compare", "host"];
    let found = json(&arguments, 0);
    assert_eq!(found["contenders"][0]["name"], "without engines");
    assert!(found["contenders"][1]["engines_ahead"].is_null(), "{found}");
}
