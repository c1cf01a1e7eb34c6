use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tch::{IValue, Kind, Tensor};
use tch_bridge::jit::{
    BlockId, Call, Cluster, GraphFacts, HostEngine, Initial, Item, JitError, Module, NodeId, Order, Outcome,
    Outputs, ValueId, set_engine_loader,
};

use trt_subgraph::Bytes;

use crate::{assert_same, rewritten, vector};

type EngineError = Box<dyn std::error::Error + Send + Sync>;

/// What the engine does with a call.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Serve,
    Decline,
    Fail,
    Panic,
    ForgetOutputs,
}

/// Computes `10 * x * y...` of its inputs' elements, unlike the host, so that a hit shows.
struct TenTimes {
    mood: Mood,
    calls: AtomicUsize,
}

impl TenTimes {
    fn new(mood: Mood) -> Arc<Self> {
        Arc::new(Self { mood, calls: AtomicUsize::new(0) })
    }
}

impl HostEngine for TenTimes {
    fn try_run(&self, call: &Call<'_>, outputs: &mut Outputs<'_>) -> Result<Outcome, EngineError> {
        self.calls.fetch_add(1, SeqCst);
        if call.needs_grad() {
            return Ok(Outcome::Host);
        }
        match self.mood {
            Mood::Decline => return Ok(Outcome::Host),
            Mood::Fail => return Err("broken".into()),
            Mood::Panic => panic!("engine panic"),
            Mood::ForgetOutputs => return Ok(Outcome::Served),
            Mood::Serve => {}
        }
        let x = &call.inputs[0];
        let out = outputs.allocate(x.sizes(), Kind::Float, x.device().unwrap())?;
        let count = x.sizes().iter().product::<i64>() as usize;
        // SAFETY: the tests pass contiguous f32 vectors; `out` has as many elements.
        let (from, to) = unsafe {
            (
                std::slice::from_raw_parts(x.data().cast::<f32>(), count),
                std::slice::from_raw_parts_mut(out.cast::<f32>(), count),
            )
        };
        to.iter_mut().zip(from).for_each(|(to, from)| *to = 10.0 * from);
        call.ints.iter().for_each(|n| outputs.push_int(n + 1));
        Ok(Outcome::Served)
    }

    fn state(&self) -> Vec<u8> {
        b"ten".to_vec()
    }
}

fn load_ten(state: &Bytes) -> Result<Arc<dyn HostEngine>, EngineError> {
    if state[..] == *b"ten" { Ok(TenTimes::new(Mood::Serve)) } else { Err("what is this?".into()) }
}

fn find(facts: &GraphFacts, kind: &str) -> (NodeId, BlockId) {
    let at = facts.nodes.iter().position(|node| node.kind == kind).unwrap_or_else(|| panic!("no {kind}"));
    (NodeId(at as u32), facts.nodes[at].block)
}

/// Replaces each of `kinds` (first node of that kind) by `engine`; the other nodes keep their order.
fn stitched(module: &Module, kinds: &[&str], engine: &Arc<TenTimes>) -> Module {
    let graph = module.prepare("forward").unwrap();
    let facts = graph.facts().unwrap();
    let mut orders: Vec<Order> = Vec::new();
    let mut clusters = Vec::new();
    for kind in kinds {
        let (node, block) = find(&facts, kind);
        let of_type = |ids: &[ValueId], tensor: bool| -> Vec<ValueId> {
            let is = |id: &&ValueId| {
                let constant = facts[**id].producer.is_some_and(|p| facts[p].constant.is_some());
                !constant && (facts[**id].ty == tch_bridge::jit::ValueType::Tensor) == tensor
            };
            ids.iter().filter(is).copied().collect()
        };
        let mut items: Vec<Item> = facts[block].nodes.iter().map(|id| Item::Node(*id)).collect();
        items
            .iter_mut()
            .filter(|item| **item == Item::Node(node))
            .for_each(|item| *item = Item::Cluster(clusters.len()));
        match orders.iter_mut().find(|order| order.block == block) {
            Some(order) => {
                order.items.iter_mut().filter(|item| **item == Item::Node(node)).for_each(|item| {
                    *item = Item::Cluster(clusters.len());
                });
            }
            None => orders.push(Order { block, items }),
        }
        clusters.push(Cluster {
            nodes: vec![node],
            inputs: of_type(&facts[node].inputs, true),
            ints: Vec::new(),
            outputs: facts[node].outputs.clone(),
            int_outputs: Vec::new(),
            engine: engine.clone(),
        });
    }
    let target = module.fork(&["forward"]).unwrap();
    graph.stitch(&target, "forward", &orders, &clusters).unwrap();
    target
}

fn forward(module: &Module, arguments: &[IValue]) -> Tensor {
    match module.method("forward").unwrap().run(arguments).unwrap() {
        IValue::Tensor(tensor) => tensor,
        other => panic!("{other:?}"),
    }
}

fn doubler() -> Module {
    Module::from_source::<&str>("def forward(self, x): return torch.mul(x, 2) + 1", &[]).unwrap()
}

fn one(x: &[f32]) -> [IValue; 1] {
    [IValue::Tensor(vector(x))]
}

#[test]
fn the_engine_is_hit_after_a_warm_up_on_the_host() {
    let module = doubler();
    for _ in 0..3 {
        assert_same(&forward(&module, &one(&[1.0])), &vector(&[3.0]));
    }
    let engine = TenTimes::new(Mood::Serve);
    let target = stitched(&module, &["aten::mul"], &engine);
    for _ in 0..4 {
        assert_same(&forward(&target, &one(&[1.0])), &vector(&[11.0]));
    }
    assert_eq!(engine.calls.load(SeqCst), 4);
    assert_same(&forward(&module, &one(&[1.0])), &vector(&[3.0]));
}

#[test]
fn whatever_the_engine_does_the_host_serves() {
    for mood in [Mood::Decline, Mood::Fail, Mood::Panic, Mood::ForgetOutputs] {
        let engine = TenTimes::new(mood);
        let target = stitched(&doubler(), &["aten::mul"], &engine);
        for _ in 0..3 {
            assert_same(&forward(&target, &one(&[1.0, 2.0])), &vector(&[3.0, 5.0]));
        }
        assert_eq!(engine.calls.load(SeqCst), 3);
    }
}

#[test]
fn engines_work_in_loops_and_branches() {
    let source = "def forward(self, x, n: int):\n  for i in range(n):\n    if i < 2:\n      x = torch.mul(x, 2)\n    \
                  else:\n      x = torch.add(x, 1)\n  return x";
    let module = Module::from_source::<&str>(source, &[]).unwrap();
    let engine = TenTimes::new(Mood::Serve);
    let target = stitched(&module, &["aten::mul", "aten::add"], &engine);
    for _ in 0..3 {
        let y = forward(&target, &[IValue::Tensor(vector(&[1.0])), IValue::Int(3)]);
        assert_same(&y, &vector(&[1000.0]));
    }
    assert_eq!(engine.calls.load(SeqCst), 9);
}

#[test]
fn clusters_feed_clusters() {
    let source = "def forward(self, x, n: int):\n  x = torch.mul(x, 2)\n  x = torch.add(x, 1)\n  if n > 0:\n    \
                  x = torch.neg(x)\n  return torch.exp(x), x";
    let module = Module::from_source::<&str>(source, &[]).unwrap();
    let target = stitched(&module, &["aten::mul", "aten::add", "aten::neg"], &TenTimes::new(Mood::Serve));
    let arguments = [IValue::Tensor(vector(&[1.0])), IValue::Int(1)];
    let IValue::Tuple(both) = target.method("forward").unwrap().run(&arguments).unwrap() else { panic!() };
    assert_eq!(both[1], IValue::Tensor(vector(&[1000.0])));
    let declined = stitched(&module, &["aten::mul", "aten::add", "aten::neg"], &TenTimes::new(Mood::Decline));
    let result = declined.method("forward").unwrap().run(&arguments).unwrap();
    assert_eq!(result, module.method("forward").unwrap().run(&arguments).unwrap());
}

#[test]
fn threads_share_a_method() {
    let engine = TenTimes::new(Mood::Serve);
    let target = stitched(&doubler(), &["aten::mul"], &engine);
    let method = target.method("forward").unwrap();
    std::thread::scope(|scope| {
        for i in 0..4u8 {
            let method = &method;
            scope.spawn(move || {
                for _ in 0..50 {
                    let y = method.run_tensors(&[vector(&[f32::from(i)])]).unwrap().remove(0);
                    assert_same(&y, &vector(&[f32::from(i) * 10.0 + 1.0]));
                }
            });
        }
    });
    assert_eq!(engine.calls.load(SeqCst), 200);
}

#[test]
fn gradients_flow_through_the_host_branch() {
    let weight = vector(&[3.0]).set_requires_grad(true);
    let module = Module::from_source(
        "def forward(self, x): return torch.mul(x, self.w).sum()",
        &[("w", Initial::Parameter(weight.shallow_clone()))],
    )
    .unwrap();
    let target = stitched(&module, &["aten::mul"], &TenTimes::new(Mood::Serve));
    for _ in 0..4 {
        let x = vector(&[5.0]).set_requires_grad(true);
        let y = forward(&target, &[IValue::Tensor(x.shallow_clone())]);
        assert_same(&y, &Tensor::from(15.0f32));
        y.backward();
        assert_same(&x.grad(), &vector(&[3.0]));
    }
    assert_same(&weight.grad(), &vector(&[20.0]));
    let y = tch::no_grad(|| forward(&target, &one(&[5.0])));
    assert_same(&y, &Tensor::from(50.0f32));
}

#[test]
fn the_host_serves_traces_and_autocast() {
    let engine = TenTimes::new(Mood::Serve);
    let method = stitched(&doubler(), &["aten::mul"], &engine).method("forward").unwrap();
    let x = vector(&[1.0]);
    let traced = Module::trace::<&str, _, Tensor, JitError>("forward", &[x.shallow_clone()], &[], |xs| {
        Ok(method.run_tensors(xs)?.remove(0))
    })
    .unwrap();
    assert_same(&forward(&traced, &one(&[2.0])), &vector(&[5.0]));
    // SAFETY: sets a flag of this thread; `tch::autocast` does so only where there is a GPU.
    unsafe { torch_sys::at_autocast_set_enabled(1) };
    let y = method.run_tensors(&[&x]);
    // SAFETY: as above.
    unsafe { torch_sys::at_autocast_set_enabled(0) };
    assert_same(&y.unwrap()[0], &vector(&[3.0]));
    assert_eq!(engine.calls.load(SeqCst), 0);
}

#[test]
fn a_saved_module_keeps_its_engines() {
    assert!(set_engine_loader(load_ten));
    let target = stitched(&doubler(), &["aten::mul"], &TenTimes::new(Mood::Serve));
    let loaded = Module::load_bytes(&target.save_bytes().unwrap(), None).unwrap();
    for _ in 0..3 {
        assert_same(&forward(&loaded, &one(&[1.0])), &vector(&[11.0]));
    }
    let again = Module::load_bytes(&loaded.save_bytes().unwrap(), None).unwrap();
    assert_same(&forward(&again, &one(&[2.0])), &vector(&[21.0]));
    let theirs = again.to_cmodule();
    assert_same(&theirs.forward_ts(&[vector(&[1.0])]).unwrap(), &vector(&[11.0]));
}

#[test]
fn a_file_with_an_unknown_class_names_it() {
    let target = stitched(&doubler(), &["aten::mul"], &TenTimes::new(Mood::Serve));
    let bytes = target.save_bytes().unwrap();
    let bytes =
        rewritten(&bytes, str::to_owned, |text| text.replace("classes.trt.Engine", "classes.no.Engine"));
    let error = Module::load_bytes(&bytes, None).map(|_| ()).unwrap_err();
    assert!(
        matches!(&error, JitError::UnknownClass { name, .. } if name.ends_with("no.Engine")),
        "{error:?}"
    );
}

#[test]
fn attributes_are_read_in_the_host_branch_only() {
    let module = Module::from_source(
        "def forward(self, x): return torch.mul(x, self.a.w) + self.b",
        &[("a.w", Initial::Parameter(vector(&[2.0]))), ("b", Initial::Buffer(vector(&[1.0])))],
    )
    .unwrap();
    let graph = module.prepare("forward").unwrap();
    let facts = graph.facts().unwrap();
    let (mul, block) = find(&facts, "aten::mul");
    let (add, _) = find(&facts, "aten::add");
    let cluster = Cluster {
        nodes: vec![mul],
        inputs: vec![facts[mul].inputs[0]],
        ints: Vec::new(),
        outputs: facts[mul].outputs.clone(),
        int_outputs: Vec::new(),
        engine: TenTimes::new(Mood::Serve),
    };
    let target = module.fork(&["forward"]).unwrap();
    let order = Order { block, items: vec![Item::Cluster(0), Item::Node(add)] };
    graph.stitch(&target, "forward", &[order], &[cluster]).unwrap();
    assert_same(&forward(&target, &one(&[1.0])), &vector(&[11.0]));
    let text = target.method("forward").unwrap().graph_text().unwrap();
    let choice = text.find("prim::If").unwrap();
    assert!(text.find("name=\"w\"").unwrap() > choice, "{text}");
    assert!(text.find("name=\"b\"").unwrap() < choice, "{text}");
}

/// torch's executor computes once what it finds twice in the host's branch, and does not see that both leave it.
#[test]
fn results_of_the_host_branch_that_are_equal_lie_apart() {
    for (second, copies) in [("torch.erf(x / self.r)", 1), ("torch.erf(x / 3.0)", 0)] {
        let source = format!("def forward(self, x):\n  y = torch.erf(x / 2.0)\n  return y, {second}");
        let module = Module::from_source(&source, &[("r", Initial::Value(IValue::Double(2.0)))]).unwrap();
        let graph = module.prepare("forward").unwrap();
        let facts = graph.facts().unwrap();
        let of = |kinds: &[&str]| -> Vec<NodeId> {
            let is = |at: &usize| kinds.contains(&facts.nodes[*at].kind.as_str());
            (0..facts.nodes.len()).filter(is).map(|at| NodeId(at as u32)).collect()
        };
        let (nodes, roots) = (of(&["aten::div", "aten::erf"]), of(&["aten::erf"]));
        let block = facts[nodes[0]].block;
        let others = facts[block].nodes.iter().copied().filter(|id| !nodes.contains(id));
        let items = std::iter::once(Item::Cluster(0)).chain(others.map(Item::Node)).collect();
        let cluster = Cluster {
            inputs: vec![facts[nodes[0]].inputs[0]],
            nodes,
            ints: Vec::new(),
            outputs: roots.iter().flat_map(|&id| facts[id].outputs.clone()).collect(),
            int_outputs: Vec::new(),
            engine: TenTimes::new(Mood::Decline),
        };
        let target = module.fork(&["forward"]).unwrap();
        graph.stitch(&target, "forward", &[Order { block, items }], &[cluster]).unwrap();
        let method = target.method("forward").unwrap();
        assert_eq!(method.graph_text().unwrap().matches("aten::clone").count(), copies);
        for _ in 0..3 {
            let (y, z) = <(Tensor, Tensor)>::try_from(method.run(&one(&[1.0])).unwrap()).unwrap();
            assert_ne!(y.data_ptr(), z.data_ptr());
            assert_same(&y, &(vector(&[1.0]) / 2.0).erf());
            assert_eq!(y.equal(&z), copies == 1);
        }
    }
}

#[test]
fn ints_cross_the_border() {
    let source =
        "def forward(self, x, n: int):\n  y = torch.mul(x, n)\n  m = n + 1\n  return torch.mul(y, m)";
    let module = Module::from_source::<&str>(source, &[]).unwrap();
    let graph = module.prepare("forward").unwrap();
    let facts = graph.facts().unwrap();
    let (mul, block) = find(&facts, "aten::mul");
    let (add, _) = find(&facts, "aten::add");
    let nodes = facts[block].nodes.iter().copied();
    let mut items: Vec<Item> = nodes.filter(|id| *id != mul && *id != add).map(Item::Node).collect();
    items.insert(0, Item::Cluster(0));
    for mood in [Mood::Serve, Mood::Decline] {
        let cluster = Cluster {
            nodes: vec![mul, add],
            inputs: vec![facts[mul].inputs[0]],
            ints: vec![facts.blocks[0].inputs[2]],
            outputs: facts[mul].outputs.clone(),
            int_outputs: facts[add].outputs.clone(),
            engine: TenTimes::new(mood),
        };
        let target = module.fork(&["forward"]).unwrap();
        graph.stitch(&target, "forward", &[Order { block, items: items.clone() }], &[cluster]).unwrap();
        let y = forward(&target, &[IValue::Tensor(vector(&[1.0])), IValue::Int(4)]);
        assert_same(&y, &vector(&[if mood == Mood::Serve { 50.0 } else { 20.0 }]));
    }
}

#[test]
fn wrong_plans_are_errors() {
    let module = doubler();
    let graph = module.prepare("forward").unwrap();
    let facts = graph.facts().unwrap();
    let (mul, block) = find(&facts, "aten::mul");
    let (add, _) = find(&facts, "aten::add");
    let cluster = |outputs: Vec<ValueId>| Cluster {
        nodes: vec![mul],
        inputs: vec![facts[mul].inputs[0]],
        ints: Vec::new(),
        outputs,
        int_outputs: Vec::new(),
        engine: TenTimes::new(Mood::Serve),
    };
    let attempt = |items: Vec<Item>, outputs: Vec<ValueId>| {
        let target = module.fork(&["forward"]).unwrap();
        graph.stitch(&target, "forward", &[Order { block, items }], &[cluster(outputs)]).unwrap_err()
    };
    let out = facts[mul].outputs.clone();
    let unlisted = attempt(vec![Item::Cluster(0), Item::Node(add)], Vec::new());
    assert!(matches!(&unlisted, JitError::Graph(m) if m.contains("no output of it")), "{unlisted:?}");
    let order = attempt(vec![Item::Node(add), Item::Cluster(0)], out.clone());
    assert!(matches!(&order, JitError::Graph(_)), "{order:?}");
    let number = attempt(vec![Item::Cluster(7)], out);
    assert!(matches!(&number, JitError::Graph(_)), "{number:?}");
    let taken = graph.stitch(&module, "forward", &[], &[]).unwrap_err();
    assert!(matches!(&taken, JitError::Graph(m) if m.contains("already")), "{taken:?}");
}
