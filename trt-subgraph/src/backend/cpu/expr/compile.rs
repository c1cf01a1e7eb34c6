//! From an expression to a register program.

use super::execute::{Instruction, Operation};
use super::lane::Lane;
use crate::DType;
use crate::network::Expr;
use crate::network::expr::{Binary, Node, Ref, Scalar, Unary};
use std::f64::consts::FRAC_1_SQRT_2;

/// A register program: what is computed for each chunk.
#[derive(Clone, PartialEq, Debug)]
pub struct Code {
    /// In order; no instruction writes a register that it reads.
    pub instructions: Vec<Instruction>,
    /// The lane of each register.
    pub registers: Vec<Lane>,
    /// The register that each operand is loaded into; `None` for one that is not read.
    pub inputs: Vec<Option<u16>>,
    /// Registers that hold one value throughout.
    pub constants: Vec<(u16, Scalar)>,
    /// The register of the result.
    pub result: u16,
}

impl Code {
    /// Translates a well-typed expression over operands of these types.
    pub fn new(expr: &Expr, operands: &[DType]) -> Code {
        let dtypes = expr.dtypes(operands).expect("a verified expression");
        let mut last_use: Vec<usize> = (0..expr.nodes.len()).collect();
        for (at, node) in expr.nodes.iter().enumerate() {
            node.map(|r| {
                last_use[r as usize] = at;
                r
            });
        }
        last_use[expr.root() as usize] = usize::MAX;
        let gates = Gates::of(expr, &dtypes);
        for (at, x) in gates.of.iter().enumerate() {
            if let Some(x) = *x {
                last_use[x as usize] = last_use[x as usize].max(at);
            }
        }
        let mut t = Translation {
            expr,
            lanes: dtypes.iter().map(|&d| Lane::of(d)).collect(),
            last_use,
            gates,
            code: Code {
                instructions: Vec::new(),
                registers: Vec::new(),
                inputs: vec![None; operands.len()],
                constants: Vec::new(),
                result: 0,
            },
            place: Vec::with_capacity(expr.nodes.len()),
            kept: Vec::new(),
            free: Vec::new(),
        };
        for at in 0..expr.nodes.len() {
            let register = t.node(at);
            t.place.push(register);
        }
        t.code.result = t.place[expr.root() as usize];
        t.code
    }

    /// A rough price of one element, in vector operations.
    pub fn price(&self) -> usize {
        use Unary::{Acos, Asin, Atan, Cos, Cosh, Sin, Sinh, Tan};
        let price = |i: &Instruction| match i.operation {
            Operation::Unary(Sin | Cos | Tan | Asin | Acos | Atan | Sinh | Cosh) if i.lane == Lane::F32 => 30,
            Operation::Binary(Binary::Pow | Binary::Atan2) if i.lane == Lane::F32 => 50,
            Operation::Unary(f) => match f {
                Unary::Exp | Unary::Exp2 | Unary::Expm1 | Unary::Log | Unary::Log2 | Unary::Log10 => 8,
                Unary::Log1p | Unary::Tanh | Unary::Erf | Unary::Sigmoid => 12,
                Unary::Sqrt | Unary::Rsqrt | Unary::Recip => 4,
                Unary::Neg | Unary::Abs | Unary::Sign | Unary::Not | Unary::IsNan | Unary::IsInf => 1,
                Unary::Floor | Unary::Ceil | Unary::Round | Unary::Trunc => 1,
                _ => 100,
            },
            Operation::Binary(f) => match f {
                Binary::Div => 4,
                Binary::FloorDiv | Binary::Rem | Binary::Fmod | Binary::TruncDiv => 30,
                Binary::Pow | Binary::Atan2 => 150,
                _ => 1,
            },
            Operation::Gelu => 16,
            _ => 1,
        };
        1 + self.instructions.iter().map(price).sum::<usize>()
    }
}

/// The register of what is computed with something else.
const NOWHERE: u16 = u16::MAX;

/// Nodes that are `x` times the normal distribution function, each computed by one instruction.
struct Gates {
    /// By node: its `x`.
    of: Vec<Option<Ref>>,
    /// By node: is it computed with such a one?
    parts: Vec<bool>,
}

impl Gates {
    fn of(expr: &Expr, dtypes: &[DType]) -> Gates {
        let n = expr.nodes.len();
        let mut out = Gates { of: vec![None; n], parts: vec![false; n] };
        if !expr.nodes.iter().any(|n| matches!(n, Node::Unary(Unary::Erf, _))) {
            return out;
        }
        let mut uses = vec![0; n];
        uses[expr.root() as usize] = 1;
        for node in &expr.nodes {
            node.map(|r| {
                uses[r as usize] += 1;
                r
            });
        }
        for at in (0..n).filter(|&at| dtypes[at] == DType::F32) {
            let Some((x, parts)) = gelu(expr, at) else { continue };
            if parts.iter().all(|&p| uses[p as usize] == 1) {
                out.of[at] = Some(x);
                parts.iter().for_each(|&p| out.parts[p as usize] = true);
            }
        }
        out
    }
}

/// The `x` of `x * 0.5 * (erf(x / sqrt(2)) + 1)`, and what is computed on the way.
fn gelu(expr: &Expr, at: usize) -> Option<(Ref, [Ref; 4])> {
    let node = |r: Ref| expr.nodes[r as usize];
    // The other factor, or term, where one is this number.
    let with = |f: Binary, r: Ref, number: f64| {
        let Node::Binary(g, a, b) = node(r) else { return None };
        let is_it = |r| matches!(node(r), Node::Const(_, Scalar::Float(v)) if v == number);
        if f != g {
            return None;
        }
        if is_it(b) { Some(a) } else { Some(b).filter(|_| is_it(a)) }
    };
    let Node::Binary(Binary::Mul, a, b) = expr.nodes[at] else { return None };
    [(a, b), (b, a)].into_iter().find_map(|(half, sum)| {
        let x = with(Binary::Mul, half, 0.5)?;
        let erf = with(Binary::Add, sum, 1.0)?;
        let Node::Unary(Unary::Erf, scaled) = node(erf) else { return None };
        (with(Binary::Mul, scaled, FRAC_1_SQRT_2)? == x).then_some((x, [half, sum, erf, scaled]))
    })
}

struct Translation<'a> {
    expr: &'a Expr,
    lanes: Vec<Lane>,
    last_use: Vec<usize>,
    gates: Gates,
    code: Code,
    /// The register of each node so far.
    place: Vec<u16>,
    /// Registers of inputs and constants: never reused.
    kept: Vec<u16>,
    free: Vec<u16>,
}

impl Translation<'_> {
    /// Emits node `at` and gives its register.
    fn node(&mut self, at: usize) -> u16 {
        let lane = self.lanes[at];
        let of = |r: Ref| (self.place[r as usize], self.lanes[r as usize]);
        let step = |operation, (a, lane), b, c| Instruction { operation, lane, to: 0, a, b, c };
        if self.gates.parts[at] {
            return NOWHERE;
        }
        if let Some(x) = self.gates.of[at] {
            let instruction = step(Operation::Gelu, of(x), 0, 0);
            return self.emit(at, lane, instruction);
        }
        let instruction = match self.expr.nodes[at] {
            Node::Input(i) => {
                let register = self.keep(lane);
                self.code.inputs[i as usize] = Some(register);
                return register;
            }
            Node::Const(_, value) => {
                let register = self.keep(lane);
                self.code.constants.push((register, value));
                return register;
            }
            Node::Cast(to, a) => return self.cast(at, to, a),
            Node::Unary(f, a) => step(Operation::Unary(f), of(a), 0, 0),
            Node::Binary(Binary::Pow, a, b) if self.is_two(b) => {
                step(Operation::Binary(Binary::Mul), of(a), of(a).0, 0)
            }
            Node::Binary(f, a, b) => step(Operation::Binary(f), of(a), of(b).0, 0),
            Node::Select(c, a, b) => step(Operation::Select, (of(c).0, lane), of(a).0, of(b).0),
        };
        self.emit(at, lane, instruction)
    }

    fn cast(&mut self, at: usize, to: DType, a: Ref) -> u16 {
        let (lane, from) = (Lane::of(to), self.lanes[a as usize]);
        let rounding = match to {
            DType::F16 => Some(Operation::RoundF16),
            DType::BF16 => Some(Operation::RoundBF16),
            _ => None,
        };
        let mut register = self.place[a as usize];
        if lane != from || rounding.is_none() {
            let i = Instruction {
                operation: Operation::Convert(lane),
                lane: from,
                to: 0,
                a: register,
                b: 0,
                c: 0,
            };
            register = self.emit(at, lane, i);
        }
        if let Some(operation) = rounding {
            let i = Instruction { operation, lane: Lane::F32, to: 0, a: register, b: 0, c: 0 };
            register = self.emit(at, lane, i);
        }
        register
    }

    /// Appends an instruction for node `at`; then the registers of operands that die there are free.
    fn emit(&mut self, at: usize, lane: Lane, mut instruction: Instruction) -> u16 {
        instruction.to = match self.free.iter().position(|&r| self.code.registers[r as usize] == lane) {
            Some(i) => self.free.swap_remove(i),
            None => self.new_register(lane),
        };
        self.code.instructions.push(instruction);
        let mut dead = Vec::new();
        let mut used = |r: Ref| {
            let register = self.place[r as usize];
            if self.last_use[r as usize] == at && !self.kept.contains(&register) && !dead.contains(&register)
            {
                dead.push(register);
            }
            r
        };
        match self.gates.of[at] {
            Some(x) => drop(used(x)),
            None => drop(self.expr.nodes[at].map(used)),
        }
        // The second instruction of a node finds its operands freed by the first.
        dead.retain(|r| !self.free.contains(r) && *r != instruction.to);
        self.free.extend(dead);
        instruction.to
    }

    fn is_two(&self, r: Ref) -> bool {
        matches!(self.expr.nodes[r as usize], Node::Const(_, Scalar::Float(2.0)))
    }

    fn keep(&mut self, lane: Lane) -> u16 {
        let register = self.new_register(lane);
        self.kept.push(register);
        register
    }

    fn new_register(&mut self, lane: Lane) -> u16 {
        self.code.registers.push(lane);
        (self.code.registers.len() - 1) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_reused_and_never_written_while_read() {
        // A chain of 20 sums needs two temporaries.
        let mut e = Expr::default();
        let mut at = e.push(Node::Input(0));
        for _ in 0..20 {
            e.nodes.push(Node::Binary(Binary::Add, at, 0));
            at = e.root();
        }
        let code = Code::new(&e, &[DType::F32]);
        assert_eq!((code.instructions.len(), code.registers.len()), (20, 3));
        assert!(code.instructions.iter().all(|i| i.to != i.a && i.to != i.b));
    }

    /// `x * 0.5 * (erf(x / sqrt(2)) + 1)` of a sum, and what else is made of its parts.
    fn gated(more: impl FnOnce(&mut Expr, [Ref; 2]) -> Ref) -> Vec<Operation> {
        let mut e = Expr::default();
        let (a, b) = (e.push(Node::Input(0)), e.push(Node::Input(1)));
        let x = e.push(Node::Binary(Binary::Add, a, b));
        let mut with = |f, r, v| {
            let c = e.push(Node::Const(DType::F32, Scalar::Float(v)));
            e.push(Node::Binary(f, r, c))
        };
        let half = with(Binary::Mul, x, 0.5);
        let scaled = with(Binary::Mul, x, FRAC_1_SQRT_2);
        let erf = e.push(Node::Unary(Unary::Erf, scaled));
        let one = e.push(Node::Const(DType::F32, Scalar::Float(1.0)));
        let sum = e.push(Node::Binary(Binary::Add, one, erf));
        let y = e.push(Node::Binary(Binary::Mul, sum, half));
        let root = more(&mut e, [y, sum]);
        let e = e.finish(root);
        Code::new(&e, &[DType::F32; 2]).instructions.iter().map(|i| i.operation).collect()
    }

    #[test]
    fn a_gelu_is_one_instruction() {
        let (sum, product) = (Operation::Binary(Binary::Add), Operation::Binary(Binary::Mul));
        assert_eq!(gated(|_, [y, _]| y), [sum, Operation::Gelu]);
        // Somebody else reads a part.
        let operations = gated(|e, [y, part]| e.push(Node::Binary(Binary::Mul, y, part)));
        let erf = Operation::Unary(Unary::Erf);
        assert_eq!(operations, [sum, product, product, erf, sum, product, product]);
        // Its operand is read once more, by what comes later.
        let operations = gated(|e, [y, _]| e.push(Node::Binary(Binary::Add, y, 2)));
        assert_eq!(operations, [sum, Operation::Gelu, sum]);
    }

    #[test]
    fn casts_to_half_round() {
        let code = Code::new(&Expr::cast(DType::F16), &[DType::I64]);
        let operations: Vec<Operation> = code.instructions.iter().map(|i| i.operation).collect();
        assert_eq!(operations, [Operation::Convert(Lane::F32), Operation::RoundF16]);
        assert!(Code::new(&Expr::identity(), &[DType::F16]).instructions.is_empty());
    }
}
