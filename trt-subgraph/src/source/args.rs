//! Arguments of a call by name, checked as they are read.

use super::lower::{Item, Lower};
use super::{Refusal, Schema};
use crate::network::ValueId;
use crate::{DType, Literal};

/// The arguments of one call. Reading one gives the value or the refusal that names it.
#[derive(Clone, Debug)]
pub struct Args<'a> {
    /// The operator's schema.
    pub schema: &'a Schema,
    /// One item for each parameter.
    pub items: Vec<Item>,
}

impl Args<'_> {
    /// The argument called `name`; `None` where the schema (of this overload) has none.
    pub fn get(&self, name: &str) -> &Item {
        let at = self.schema.params.iter().position(|p| p.name == name);
        at.and_then(|i| self.items.get(i)).unwrap_or(&Item::None)
    }

    /// Is the argument given and not `None`?
    pub fn has(&self, name: &str) -> bool {
        *self.get(name) != Item::None
    }

    fn wrong(&self, name: &str, expected: &str) -> Refusal {
        Refusal::Attribute {
            arg: name.to_string(),
            why: format!("expected {expected}, found {:?}", self.get(name)),
        }
    }

    /// A tensor.
    pub fn tensor(&self, name: &str) -> Result<ValueId, Refusal> {
        match self.get(name) {
            Item::Tensor(v) => Ok(*v),
            _ => Err(self.wrong(name, "a tensor")),
        }
    }

    /// A tensor or nothing.
    pub fn opt_tensor(&self, name: &str) -> Result<Option<ValueId>, Refusal> {
        if self.has(name) { self.tensor(name).map(Some) } else { Ok(None) }
    }

    /// A list of tensors.
    pub fn tensors(&self, name: &str) -> Result<Vec<ValueId>, Refusal> {
        let Item::List(items) = self.get(name) else { return Err(self.wrong(name, "a list of tensors")) };
        let one = |i: &Item| {
            if let Item::Tensor(v) = i { Ok(*v) } else { Err(self.wrong(name, "a list of tensors")) }
        };
        items.iter().map(one).collect()
    }

    /// An integer.
    pub fn int(&self, lower: &Lower, name: &str) -> Result<i64, Refusal> {
        self.opt_int(lower, name)?.ok_or_else(|| self.wrong(name, "an int"))
    }

    /// An integer or nothing. A 0-d tensor of known value counts as its value.
    pub fn opt_int(&self, lower: &Lower, name: &str) -> Result<Option<i64>, Refusal> {
        if self.has(name) { as_int(lower, name, self.get(name)).map(Some) } else { Ok(None) }
    }

    /// A list of integers; a single one is a list of one.
    pub fn ints(&self, lower: &Lower, name: &str) -> Result<Vec<i64>, Refusal> {
        match self.get(name) {
            Item::List(items) => items.iter().map(|i| as_int(lower, name, i)).collect(),
            Item::None => Err(self.wrong(name, "a list of ints")),
            one => Ok(vec![as_int(lower, name, one)?]),
        }
    }

    /// A list of integers or nothing.
    pub fn opt_ints(&self, lower: &Lower, name: &str) -> Result<Option<Vec<i64>>, Refusal> {
        if self.has(name) { self.ints(lower, name).map(Some) } else { Ok(None) }
    }

    /// Exactly `n` sizes from 0 to below 2^31, so that products of two never overflow; one entry (or, with `default`, an empty or missing list) stands for all.
    pub fn sizes(
        &self,
        lower: &Lower,
        name: &str,
        n: usize,
        default: Option<&[usize]>,
    ) -> Result<Vec<usize>, Refusal> {
        let given = self.opt_ints(lower, name)?.unwrap_or_default();
        if given.is_empty() {
            return default.map(<[usize]>::to_vec).ok_or_else(|| self.wrong(name, "a list of ints"));
        }
        let size = |&v: &i64| i32::try_from(v).ok().and_then(|v| usize::try_from(v).ok());
        let list: Option<Vec<usize>> = given.iter().map(size).collect();
        match list {
            Some(l) if l.len() == n => Ok(l),
            Some(l) if l.len() == 1 => Ok(vec![l[0]; n]),
            _ => Err(self.wrong(name, &format!("{n} sizes"))),
        }
    }

    /// A float; an int counts.
    pub fn float(&self, name: &str) -> Result<f64, Refusal> {
        match self.get(name) {
            Item::Float(v) => Ok(*v),
            Item::Int(v) => Ok(*v as f64),
            Item::Bool(v) => Ok(*v as i64 as f64),
            Item::Tensor(_) => Err(Refusal::NotConstant { arg: name.to_string() }),
            _ => Err(self.wrong(name, "a float")),
        }
    }

    /// A boolean; missing is `false`.
    pub fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.get(name) {
            Item::Bool(v) => Ok(*v),
            Item::Int(v) => Ok(*v != 0),
            Item::None => Ok(false),
            _ => Err(self.wrong(name, "a bool")),
        }
    }

    /// A string or nothing.
    pub fn opt_str(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.get(name) {
            Item::Str(s) => Ok(Some(s)),
            Item::None => Ok(None),
            _ => Err(self.wrong(name, "a string")),
        }
    }

    /// A dtype or nothing, from torch's code.
    pub fn opt_dtype(&self, lower: &Lower, name: &str) -> Result<Option<DType>, Refusal> {
        let Some(code) = self.opt_int(lower, name)? else { return Ok(None) };
        dtype_of_code(code).map(Some).ok_or_else(|| Refusal::Attribute {
            arg: name.to_string(),
            why: format!("element type {code} is not supported"),
        })
    }

    /// An axis of a tensor of `rank` dimensions, negative ones counted from the end; rank 0 allows 0 and -1.
    pub fn axis(&self, lower: &Lower, name: &str, rank: usize) -> Result<usize, Refusal> {
        wrap_axis(name, self.int(lower, name)?, rank)
    }

    /// Sorted unique axes; missing or (unless the caller treats it otherwise) empty means all.
    pub fn axes(&self, lower: &Lower, name: &str, rank: usize) -> Result<Vec<usize>, Refusal> {
        let given = self.opt_ints(lower, name)?.unwrap_or_default();
        if given.is_empty() {
            return Ok((0..rank).collect());
        }
        let mut axes = given.iter().map(|&a| wrap_axis(name, a, rank)).collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        if axes.windows(2).any(|w| w[0] == w[1]) {
            return Err(Refusal::Invalid(format!("'{name}' names an axis twice")));
        }
        axes.truncate(rank);
        Ok(axes)
    }
}

/// `axis` counted from the front; rank 0 is treated as rank 1, as torch does.
pub fn wrap_axis(name: &str, axis: i64, rank: usize) -> Result<usize, Refusal> {
    let n = rank.max(1) as i64;
    if (-n..n).contains(&axis) {
        Ok(axis.rem_euclid(n) as usize)
    } else {
        Err(Refusal::Invalid(format!("'{name}' is {axis}, the tensor has {rank} dimensions")))
    }
}

fn as_int(lower: &Lower, name: &str, item: &Item) -> Result<i64, Refusal> {
    match item {
        Item::Int(v) => Ok(*v),
        Item::Bool(v) => Ok(*v as i64),
        Item::Tensor(v) => {
            let known =
                lower.known(*v).filter(|l: &Literal| l.ty().elements() == 1 && !l.ty().dtype.is_float());
            known.map(|l| l.i64_at(0)).ok_or_else(|| Refusal::NotConstant { arg: name.to_string() })
        }
        other => Err(Refusal::Attribute {
            arg: name.to_string(),
            why: format!("expected an int, found {other:?}"),
        }),
    }
}

/// The element type of torch's `ScalarType` code; complex, quantised and exotic ones have none here.
pub fn dtype_of_code(code: i64) -> Option<DType> {
    Some(match code {
        0 => DType::U8,
        1 => DType::I8,
        2 => DType::I16,
        3 => DType::I32,
        4 => DType::I64,
        5 => DType::F16,
        6 => DType::F32,
        7 => DType::F64,
        11 => DType::Bool,
        15 => DType::BF16,
        _ => return None,
    })
}

/// The inverse of [`dtype_of_code`].
pub fn code_of_dtype(dtype: DType) -> i8 {
    match dtype {
        DType::U8 => 0,
        DType::I8 => 1,
        DType::I16 => 2,
        DType::I32 => 3,
        DType::I64 => 4,
        DType::F16 => 5,
        DType::F32 => 6,
        DType::F64 => 7,
        DType::Bool => 11,
        DType::BF16 => 15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back() {
        for d in DType::ALL {
            assert_eq!(dtype_of_code(code_of_dtype(d).into()), Some(d));
        }
        assert_eq!(dtype_of_code(8), None);
    }
}
