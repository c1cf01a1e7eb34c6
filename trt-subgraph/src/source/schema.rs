//! Operator schemas: `aten::relu(Tensor self) -> Tensor`, the notation of torch's operator library.

use std::fmt;

/// A parsed schema.
#[derive(Clone, PartialEq, Debug)]
pub struct Schema {
    /// Qualified name with overload: `aten::add.Tensor`.
    pub name: String,
    /// The parameters in order.
    pub params: Vec<Param>,
    /// How many results.
    pub results: usize,
}

/// One parameter of a schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: ParamType,
    /// Does the operator write it?
    pub written: bool,
}

/// The types that parameters have; what matters to lowering, not torch's full type language.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ParamType {
    /// `Tensor`.
    Tensor,
    /// `int`, also `ScalarType`, `Layout`, `MemoryFormat`, `SymInt`.
    Int,
    /// `float`.
    Float,
    /// `bool`.
    Bool,
    /// `str`, also `Device`.
    Str,
    /// `Scalar`: int, float or bool.
    Scalar,
    /// Any value.
    Any,
    /// `T[]` or `T[n]`.
    List(Box<ParamType>),
    /// `T?`.
    Optional(Box<ParamType>),
}

/// A schema that does not parse: where and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SchemaError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "schema `{}`: {}", self.text, self.why)
    }
}

impl std::error::Error for SchemaError {}

impl Schema {
    /// Parses `name(Type param=default, *, ...) -> results`.
    pub fn parse(text: &str) -> Result<Schema, SchemaError> {
        let fail = |why| SchemaError { text: text.to_string(), why };
        let (name, rest) = text.split_once('(').ok_or(fail("no parameter list"))?;
        let (list, results) = rest.rsplit_once("->").ok_or(fail("no results"))?;
        let list = list.trim().strip_suffix(')').ok_or(fail("the parameter list is not closed"))?;
        let mut params = Vec::new();
        for part in split_commas(list) {
            if part == "*" {
                continue;
            }
            let part = part.split_once('=').map_or(part, |(p, _)| p).trim();
            let (ty, name) = part.rsplit_once(' ').ok_or(fail("a parameter has a type and a name"))?;
            let written = ty.contains('!');
            let ty = parse_type(&without_alias(ty)).ok_or(fail("unknown parameter type"))?;
            params.push(Param { name: name.to_string(), ty, written });
        }
        let results = results.trim();
        let results = match results.strip_prefix('(').and_then(|r| r.strip_suffix(')')) {
            Some(inner) => split_commas(inner).len(),
            None => 1,
        };
        Ok(Schema { name: name.trim().to_string(), params, results })
    }

    /// The name without overload: `aten::add`.
    pub fn base(&self) -> &str {
        let start = self.name.find("::").map_or(0, |i| i + 2);
        self.name[start..].find('.').map_or(&self.name, |i| &self.name[..start + i])
    }
}

fn split_commas(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut out) = (0i32, 0, Vec::new());
    for (i, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                out.push(text[from..i].trim());
                from = i + 1;
            }
            _ => {}
        }
    }
    out.push(text[from..].trim());
    out.retain(|s| !s.is_empty());
    out
}

/// `Tensor(a!)[]` to `Tensor[]`.
fn without_alias(ty: &str) -> String {
    let mut depth = 0;
    let mut out = String::new();
    for c in ty.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            c if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out.trim().to_string()
}

fn parse_type(ty: &str) -> Option<ParamType> {
    if let Some(inner) = ty.strip_suffix('?') {
        return Some(ParamType::Optional(Box::new(parse_type(inner)?)));
    }
    if let Some(inner) = ty.strip_suffix(']') {
        return Some(ParamType::List(Box::new(parse_type(inner.rsplit_once('[')?.0)?)));
    }
    Some(match ty {
        "Tensor" => ParamType::Tensor,
        "int" | "SymInt" | "ScalarType" | "Layout" | "MemoryFormat" => ParamType::Int,
        "float" => ParamType::Float,
        "bool" => ParamType::Bool,
        "str" | "Device" => ParamType::Str,
        "Scalar" | "number" => ParamType::Scalar,
        "t" | "t1" | "t2" | "Any" | "AnyListType" | "Generator" => ParamType::Any,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_torch_prints() {
        let s = Schema::parse("aten::max_pool2d(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0, bool ceil_mode=False) -> Tensor").unwrap();
        assert_eq!((s.name.as_str(), s.params.len(), s.results), ("aten::max_pool2d", 5, 1));
        assert_eq!(s.params[2].ty, ParamType::List(Box::new(ParamType::Int)));
        let s = Schema::parse(
            "aten::add_.Tensor(Tensor(a!) self, Tensor other, *, Scalar alpha=1) -> Tensor(a!)",
        )
        .unwrap();
        assert_eq!((s.base(), s.params.len(), s.params[0].written), ("aten::add_", 3, true));
        let s = Schema::parse("aten::topk(Tensor self, int k, int dim=-1, bool largest=True, bool sorted=True) -> (Tensor values, Tensor indices)").unwrap();
        assert_eq!(s.results, 2);
        let s = Schema::parse("aten::to.dtype(Tensor(a) self, ScalarType dtype, bool non_blocking=False, bool copy=False, MemoryFormat? memory_format=None) -> Tensor(a)").unwrap();
        assert_eq!(s.params[4].ty, ParamType::Optional(Box::new(ParamType::Int)));
        assert!(Schema::parse("aten::relu").is_err());
    }
}
