//! Scalar expressions as CUDA C: the one place that says how each function is computed on the device.

use crate::DType;
use crate::network::Expr;
use crate::network::expr::{Binary, Node, Ref, Scalar, Unary};
use crate::truncate::truncated;
use std::fmt::Write;

/// The type of a value in registers: f32 for the half types.
pub fn compute_type(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "bool",
        DType::F16 | DType::BF16 => "f32",
        other => other.name(),
    }
}

/// The type of an element in memory.
pub fn storage_type(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "b8",
        other => other.name(),
    }
}

/// The computing type of sums: f32 for halves, f64, i64 for all integers.
pub fn sum_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 | DType::BF16 | DType::F32 => "f32",
        DType::F64 => "f64",
        _ => "i64",
    }
}

/// A literal of the type that `dtype` computes in.
pub fn literal(dtype: DType, value: Scalar) -> String {
    match (dtype, value) {
        (DType::Bool, v) => (v.as_f64() != 0.0).to_string(),
        (DType::F64, v) => match v.as_f64() {
            v if v.is_nan() => "nan_of(0.0)".to_string(),
            v if v.is_infinite() => format!("({}1.0 / 0.0)", if v < 0.0 { "-" } else { "" }),
            v => format!("({v:e})"),
        },
        (d, v) if d.is_float() => match v.as_f64() as f32 {
            v if v.is_nan() => "nan_of(0.0f)".to_string(),
            v if v.is_infinite() => format!("({}1.0f / 0.0f)", if v < 0.0 { "-" } else { "" }),
            v => format!("({v:e}f)"),
        },
        (d, v) => {
            let int = match v {
                Scalar::Int(v) => v,
                Scalar::Float(v) => truncated(d, v),
            };
            match int {
                i64::MIN => format!("({})(-9223372036854775807LL - 1)", d.name()),
                v => format!("({})({v}LL)", d.name()),
            }
        }
    }
}

/// The steps of `expr` as declarations of constants named `{prefix}0`, `{prefix}1`, ..., and the name of the result. `inputs` are the
/// operands' values in registers, of the types that `dtypes` compute in.
pub fn expression(expr: &Expr, dtypes: &[DType], inputs: &[String], prefix: &str) -> (String, String) {
    expression_for(DType::F32, expr, dtypes, inputs, prefix)
}

/// As [`expression`] for a result that is stored as `stored`: functions are as exact as halves need it where those are.
pub fn expression_for(
    stored: DType,
    expr: &Expr,
    dtypes: &[DType],
    inputs: &[String],
    prefix: &str,
) -> (String, String) {
    let for_halves = matches!(stored, DType::F16 | DType::BF16);
    let types = expr.dtypes(dtypes).expect("a verified expression");
    let needless = expr.rounded_later(stored, &types);
    let mut code = String::new();
    let mut names: Vec<String> = Vec::with_capacity(expr.nodes.len());
    for (at, (node, &dtype)) in expr.nodes.iter().zip(&types).enumerate() {
        let of = |r: Ref| names[r as usize].as_str();
        let ty = |r: Ref| types[r as usize];
        let value = match *node {
            Node::Input(i) => {
                names.push(inputs[i as usize].clone());
                continue;
            }
            Node::Const(d, v) => {
                names.push(literal(d, v));
                continue;
            }
            // Storing rounds.
            Node::Cast(_, a) if needless.contains(&at) => {
                names.push(names[a as usize].clone());
                continue;
            }
            Node::Unary(f @ (Unary::Exp | Unary::Sigmoid | Unary::Erf), a)
                if for_halves && ty(a) != DType::F64 =>
            {
                format!("{}_near({})", f.name(), of(a))
            }
            Node::Unary(f, a) => unary(f, ty(a), of(a)),
            Node::Binary(f, a, b) => binary(f, ty(a), of(a), of(b)),
            Node::Select(c, a, b) => format!("{} ? {} : {}", of(c), of(a), of(b)),
            Node::Cast(to, a) => cast(ty(a), to, of(a)),
        };
        let name = format!("{prefix}{at}");
        let _ = writeln!(code, "const {} {name} = {value};", compute_type(dtype));
        names.push(name);
    }
    (code, names.pop().expect("an expression has at least one node"))
}

fn cast(from: DType, to: DType, a: &str) -> String {
    match to {
        DType::Bool => format!("{a} != 0"),
        DType::F16 | DType::BF16 => format!("round_{}((f32){a})", to.name()),
        d if d.is_float() => format!("({}){a}", d.name()),
        DType::U8 if from.is_float() => format!("(u8)(i64){a}"),
        // What does not fit becomes what it becomes in libtorch, whose code leaves it to the device as well.
        d => format!("({}){a}", d.name()),
    }
}

fn unary(f: Unary, dtype: DType, a: &str) -> String {
    use Unary::*;
    if !dtype.is_float() {
        return match f {
            Neg => format!("neg_wrap({a})"),
            Abs if dtype == DType::U8 => a.to_string(),
            Abs => format!("abs_wrap({a})"),
            Sign => format!("sign_of({a})"),
            Not if dtype == DType::Bool => format!("!{a}"),
            Not => format!("({})~{a}", dtype.name()),
            _ => a.to_string(),
        };
    }
    let (suffix, one) = if dtype == DType::F64 { ("", "1.0") } else { ("f", "1.0f") };
    match f {
        Neg => format!("-{a}"),
        Abs => format!("fabs{suffix}({a})"),
        Sign => format!("sign_of({a})"),
        Round => format!("rint{suffix}({a})"),
        Recip => format!("{one} / {a}"),
        Sigmoid => format!("{one} / ({one} + exp{suffix}(-{a}))"),
        IsNan => format!("is_nan({a})"),
        IsInf => format!("is_inf({a})"),
        Floor | Ceil | Trunc | Sqrt | Rsqrt | Exp | Exp2 | Expm1 | Log | Log2 | Log10 | Log1p | Sin | Cos
        | Tan | Asin | Acos | Atan | Sinh | Cosh | Tanh | Asinh | Acosh | Atanh | Erf => {
            format!("{}{suffix}({a})", f.name())
        }
        Not => a.to_string(),
    }
}

fn binary(f: Binary, dtype: DType, a: &str, b: &str) -> String {
    use Binary::*;
    let infix = |op: &str| format!("{a} {op} {b}");
    let call = |name: &str| format!("{name}({a}, {b})");
    match f {
        Eq => return infix("=="),
        Ne => return infix("!="),
        Lt => return infix("<"),
        Le => return infix("<="),
        Gt => return infix(">"),
        Ge => return infix(">="),
        Max => return call("max_of"),
        Min => return call("min_of"),
        _ => {}
    }
    if dtype == DType::Bool {
        return match f {
            Add | Or => infix("||"),
            Mul | And => infix("&&"),
            _ => infix("!="),
        };
    }
    if !dtype.is_float() {
        let bits = |op: &str| format!("({})({a} {op} {b})", dtype.name());
        return match f {
            Add => call("add_wrap"),
            Sub => call("sub_wrap"),
            Mul => call("mul_wrap"),
            FloorDiv => call("div_floor"),
            TruncDiv | Div => call("div_trunc"),
            Rem => call("rem_floor"),
            Fmod => call("rem_trunc"),
            Pow => call("pow_int"),
            And => bits("&"),
            Or => bits("|"),
            Xor => bits("^"),
            Shl => call("shift_left"),
            _ => call("shift_right"),
        };
    }
    let suffix = if dtype == DType::F64 { "" } else { "f" };
    match f {
        Add => infix("+"),
        Sub => infix("-"),
        Mul => infix("*"),
        Div => infix("/"),
        FloorDiv => call("div_floor_float"),
        TruncDiv => format!("trunc{suffix}({a} / {b})"),
        Rem => call("rem_float"),
        Fmod => call("fmod_of"),
        Pow => call(&format!("pow{suffix}")),
        _ => call(&format!("atan2{suffix}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_keep_their_value() {
        assert_eq!(literal(DType::F32, Scalar::Float(0.1)), "(1e-1f)");
        assert_eq!(literal(DType::F64, Scalar::Float(-0.0)), "(-0e0)");
        assert_eq!(literal(DType::F16, Scalar::Float(f64::NEG_INFINITY)), "(-1.0f / 0.0f)");
        assert_eq!(literal(DType::I64, Scalar::Int(i64::MIN)), "(i64)(-9223372036854775807LL - 1)");
        assert_eq!(literal(DType::Bool, Scalar::Int(1)), "true");
    }

    #[test]
    fn halves_compute_in_f32_and_round_when_cast() {
        let expr =
            Expr { nodes: vec![Node::Input(0), Node::Unary(Unary::Tanh, 0), Node::Cast(DType::BF16, 1)] };
        let (code, result) = expression(&expr, &[DType::F16], &["x".to_string()], "t");
        assert_eq!(code, "const f32 t1 = tanhf(x);\nconst f32 t2 = round_bf16((f32)t1);\n");
        assert_eq!(result, "t2");
    }

    #[test]
    fn what_storing_rounds_is_not_rounded_before() {
        let zero = Node::Const(DType::F16, Scalar::Float(0.0));
        let nodes = vec![Node::Input(0), Node::Cast(DType::F16, 0), zero, Node::Binary(Binary::Max, 1, 2)];
        let of = |stored| {
            expression_for(stored, &Expr { nodes: nodes.clone() }, &[DType::F32], &["x".to_string()], "t").0
        };
        assert_eq!(of(DType::F16), "const f32 t3 = max_of(x, (0e0f));\n");
        assert_eq!(of(DType::F32), "const f32 t1 = round_f16((f32)x);\nconst f32 t3 = max_of(t1, (0e0f));\n");
    }
}
