//! What the generator knows at one point of a program.

use crate::kinds::{Dim, SETS, broadcast, digits, elements, is_float};
use crate::program::{Fill, Program, Statement};
use tch::Kind;
use trt_subgraph::Random;

/// More bits than any type has: rounding has changed the value.
pub const ROUGH: u32 = 1 << 16;
/// No tensor holds more elements.
const MOST: i64 = 1200;

/// A tensor in scope.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: String,
    pub kind: Kind,
    pub shape: Vec<Dim>,
    /// Which memory it shows.
    pub memory: usize,
    /// Several elements may be one place in memory: it cannot be written.
    pub stretched: bool,
}

/// Any variable in scope.
#[derive(Clone, Debug)]
pub enum Variable {
    Tensor(Tensor),
    /// An int, with its values where they are known.
    Int(String, Option<Dim>),
    /// A list of tensors that are all like one.
    List(Tensor, Dim),
}

/// What is known of some memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Significant bits of its values: what is at most as many as the type has is exact.
    pub bits: u32,
    /// Holds NaN or infinities.
    pub wild: bool,
    /// The memory that it was found to be the same as.
    same: Option<usize>,
    /// May not be written here: a loop counts on what it holds.
    pub kept: bool,
}

/// A program in the making.
#[derive(Clone)]
pub struct Generator {
    pub random: Random,
    pub program: Program,
    pub variables: Vec<Variable>,
    memories: Vec<Memory>,
    /// The statements of the block that is being made.
    pub body: Vec<Statement>,
    /// Nested blocks.
    pub depth: usize,
    /// Loops around this point.
    pub loops: usize,
    /// How many results the method has.
    pub results: usize,
    pub fill: Fill,
    pub kinds: Vec<Kind>,
    pub sizes: Vec<Dim>,
    names: usize,
}

impl Generator {
    pub fn blank(seed: u64, program: Program) -> Generator {
        Generator {
            random: Random::new(seed),
            program,
            variables: vec![],
            memories: vec![],
            body: vec![],
            depth: 0,
            loops: 0,
            results: 1,
            fill: Fill::Plain,
            kinds: vec![Kind::Float],
            sizes: vec![[1; SETS]],
            names: 0,
        }
    }

    /// A name that no variable has.
    pub fn name(&mut self) -> String {
        self.names += 1;
        format!("v{}", self.names - 1)
    }

    pub fn line(&mut self, text: impl Into<String>) {
        self.body.push(Statement::Line(text.into()));
    }

    /// Memory that nothing else shows.
    pub fn new_memory(&mut self, kind: Kind, bits: u32, wild: bool) -> usize {
        let bits = if is_float(kind) { bits } else { 0 };
        let bits = if bits > digits(kind) { ROUGH } else { bits };
        self.memories.push(Memory { bits, wild: wild || bits == ROUGH, same: None, kept: false });
        self.memories.len() - 1
    }

    fn root(&self, mut at: usize) -> usize {
        while let Some(next) = self.memories[at].same {
            at = next;
        }
        at
    }

    pub fn memory(&self, tensor: &Tensor) -> Memory {
        self.memories[self.root(tensor.memory)]
    }

    pub fn is_same_memory(&self, a: &Tensor, b: &Tensor) -> bool {
        self.root(a.memory) == self.root(b.memory)
    }

    pub fn bits(&self, tensor: &Tensor) -> u32 {
        self.memory(tensor).bits
    }

    /// Are its values the same whatever the order and rounding of what made them?
    pub fn is_exact(&self, tensor: &Tensor) -> bool {
        self.bits(tensor) <= digits(tensor.kind)
    }

    /// From here on both may be one memory.
    pub fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        if a != b {
            let other = self.memories[a];
            let memory = &mut self.memories[b];
            memory.bits = memory.bits.max(other.bits);
            memory.wild |= other.wild;
            memory.kept |= other.kept;
            self.memories[a].same = Some(b);
        }
    }

    /// Its memory holds values of as many bits, too.
    pub fn blur(&mut self, tensor: &Tensor, bits: u32, wild: bool) {
        if is_float(tensor.kind) {
            let bits = if bits > digits(tensor.kind) { ROUGH } else { bits };
            let root = self.root(tensor.memory);
            let memory = &mut self.memories[root];
            memory.bits = memory.bits.max(bits);
            memory.wild |= wild || bits == ROUGH;
        }
    }

    /// A loop begins that writes this memory or not.
    pub fn keep(&mut self, tensor: &Tensor, kept: bool) {
        let root = self.root(tensor.memory);
        self.memories[root].kept = kept;
    }

    /// A tensor in scope that fits; later ones are likelier.
    pub fn tensor(&mut self, fits: impl Fn(&Generator, &Tensor) -> bool) -> Option<Tensor> {
        let all: Vec<&Tensor> = self
            .variables
            .iter()
            .filter_map(|v| match v {
                Variable::Tensor(t) if fits(self, t) => Some(t),
                _ => None,
            })
            .collect();
        let n = all.len();
        let mut random = self.random.clone();
        let at = random.below(n).max(random.below(n));
        let found = all.get(at).map(|t| (*t).clone());
        self.random = random;
        found
    }

    pub fn any_tensor(&mut self) -> Option<Tensor> {
        self.tensor(|_, _| true)
    }

    /// A tensor that may be written here.
    pub fn writable(&mut self) -> Option<Tensor> {
        self.tensor(|g, t| !t.stretched && !g.memory(t).kept)
    }

    /// A tensor whose shape together with this one stretches to one shape.
    pub fn partner(&mut self, of: &Tensor) -> Option<Tensor> {
        self.tensor(|_, t| broadcast(&t.shape, &of.shape).is_some())
    }

    /// A tensor that stretches to this one's shape.
    pub fn fitting(&mut self, of: &Tensor) -> Option<Tensor> {
        self.tensor(|_, t| broadcast(&t.shape, &of.shape).as_ref() == Some(&of.shape))
    }

    /// An axis of the tensor.
    pub fn axis(&mut self, tensor: &Tensor) -> Option<usize> {
        (!tensor.shape.is_empty()).then(|| self.random.below(tensor.shape.len()))
    }

    /// The axis counted from the front or from the back.
    pub fn axis_text(&mut self, axis: usize, rank: usize) -> i64 {
        if self.random.chance(0.5) { axis as i64 } else { axis as i64 - rank as i64 }
    }

    /// An int expression and its values; it is a literal in all sets where there is none in scope.
    pub fn int(&mut self) -> (String, Option<Dim>) {
        let ints: Vec<_> = self
            .variables
            .iter()
            .filter_map(|v| match v {
                Variable::Int(name, values) => Some((name.clone(), *values)),
                _ => None,
            })
            .collect();
        if ints.is_empty() || self.random.chance(0.5) {
            let n = 1 + self.random.below(4) as i64;
            return (n.to_string(), Some([n; SETS]));
        }
        self.random.pick(&ints).clone()
    }

    /// A new tensor with memory of its own.
    pub fn fresh(
        &mut self,
        expression: impl Into<String>,
        kind: Kind,
        shape: Vec<Dim>,
        bits: u32,
        wild: bool,
    ) -> Option<()> {
        let memory = self.new_memory(kind, bits, wild);
        self.define(expression, kind, shape, memory, false)
    }

    /// A new name for a tensor in this memory.
    pub fn define(
        &mut self,
        expression: impl Into<String>,
        kind: Kind,
        shape: Vec<Dim>,
        memory: usize,
        stretched: bool,
    ) -> Option<()> {
        if elements(&shape).iter().any(|&n| n > MOST)
            || shape.len() > 5
            || !self.kinds.contains(&kind) && is_float(kind)
        {
            return None;
        }
        let name = self.name();
        self.line(format!("{name} = {}", expression.into()));
        self.variables.push(Variable::Tensor(Tensor { name, kind, shape, memory, stretched }));
        Some(())
    }
}
