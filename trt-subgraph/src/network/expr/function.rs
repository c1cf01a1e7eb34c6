//! The functions that expressions are made of, with the names that the text form has for them.

use serde::{Deserialize, Serialize};

macro_rules! scalar_functions {
    ($(#[$m:meta])* $name:ident { $($(#[$vm:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$m])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        pub enum $name { $($(#[$vm])* $variant),* }
        impl $name {
            /// Every variant.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];
            /// The name in the text form.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }
            /// The inverse of `name`.
            pub fn parse(name: &str) -> Option<$name> {
                match name { $($text => Some($name::$variant),)* _ => None }
            }
        }
    };
}

scalar_functions! {
    /// Functions of one value. The result has the operand's type unless stated.
    Unary {
        /// Negation; wraps on integers.
        Neg = "neg",
        /// Absolute value; wraps on integers.
        Abs = "abs",
        /// -1, 0 or 1; NaN gives 0 as in torch.
        Sign = "sign",
        /// Logical negation of `Bool`, bitwise of integers.
        Not = "not",
        /// Round down (identity on integers).
        Floor = "floor",
        /// Round up (identity on integers).
        Ceil = "ceil",
        /// Round half to even (identity on integers).
        Round = "round",
        /// Round towards zero (identity on integers).
        Trunc = "trunc",
        /// Square root. This and all below: floating-point only.
        Sqrt = "sqrt",
        /// 1 / sqrt(x).
        Rsqrt = "rsqrt",
        /// 1 / x.
        Recip = "recip",
        /// e^x.
        Exp = "exp",
        /// 2^x.
        Exp2 = "exp2",
        /// e^x - 1.
        Expm1 = "expm1",
        /// Natural logarithm.
        Log = "log",
        /// Logarithm to base 2.
        Log2 = "log2",
        /// Logarithm to base 10.
        Log10 = "log10",
        /// ln(1 + x).
        Log1p = "log1p",
        /// Sine.
        Sin = "sin",
        /// Cosine.
        Cos = "cos",
        /// Tangent.
        Tan = "tan",
        /// Inverse sine.
        Asin = "asin",
        /// Inverse cosine.
        Acos = "acos",
        /// Inverse tangent.
        Atan = "atan",
        /// Hyperbolic sine.
        Sinh = "sinh",
        /// Hyperbolic cosine.
        Cosh = "cosh",
        /// Hyperbolic tangent.
        Tanh = "tanh",
        /// Inverse hyperbolic sine.
        Asinh = "asinh",
        /// Inverse hyperbolic cosine.
        Acosh = "acosh",
        /// Inverse hyperbolic tangent.
        Atanh = "atanh",
        /// Error function.
        Erf = "erf",
        /// 1 / (1 + e^-x).
        Sigmoid = "sigmoid",
        /// Is the value NaN? Gives `Bool`.
        IsNan = "isnan",
        /// Is the value infinite? Gives `Bool`.
        IsInf = "isinf",
    }
}

scalar_functions! {
    /// Functions of two values of one type.
    Binary {
        /// Sum; logical or on `Bool`.
        Add = "add",
        /// Difference.
        Sub = "sub",
        /// Product; logical and on `Bool`.
        Mul = "mul",
        /// True division; floating-point only.
        Div = "div",
        /// Division rounded down. An integer division by zero is undefined here: lowering refuses integer divisors that are not known to be non-zero.
        FloorDiv = "floordiv",
        /// Division rounded towards zero.
        TruncDiv = "truncdiv",
        /// Remainder with the divisor's sign (Python's `%`).
        Rem = "rem",
        /// Remainder with the dividend's sign (C's `fmod`).
        Fmod = "fmod",
        /// Power; on integers by repeated multiplication, wrapping, negative exponents as torch has them.
        Pow = "pow",
        /// Angle of the point (second, first).
        Atan2 = "atan2",
        /// The larger; NaN if either is NaN.
        Max = "max",
        /// The smaller; NaN if either is NaN.
        Min = "min",
        /// Logical on `Bool`, bitwise on integers.
        And = "and",
        /// Logical on `Bool`, bitwise on integers.
        Or = "or",
        /// Logical on `Bool`, bitwise on integers.
        Xor = "xor",
        /// Left shift of integers.
        Shl = "shl",
        /// Arithmetic right shift of integers.
        Shr = "shr",
        /// Equal. This and all below give `Bool`; NaN compares as in IEEE 754.
        Eq = "eq",
        /// Not equal.
        Ne = "ne",
        /// Less.
        Lt = "lt",
        /// Less or equal.
        Le = "le",
        /// Greater.
        Gt = "gt",
        /// Greater or equal.
        Ge = "ge",
    }
}

impl Binary {
    /// Is this a comparison (its result is `Bool`)?
    pub fn is_comparison(self) -> bool {
        matches!(self, Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge)
    }
}
