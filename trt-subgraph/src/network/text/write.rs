//! Printing networks.

use super::expr::float;
use super::kind::{Write, attributes};
use crate::network::{Layer, LayerKind, Network, TensorType};
use crate::{DType, Literal};
use std::fmt;

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &v in &self.inputs {
            writeln!(f, "input {v}: {}", self.ty(v))?;
        }
        for p in &self.parameters {
            writeln!(f, "param {:?}: {}", p.name, p.ty)?;
        }
        for layer in &self.layers {
            writeln!(f, "{}", Line { network: self, layer })?;
        }
        writeln!(f, "output {}", names(&self.outputs))
    }
}

/// One layer as its line.
struct Line<'a> {
    network: &'a Network,
    layer: &'a Layer,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Layer { kind, inputs, epilogue, outputs, origin } = self.layer;
        let typed: Vec<String> = outputs.iter().map(|&v| format!("{v}: {}", self.network.ty(v))).collect();
        write!(f, "{} = {}", typed.join(", "), kind.name())?;
        match kind {
            LayerKind::Constant(literal) => write!(f, " {}", elements(literal))?,
            LayerKind::Parameter(i) | LayerKind::Prepared(i) => write!(f, " {i}")?,
            _ => {
                let mut text = Write(format!("({})", names(inputs)));
                let spatial = inputs.first().map_or(0, |&v| self.network.ty(v).rank().saturating_sub(2));
                attributes(&mut kind.clone(), spatial, &mut text).map_err(|_| fmt::Error)?;
                f.write_str(&text.0)?;
            }
        }
        let own = if let LayerKind::Pointwise(e) = kind { Some(e) } else { None };
        if let Some(expr) = own.or(epilogue.as_ref()) {
            write!(f, " {{ {expr} }}")?;
        }
        if origin.is_empty() { Ok(()) } else { write!(f, "  # {}", origin.replace('\n', " ")) }
    }
}

impl Network {
    /// One layer as its line of the text form.
    pub fn line(&self, layer: &Layer) -> String {
        Line { network: self, layer }.to_string()
    }
}

fn names(values: &[crate::network::ValueId]) -> String {
    values.iter().map(|v| v.to_string()).collect::<Vec<_>>().join(", ")
}

fn elements(literal: &Literal) -> String {
    let TensorType { dtype, .. } = *literal.ty();
    let text = |i: usize| match dtype {
        DType::F32 => float32(literal.f64_at(i) as f32),
        d if d.is_float() => float(literal.f64_at(i)),
        _ => literal.i64_at(i).to_string(),
    };
    let all: Vec<String> = (0..literal.ty().elements()).map(text).collect();
    match &all[..] {
        [first, _, ..] if all.iter().all(|v| v == first) => format!("{{{first}...}}"),
        _ => format!("{{{}}}", all.join(", ")),
    }
}

/// The shortest text that reads back as this f32.
fn float32(v: f32) -> String {
    if v.is_nan() { "nan".into() } else { format!("{v:?}").trim_end_matches(".0").to_string() }
}
