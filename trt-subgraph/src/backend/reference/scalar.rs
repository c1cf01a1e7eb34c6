//! What scalar expressions compute: the meaning of every function of [`Expr`], for one element.
//!
//! Each node is computed in f64 or i64 and rounded or wrapped to its computing type (f32 for f16 and bf16) at once, so that
//! a fused expression of f32 gives the bits that its parts give one after the other.

use super::tensor::{round, wrap};
use crate::DType;
use crate::network::Expr;
use crate::network::expr::{Binary, Node, Ref, Scalar, Unary};
use crate::truncate::truncated;

/// The result of `expr` for operands `inputs`. `dtypes` are the types of the nodes ([`Expr::dtypes`]); `steps` is scratch.
pub(super) fn evaluate(expr: &Expr, dtypes: &[DType], inputs: &[Scalar], steps: &mut Vec<Scalar>) -> Scalar {
    steps.clear();
    for (node, &dtype) in expr.nodes.iter().zip(dtypes) {
        let of = |r: Ref| steps[r as usize];
        let value = match *node {
            Node::Input(i) => inputs[i as usize],
            Node::Const(_, v) => v,
            Node::Unary(f, a) => unary(f, dtypes[a as usize], of(a)),
            Node::Binary(f, a, b) => binary(f, dtypes[a as usize], of(a), of(b)),
            Node::Select(c, a, b) => of(if truth(of(c)) { a } else { b }),
            Node::Cast(to, a) => cast(to, of(a)),
        };
        steps.push(compute(dtype, value));
    }
    steps[expr.root() as usize]
}

/// Rounds or wraps to the type that `dtype` computes in.
pub(super) fn compute(dtype: DType, value: Scalar) -> Scalar {
    match value {
        Scalar::Float(v) if dtype == DType::F64 => Scalar::Float(v),
        Scalar::Float(v) => Scalar::Float(v as f32 as f64),
        Scalar::Int(v) => Scalar::Int(wrap(dtype, v)),
    }
}

fn truth(value: Scalar) -> bool {
    match value {
        Scalar::Float(v) => v != 0.0,
        Scalar::Int(v) => v != 0,
    }
}

fn cast(to: DType, value: Scalar) -> Scalar {
    match (value, to) {
        (v, DType::Bool) => Scalar::Int(truth(v) as i64),
        (Scalar::Float(v), d) if d.is_float() => Scalar::Float(round(d, v)),
        (Scalar::Float(v), _) => Scalar::Int(truncated(to, v)),
        (Scalar::Int(v), DType::F64) => Scalar::Float(v as f64),
        (Scalar::Int(v), d) if d.is_float() => Scalar::Float(round(d, v as f32 as f64)),
        (Scalar::Int(v), _) => Scalar::Int(v),
    }
}

fn unary(f: Unary, dtype: DType, value: Scalar) -> Scalar {
    match value {
        Scalar::Float(x) => match f {
            Unary::IsNan => Scalar::Int(x.is_nan() as i64),
            Unary::IsInf => Scalar::Int(x.is_infinite() as i64),
            _ => Scalar::Float(unary_float(f, x)),
        },
        Scalar::Int(x) => Scalar::Int(unary_int(f, dtype, x)),
    }
}

fn unary_float(f: Unary, x: f64) -> f64 {
    match f {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sign => (x > 0.0) as i64 as f64 - (x < 0.0) as i64 as f64,
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => x.round_ties_even(),
        Unary::Trunc => x.trunc(),
        Unary::Sqrt => x.sqrt(),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::Recip => 1.0 / x,
        Unary::Exp => x.exp(),
        Unary::Exp2 => x.exp2(),
        Unary::Expm1 => x.exp_m1(),
        Unary::Log => x.ln(),
        Unary::Log2 => x.log2(),
        Unary::Log10 => x.log10(),
        Unary::Log1p => x.ln_1p(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tan => x.tan(),
        Unary::Asin => x.asin(),
        Unary::Acos => x.acos(),
        Unary::Atan => x.atan(),
        Unary::Sinh => x.sinh(),
        Unary::Cosh => x.cosh(),
        Unary::Tanh => x.tanh(),
        Unary::Asinh => libm::asinh(x),
        Unary::Acosh => libm::acosh(x),
        Unary::Atanh => libm::atanh(x),
        Unary::Erf => libm::erf(x),
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::Not | Unary::IsNan | Unary::IsInf => unreachable!("not a function from floats to floats"),
    }
}

/// Wraps at 64 bits; the caller wraps to the type.
fn unary_int(f: Unary, dtype: DType, x: i64) -> i64 {
    match f {
        Unary::Neg => x.wrapping_neg(),
        Unary::Abs => x.wrapping_abs(),
        Unary::Sign => x.signum(),
        Unary::Not if dtype == DType::Bool => 1 - x,
        Unary::Not => !x,
        Unary::Floor | Unary::Ceil | Unary::Round | Unary::Trunc => x,
        _ => unreachable!("a function of floats only"),
    }
}

fn binary(f: Binary, dtype: DType, a: Scalar, b: Scalar) -> Scalar {
    match (a, b) {
        (Scalar::Float(a), Scalar::Float(b)) => match compare(f, a, b) {
            Some(holds) => Scalar::Int(holds as i64),
            None => Scalar::Float(binary_float(f, dtype, a, b)),
        },
        (Scalar::Int(a), Scalar::Int(b)) => Scalar::Int(match compare(f, a, b) {
            Some(holds) => holds as i64,
            None => binary_int(f, dtype, a, b),
        }),
        _ => unreachable!("both sides have one type"),
    }
}

fn compare<T: PartialOrd>(f: Binary, a: T, b: T) -> Option<bool> {
    Some(match f {
        Binary::Eq => a == b,
        Binary::Ne => a != b,
        Binary::Lt => a < b,
        Binary::Le => a <= b,
        Binary::Gt => a > b,
        Binary::Ge => a >= b,
        _ => return None,
    })
}

fn binary_float(f: Binary, dtype: DType, a: f64, b: f64) -> f64 {
    match f {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::FloorDiv => floor_div(a, b),
        // The quotient is rounded to its type before it is cut, as any machine would.
        Binary::TruncDiv => match compute(dtype, Scalar::Float(a / b)) {
            Scalar::Float(q) => q.trunc(),
            Scalar::Int(_) => unreachable!("a float stays one"),
        },
        Binary::Rem => match a % b {
            r if r != 0.0 && (r < 0.0) != (b < 0.0) => r + b,
            r => r,
        },
        Binary::Fmod => a % b,
        Binary::Pow => a.powf(b),
        Binary::Atan2 => a.atan2(b),
        Binary::Max | Binary::Min if a.is_nan() || b.is_nan() => f64::NAN,
        Binary::Max => {
            if a < b {
                b
            } else {
                a
            }
        }
        Binary::Min => {
            if b < a {
                b
            } else {
                a
            }
        }
        _ => unreachable!("a function of integers only"),
    }
}

/// Python's `//`: the quotient of the exact remainder's division, so that `1 // 0.1` is 9.
fn floor_div(a: f64, b: f64) -> f64 {
    if b == 0.0 {
        return a / b;
    }
    let rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest != 0.0 && (b < 0.0) != (rest < 0.0) {
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return 0f64.copysign(a / b);
    }
    let floor = quotient.floor();
    if quotient - floor > 0.5 { floor + 1.0 } else { floor }
}

/// Wraps at 64 bits; the caller wraps to the type. A division by zero gives 0 (no network that lowering made has one).
fn binary_int(f: Binary, dtype: DType, a: i64, b: i64) -> i64 {
    let bits = 8 * dtype.size() as i64;
    let boolean = dtype == DType::Bool;
    match f {
        Binary::Add if boolean => a | b,
        Binary::Add => a.wrapping_add(b),
        Binary::Sub => a.wrapping_sub(b),
        Binary::Mul => a.wrapping_mul(b),
        Binary::FloorDiv | Binary::TruncDiv | Binary::Rem | Binary::Fmod if b == 0 => 0,
        Binary::FloorDiv => {
            let quotient = a.wrapping_div(b);
            let rounds_up = a.wrapping_rem(b) != 0 && (a < 0) != (b < 0);
            quotient - rounds_up as i64
        }
        Binary::TruncDiv => a.wrapping_div(b),
        Binary::Rem => match a.wrapping_rem(b) {
            r if r != 0 && (r < 0) != (b < 0) => r + b,
            r => r,
        },
        Binary::Fmod => a.wrapping_rem(b),
        Binary::Pow => pow_int(a, b),
        Binary::Max => a.max(b),
        Binary::Min => a.min(b),
        Binary::And => a & b,
        Binary::Or => a | b,
        Binary::Xor => a ^ b,
        Binary::Shl => {
            if (0..bits).contains(&b) {
                a << b
            } else {
                0
            }
        }
        Binary::Shr if dtype == DType::U8 => {
            if (0..bits).contains(&b) {
                a >> b
            } else {
                0
            }
        }
        Binary::Shr => a >> if (0..bits - 1).contains(&b) { b } else { bits - 1 },
        _ => unreachable!("a function of floats only"),
    }
}

/// A negative exponent gives 0, except that the base is 1 or -1.
fn pow_int(base: i64, exponent: i64) -> i64 {
    if exponent < 0 {
        return match base {
            1 => 1,
            -1 => {
                if exponent % 2 == 0 {
                    1
                } else {
                    -1
                }
            }
            _ => 0,
        };
    }
    let (mut out, mut square, mut rest) = (1i64, base, exponent);
    while rest > 0 {
        if rest & 1 == 1 {
            out = out.wrapping_mul(square);
        }
        square = square.wrapping_mul(square);
        rest >>= 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use DType::*;

    fn ints(f: Binary, dtype: DType, a: i64, b: i64) -> i64 {
        match run(&Expr::binary(f), &[dtype; 2], &[Scalar::Int(a), Scalar::Int(b)]) {
            Scalar::Int(v) => v,
            Scalar::Float(_) => panic!("an integer"),
        }
    }

    fn floats(f: Binary, a: f64, b: f64) -> f64 {
        run(&Expr::binary(f), &[F32; 2], &[Scalar::Float(a), Scalar::Float(b)]).as_f64()
    }

    fn run(expr: &Expr, dtypes: &[DType], inputs: &[Scalar]) -> Scalar {
        evaluate(expr, &expr.dtypes(dtypes).unwrap(), inputs, &mut Vec::new())
    }

    #[test]
    fn division_rounds_as_named() {
        assert_eq!(ints(Binary::FloorDiv, I32, -7, 2), -4);
        assert_eq!(ints(Binary::TruncDiv, I32, -7, 2), -3);
        assert_eq!(ints(Binary::Rem, I32, -7, 2), 1);
        assert_eq!(ints(Binary::Fmod, I32, -7, 2), -1);
        assert_eq!(ints(Binary::FloorDiv, I64, i64::MIN, -1), i64::MIN);
        assert_eq!(floats(Binary::FloorDiv, 1.0, 0.1), 9.0);
        assert_eq!(floats(Binary::Rem, -1.0, 3.0), 2.0);
        assert!(floats(Binary::FloorDiv, -0.0, 2.0).is_sign_negative());
    }

    #[test]
    fn integers_wrap_at_their_width() {
        assert_eq!(ints(Binary::Add, U8, 200, 100), 44);
        assert_eq!(ints(Binary::Mul, I8, 100, 2), -56);
        assert_eq!(ints(Binary::Pow, I16, 3, 11), 177147i64 as i16 as i64);
        assert_eq!((ints(Binary::Pow, I64, -1, -3), ints(Binary::Pow, I64, 2, -1)), (-1, 0));
        assert_eq!((ints(Binary::Shl, I32, 1, 31), ints(Binary::Shl, I32, 1, 32)), (i32::MIN as i64, 0));
        assert_eq!((ints(Binary::Shr, I8, -128, 99), ints(Binary::Shr, U8, 128, 9)), (-1, 0));
    }

    #[test]
    fn booleans_are_logic() {
        let not = |v| run(&Expr::unary(Unary::Not), &[Bool], &[Scalar::Int(v)]).as_f64();
        assert_eq!((not(0), not(1)), (1.0, 0.0));
        assert_eq!((ints(Binary::Add, Bool, 1, 1), ints(Binary::Mul, Bool, 1, 0)), (1, 0));
        assert_eq!((ints(Binary::Max, Bool, 0, 1), ints(Binary::Xor, Bool, 1, 1)), (1, 0));
    }

    #[test]
    fn nan_is_kept_and_sign_of_it_is_zero() {
        assert!(floats(Binary::Max, f64::NAN, 1.0).is_nan() && floats(Binary::Min, 1.0, f64::NAN).is_nan());
        let sign = run(&Expr::unary(Unary::Sign), &[F32], &[Scalar::Float(f64::NAN)]);
        assert_eq!(sign.as_f64(), 0.0);
    }

    #[test]
    fn steps_round_to_their_computing_type() {
        let square = Expr { nodes: vec![Node::Input(0), Node::Binary(Binary::Mul, 0, 0)] };
        assert_eq!(run(&square, &[F32], &[Scalar::Float(1e30)]).as_f64(), f64::INFINITY);
        assert_eq!(run(&square, &[F64], &[Scalar::Float(1e30)]).as_f64(), 1e30 * 1e30);
        let half = run(&Expr::cast(F16), &[F32], &[Scalar::Float(1.0002)]).as_f64();
        assert_eq!(half, 1.0);
        let whole = run(&Expr::cast(I32), &[F32], &[Scalar::Float(-2.9)]);
        assert_eq!(whole, Scalar::Int(-2));
    }
}
