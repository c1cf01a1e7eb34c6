//! Sizes, element types and their promotion, as the generator follows them.

use tch::Kind;

/// How many sets of sizes a program is called with.
pub const SETS: usize = 3;

/// A size in each set.
pub type Dim = [i64; SETS];

/// The kind in Python's words and by torch's number.
fn words(kind: Kind) -> (&'static str, u8) {
    match kind {
        Kind::Double => ("torch.float64", 7),
        Kind::Half => ("torch.float16", 5),
        Kind::BFloat16 => ("torch.bfloat16", 15),
        Kind::Int64 => ("torch.int64", 4),
        Kind::Int => ("torch.int32", 3),
        Kind::Int16 => ("torch.int16", 2),
        Kind::Int8 => ("torch.int8", 1),
        Kind::Uint8 => ("torch.uint8", 0),
        Kind::Bool => ("torch.bool", 11),
        _ => ("torch.float32", 6),
    }
}

/// The kind in Python's words.
pub fn name(kind: Kind) -> &'static str {
    words(kind).0
}

/// The kind by torch's number.
pub fn code(kind: Kind) -> u8 {
    words(kind).1
}

pub fn is_float(kind: Kind) -> bool {
    matches!(kind, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16)
}

/// Significant bits of a floating-point type; any number of them for whole numbers.
pub fn digits(kind: Kind) -> u32 {
    match kind {
        Kind::BFloat16 => 8,
        Kind::Half => 11,
        Kind::Float => 24,
        Kind::Double => 53,
        _ => u32::MAX,
    }
}

/// bool, whole numbers, floating-point numbers.
pub fn category(kind: Kind) -> u8 {
    match kind {
        Kind::Bool => 0,
        k if is_float(k) => 2,
        _ => 1,
    }
}

/// The type that holds both, by torch's table.
pub fn promoted(a: Kind, b: Kind) -> Kind {
    let rank =
        |k| [Kind::Uint8, Kind::Int8, Kind::Int16, Kind::Int, Kind::Int64].iter().position(|&r| r == k);
    match (category(a), category(b)) {
        _ if a == b => a,
        (x, y) if x != y => {
            if x > y {
                a
            } else {
                b
            }
        }
        (2, _) if a == Kind::Double || b == Kind::Double => Kind::Double,
        (2, _) => Kind::Float,
        _ if rank(a).max(rank(b)) == Some(1) => Kind::Int16,
        _ => {
            if rank(a) > rank(b) {
                a
            } else {
                b
            }
        }
    }
}

/// The type of an operation on a tensor of rank `ranks.0` and one of rank `ranks.1`: one without dimensions gives way within
/// its category.
pub fn joint(a: Kind, b: Kind, ranks: (usize, usize)) -> Kind {
    match ranks {
        (0, 0) => promoted(a, b),
        (0, _) => {
            if category(a) > category(b) {
                a
            } else {
                b
            }
        }
        (_, 0) => {
            if category(b) > category(a) {
                b
            } else {
                a
            }
        }
        _ => promoted(a, b),
    }
}

/// Both shapes stretched to each other, in every set.
pub fn broadcast(a: &[Dim], b: &[Dim]) -> Option<Vec<Dim>> {
    let rank = a.len().max(b.len());
    let at = |s: &[Dim], i: usize| if i + s.len() < rank { [1; SETS] } else { s[i + s.len() - rank] };
    let join = |i: usize| {
        let (a, b) = (at(a, i), at(b, i));
        let mut out = a;
        for set in 0..SETS {
            out[set] = match (a[set], b[set]) {
                (x, y) if x == y => x,
                (1, y) => y,
                (x, 1) => x,
                _ => return None,
            };
        }
        Some(out)
    };
    (0..rank).map(join).collect()
}

/// Elements of a shape in each set.
pub fn elements(shape: &[Dim]) -> Dim {
    std::array::from_fn(|set| shape.iter().map(|d| d[set]).product())
}
