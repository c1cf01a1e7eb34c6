//! Lists, tuples and identity tests of scripted code: folded while lowering, no layer remains.

use super::Def;
use super::slice::python_range;
use crate::source::{Args, Item, Lower, Refusal};

/// The argument at a position, as a list.
fn items<'a>(args: &'a Args, position: usize) -> Result<&'a [Item], Refusal> {
    match args.items.get(position) {
        Some(Item::List(items)) => Ok(items),
        other => Err(Refusal::Invalid(format!("{other:?} is not a list"))),
    }
}

/// The argument at a position.
fn first(args: &Args) -> Result<Vec<Item>, Refusal> {
    args.items.first().map(|i| vec![i.clone()]).ok_or_else(|| Refusal::Invalid("no argument".into()))
}

/// Each element as a result of its own.
fn unpack(_: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    Ok(items(args, 0)?.to_vec())
}

fn len(_: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    Ok(vec![Item::Int(items(args, 0)?.len() as i64)])
}

/// One element; a negative index counts from the end.
fn element(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (items, at) = (items(args, 0)?, args.int(lower, &args.schema.params[1].name)?);
    let n = items.len() as i64;
    let found = usize::try_from(if at < 0 { at + n } else { at }).ok().and_then(|at| items.get(at));
    found.map(|i| vec![i.clone()]).ok_or_else(|| Refusal::Invalid(format!("element {at} of a list of {n}")))
}

fn join(_: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    Ok(vec![Item::List([items(args, 0)?, items(args, 1)?].concat())])
}

fn repeat(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (items, n) = (items(args, 0)?, args.int(lower, "n")?.max(0) as usize);
    check_length(items.len().saturating_mul(n))?;
    Ok(vec![Item::List(vec![items; n].concat())])
}

fn slice(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let items = items(args, 0)?;
    let step = args.opt_int(lower, "step")?.unwrap_or(1);
    let range =
        python_range(args.opt_int(lower, "start")?, args.opt_int(lower, "end")?, step, items.len())?;
    let picked = items.iter().skip(range.start).step_by(step as usize).take(range.len);
    Ok(vec![Item::List(picked.cloned().collect())])
}

fn contains(_: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let item = args.get("item");
    Ok(vec![Item::Bool(items(args, 0)?.contains(item))])
}

fn check_length(n: usize) -> Result<(), Refusal> {
    const MOST: usize = 1 << 16;
    let why = || Refusal::Attribute { arg: "n".into(), why: format!("a list of {n} elements") };
    if n <= MOST { Ok(()) } else { Err(why()) }
}

fn range(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    check_length(args.int(lower, "n")?.max(0) as usize)?;
    Ok(vec![Item::List((0..args.int(lower, "n")?).map(Item::Int).collect())])
}

/// Are two arguments equal (lists, strings, devices)?
fn equal(args: &Args) -> Result<bool, Refusal> {
    let [a, b] = args.items.as_slice() else { return Err(Refusal::Invalid("two arguments".into())) };
    let tensors = |i: &Item| matches!(i, Item::Tensor(_));
    if let (Item::List(a), Item::List(b)) = (a, b)
        && a.iter().chain(b).any(tensors)
    {
        return Err(Refusal::NotConstant { arg: args.schema.params[0].name.clone() });
    }
    Ok(a == b)
}

/// `is None`: identity is known where either side is `None`.
fn is(args: &Args) -> Result<bool, Refusal> {
    match args.items.as_slice() {
        [a, b] if *a == Item::None || *b == Item::None => Ok(a == b),
        _ => Err(Refusal::NotConstant { arg: "obj".into() }),
    }
}

/// How many steps a `range` has, and the value of one of them.
fn range_length(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (low, high, step) = (args.int(lower, "lo")?, args.int(lower, "hi")?, args.int(lower, "step")?);
    let distance = if step > 0 { high.saturating_sub(low) } else { low.saturating_sub(high) };
    match step.unsigned_abs() {
        0 => Err(Refusal::Invalid("a range's step is 0".into())),
        step => Ok(vec![Item::Int((distance.max(0) as u64).div_ceil(step) as i64)]),
    }
}

fn range_value(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (index, start) = (args.int(lower, "index")?, args.int(lower, "start")?);
    Ok(vec![Item::Int(start.wrapping_add(index.wrapping_mul(args.int(lower, "step")?)))])
}

/// Are all, or any, of a list true?
fn truths(args: &Args, all: bool) -> Result<Vec<Item>, Refusal> {
    let truth = |i: &Item| if let Item::Bool(v) = i { Some(*v) } else { None };
    let truths = items(args, 0)?.iter().map(truth).collect::<Option<Vec<_>>>();
    let truths = truths.ok_or_else(|| Refusal::Invalid("not a list of bools".into()))?;
    let found = if all { truths.iter().all(|&t| t) } else { truths.iter().any(|&t| t) };
    Ok(vec![Item::Bool(found)])
}

fn total(_: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let int = |i: &Item| if let Item::Int(v) = i { Some(*v) } else { None };
    let ints = items(args, 0)?.iter().map(int).collect::<Option<Vec<_>>>();
    let ints = ints.ok_or_else(|| Refusal::Invalid("not a list of ints".into()))?;
    Ok(vec![Item::Int(ints.into_iter().fold(0, i64::wrapping_add))])
}

/// What an optional holds; `None` is an error.
fn unwrap(_: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    match first(args)?.as_slice() {
        [Item::None] => Err(Refusal::Invalid("an optional holds None".into())),
        some => Ok(some.to_vec()),
    }
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &["prim::ListUnpack(Any list) -> Any", "prim::TupleUnpack(Any tuple) -> Any"],
        lower: unpack,
    },
    Def {
        schemas: &[
            "prim::ListConstruct(Any items) -> Any",
            "prim::TupleConstruct(Any items) -> Any",
            "prim::unchecked_cast(t x) -> t",
            "aten::list.t(t[] l) -> t[]",
            "aten::copy.t(t[](a) self) -> t[]",
        ],
        lower: |_, a| first(a),
    },
    Def { schemas: &["aten::_unwrap_optional(t(a)? optional) -> t(a)"], lower: unwrap },
    Def { schemas: &["aten::len.t(t[] a) -> int", "aten::len.any(Any[] a) -> int"], lower: len },
    Def {
        schemas: &[
            "aten::__getitem__.t(t[](a) list, int idx) -> t(*)",
            "aten::select.t(t[](a) list, int idx) -> t(*)",
            "prim::TupleIndex(Any tup, int i) -> Any",
        ],
        lower: element,
    },
    Def { schemas: &["aten::add.t(t[] a, t[] b) -> t[]"], lower: join },
    Def { schemas: &["aten::mul.left_t(t[] l, int n) -> t[]"], lower: repeat },
    Def {
        schemas: &["aten::slice.t(t[] l, int? start=None, int? end=None, int step=1) -> t[]"],
        lower: slice,
    },
    Def {
        schemas: &[
            "aten::__contains__.int_list(int[] l, int item) -> bool",
            "aten::__contains__.str_list(str[] l, str item) -> bool",
        ],
        lower: contains,
    },
    Def { schemas: &["aten::__range_length(int lo, int hi, int step) -> int"], lower: range_length },
    Def { schemas: &["aten::__derive_index(int index, int start, int step) -> int"], lower: range_value },
    Def { schemas: &["aten::all.bool(bool[] self) -> bool"], lower: |_, a| truths(a, true) },
    Def { schemas: &["aten::any.bool(bool[] self) -> bool"], lower: |_, a| truths(a, false) },
    Def { schemas: &["prim::rangelist(int n) -> int[]"], lower: range },
    Def { schemas: &["aten::sum.int(int[] self) -> int"], lower: total },
    Def {
        schemas: &[
            "aten::eq.int_list(int[] a, int[] b) -> bool",
            "aten::eq.str(str a, str b) -> bool",
            "aten::eq.device(Device a, Device b) -> bool",
        ],
        lower: |_, a| Ok(vec![Item::Bool(equal(a)?)]),
    },
    Def {
        schemas: &[
            "aten::ne.int_list(int[] a, int[] b) -> bool",
            "aten::ne.str(str a, str b) -> bool",
            "aten::ne.device(Device a, Device b) -> bool",
        ],
        lower: |_, a| Ok(vec![Item::Bool(!equal(a)?)]),
    },
    Def { schemas: &["aten::__is__(t1 self, t2 obj) -> bool"], lower: |_, a| Ok(vec![Item::Bool(is(a)?)]) },
    Def {
        schemas: &["aten::__isnot__(t1 self, t2 obj) -> bool"],
        lower: |_, a| Ok(vec![Item::Bool(!is(a)?)]),
    },
];
