//! `tch-trt inspect`.

use super::{Folder, json, text, tool_with};
use serde_json::Value;

fn names(nodes: &[Value], engine: Option<u64>) -> Vec<&str> {
    nodes.iter().filter(|n| n["engine"].as_u64() == engine).map(|n| n["name"].as_str().unwrap()).collect()
}

#[test]
fn nodes_engines_and_reasons_are_told() {
    let folder = Folder::new();
    let found = json(&["inspect", &folder.mixed(), "-i", "(4,8)", "--take-all"], 0);
    let nodes = found["nodes"].as_array().unwrap();
    let engines = found["engines"].as_array().unwrap();
    assert_eq!(engines.len(), 2, "{found}");
    assert!(names(nodes, Some(0)).contains(&"aten::softmax.int"));
    assert!(names(nodes, Some(1)).contains(&"aten::topk"));
    let fourier = nodes.iter().find(|n| n["name"] == "aten::fft_fft").unwrap();
    assert!(
        fourier["engine"].is_null() && fourier["reason"].as_str().unwrap().contains("no such operator"),
        "{fourier}"
    );
    assert!(fourier["place"].as_str().unwrap().contains("torch.fft_fft"), "{fourier}");
    let first = &engines[0];
    assert_eq!(first["inputs"], serde_json::json!(["f32[4,8]"]));
    assert!(first["operations"].as_f64().unwrap() >= 2.0 * 4.0 * 8.0 * 8.0);
    let layers = first["layers"].as_array().unwrap();
    assert!(layers.len() < first["layers_before"].as_u64().unwrap() as usize, "{first}");
    assert!(layers.iter().any(|l| l["kind"] == "softmax"), "{first}");
    assert!(!first["steps"].as_array().unwrap().is_empty());
    let fraction = found["fraction"].as_f64().unwrap();
    assert!(fraction > 0.5 && fraction < 1.0, "{fraction}");
}

#[test]
fn what_is_excluded_is_priced_by_its_layers() {
    let folder = Folder::new();
    let arguments = ["inspect", &folder.mixed(), "-i", "(4,8)", "--take-all", "--exclude-op", "aten::matmul"];
    let found = json(&arguments, 0);
    let nodes = found["nodes"].as_array().unwrap();
    let product = nodes.iter().find(|n| n["name"] == "aten::matmul").unwrap();
    assert!(product["engine"].is_null());
    assert_eq!(product["operations"], 2.0 * 4.0 * 8.0 * 8.0);
    assert!(text(&arguments, 0).contains("excluded by the options"));
}

#[test]
fn formats_and_what_computes_nothing_are_told() {
    let folder = Folder::new();
    let image = folder.model("image.pt", "def forward(self, x):\n    return torch.relu(x)\n");
    let found = json(&["inspect", &image, "-i", "(1,3,8,8)%channels_last"], 0);
    assert_eq!(found["inputs"][0], "x: f32[1,3,8,8]%channels_last");
    assert_eq!(json(&["inspect", &image, "-i", "(1,3,8,8)"], 0)["inputs"][0], "x: f32[1,3,8,8]");
    let bare = folder.model("bare.pt", "def forward(self, x):\n    return [x]\n");
    let said = text(&["inspect", &bare, "-i", "(2)"], 0);
    assert!(said.contains("no engine: the host runs 1 node, none of which computes"), "{said}");
}

#[test]
fn the_page_stands_alone_and_holds_the_facts() {
    let folder = Folder::new();
    let (html, dot) = (folder.path("graph.html"), folder.path("graph.dot"));
    let found =
        json(&["inspect", &folder.mixed(), "-i", "(4,8)", "--take-all", "--html", &html, "--dot", &dot], 0);
    let page = folder.read("graph.html");
    for foreign in ["http://", "https://", "src=", "@import"] {
        let used = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!used.contains(foreign), "the page refers to {foreign}");
    }
    let start = page.find("const DATA = ").unwrap() + "const DATA = ".len();
    let end = start + page[start..].find(";\nconst {").unwrap();
    let data: Value = serde_json::from_str(&page[start..end]).unwrap();
    assert_eq!(data["inspection"]["nodes"], found["nodes"]);
    let cards = data["blocks"][0]["drawing"]["cards"].as_array().unwrap();
    assert!(cards.len() > found["nodes"].as_array().unwrap().len(), "nodes, an input and outputs");
    assert!(folder.read("graph.dot").starts_with("digraph"));
}

#[test]
fn checks_of_the_code_are_one_line_and_writes_are_explained() {
    let folder = Folder::new();
    let model = folder.model(
        "checked.pt",
        "
def forward(self, x):
    assert x.size(0) > 1, 'a batch of {}'.format(x.size(0))
    assert x.size(1) == 8, 'rows of {}'.format(x.size(1))
    y = torch.matmul(x, self.w)
    z = torch.exp(y)
    z.mul_(2.0)
    return torch.tanh(z)
",
    );
    let said = text(&["inspect", &model, "-i", "(4,8)", "--take-all"], 0);
    let host = &said[said.find("host: ").unwrap()..said.find("every node").unwrap()];
    assert!(!host.contains("aten::format") && host.matches("prim::RaiseException").count() == 1, "{said}");
    assert!(host.contains("in 2 places: they run where a check of the model's code fails"), "{said}");
    assert!(said.contains("trt::laid_as gives the value in place of a write"), "{said}");
    assert!(said.contains("the switch is off: in other programs"), "{said}");
    let found = json(&["inspect", &model, "-i", "(4,8)", "--take-all"], 0);
    let laid = found["nodes"].as_array().unwrap().iter().find(|n| n["name"] == "trt::laid_as").unwrap();
    assert!(laid["place"].as_str().unwrap().contains("z.mul_(2.0)"), "{laid}");
    let on = tool_with(&[("USE_TRT", "1")], &["inspect", &model, "-i", "(4,8)"]);
    assert!(!String::from_utf8(on.stdout).unwrap().contains("the switch is off"));
}

#[test]
fn specs_reach_nested_and_named_arguments() {
    let folder = Folder::new();
    let model = folder.model(
        "nested.pt",
        "
def forward(self, pair: Tuple[Tensor, Tensor], more: List[Tensor], named: Dict[str, Tensor], n: int, flag: bool, p: Optional[float] = None):
    x = torch.relu(pair[0] + pair[1]) + more[0] * named['a']
    if flag:
        x = torch.tanh(x + n)
    return x
",
    );
    let found = json(
        &[
            "inspect",
            &model,
            "--take-all",
            "-i",
            r#"["(2,8)","(2,8)"]"#,
            "-i",
            r#"["(2,8)"]"#,
            "-i",
            "n=3",
            "-i",
            "flag=true",
            "-i",
            r#"named={"a":"(2,8)"}"#,
        ],
        0,
    );
    assert_eq!(found["inputs"][3], "n: 3");
    assert_eq!(found["inputs"][0], "pair: [f32[2,8], f32[2,8]]");
    assert!(!found["engines"].as_array().unwrap().is_empty(), "{found}");
}

#[test]
fn arguments_between_others_keep_their_defaults() {
    let folder = Folder::new();
    let source = "
def forward(self, x, n: int = 3, p: Optional[float] = 0.25, flag: bool = False):
    y = torch.tanh(torch.matmul(x, self.w)) + n
    if flag:
        y = torch.relu(y) * 2.0
    else:
        y = torch.softmax(torch.exp(y), -1)
    return y, n
";
    let model = folder.model("defaults.pt", source);
    let found = json(&["inspect", &model, "-i", "(2,8)", "-i", "flag=true", "--take-all"], 0);
    assert_eq!(found["inputs"], serde_json::json!(["x: f32[2,8]", "n: 3", "p: 0.25", "flag: true"]));
    let reason = |name: &str| {
        let node = found["nodes"].as_array().unwrap().iter().find(|n| n["name"] == name);
        node.unwrap()["reason"].as_str().unwrap_or_default().to_string()
    };
    assert!(reason("aten::softmax.int").contains("not seen in the observed run"), "{found}");
    assert!(reason("prim::TupleConstruct").contains("packs what the host needs"), "{found}");
    assert_eq!(reason("aten::relu"), "");
}
