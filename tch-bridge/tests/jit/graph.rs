use tch::{IValue, Kind, Tensor};
use tch_bridge::jit::{Graph, GraphFacts, Initial, Module, Node, Role, ValueType};

use crate::{assert_same, vector};

fn node<'a>(facts: &'a GraphFacts, kind: &str) -> &'a Node {
    facts.nodes.iter().find(|node| node.kind == kind).unwrap_or_else(|| panic!("no {kind}"))
}

fn facts(source: &str, attributes: &[(&str, Initial)]) -> GraphFacts {
    Module::from_source(source, attributes).unwrap().prepare("forward").unwrap().facts().unwrap()
}

#[test]
fn nodes_carry_schema_place_and_constants() {
    let facts = facts("def forward(self, x):\n  y = torch.add(x, x, alpha=3)\n  return y", &[]);
    let add = node(&facts, "aten::add");
    assert_eq!(add.overload, "Tensor");
    assert!(add.schema.starts_with("aten::add.Tensor(Tensor self, Tensor other"), "{}", add.schema);
    assert_eq!((add.place.line, add.place.text.as_str()), (2, "y = torch.add(x, x, alpha=3)"));
    let alpha = facts[facts[add.inputs[2]].producer.unwrap()].constant.as_ref();
    assert_eq!(alpha, Some(&IValue::Int(3)));
    assert_eq!(facts[add.outputs[0]].ty, ValueType::Tensor);
    assert!(!add.mutates && !add.side_effects && !add.view && !add.nondeterministic);
    assert_eq!(facts.blocks[0].inputs[1], add.inputs[0]);
    assert_eq!(facts.blocks[0].outputs, add.outputs);
}

#[test]
fn attributes_resolve_to_the_module_s_tensors() {
    let weight = vector(&[1.0]);
    let facts = facts(
        "def forward(self, x): return x * self.a.w + self.a.w",
        &[("a.w", Initial::Parameter(weight.shallow_clone()))],
    );
    let reads: Vec<_> = facts.nodes.iter().filter_map(|node| node.attribute.as_ref()).collect();
    assert_eq!(reads.iter().map(|read| read.path.as_str()).collect::<Vec<_>>(), ["a", "a.w"]);
    assert_eq!(reads[1].role, Role::Parameter);
    assert_eq!(reads[1].tensor.as_ref().unwrap().data_ptr(), weight.data_ptr());
}

#[test]
fn private_writes_become_functional() {
    let facts = facts("def forward(self, x): return torch.mul(x, 2).relu_()", &[]);
    assert!(facts.nodes.iter().any(|node| node.kind == "aten::relu"));
    assert!(facts.nodes.iter().all(|node| !node.mutates));
}

#[test]
fn writes_to_inputs_and_views_are_told() {
    let facts = facts(
        "def forward(self, x, y):\n  x.add_(1)\n  v = y.t()\n  z = y * self.w\n  return z, v",
        &[("w", Initial::Buffer(vector(&[1.0])))],
    );
    let write = node(&facts, "aten::add_");
    assert!(write.mutates);
    assert!(facts[write.inputs[0]].written && facts[write.inputs[0]].may_alias_input);
    let view = node(&facts, "aten::t");
    assert!(view.view && facts[view.outputs[0]].may_alias_input && facts[view.outputs[0]].may_alias_output);
    let product = node(&facts, "aten::mul");
    assert!(!facts[product.outputs[0]].may_alias_input && facts[product.outputs[0]].may_alias_output);
    assert!(!facts[product.inputs[1]].written, "a buffer of its own cannot be written through x");
}

#[test]
fn tied_weights_share_their_writes() {
    let source = "def forward(self, x):\n  self.a.add_(1)\n  return x * self.b";
    let written = |a: Tensor, b: Tensor| {
        let facts = facts(source, &[("a", Initial::Buffer(a)), ("b", Initial::Buffer(b))]);
        facts[node(&facts, "aten::mul").inputs[1]].written
    };
    let a = vector(&[1.0]);
    assert!(!written(a.shallow_clone(), vector(&[1.0])));
    assert!(written(a.shallow_clone(), a.view([1, 1])));
}

#[test]
fn norms_in_training_write_their_statistics() {
    let source = "def forward(self, x): return torch.batch_norm(x, None, None, self.m, self.v, TRAINING, 0.1, 1e-5, False)";
    for training in ["False", "True"] {
        let attributes = ["m", "v"].map(|name| (name, Initial::Buffer(vector(&[1.0]))));
        let facts = facts(&source.replace("TRAINING", training), &attributes);
        let norm = node(&facts, "aten::batch_norm");
        assert_eq!((norm.mutates, facts[norm.inputs[3]].written), (training == "True", training == "True"));
    }
}

#[test]
fn lists_of_parameters_become_the_parameters() {
    let w = vector(&[1.0]);
    let list = Initial::Value(IValue::TensorList(vec![w.view([1]), w.shallow_clone()]));
    let attributes = [("r.w", Initial::Parameter(w.shallow_clone())), ("r.flat", list)];
    let facts = facts("def forward(self, x): return torch.cat(self.r.flat) + x", &attributes);
    let list = &facts[facts[node(&facts, "aten::cat").inputs[0]].producer.unwrap()];
    assert_eq!(list.kind, "prim::ListConstruct");
    for element in &list.inputs {
        assert_eq!(facts[facts[*element].producer.unwrap()].attribute.as_ref().unwrap().path, "r.w");
    }
    assert_eq!(facts.folded, ["r.flat"]);
}

#[test]
fn branches_and_loops_nest() {
    let source = "def forward(self, x, n: int):\n  for i in range(n):\n    if i > 1:\n      x = x * 2\n    else:\n      \
                  x = x + 1\n  print(n)\n  return x";
    let facts = facts(source, &[]);
    let loop_node = node(&facts, "prim::Loop");
    let choice = node(&facts, "prim::If");
    assert_eq!(choice.block, loop_node.blocks[0]);
    assert_eq!(facts[choice.blocks[0]].nodes.len(), 1);
    assert_eq!(facts[loop_node.blocks[0]].inputs.len(), 2);
    assert!(node(&facts, "prim::Print").side_effects && !loop_node.side_effects);
}

#[test]
fn scalars_fold_until_they_change() {
    let module = Module::from_source(
        "def forward(self, x):\n  if self.training:\n    x = x * 2\n  return torch.add(x, self.k)",
        &[("k", Initial::Value(IValue::Int(5)))],
    )
    .unwrap();
    let graph = module.prepare("forward").unwrap();
    let facts = graph.facts().unwrap();
    assert!(facts.nodes.iter().all(|node| node.kind != "prim::If" && node.kind != "aten::mul"));
    assert_eq!(facts.folded, ["training", "k"]);
    assert!(graph.still_holds());
    module.set_training(true).unwrap();
    assert!(!graph.still_holds());
}

#[test]
fn branches_on_ranks_are_settled_by_a_run() {
    let source = "def forward(self, x):\n  assert x.dim() == 2 or x.dim() == 3\n  assert len(x.size()[1:]) < 3\n  \
                  assert x.size(0) > 0\n  if x.dim() == 2:\n    x = x.unsqueeze(0)\n  if x.squeeze().dim() == 2:\n    \
                  x = -x\n  return torch.relu(x)";
    let module = Module::from_source::<&str>(source, &[]).unwrap();
    let graph = module.prepare("forward").unwrap();
    let count = |graph: &Graph, kind: &str| {
        graph.facts().unwrap().nodes.iter().filter(|node| node.kind == kind).count()
    };
    let (_, seen) = graph.observe(&[IValue::Tensor(vector(&[1.0, 2.0]).view([1, 2]))]).unwrap();
    let settled = graph.assume(&seen).unwrap().expect("ranks decide some branches");
    let counts =
        |g: &Graph| (count(g, "prim::RaiseException"), count(g, "prim::If"), count(g, "aten::unsqueeze"));
    assert_eq!((counts(&graph).0, counts(&graph).2), (3, 1));
    assert_eq!(counts(&settled), (1, 2, 1), "sizes decide the others");
}

#[test]
fn prepared_graph_leaves_the_module_alone() {
    let module = Module::from_source::<&str>("def forward(self, x): return (x + 1).relu_()", &[]).unwrap();
    let before = module.method("forward").unwrap().graph_text().unwrap();
    let graph = module.prepare("forward").unwrap();
    assert_eq!(module.method("forward").unwrap().graph_text().unwrap(), before);
    assert!(graph.text().contains("aten::relu("));
    let x = Tensor::from_slice(&[-3.0f32, 3.0]).to_kind(Kind::Double);
    let (y, _) = graph.observe(&[IValue::Tensor(x)]).unwrap();
    let IValue::Tensor(y) = y else { panic!() };
    assert_same(&y, &Tensor::from_slice(&[0.0f64, 4.0]));
}
