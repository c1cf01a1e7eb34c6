//! How a program begins (its arguments and attributes) and ends (its results).

use super::scope::{Generator, ROUGH, Tensor, Variable};
use crate::kinds::{Dim, SETS, digits, is_float};
use crate::program::{Argument, Attribute, Fill, Layout, Program, Statement};
use tch::Kind;
use tests::KINDS;
use trt_subgraph::Random;

impl Generator {
    /// Arguments and attributes of a random program.
    pub fn new(seed: u64) -> Generator {
        let mut random = Random::of_text(&format!("program {seed}"));
        let empty = Program {
            seed,
            arguments: vec![],
            attributes: vec![],
            body: vec![],
            calls: vec![0, 0, 1],
            coarsest: Kind::Double,
        };
        let mut g = Generator::blank(random.bits(), empty);
        g.kinds = kinds(&mut random);
        g.fill = *random.pick(&[Fill::Plain, Fill::Plain, Fill::Normal, Fill::Wild]);
        g.sizes = (0..3).map(|_| size(&mut random)).collect();
        if random.chance(0.3) {
            g.program.calls = vec![0, 0, 1, 2, 0];
        }
        let floats = g.kinds.iter().filter(|k| is_float(**k));
        g.program.coarsest = *floats.min_by_key(|k| digits(**k)).expect("float32 at least");
        for _ in 0..1 + random.below(3) {
            g.argument(&mut random);
        }
        for _ in 0..random.below(3) {
            g.attribute(&mut random);
        }
        g.results = 2 + random.below(3);
        g
    }

    fn argument(&mut self, random: &mut Random) {
        let at = self.program.arguments.len();
        if at > 0 && random.chance(0.12) {
            return self.alias(random.below(at), random);
        }
        let image = random.chance(0.15);
        let shape: Vec<Dim> = match image {
            true => vec![self.sizes[0], [4; SETS], [6, 5, 8], [6, 7, 8]],
            false => (0..*random.pick(&[0, 1, 2, 2, 2, 3, 3, 4]))
                .map(|_| if random.chance(0.12) { [1; SETS] } else { *random.pick(&self.sizes) })
                .collect(),
        };
        let kind = if image { Kind::Float } else { *random.pick(&self.kinds) };
        let rank = shape.len();
        let layout = match random.below(10) {
            _ if rank == 0 => Layout::Dense,
            0 => Layout::Sliced,
            1 => Layout::Expanded(random.below(rank)),
            2 | 3 if image => Layout::Permuted(vec![0, 3, 1, 2]),
            2 if rank > 1 => {
                let mut axes: Vec<i64> = (0..rank as i64).collect();
                axes.rotate_left(1 + random.below(rank - 1));
                Layout::Permuted(axes)
            }
            _ => Layout::Dense,
        };
        let bits = if self.fill == Fill::Plain { 5 } else { digits(kind) };
        let memory = self.new_memory(kind, bits, self.fill == Fill::Wild);
        let stretched = matches!(layout, Layout::Expanded(_));
        self.program.arguments.push(Argument { kind, shape: shape.clone(), layout, fill: self.fill });
        let name = format!("x{at}");
        self.variables.push(Variable::Tensor(Tensor { name, kind, shape, memory, stretched }));
    }

    fn alias(&mut self, of: usize, random: &mut Random) {
        let Variable::Tensor(first) = self.variables[of].clone() else { return };
        let reversed = random.chance(0.5);
        let mut shape = first.shape.clone();
        if reversed {
            shape.reverse();
        }
        let layout = if reversed { Layout::Reversed(of) } else { Layout::Same(of) };
        let name = format!("x{}", self.program.arguments.len());
        self.program.arguments.push(Argument {
            kind: first.kind,
            shape: shape.clone(),
            layout,
            fill: self.fill,
        });
        self.variables.push(Variable::Tensor(Tensor { name, shape, ..first }));
    }

    fn attribute(&mut self, random: &mut Random) {
        let count = |g: &Generator, wanted: fn(&Attribute) -> bool| {
            g.program.attributes.iter().filter(|a| wanted(a)).count()
        };
        let shape: Vec<i64> = (0..1 + random.below(2)).map(|_| *random.pick(&[1, 3, 4])).collect();
        let dims: Vec<Dim> = shape.iter().map(|&n| [n; SETS]).collect();
        let kind = *random.pick(&self.kinds);
        match random.below(3) {
            0 => {
                let name = format!("self.w{}", count(self, |a| matches!(a, Attribute::Parameter(..))));
                let memory = self.new_memory(Kind::Float, ROUGH, false);
                self.program.attributes.push(Attribute::Parameter(Kind::Float, shape));
                let tensor = Tensor { name, kind: Kind::Float, shape: dims, memory, stretched: false };
                self.variables.push(Variable::Tensor(tensor));
            }
            1 => {
                let name = format!("self.b{}", count(self, |a| matches!(a, Attribute::Buffer(..))));
                // Later calls find what earlier ones left.
                let memory = self.new_memory(kind, ROUGH, true);
                self.program.attributes.push(Attribute::Buffer(kind, shape));
                self.variables.push(Variable::Tensor(Tensor {
                    name,
                    kind,
                    shape: dims,
                    memory,
                    stretched: false,
                }));
            }
            _ => {
                let name = format!("self.n{}", count(self, |a| matches!(a, Attribute::Int(_))));
                self.program.attributes.push(Attribute::Int(random.below(4) as i64));
                self.variables.push(Variable::Int(name, None));
            }
        }
    }

    /// The results, and the program.
    pub fn finish(mut self) -> Program {
        let mut values = self.returned();
        let early = has_return(&self.body);
        if !early && self.random.chance(0.3) {
            let more = self.variables.iter().rev().find_map(|v| match v {
                Variable::Int(name, _) => Some(name.clone()),
                Variable::List(t, _) => Some(t.name.clone()),
                Variable::Tensor(_) => None,
            });
            values.extend(more);
        }
        if !early && self.random.chance(0.15) {
            let (a, b) = (values[0].clone(), self.returned().pop().unwrap_or_default());
            values.push(if self.random.chance(0.5) { format!("({a}, {b})") } else { format!("[{b}]") });
        }
        if self.body.iter().any(|s| matches!(s, Statement::If(..))) && self.random.chance(0.4) {
            // Long enough for branches that early calls do not take to be looked for.
            self.program.calls = vec![0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0];
        }
        self.body.push(Statement::Return(values));
        self.program.body = self.body;
        self.program
    }

    /// As many tensors as the method returns.
    pub fn returned(&mut self) -> Vec<String> {
        let pick = |g: &mut Generator| g.any_tensor().expect("the first argument is a tensor").name;
        let mut values: Vec<String> = (1..self.results).map(|_| pick(self)).collect();
        let last = self.variables.iter().rev().find_map(|v| match v {
            Variable::Tensor(t) => Some(t.name.clone()),
            _ => None,
        });
        values.extend(last);
        values
    }
}

fn has_return(body: &[Statement]) -> bool {
    body.iter().any(|s| match s {
        Statement::Line(_) => false,
        Statement::Return(_) => true,
        Statement::If(_, a, b) => has_return(a) || has_return(b),
        Statement::Loop(_, a) => has_return(a),
    })
}

/// The element types of a program: float32 alone most often.
fn kinds(random: &mut Random) -> Vec<Kind> {
    let mut kinds = vec![Kind::Float, Kind::Float, Kind::Float, Kind::Int64, Kind::Bool];
    if random.chance(0.5) {
        kinds.push(*random.pick(&KINDS));
        kinds.push(*random.pick(&KINDS));
    }
    if random.chance(0.1) {
        kinds.retain(|k| !is_float(*k));
        kinds.extend([*random.pick(&KINDS[..4]); 3]);
        kinds.push(Kind::Float);
    }
    kinds
}

fn size(random: &mut Random) -> Dim {
    let mut one = || *random.pick(&[1, 2, 3, 3, 4, 4, 5, 6, 8]);
    let first = one();
    let mut dim = [first, one(), one()];
    if random.chance(0.06) {
        dim[random.below(SETS)] = 0;
    }
    if random.chance(0.4) { [first; SETS] } else { dim }
}
