//! From a shape-free source graph and concrete inputs to a network.

use super::{Arg, Args, InputKind, Item, Lower, Refusal, SourceGraph, Var};
use crate::network::{Network, TensorType, ValueId};
use crate::op;

/// What is concrete at the border: the specialisation's key.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Border {
    /// The types of the tensor inputs, in order.
    pub tensors: Vec<TensorType>,
    /// The values of the int inputs, in order.
    pub ints: Vec<i64>,
    /// The types of the parameters, in order.
    pub parameters: Vec<TensorType>,
}

/// A network for one border, and the ints that leave it.
#[derive(Clone, PartialEq, Debug)]
pub struct Specialised {
    /// The network; its outputs are the graph's tensor outputs in order.
    pub network: Network,
    /// The graph's int outputs, in order.
    pub ints: Vec<i64>,
}

/// Replays the graph's calls for this border. The error says which call (position in [`SourceGraph::calls`]) and why;
/// a position past the end is about the border itself.
pub fn specialise(graph: &SourceGraph, border: &Border) -> Result<Specialised, (usize, Refusal)> {
    let end = graph.calls.len();
    let mismatch = |what: &str| (end, Refusal::Invalid(format!("the number of {what} is not the graph's")));
    let mut lower = Lower::new(graph.device.clone());
    let mut vars: Vec<Option<Item>> = Vec::new();
    let set = |vars: &mut Vec<Option<Item>>, var: Var, item: Item| {
        let at = var.0 as usize;
        if vars.len() <= at {
            vars.resize(at + 1, None);
        }
        vars[at] = Some(item);
    };
    let (mut tensors, mut ints) = (border.tensors.iter(), border.ints.iter());
    for input in &graph.inputs {
        let item = match input.kind {
            InputKind::Tensor => {
                Item::Tensor(lower.builder.input(tensors.next().ok_or_else(|| mismatch("tensors"))?.clone()))
            }
            InputKind::Int => Item::Int(*ints.next().ok_or_else(|| mismatch("ints"))?),
        };
        set(&mut vars, input.var, item);
    }
    if graph.parameters.len() != border.parameters.len() {
        return Err(mismatch("parameters"));
    }
    for ((var, name), ty) in graph.parameters.iter().zip(&border.parameters) {
        let v = lower.builder.parameter(name.clone(), ty.clone());
        set(&mut vars, *var, Item::Tensor(v));
    }
    for (at, call) in graph.calls.iter().enumerate() {
        lower.builder.set_origin(if call.place.is_empty() {
            call.op.clone()
        } else {
            format!("{} at {}", call.op, call.place)
        });
        let items = call
            .args
            .iter()
            .map(|a| resolve(a, &vars, &mut lower))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| (at, e))?;
        let results = lower_call(&mut lower, &call.op, items).map_err(|e| (at, e))?;
        if results.len() != call.outputs.len() {
            return Err((at, Refusal::Invalid(format!("{} gives {} values", call.op, results.len()))));
        }
        for (&var, item) in call.outputs.iter().zip(results) {
            set(&mut vars, var, item);
        }
    }
    let (mut outputs, mut ints): (Vec<ValueId>, Vec<i64>) = Default::default();
    for &var in &graph.outputs {
        match vars.get(var.0 as usize).and_then(Option::as_ref) {
            Some(Item::Tensor(v)) => outputs.push(*v),
            Some(Item::Int(v)) => ints.push(*v),
            _ => return Err((end, Refusal::Invalid("only tensors and ints leave a cluster".into()))),
        }
    }
    Ok(Specialised { network: lower.builder.finish(outputs), ints })
}

/// Finds the operator and lowers one call.
pub(crate) fn lower_call(lower: &mut Lower, name: &str, items: Vec<Item>) -> Result<Vec<Item>, Refusal> {
    let op = op::find(name).ok_or_else(|| Refusal::NoSuchOp(name.to_string()))?;
    if items.len() > op.schema.params.len() {
        return Err(Refusal::Invalid(format!("{name} takes {} arguments", op.schema.params.len())));
    }
    (op.lower)(lower, &Args { schema: &op.schema, items })
}

fn resolve(arg: &Arg, vars: &[Option<Item>], lower: &mut Lower) -> Result<Item, Refusal> {
    Ok(match arg {
        Arg::Var(v) => {
            let known = vars.get(v.0 as usize).cloned().flatten();
            known.ok_or_else(|| Refusal::Invalid("a variable is read before it is defined".into()))?
        }
        Arg::None => Item::None,
        Arg::Int(v) => Item::Int(*v),
        Arg::Float(v) => Item::Float(*v),
        Arg::Bool(v) => Item::Bool(*v),
        Arg::Str(s) => Item::Str(s.clone()),
        Arg::Tensor(literal) => Item::Tensor(lower.builder.constant(literal.clone())),
        Arg::List(items) => {
            Item::List(items.iter().map(|a| resolve(a, vars, lower)).collect::<Result<_, _>>()?)
        }
    })
}
