//! Operator cases: one call as a line of text, the form of the files in `tests/cases/op`.
//!
//! ```text
//! aten::conv1d(f32[1,3,8], p:f32[4,3,3], None, [1], [0], [1], 1)
//! aten::embedding(f32[10,4], i64[2,3]{0..10}, -1, False, False)
//! aten::relu(f32[4]{nan, 1, -inf, -0.0})
//! aten::to.dtype(f32[2], f64, False, False, None)
//! refuse dtype: aten::relu(bool[2])
//! ```
//!
//! Arguments stand in the schema's order, none is left out. A tensor's values are random, seeded by the line, unless they
//! follow in braces: a range (`{0..10}`, without its end), all of them, or one for all. `p:` marks a parameter of the model, `c:` a
//! constant. An element type alone is torch's code for it. `refuse <code>:` expects the refusal of that [`Refusal::code`];
//! `refuse! <code>:` also says that torch crashes on the call, so that nobody may try it there.

use super::lower::{Item, Lower};
use super::specialise::lower_call;
use super::{Device, Refusal, code_of_dtype};
use crate::cursor::{Cursor, Number, Unexpected};
use crate::network::{Network, ValueId};
use crate::random::Random;
use crate::{DType, Literal, TensorType};
use std::fmt;
use std::path::{Path, PathBuf};

/// A call and what is expected of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Case {
    /// Qualified name with overload.
    pub op: String,
    /// The arguments.
    pub args: Vec<CaseArg>,
    /// The code of the refusal that lowering gives; `None` when it succeeds.
    pub refusal: Option<String>,
    /// Does torch itself crash on this call?
    pub crashes_host: bool,
}

/// An argument of a case.
#[derive(Clone, PartialEq, Debug)]
pub enum CaseArg {
    /// A tensor.
    Tensor(Role, Literal),
    /// `None`.
    None,
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A string.
    Str(String),
    /// A list.
    List(Vec<CaseArg>),
}

/// How a network sees a tensor of a case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// As an input.
    Input,
    /// As a parameter.
    Parameter,
    /// As a constant.
    Constant,
}

/// A case as a network and what it runs on.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The network; its outputs are the tensors among the results, in order.
    pub network: Network,
    /// Values for the network's parameters.
    pub parameters: Vec<Literal>,
    /// Values for the network's inputs.
    pub inputs: Vec<Literal>,
    /// What the call gives.
    pub results: Vec<Item>,
}

/// A case and where it stands.
#[derive(Clone, Debug)]
pub struct Placed {
    /// `file:line: text`.
    pub place: String,
    /// The case.
    pub case: Case,
}

/// Why a folder of cases cannot be read.
#[derive(Debug)]
pub enum CaseError {
    /// The file cannot be read.
    Io(PathBuf, std::io::Error),
    /// The line (from 1) is no case.
    Line(PathBuf, usize, Unexpected),
}

/// The cases of all `*.cases` files in a folder whose name contains `filter`. Empty lines and `#` comments are skipped.
pub fn load(folder: &Path, filter: &str) -> Result<Vec<Placed>, CaseError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |e| CaseError::Io(path, e)
    };
    let entries = folder.read_dir().map_err(io(folder))?;
    let mut files = entries.map(|e| Ok(e?.path())).collect::<Result<Vec<_>, _>>().map_err(io(folder))?;
    files.sort();
    let mut out = Vec::new();
    for path in files.iter().filter(|p| p.extension().is_some_and(|e| e == "cases")) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if !name.contains(filter) {
            continue;
        }
        let text = std::fs::read_to_string(path).map_err(io(path))?;
        for (at, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
            if !line.is_empty() && !line.starts_with('#') {
                let case = Case::parse(line).map_err(|e| CaseError::Line(path.clone(), at, e))?;
                out.push(Placed { place: format!("{name}.cases:{at}: {line}"), case });
            }
        }
    }
    Ok(out)
}

impl Case {
    /// Parses one line.
    pub fn parse(line: &str) -> Result<Case, Unexpected> {
        let mut random = Random::of_text(line);
        let mut c = Cursor::new(line);
        let mut crashes_host = false;
        let refusal = if c.eat("refuse") {
            crashes_host = c.eat("!");
            let code = c.run(|c| c.is_ascii_alphabetic() || c == '-').to_string();
            c.expect(":")?;
            Some(code)
        } else {
            None
        };
        let op = c.run(|c| c != '(' && c != '#' && !c.is_whitespace()).to_string();
        c.expect("(")?;
        let args = c.list(")", |c| argument(c, &mut random))?;
        if !c.rest().starts_with('#') {
            c.end()?;
        }
        Ok(Case { op, args, refusal, crashes_host })
    }

    /// Lowers the call alone.
    pub fn lower(&self) -> Result<Lowered, Refusal> {
        let mut lower = Lower::new(Device::default());
        let (mut parameters, mut inputs) = (Vec::new(), Vec::new());
        let mut place = |b: &mut Lower, role: Role, literal: &Literal| match role {
            Role::Input => {
                inputs.push(literal.clone());
                b.builder.input(literal.ty().clone())
            }
            Role::Parameter => {
                parameters.push(literal.clone());
                b.builder.parameter(format!("p{}", parameters.len() - 1), literal.ty().clone())
            }
            Role::Constant => b.builder.constant(literal.clone()),
        };
        let items = self.args.iter().map(|a| item(a, &mut lower, &mut place)).collect();
        lower.builder.set_origin(&self.op);
        let results = lower_call(&mut lower, &self.op, items)?;
        let mut outputs = Vec::new();
        results.iter().for_each(|r| tensors(r, &mut outputs));
        Ok(Lowered { network: lower.builder.finish(outputs), parameters, inputs, results })
    }
}

impl fmt::Display for CaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaseError::Io(path, e) => write!(f, "{}: {e}", path.display()),
            CaseError::Line(path, line, e) => write!(f, "{}:{line}: {e}", path.display()),
        }
    }
}

impl std::error::Error for CaseError {}

fn item(
    arg: &CaseArg,
    lower: &mut Lower,
    place: &mut impl FnMut(&mut Lower, Role, &Literal) -> ValueId,
) -> Item {
    match arg {
        CaseArg::Tensor(role, literal) => Item::Tensor(place(lower, *role, literal)),
        CaseArg::None => Item::None,
        CaseArg::Int(v) => Item::Int(*v),
        CaseArg::Float(v) => Item::Float(*v),
        CaseArg::Bool(v) => Item::Bool(*v),
        CaseArg::Str(s) => Item::Str(s.clone()),
        CaseArg::List(items) => Item::List(items.iter().map(|a| item(a, lower, place)).collect()),
    }
}

fn tensors(item: &Item, out: &mut Vec<ValueId>) {
    match item {
        Item::Tensor(v) => out.push(*v),
        Item::List(items) => items.iter().for_each(|i| tensors(i, out)),
        _ => {}
    }
}

fn argument(c: &mut Cursor, random: &mut Random) -> Result<CaseArg, Unexpected> {
    for (word, value) in
        [("None", CaseArg::None), ("True", CaseArg::Bool(true)), ("False", CaseArg::Bool(false))]
    {
        if c.eat(word) {
            return Ok(value);
        }
    }
    if c.eat("[") {
        return Ok(CaseArg::List(c.list("]", |c| argument(c, random))?));
    }
    if c.rest().starts_with('"') {
        return c.string().map(CaseArg::Str);
    }
    let role = match () {
        _ if c.eat("p:") => Role::Parameter,
        _ if c.eat("c:") => Role::Constant,
        _ => Role::Input,
    };
    let mut ahead = c.clone();
    let Some(dtype) = DType::parse(ahead.word()) else {
        return Ok(match c.number()? {
            Number::Int(v) => CaseArg::Int(v),
            Number::Float(v) => CaseArg::Float(v),
        });
    };
    *c = ahead;
    if !c.eat("[") {
        return Ok(CaseArg::Int(code_of_dtype(dtype).into()));
    }
    let ty = TensorType::new(dtype, c.list("]", Cursor::index)?);
    Ok(CaseArg::Tensor(role, values(c, ty, random)?))
}

fn values(c: &mut Cursor, ty: TensorType, random: &mut Random) -> Result<Literal, Unexpected> {
    if !c.eat("{") {
        return Ok(random.literal(ty));
    }
    let mut ahead = c.clone();
    if let Ok(from) = ahead.number()
        && ahead.eat("..")
    {
        let to = ahead.number()?;
        ahead.expect("}")?;
        *c = ahead;
        return Ok(random.literal_in(ty, from.as_f64(), to.as_f64()));
    }
    let start = c.clone();
    let mut all = c.list("}", Cursor::number)?;
    if let [one] = all[..] {
        all = vec![one; ty.elements()];
    }
    let whole: Option<Vec<i64>> =
        all.iter().map(|n| if let Number::Int(v) = n { Some(*v) } else { None }).collect();
    let literal = match whole {
        Some(ints) => Literal::from_i64(ty, ints),
        None => Literal::from_f64(ty, all.iter().map(|n| n.as_f64())),
    };
    literal.map_or_else(|| start.fail("as many values as the tensor has elements"), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_every_form() {
        let case =
            Case::parse(r#"aten::f.x([None, p:i64[2]{1, -2}], 1e-5, "same", f64, -3, c:f32[]{nan})  # why"#);
        let case = case.unwrap();
        assert_eq!(case.op, "aten::f.x");
        let p = Literal::from_i64(TensorType::new(DType::I64, [2]), [1, -2]).unwrap();
        let list = CaseArg::List(vec![CaseArg::None, CaseArg::Tensor(Role::Parameter, p)]);
        assert_eq!(case.args[0], list);
        assert_eq!(case.args[1..3], [CaseArg::Float(1e-5), CaseArg::Str("same".into())]);
        assert_eq!(case.args[3..5], [CaseArg::Int(7), CaseArg::Int(-3)]);
        assert!(matches!(&case.args[5], CaseArg::Tensor(Role::Constant, l) if l.f64_at(0).is_nan()));
    }

    #[test]
    fn values_are_random_ranged_or_given() {
        let tensor = |text: &str| match Case::parse(&format!("f({text})")).unwrap().args.remove(0) {
            CaseArg::Tensor(_, l) => l.to_f64(),
            other => panic!("{other:?}"),
        };
        assert_eq!(tensor("f32[3]"), tensor("f32[3]"));
        assert!(tensor("i64[50]{3..5}").iter().all(|&v| v == 3.0 || v == 4.0));
        assert_eq!(tensor("f32[3]{0.5}"), [0.5; 3]);
        assert!(tensor("f64[1]{-0.0}")[0].is_sign_negative());
        assert_eq!(tensor("f32[0]"), [0.0; 0]);
        assert!(Case::parse("f(f32[2]{1, 2, 3})").is_err());
    }

    #[test]
    fn refusals_are_named() {
        let case = Case::parse("refuse no-such-op: f(1)").unwrap();
        assert_eq!((case.op.as_str(), case.refusal.as_deref()), ("f", Some("no-such-op")));
        assert!(!case.crashes_host && Case::parse("refuse! invalid: f(1)").unwrap().crashes_host);
    }

    #[test]
    fn a_case_lowers_to_a_network() {
        let lowered = Case::parse("aten::relu(p:f32[2])").unwrap().lower().unwrap();
        lowered.network.verify().unwrap();
        assert_eq!((lowered.parameters.len(), lowered.inputs.len()), (1, 0));
        assert_eq!(Case::parse("aten::relu(bool[2])").unwrap().lower().unwrap_err().code(), "dtype");
    }
}
