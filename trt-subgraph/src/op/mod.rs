//! The operators: one file for each (or for a tight family), which holds its schemas, what it supports, how it lowers to layers.
//!
//! Adding an operator is a new file and its line in the list below; `docs/adding-an-operator.md` walks through one.

use crate::source::{Args, Item, Lower, Refusal, Schema};
use std::collections::HashMap;
use std::sync::LazyLock;

/// How an operator lowers: checks its arguments, appends layers, gives one item for each result.
pub type LowerFn = fn(&mut Lower, &Args) -> Result<Vec<Item>, Refusal>;

/// An entry of an operator file: overloads that lower in one way.
pub struct Def {
    /// Torch's schemas of the overloads, to the letter of their names; in-place ones are made functional before.
    pub schemas: &'static [&'static str],
    /// The lowering.
    pub lower: LowerFn,
}

/// A known overload.
pub struct Op {
    /// Its schema.
    pub schema: Schema,
    /// Its lowering.
    pub lower: LowerFn,
}

mod contraction;
mod formula;
mod number;
mod places;
mod promote;
mod resample;

macro_rules! operators {
    ($($file:ident),* $(,)?) => {
        $(mod $file;)*
        const FILES: &[&[Def]] = &[$($file::OPS),*];
    };
}

operators! {
    adaptive_pool,
    addmm,
    arithmetic,
    attention,
    batch_norm,
    binary_forms,
    choose,
    compare,
    convert,
    convolution,
    counted,
    create,
    cross,
    diagonal,
    diff,
    distance,
    division,
    dropout,
    einsum,
    elu,
    embedding,
    encoder,
    expand,
    extremum,
    fake_quantize,
    gate,
    grid_sampler,
    group_norm,
    grouped_matmul,
    histogram,
    index,
    index_update,
    join,
    layer_norm,
    linear,
    list,
    logic,
    loss,
    masked_scatter,
    matmul,
    measure,
    moments,
    norm,
    number_casts,
    one_hot,
    pad,
    patches,
    permute,
    pool,
    power,
    rectify,
    recurrent,
    reduce,
    roll,
    scalar,
    scan,
    scatter,
    search,
    sequence,
    shuffle,
    slice,
    softmax,
    sort,
    split,
    tensordot,
    unary,
    unary_forms,
    update,
    upsample,
    view,
    weight_norm,
    window,
}

static REGISTRY: LazyLock<HashMap<String, Op>> = LazyLock::new(|| {
    let mut all = HashMap::new();
    for def in FILES.iter().flat_map(|f| f.iter()) {
        for text in def.schemas {
            let schema = Schema::parse(text).expect("an operator file holds valid schemas");
            let name = schema.name.clone();
            let twice = all.insert(name, Op { schema, lower: def.lower });
            assert!(twice.is_none(), "{text} is listed twice");
        }
    }
    all
});

/// The operator of this qualified name with overload (`aten::add.Tensor`), if a file knows it.
pub fn find(name: &str) -> Option<&'static Op> {
    REGISTRY.get(name)
}

/// Every known overload, by name.
pub fn all() -> Vec<&'static Op> {
    let mut ops: Vec<&Op> = REGISTRY.values().collect();
    ops.sort_by(|a, b| a.schema.name.cmp(&b.schema.name));
    ops
}

/// One tensor result.
fn one(v: crate::network::ValueId) -> Result<Vec<Item>, Refusal> {
    Ok(vec![Item::Tensor(v)])
}

/// The tensor argument `name`, which must be floating-point.
fn float_tensor(lower: &Lower, args: &Args, name: &'static str) -> Result<crate::network::ValueId, Refusal> {
    let v = args.tensor(name)?;
    let found = lower.dtype(v);
    if found.is_float() { Ok(v) } else { Err(Refusal::Dtype { arg: name, found }) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_registry_is_well_formed() {
        assert!(!super::all().is_empty());
        assert!(super::find("aten::relu").is_some());
        assert!(super::find("aten::no_such_thing").is_none());
    }
}
