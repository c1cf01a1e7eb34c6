//! A TorchScript program as a tree of statements, with the arguments that it is called with, and its smaller neighbours.

use crate::kinds::{Dim, code, is_float, name};
use tch::Kind;
use tests::KINDS;

/// A method `forward` of a module with attributes, and what it is called with.
#[derive(Clone, Debug)]
pub struct Program {
    /// Decides everything, contents of tensors included.
    pub seed: u64,
    /// The tensors that it takes, named `x0`, `x1`, ...
    pub arguments: Vec<Argument>,
    /// The module's own tensors.
    pub attributes: Vec<Attribute>,
    /// Its statements.
    pub body: Vec<Statement>,
    /// The set of sizes of each call, an index into each [`Dim`].
    pub calls: Vec<usize>,
    /// The floating-point type with the fewest digits that occurs in it.
    pub coarsest: Kind,
}

/// A tensor argument.
#[derive(Clone, Debug)]
pub struct Argument {
    pub kind: Kind,
    pub shape: Vec<Dim>,
    pub layout: Layout,
    pub fill: Fill,
}

/// How an argument lies in memory.
#[derive(Clone, Debug)]
pub enum Layout {
    /// Rows without gaps.
    Dense,
    /// A view of dense memory whose axes are in this order.
    Permuted(Vec<i64>),
    /// Every second element of the last axis of larger memory, from the second.
    Sliced,
    /// One element for the whole of an axis.
    Expanded(usize),
    /// The very tensor of an earlier argument.
    Same(usize),
    /// An earlier argument with its axes reversed.
    Reversed(usize),
}

/// What a tensor holds at first. Whole numbers are small ones in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fill {
    /// Small multiples of a quarter: sums and products of a few are exact.
    Plain,
    /// Normal numbers.
    Normal,
    /// Normal numbers, NaN, infinities, zeros of both signs.
    Wild,
}

/// An attribute of the module.
#[derive(Clone, Debug)]
pub enum Attribute {
    /// `self.w0`, `self.w1`, ... parameters; sizes are the same in all calls.
    Parameter(Kind, Vec<i64>),
    /// `self.b0`, ... buffers, which the program may write or replace.
    Buffer(Kind, Vec<i64>),
    /// `self.n0`, ... ints, which the program may set.
    Int(i64),
}

/// A statement; the text of a line has no indentation.
#[derive(Clone, Debug)]
pub enum Statement {
    Line(String),
    /// The results of the method, one expression each.
    Return(Vec<String>),
    /// Condition, body, body of `else`.
    If(String, Vec<Statement>, Vec<Statement>),
    /// The line that ends in a colon, body.
    Loop(String, Vec<Statement>),
}

use Statement::{If, Line, Loop, Return};

impl Program {
    /// The source text of the method, and of one that gives the module's ints.
    pub fn source(&self) -> String {
        let arguments: Vec<String> = (0..self.arguments.len()).map(|i| format!(", x{i}")).collect();
        let mut out = format!("def forward(self{}):\n", arguments.concat());
        write(&self.body, 1, &mut out);
        let ints = self.attributes.iter().filter(|a| matches!(a, Attribute::Int(_))).count();
        let ints: String = (0..ints).map(|i| format!("self.n{i}, ")).collect();
        out.push_str(&format!("def ints(self):\n    return [{ints}0]\n"));
        out
    }

    /// The source text as the compiler knows it: element types by their numbers. With `wide`, all floating-point ones are float64.
    pub fn compiled(&self, wide: bool) -> String {
        let number = |text: String, kind: Kind| {
            let code = code(if wide && is_float(kind) { Kind::Double } else { kind });
            text.replace(name(kind), &code.to_string())
        };
        let source = match crate::inputs::device() {
            tch::Device::Cpu => self.source(),
            _ => on_gpu(&self.source()),
        };
        KINDS.into_iter().fold(source, number)
    }

    /// All smaller programs that are one step away: without a statement, with the body of a block in its place, without a
    /// result, with fewer calls. Large steps come first.
    pub fn smaller(&self) -> Vec<Program> {
        let mut out = Vec::new();
        for at in (0..self.calls.len()).rev().filter(|_| self.calls.len() > 1) {
            let mut calls = self.calls.clone();
            calls.remove(at);
            out.push(Program { calls, ..self.clone() });
        }
        for at in (0..count(&self.body)).rev() {
            for unwrap in [false, true] {
                let mut body = self.body.clone();
                if edit(&mut body, &mut at.clone(), unwrap) {
                    out.push(Program { body, ..self.clone() });
                }
            }
        }
        for at in (0..results(&self.body)).rev().filter(|_| results(&self.body) > 1) {
            let mut body = self.body.clone();
            drop_result(&mut body, at);
            out.push(Program { body, ..self.clone() });
        }
        out
    }
}

fn write(body: &[Statement], depth: usize, out: &mut String) {
    let indent = "    ".repeat(depth);
    let line = |text: &str, out: &mut String| {
        out.push_str(&indent);
        out.push_str(text);
        out.push('\n');
    };
    let block = |body: &[Statement], out: &mut String| match body {
        [] => write(&[Line("pass".into())], depth + 1, out),
        body => write(body, depth + 1, out),
    };
    for statement in body {
        match statement {
            Line(text) => line(text, out),
            Return(values) => line(&format!("return ({},)", values.join(", ")), out),
            If(condition, then, other) => {
                line(&format!("if {condition}:"), out);
                block(then, out);
                if !other.is_empty() {
                    line("else:", out);
                    block(other, out);
                }
            }
            Loop(head, body) => {
                line(head, out);
                block(body, out);
            }
        }
    }
}

fn count(body: &[Statement]) -> usize {
    let each = |s: &Statement| match s {
        Line(_) | Return(_) => 1,
        If(_, a, b) => 1 + count(a) + count(b),
        Loop(_, a) => 1 + count(a),
    };
    body.iter().map(each).sum()
}

/// Removes statement `at`, or puts its bodies in its place; false where there is nothing of the kind to do.
fn edit(body: &mut Vec<Statement>, at: &mut usize, unwrap: bool) -> bool {
    let mut i = 0;
    while i < body.len() {
        if *at == 0 {
            let old = body.remove(i);
            let inner = match (old, unwrap) {
                (Return(_), _) | (Line(_), true) => return false,
                // A `while` would have no end.
                (Line(text), false) if text.ends_with(" += 1") => return false,
                (_, false) => vec![],
                (If(_, a, b), true) => [a, b].concat(),
                (Loop(_, a), true) => a,
            };
            body.splice(i..i, inner);
            return true;
        }
        *at -= 1;
        let bodies: Vec<&mut Vec<Statement>> = match &mut body[i] {
            Line(_) | Return(_) => vec![],
            Loop(_, a) => vec![a],
            If(_, a, b) => vec![a, b],
        };
        for inner in bodies {
            match count(inner) {
                n if *at < n => return edit(inner, at, unwrap),
                n => *at -= n,
            }
        }
        i += 1;
    }
    false
}

/// How many results the method has.
fn results(body: &[Statement]) -> usize {
    let of = |s: &Statement| if let Return(values) = s { values.len() } else { 0 };
    body.iter().map(of).max().unwrap_or(0)
}

fn drop_result(body: &mut [Statement], at: usize) {
    for statement in body {
        match statement {
            Line(_) => {}
            Return(values) => drop(values.remove(at)),
            If(_, a, b) => {
                drop_result(a, at);
                drop_result(b, at);
            }
            Loop(_, a) => drop_result(a, at),
        }
    }
}

/// The same text, in which tensors that are made from nothing are made on the GPU.
fn on_gpu(source: &str) -> String {
    const MAKERS: [&str; 7] = ["tensor(", "zeros(", "ones(", "full(", "arange(", "eye(", "rand("];
    let mut out = String::new();
    // For each open parenthesis: whether it is that of a maker.
    let mut open = Vec::new();
    for (at, letter) in source.char_indices() {
        match letter {
            '(' => {
                let call = source[..=at].rsplit("torch.").next().filter(|c| c.len() < source[..=at].len());
                open.push(call.is_some_and(|c| MAKERS.contains(&c)));
            }
            ')' if open.pop() == Some(true) => out.push_str(", device=torch.device('cuda')"),
            _ => {}
        }
        out.push(letter);
    }
    out
}
