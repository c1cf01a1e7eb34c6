//! Reading networks.

use super::expr::read as read_expr;
use super::kind::{attributes, blank};
use super::{TextError, TextFault};
use crate::cursor::{Cursor, Number, Unexpected};
use crate::network::{Expr, Layer, LayerKind, Network, Parameter, TensorType, ValueId, infer};
use crate::{DType, Literal};
use std::collections::HashMap;

/// Of a constant that a short text may ask for.
const MOST_ELEMENTS: usize = 1 << 24;

impl Network {
    /// Reads the text form. Values are numbered in order of definition; what is read keeps the typing rules. Constants have at most
    /// 2^24 elements.
    pub fn parse(text: &str) -> Result<Network, TextError> {
        Network::parse_bounded(text, MOST_ELEMENTS)
    }

    /// [`Network::parse`] of a text that nobody vouches for: constants have at most so many elements, so that a short text makes no
    /// large network.
    pub(crate) fn parse_bounded(text: &str, most_elements: usize) -> Result<Network, TextError> {
        let mut reader = Reader { most_elements, ..Reader::default() };
        for (at, line) in text.lines().enumerate() {
            reader.line(&mut Cursor::new(line)).map_err(|fault| TextError { line: at + 1, fault })?;
        }
        Ok(reader.network)
    }
}

#[derive(Default)]
struct Reader {
    network: Network,
    names: HashMap<String, ValueId>,
    /// Of a constant.
    most_elements: usize,
}

impl Reader {
    fn line(&mut self, c: &mut Cursor) -> Result<(), TextFault> {
        if c.rest().is_empty() || c.rest().starts_with('#') {
            return Ok(());
        }
        if c.eat("input") {
            let (name, ty) = declaration(c)?;
            let Some(ty) = ty else { return Ok(c.fail("an input's type")?) };
            c.end()?;
            let v = self.define(c, name, ty)?;
            self.network.inputs.push(v);
        } else if c.eat("param") {
            let name = c.string()?;
            c.expect(":")?;
            self.network.parameters.push(Parameter { name, ty: ty(c)? });
            c.end()?;
        } else if c.eat("output") {
            while !c.rest().is_empty() {
                let v = self.value(c)?;
                self.network.outputs.push(v);
                if !c.eat(",") {
                    c.end()?;
                }
            }
        } else {
            self.layer(c)?;
        }
        Ok(())
    }

    fn layer(&mut self, c: &mut Cursor) -> Result<(), TextFault> {
        let mut results = vec![declaration(c)?];
        while c.eat(",") {
            results.push(declaration(c)?);
        }
        c.expect("=")?;
        let start = c.clone();
        let name = c.word();
        let written = results[0].1.clone();
        let (mut kind, inputs) = match (name, written) {
            ("constant", Some(ty)) if ty.elements() > self.most_elements => {
                return Ok(start.fail("a smaller constant")?);
            }
            ("constant", Some(ty)) => (LayerKind::Constant(elements(c, ty)?), vec![]),
            ("parameter", Some(_)) => (LayerKind::Parameter(c.index()?), vec![]),
            ("prepared", Some(_)) => (LayerKind::Prepared(c.index()?), vec![]),
            _ => {
                let Some(kind) = blank(name) else { return Ok(start.fail("a kind of layer")?) };
                c.expect("(")?;
                (kind, c.list(")", |c| self.value(c))?)
            }
        };
        let mut epilogue = None;
        if kind.arity() != Some(0) {
            let spatial = inputs.first().map_or(0, |&v| self.network.ty(v).rank().saturating_sub(2));
            attributes(&mut kind, spatial, c)?;
            let expr = expression(c)?;
            match (&mut kind, expr) {
                (LayerKind::Pointwise(own), Some(expr)) => *own = expr,
                (LayerKind::Pointwise(_), None) => return Ok(c.fail("an expression")?),
                (_, expr) => epilogue = expr,
            }
        }
        let origin = if c.eat("#") { c.rest().trim_end().to_string() } else { String::new() };
        if origin.is_empty() {
            c.end()?;
        }
        let types = match &kind {
            LayerKind::Parameter(_) | LayerKind::Prepared(_) => results[0].1.iter().cloned().collect(),
            _ => {
                let operands: Vec<&TensorType> = inputs.iter().map(|&v| self.network.ty(v)).collect();
                infer(&kind, epilogue.as_ref(), &operands)?
            }
        };
        if types.len() != results.len() {
            return Ok(start.fail("as many results as the layer gives")?);
        }
        let mut outputs = Vec::new();
        for ((name, written), ty) in results.into_iter().zip(types) {
            if written.is_some_and(|w| w != ty) {
                return Err(TextFault::Declared(ty));
            }
            outputs.push(self.define(&start, name, ty)?);
        }
        self.network.layers.push(Layer { kind, inputs, epilogue, outputs, origin });
        Ok(())
    }

    fn define(&mut self, c: &Cursor, name: String, ty: TensorType) -> Result<ValueId, Unexpected> {
        let v = ValueId(self.network.values.len() as u32);
        if self.names.insert(name, v).is_some() {
            return c.fail("a value that is not defined yet");
        }
        self.network.values.push(ty);
        Ok(v)
    }

    fn value(&self, c: &mut Cursor) -> Result<ValueId, Unexpected> {
        let start = c.clone();
        let name = name(c)?;
        self.names.get(&name).map_or_else(|| start.fail("a value that is defined above"), |&v| Ok(v))
    }
}

fn name(c: &mut Cursor) -> Result<String, Unexpected> {
    c.expect("%")?;
    Ok(c.word().to_string())
}

fn declaration(c: &mut Cursor) -> Result<(String, Option<TensorType>), Unexpected> {
    let name = name(c)?;
    let ty = if c.eat(":") { Some(ty(c)?) } else { None };
    Ok((name, ty))
}

fn ty(c: &mut Cursor) -> Result<TensorType, Unexpected> {
    let start = c.clone();
    let Some(dtype) = DType::parse(c.word()) else { return start.fail("an element type") };
    c.expect("[")?;
    let ty = TensorType::new(dtype, c.list("]", Cursor::index)?);
    if ty.is_addressable() { Ok(ty) } else { start.fail("fewer than 2^40 elements") }
}

fn expression(c: &mut Cursor) -> Result<Option<Expr>, Unexpected> {
    if !c.eat("{") {
        return Ok(None);
    }
    let expr = read_expr(c)?;
    c.expect("}")?;
    Ok(Some(expr))
}

fn elements(c: &mut Cursor, ty: TensorType) -> Result<Literal, Unexpected> {
    c.expect("{")?;
    let start = c.clone();
    let mut all: Vec<Number> = Vec::new();
    while !c.eat("}") {
        if !all.is_empty() {
            c.expect(",")?;
        }
        all.push(c.number()?);
        if c.eat("...") {
            all = vec![all[0]; ty.elements()];
        }
    }
    let int = |n: &Number| if let Number::Int(v) = n { Some(*v) } else { None };
    let literal = match all.iter().map(int).collect::<Option<Vec<i64>>>() {
        Some(ints) => Literal::from_i64(ty, ints),
        None => Literal::from_f64(ty, all.iter().map(|n| n.as_f64())),
    };
    literal.map_or_else(|| start.fail("as many elements as the type has"), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"input %0: f32[1,3,8,8]
input %1: i64[2]
param "conv.weight": f32[4,3,3,3]
param "unused": f16[]
%2: f32[4,3,3,3] = parameter 0
%3: f32[4,1,1] = constant {0.5, 1e-5, -inf, nan}
%4: f32[1,4,8,8] = convolution(%0, %2, %3) padding=[(1,1),(1,1)] { max(i0 + i1, 0:f32) }  # aten::conv2d at m.py:3
%5: f32[1,2,8,8], %6: i64[1,2,8,8] = topk(%4) axis=1 k=2
%7: f32[1,2,4,4] = pool(%5) op=average(true,none) window=[2,2] stride=[2,2] { i0 * 2:f32 }
%8: f32[1,2,5,4] = pad(%7) border=[(0,0),(0,0),(1,0),(0,0)] mode=constant(0.25)
%9: f32[1,2,5,2] = gather(%8, %1) axis=3
%10: f32[1,2,3,2] = slice(%9) ranges=[0:1:1,0:1:2,4:-2:3,0:1:2]
%11: f32[3,2] = constant {0...}
%12: f32[1,2,3,2] = pointwise(%10, %11) { t0 = i0 * i1; t0 + tanh(t0) }
%13: f32[1,2,1,1] = reduce(%12) op=mean axes=[0,2,3] keep=true
%14: bool[2] = constant {1, 0}
output %13, %14, %0
"#;

    #[test]
    fn what_is_printed_reads_back() {
        let network = Network::parse(TEXT).unwrap_or_else(|e| panic!("{e}"));
        network.verify().unwrap();
        assert_eq!(network.to_string(), TEXT);
        assert_eq!(Network::parse(&network.to_string()).unwrap(), network);
    }

    #[test]
    fn types_may_be_left_out_but_not_be_wrong() {
        let network = Network::parse("input %x: f32[2]\n%y = pointwise(%x) { neg(i0) }\noutput %y").unwrap();
        assert_eq!(network.ty(network.outputs[0]), &TensorType::new(DType::F32, [2]));
        let error = Network::parse(&TEXT.replace("%13: f32[1,2,1,1]", "%13: f32[2]")).unwrap_err();
        assert_eq!(error.line, 15);
        assert!(matches!(error.fault, TextFault::Declared(_)));
    }

    #[test]
    fn errors_name_line_and_column() {
        let error = |text: &str| Network::parse(text).unwrap_err().to_string();
        assert_eq!(error("\noutput %x"), "line 2: column 8: expected a value that is defined above");
        assert_eq!(error("%x: f32[] = foo(%y)"), "line 1: column 12: expected a kind of layer");
        assert_eq!(error("input %x"), "line 1: column 9: expected an input's type");
        let ill_typed = error("input %x: bool[2]\n%y = pointwise(%x) { exp(i0) }");
        assert!(ill_typed.starts_with("line 2: pointwise: "), "{ill_typed}");
        let twice = error("input %x: f32[]\ninput %x: f32[]");
        assert!(twice.ends_with("a value that is not defined yet"));
    }
}
