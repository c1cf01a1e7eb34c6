use tch::{Device, IValue, Kind};
use tch_bridge::jit::{Fact, Initial, JitError, Module};

use crate::vector;

#[test]
fn loops_tell_first_and_last_and_untaken_branches_nothing() {
    let source = "def forward(self, x, n: int):\n  for i in range(n):\n    x = torch.cat([x, self.w])\n  \
                  if n > 100:\n    x = x.exp()\n  return x, n";
    let module = Module::from_source(source, &[("w", Initial::Parameter(vector(&[1.0])))]).unwrap();
    let graph = module.prepare("forward").unwrap();
    let facts = graph.facts().unwrap();
    let (result, seen) = graph.observe(&[IValue::Tensor(vector(&[0.0, 0.0])), IValue::Int(3)]).unwrap();
    let IValue::Tuple(parts) = result else { panic!() };
    assert_eq!(parts[1], IValue::Int(3));
    let of = |kind: &str| {
        let node = facts.nodes.iter().find(|node| node.kind == kind).unwrap();
        seen.iter().find(|seen| seen.value == node.outputs[0])
    };
    let tensor = |n: i64| Fact::Tensor {
        kind: Some(Kind::Float),
        sizes: vec![n],
        strides: vec![1],
        device: Some(Device::Cpu),
        requires_grad: false,
        plain: true,
    };
    let cat = of("aten::cat").unwrap();
    assert_eq!((cat.count, &cat.first, &cat.last), (3, &tensor(3), &tensor(5)));
    assert_eq!(of("aten::exp"), None);
    assert_eq!(of("aten::gt").unwrap().first, Fact::Bool(false));
    assert_eq!(of("prim::ListConstruct").unwrap().first, Fact::List(2));
    assert_eq!(of("prim::GetAttr").unwrap().first, tensor(1));
    let n = facts.blocks[0].inputs[2];
    assert_eq!(seen.iter().find(|seen| seen.value == n).unwrap().first, Fact::Int(3));
}

#[test]
fn defaults_are_filled_in() {
    let source = "def forward(self, x, n: int = 4, y: Optional[Tensor] = None): return x * n";
    let graph = Module::from_source::<&str>(source, &[]).unwrap().prepare("forward").unwrap();
    let facts = graph.facts().unwrap();
    let (_, seen) = graph.observe(&[IValue::Tensor(vector(&[1.0]))]).unwrap();
    let of =
        |i: usize| seen.iter().find(|seen| seen.value == facts.blocks[0].inputs[i]).map(|seen| &seen.first);
    assert_eq!((of(2), of(3)), (Some(&Fact::Int(4)), Some(&Fact::None)));
}

#[test]
fn failures_and_wrong_counts_are_errors() {
    let module = Module::from_source::<&str>("def forward(self, x): return x + self.training", &[]).unwrap();
    let graph = module.prepare("forward").unwrap();
    assert!(matches!(graph.observe::<IValue>(&[]), Err(JitError::Argument(_))));
    let module = Module::from_source::<&str>("def forward(self, x): return x.view(7)", &[]).unwrap();
    let graph = module.prepare("forward").unwrap();
    assert!(matches!(graph.observe(&[IValue::Tensor(vector(&[0.0]))]), Err(JitError::Runtime(_))));
}
