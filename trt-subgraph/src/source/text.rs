//! The text form of source graphs: what a saved module keeps of an engine.
//!
//! ```text
//! device "cpu"
//! input %1
//! int %2
//! parameter %3 "conv.weight"
//! %5 = aten::conv2d(%1, %3, None, [1, 1], [0, 0], [1, 1], 1) "model.py:12"
//! %6 = aten::mul.Tensor(%5, f32[]{0000003f}) ""
//! return %6
//! ```
//!
//! Statements stand in this order; blanks and line breaks mean nothing outside of strings. Integers have no point, floats have
//! one, or an exponent, or are `inf`, `-inf`, `nan`. The elements of a literal tensor are its bytes, little-endian.

use super::{Arg, Call, Device, Input, InputKind, SourceGraph, Var};
use crate::cursor::{Cursor, Number, Unexpected};
use crate::{DType, Literal, TensorType};
use std::fmt::{self, Write};

impl fmt::Display for SourceGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "device {}", Quoted(&self.device.0))?;
        for input in &self.inputs {
            let word = if input.kind == InputKind::Tensor { "input" } else { "int" };
            writeln!(f, "{word} {}", input.var)?;
        }
        for (var, name) in &self.parameters {
            writeln!(f, "parameter {var} {}", Quoted(name))?;
        }
        for call in &self.calls {
            list(f, &call.outputs)?;
            write!(f, " = {}(", call.op)?;
            list(f, &call.args)?;
            writeln!(f, ") {}", Quoted(&call.place))?;
        }
        f.write_str("return ")?;
        list(f, &self.outputs)?;
        f.write_str("\n")
    }
}

impl fmt::Display for Var {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arg::Var(v) => v.fmt(f),
            Arg::None => f.write_str("None"),
            Arg::Int(v) => v.fmt(f),
            Arg::Float(v) if v.is_nan() => f.write_str("nan"),
            Arg::Float(v) => write!(f, "{v:?}"),
            Arg::Bool(v) => f.write_str(if *v { "True" } else { "False" }),
            Arg::Str(s) => Quoted(s).fmt(f),
            Arg::Tensor(literal) => {
                write!(f, "{}{{", literal.ty())?;
                little_endian(literal).iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_char('}')
            }
            Arg::List(items) => {
                f.write_char('[')?;
                list(f, items)?;
                f.write_char(']')
            }
        }
    }
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

fn list(f: &mut fmt::Formatter<'_>, items: &[impl fmt::Display]) -> fmt::Result {
    items.iter().enumerate().try_for_each(|(at, item)| write!(f, "{}{item}", if at == 0 { "" } else { ", " }))
}

/// The literal's bytes in the order of the text form.
fn little_endian(literal: &Literal) -> Vec<u8> {
    swapped(literal.bytes().to_vec(), literal.ty().dtype.size())
}

/// From the machine's order of bytes to little-endian, or back.
fn swapped(mut bytes: Vec<u8>, size: usize) -> Vec<u8> {
    if cfg!(target_endian = "big") {
        bytes.chunks_mut(size).for_each(<[u8]>::reverse);
    }
    bytes
}

impl SourceGraph {
    /// Reads the text form. Says nothing of whether operators exist or variables are defined: [`super::specialise()`] does.
    ///
    /// # Errors
    /// The place of the first character that does not belong there.
    pub fn parse(text: &str) -> Result<SourceGraph, Unexpected> {
        let c = &mut Cursor::new(text);
        let mut graph = SourceGraph::default();
        c.expect("device")?;
        graph.device = Device(c.string()?);
        loop {
            let kind = match () {
                _ if c.eat("input") => InputKind::Tensor,
                _ if c.eat("int") => InputKind::Int,
                _ => break,
            };
            graph.inputs.push(Input { var: var(c)?, kind });
        }
        while c.eat("parameter") {
            graph.parameters.push((var(c)?, c.string()?));
        }
        while !c.eat("return") {
            let outputs = c.list("=", var)?;
            let op = c.run(|c| c.is_ascii_alphanumeric() || "_:.".contains(c)).to_string();
            c.expect("(")?;
            let args = c.list(")", |c| argument(c, 0))?;
            graph.calls.push(Call { op, args, outputs, place: c.string()? });
        }
        while !c.rest().is_empty() {
            if !graph.outputs.is_empty() {
                c.expect(",")?;
            }
            graph.outputs.push(var(c)?);
        }
        Ok(graph)
    }
}

fn var(c: &mut Cursor) -> Result<Var, Unexpected> {
    c.expect("%")?;
    c.index().map(Var)
}

/// The most lists within lists: more than any schema has.
const DEPTH: usize = 16;

fn argument(c: &mut Cursor, depth: usize) -> Result<Arg, Unexpected> {
    let words = [("None", Arg::None), ("True", Arg::Bool(true)), ("False", Arg::Bool(false))];
    for (word, arg) in words {
        if c.eat(word) {
            return Ok(arg);
        }
    }
    match c.rest().chars().next() {
        Some('%') => return var(c).map(Arg::Var),
        Some('"') => return c.string().map(Arg::Str),
        Some('[') if depth < DEPTH => {
            c.expect("[")?;
            return c.list("]", |c| argument(c, depth + 1)).map(Arg::List);
        }
        _ => {}
    }
    let mut ahead = c.clone();
    if let Some(dtype) = DType::parse(ahead.word()) {
        *c = ahead;
        return literal(c, dtype).map(Arg::Tensor);
    }
    Ok(match c.number()? {
        Number::Int(v) => Arg::Int(v),
        Number::Float(v) => Arg::Float(v),
    })
}

/// A literal's shape and elements.
fn literal(c: &mut Cursor, dtype: DType) -> Result<Literal, Unexpected> {
    c.expect("[")?;
    let ty = TensorType::new(dtype, c.list("]", Cursor::index)?);
    c.expect("{")?;
    let digits = c.run(|c| c.is_ascii_hexdigit());
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits");
    let bytes: Vec<u8> = (0..digits.len() / 2).map(|i| byte(2 * i)).collect();
    let size = ty.dtype.size();
    // A shape from a file may be of any size: it is held against the bytes that are there before anything is made of it.
    let wanted = ty.shape.iter().try_fold(size, |n, &d| n.checked_mul(d));
    let read = (digits.len().is_multiple_of(2) && wanted == Some(bytes.len()))
        .then(|| Literal::from_bytes(ty, &swapped(bytes, size)))
        .flatten();
    match read {
        Some(literal) => c.expect("}").map(|()| literal),
        None => c.fail("two digits for each byte of the tensor before this"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn random_argument(random: &mut Random, depth: usize) -> Arg {
        match random.below(if depth < 2 { 8 } else { 7 }) {
            0 => Arg::Var(Var(random.below(99) as u32)),
            1 => Arg::None,
            2 => Arg::Int(*random.pick(&[0, -1, i64::MIN, i64::MAX, random.clone().bits() as i64])),
            3 => {
                Arg::Float(*random.pick(&[0.0, -0.0, 1e300, 5e-324, -1e16, f64::INFINITY, f64::NEG_INFINITY]))
            }
            4 => Arg::Bool(random.chance(0.5)),
            5 => Arg::Str(["", "none", "a \"b\"\\", "two\nlines", "\\\"", "é"][random.below(6)].into()),
            6 => {
                let dtype = *random.pick(&DType::ALL);
                let shape: Vec<usize> = (0..random.below(3)).map(|_| random.below(4)).collect();
                Arg::Tensor(random.literal(TensorType::new(dtype, shape)))
            }
            _ => Arg::List((0..random.below(4)).map(|_| random_argument(random, depth + 1)).collect()),
        }
    }

    fn random_graph(seed: u64) -> SourceGraph {
        let random = &mut Random::new(seed);
        let var = |random: &mut Random| Var(random.below(1000) as u32);
        let input = |random: &mut Random| {
            let kind = if random.chance(0.5) { InputKind::Tensor } else { InputKind::Int };
            Input { var: var(random), kind }
        };
        let call = |random: &mut Random| Call {
            op: ["aten::relu", "aten::add.Tensor", "prim::NumToTensor.Scalar"][random.below(3)].into(),
            args: (0..random.below(5)).map(|_| random_argument(random, 0)).collect(),
            outputs: (0..random.below(3)).map(|_| var(random)).collect(),
            place: ["", "model.py:3: y = \"x\""][random.below(2)].into(),
        };
        SourceGraph {
            inputs: (0..random.below(3)).map(|_| input(random)).collect(),
            parameters: (0..random.below(3)).map(|_| (var(random), "a.b".into())).collect(),
            calls: (0..random.below(4)).map(|_| call(random)).collect(),
            outputs: (0..random.below(3)).map(|_| var(random)).collect(),
            device: Device(["cpu", "cuda:1"][random.below(2)].into()),
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for seed in 0..500 {
            let graph = random_graph(seed);
            let text = graph.to_string();
            let read = SourceGraph::parse(&text).unwrap_or_else(|e| panic!("{e}:\n{text}"));
            // Signed zeros are equal, so the texts are compared too.
            assert_eq!((&read, read.to_string()), (&graph, text));
        }
        let nan = SourceGraph::parse("device \"cpu\" %1 = f(nan) \"\" return").unwrap();
        assert!(matches!(nan.calls[0].args[0], Arg::Float(v) if v.is_nan()));
    }

    #[test]
    fn damaged_text_is_refused_and_nothing_worse() {
        for seed in 0..60 {
            let text = random_graph(seed).to_string();
            for (cut, _) in text.char_indices() {
                drop(SourceGraph::parse(&text[..cut]));
                let mut other = text.as_bytes().to_vec();
                other[cut] ^= 1 << (seed % 7);
                drop(SourceGraph::parse(&String::from_utf8_lossy(&other)));
            }
        }
        for text in [
            "",
            "device \"cpu\" return %1 %2",
            "device \"cpu\" %1 = f(f32[99999999999999]{00}) \"\" return",
            "device \"cpu\" %1 = f(f32[4294967296,4294967296,4294967296]{}) \"\" return",
            "device \"cpu\" %1 = f(f32[1]{0000}) \"\" return",
            "device \"cpu\" %99999999999 = f() \"\" return",
        ] {
            assert!(SourceGraph::parse(text).is_err(), "{text}");
        }
    }
}
