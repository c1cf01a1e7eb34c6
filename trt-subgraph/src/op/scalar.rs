//! Arithmetic of scripted code on ints, floats and bools: folded while lowering, no layer remains.

use super::Def;
use super::number::Number;
use crate::source::{Args, Item, Lower, Refusal};

type Ints = fn(i64, i64) -> Option<i64>;
type Floats = fn(f64, f64) -> f64;

/// The numeric argument at a position, whatever its name.
fn at(args: &Args, position: usize) -> Result<Number, Refusal> {
    let item = args.items.get(position).unwrap_or(&Item::None);
    Number::of(item).ok_or_else(|| Refusal::Invalid(format!("{item:?} is not a number")))
}

/// `ints` of two integers, `floats` where either is a float.
fn binary(args: &Args, ints: Ints, floats: Floats) -> Result<Vec<Item>, Refusal> {
    let (a, b) = (at(args, 0)?, at(args, 1)?);
    if let (Number::Float(_), _) | (_, Number::Float(_)) = (a, b) {
        return Ok(vec![Item::Float(floats(a.as_f64(), b.as_f64()))]);
    }
    let undefined = || Refusal::Invalid(format!("{} of {} and {}", args.schema.name, a.as_i64(), b.as_i64()));
    Ok(vec![Item::Int(ints(a.as_i64(), b.as_i64()).ok_or_else(undefined)?)])
}

/// `f` of two numbers as floats.
fn floats(args: &Args, f: Floats) -> Result<Vec<Item>, Refusal> {
    Ok(vec![Item::Float(f(at(args, 0)?.as_f64(), at(args, 1)?.as_f64()))])
}

/// Quotient rounded down; `None` by zero.
pub(super) fn floor_div(a: i64, b: i64) -> Option<i64> {
    let (quotient, rest) = (a.checked_div(b)?, a.checked_rem(b)?);
    Some(if rest != 0 && (rest < 0) != (b < 0) { quotient - 1 } else { quotient })
}

fn remainder(a: i64, b: i64) -> Option<i64> {
    Some(a.wrapping_sub(floor_div(a, b)?.wrapping_mul(b)))
}

fn float_remainder(a: f64, b: f64) -> f64 {
    (a % b + b) % b
}

/// A truth of the order of two numbers; exact on integers.
fn compare(args: &Args, ints: fn(&i64, &i64) -> bool, floats: fn(&f64, &f64) -> bool) -> Result<Vec<Item>, Refusal> {
    let (a, b) = (at(args, 0)?, at(args, 1)?);
    let float = matches!((a, b), (Number::Float(_), _) | (_, Number::Float(_)));
    let truth = if float { floats(&a.as_f64(), &b.as_f64()) } else { ints(&a.as_i64(), &b.as_i64()) };
    Ok(vec![Item::Bool(truth)])
}

/// `ints` of two integers; two `Bool`s give a `Bool`.
fn bits(args: &Args, ints: fn(i64, i64) -> i64) -> Result<Vec<Item>, Refusal> {
    let (a, b) = (at(args, 0)?, at(args, 1)?);
    let result = ints(a.as_i64(), b.as_i64());
    let bools = matches!((a, b), (Number::Bool(_), Number::Bool(_)));
    Ok(vec![if bools { Item::Bool(result != 0) } else { Item::Int(result) }])
}

/// `ints` of an integer, `floats` of a float.
fn unary(args: &Args, ints: fn(i64) -> i64, floats: fn(f64) -> f64) -> Result<Vec<Item>, Refusal> {
    Ok(vec![match at(args, 0)? {
        Number::Float(v) => Item::Float(floats(v)),
        other => Item::Int(ints(other.as_i64())),
    }])
}

fn float_of(args: &Args, f: fn(f64) -> f64) -> Result<Vec<Item>, Refusal> {
    Ok(vec![Item::Float(f(at(args, 0)?.as_f64()))])
}

fn rounded(args: &Args, f: fn(f64) -> f64) -> Result<Vec<Item>, Refusal> {
    Ok(vec![match at(args, 0)? {
        Number::Float(v) => Item::Int(f(v) as i64),
        other => Item::Int(other.as_i64()),
    }])
}

/// The larger or the smaller of two numbers, or of a list.
fn extremum(_: &mut Lower, args: &Args, larger: bool) -> Result<Vec<Item>, Refusal> {
    let items = match args.items.first() {
        Some(Item::List(items)) => items.as_slice(),
        _ => args.items.as_slice(),
    };
    let numbers = items.iter().map(Number::of).collect::<Option<Vec<_>>>();
    let numbers = numbers.ok_or_else(|| Refusal::Invalid("not numbers".into()))?;
    let float = numbers.iter().any(|n| matches!(n, Number::Float(_)));
    let wins = |a: Number, b: Number| if larger { a.as_f64() < b.as_f64() } else { b.as_f64() < a.as_f64() };
    let best = numbers.into_iter().reduce(|a, b| if wins(a, b) { b } else { a });
    let best = best.ok_or_else(|| Refusal::Invalid("no extremum of an empty list".into()))?;
    Ok(vec![if float { Item::Float(best.as_f64()) } else { best.item() }])
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::add(Scalar a, Scalar b) -> Scalar",
            "aten::add.int(int a, int b) -> int",
            "aten::add.float(float a, float b) -> float",
            "aten::add.int_float(int a, float b) -> float",
            "aten::add.float_int(float a, int b) -> float",
        ],
        lower: |_, a| binary(a, |a, b| Some(a.wrapping_add(b)), |a, b| a + b),
    },
    Def {
        schemas: &[
            "aten::sub(Scalar a, Scalar b) -> Scalar",
            "aten::sub.int(int a, int b) -> int",
            "aten::sub.float(float a, float b) -> float",
            "aten::sub.int_float(int a, float b) -> float",
            "aten::sub.float_int(float a, int b) -> float",
        ],
        lower: |_, a| binary(a, |a, b| Some(a.wrapping_sub(b)), |a, b| a - b),
    },
    Def {
        schemas: &[
            "aten::mul(Scalar a, Scalar b) -> Scalar",
            "aten::mul.int(int a, int b) -> int",
            "aten::mul.float(float a, float b) -> float",
            "aten::mul.int_float(int a, float b) -> float",
            "aten::mul.float_int(float a, int b) -> float",
        ],
        lower: |_, a| binary(a, |a, b| Some(a.wrapping_mul(b)), |a, b| a * b),
    },
    Def {
        schemas: &[
            "aten::div(Scalar a, Scalar b) -> float",
            "aten::div.int(int a, int b) -> float",
            "aten::div.float(float a, float b) -> float",
        ],
        lower: |_, a| floats(a, |a, b| a / b),
    },
    Def {
        schemas: &[
            "aten::floordiv(Scalar a, Scalar b) -> Scalar",
            "aten::floordiv.int(int a, int b) -> int",
            "aten::floordiv.float(float a, float b) -> float",
            "aten::floordiv.int_float(int a, float b) -> float",
            "aten::floordiv.float_int(float a, int b) -> float",
        ],
        lower: |_, a| binary(a, floor_div, |a, b| (a / b).floor()),
    },
    Def {
        schemas: &["aten::__round_to_zero_floordiv.int(int a, int b) -> int"],
        lower: |_, a| binary(a, i64::checked_div, |a, b| (a / b).trunc()),
    },
    Def {
        schemas: &[
            "aten::remainder(Scalar a, Scalar b) -> Scalar",
            "aten::remainder.int(int a, int b) -> int",
            "aten::remainder.float(float a, float b) -> float",
            "aten::remainder.int_float(int a, float b) -> float",
            "aten::remainder.float_int(float a, int b) -> float",
        ],
        lower: |_, a| binary(a, remainder, float_remainder),
    },
    Def {
        schemas: &[
            "aten::pow.Scalar_Scalar(Scalar a, Scalar b) -> float",
            "aten::pow.int(int a, int b) -> float",
            "aten::pow.float(float a, float b) -> float",
            "aten::pow.int_float(int a, float b) -> float",
            "aten::pow.float_int(float a, int b) -> float",
        ],
        lower: |_, a| floats(a, f64::powf),
    },
    Def {
        schemas: &["aten::neg.Scalar(Scalar a) -> Scalar", "aten::neg.int(int a) -> int", "aten::neg.float(float a) -> float"],
        lower: |_, a| unary(a, i64::wrapping_neg, |v| -v),
    },
    Def {
        schemas: &["prim::abs.Scalar(Scalar a) -> Scalar", "prim::abs.int(int a) -> int", "prim::abs.float(float a) -> float"],
        lower: |_, a| unary(a, i64::wrapping_abs, f64::abs),
    },
    Def {
        schemas: &["aten::floor.int(int a) -> int", "aten::floor.float(float a) -> int", "aten::floor.Scalar(Scalar a) -> Scalar"],
        lower: |_, a| rounded(a, f64::floor),
    },
    Def {
        schemas: &["aten::ceil.int(int a) -> int", "aten::ceil.float(float a) -> int", "aten::ceil.Scalar(Scalar a) -> Scalar"],
        lower: |_, a| rounded(a, f64::ceil),
    },
    Def {
        schemas: &["aten::sqrt.int(int a) -> float", "aten::sqrt.float(float a) -> float"],
        lower: |_, a| float_of(a, f64::sqrt),
    },
    Def {
        schemas: &["aten::exp.int(int a) -> float", "aten::exp.float(float a) -> float"],
        lower: |_, a| float_of(a, f64::exp),
    },
    Def {
        schemas: &["aten::log.int(int a) -> float", "aten::log.float(float a) -> float"],
        lower: |_, a| float_of(a, f64::ln),
    },
    Def {
        schemas: &["aten::__and__.int(int a, int b) -> int", "aten::__and__.bool(bool a, bool b) -> bool"],
        lower: |_, a| bits(a, |a, b| a & b),
    },
    Def {
        schemas: &["aten::__or__.int(int a, int b) -> int", "aten::__or__.bool(bool a, bool b) -> bool"],
        lower: |_, a| bits(a, |a, b| a | b),
    },
    Def {
        schemas: &["aten::__xor__.int(int a, int b) -> int", "aten::__xor__.bool(bool a, bool b) -> bool"],
        lower: |_, a| bits(a, |a, b| a ^ b),
    },
    Def {
        schemas: &["aten::lt(Scalar a, Scalar b) -> bool", "aten::lt.int(int a, int b) -> bool", "aten::lt.float(float a, float b) -> bool", "aten::lt.int_float(int a, float b) -> bool", "aten::lt.float_int(float a, int b) -> bool"],
        lower: |_, a| compare(a, i64::lt, f64::lt),
    },
    Def {
        schemas: &["aten::le(Scalar a, Scalar b) -> bool", "aten::le.int(int a, int b) -> bool", "aten::le.float(float a, float b) -> bool", "aten::le.int_float(int a, float b) -> bool", "aten::le.float_int(float a, int b) -> bool"],
        lower: |_, a| compare(a, i64::le, f64::le),
    },
    Def {
        schemas: &["aten::gt(Scalar a, Scalar b) -> bool", "aten::gt.int(int a, int b) -> bool", "aten::gt.float(float a, float b) -> bool", "aten::gt.int_float(int a, float b) -> bool", "aten::gt.float_int(float a, int b) -> bool"],
        lower: |_, a| compare(a, i64::gt, f64::gt),
    },
    Def {
        schemas: &["aten::ge(Scalar a, Scalar b) -> bool", "aten::ge.int(int a, int b) -> bool", "aten::ge.float(float a, float b) -> bool", "aten::ge.int_float(int a, float b) -> bool", "aten::ge.float_int(float a, int b) -> bool"],
        lower: |_, a| compare(a, i64::ge, f64::ge),
    },
    Def {
        schemas: &["aten::eq(Scalar a, Scalar b) -> bool", "aten::eq.int(int a, int b) -> bool", "aten::eq.float(float a, float b) -> bool", "aten::eq.int_float(int a, float b) -> bool", "aten::eq.float_int(float a, int b) -> bool", "aten::eq.bool(bool a, bool b) -> bool"],
        lower: |_, a| compare(a, i64::eq, f64::eq),
    },
    Def {
        schemas: &["aten::ne(Scalar a, Scalar b) -> bool", "aten::ne.int(int a, int b) -> bool", "aten::ne.float(float a, float b) -> bool", "aten::ne.int_float(int a, float b) -> bool", "aten::ne.float_int(float a, int b) -> bool", "aten::ne.bool(bool a, bool b) -> bool"],
        lower: |_, a| compare(a, i64::ne, f64::ne),
    },
    Def {
        schemas: &["prim::max(Scalar a, Scalar b) -> Scalar", "prim::max.int(int a, int b) -> int", "prim::max.float(float a, float b) -> float", "prim::max.int_float(int a, float b) -> float", "prim::max.float_int(float a, int b) -> float", "prim::max.self_int(int[] self) -> int", "prim::max.self_float(float[] self) -> float"],
        lower: |l, a| extremum(l, a, true),
    },
    Def {
        schemas: &["prim::min(Scalar a, Scalar b) -> Scalar", "prim::min.int(int a, int b) -> int", "prim::min.float(float a, float b) -> float", "prim::min.int_float(int a, float b) -> float", "prim::min.float_int(float a, int b) -> float", "prim::min.self_int(int[] self) -> int", "prim::min.self_float(float[] self) -> float"],
        lower: |l, a| extremum(l, a, false),
    },
];

#[cfg(test)]
mod tests {
    use super::{floor_div, remainder};

    #[test]
    fn division_rounds_down_as_in_python() {
        assert_eq!([floor_div(7, 2), floor_div(-7, 2), floor_div(7, -2), floor_div(-7, -2)], [3, -4, -4, 3].map(Some));
        assert_eq!([remainder(7, 3), remainder(-7, 3), remainder(7, -3)], [1, 2, -2].map(Some));
        assert_eq!((floor_div(1, 0), remainder(1, 0), floor_div(i64::MIN, -1)), (None, None, None));
    }
}
