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
fn what_is_not_there_yet_is_refused() {
    let folder = Folder::new();
    let (dense, out) = (folder.model("dense.pt", DENSE), folder.path("out.pt"));
    for (option, value, why) in
        [("--precision", "int8", "it takes: model, f16, bf16"), ("--weights", "embed", "not there yet")]
    {
        let output = tool(&["compile", &dense, "-o", &out, "-i", "(4,8)", option, value]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(errors.contains(why), "{errors}");
    }
    assert!(!std::path::Path::new(&out).exists());
}
