//! The text form of expressions.

use crate::DType;
use crate::cursor::{Cursor, Number, Unexpected};
use crate::network::expr::{Binary, Expr, Node, Ref, Scalar, Unary};
use std::fmt;

/// The functions with infix signs, loosest first; those of one level bind to the left.
const INFIX: &[&[(Binary, &str)]] = &[
    &[
        (Binary::Eq, "=="),
        (Binary::Ne, "!="),
        (Binary::Le, "<="),
        (Binary::Ge, ">="),
        (Binary::Lt, "<"),
        (Binary::Gt, ">"),
    ],
    &[(Binary::Add, "+"), (Binary::Sub, "-")],
    &[(Binary::Mul, "*"), (Binary::Div, "/")],
];

fn infix(f: Binary) -> Option<(usize, &'static str)> {
    let level = |(at, level): (usize, &&[(Binary, &'static str)])| {
        level.iter().find(|(g, _)| *g == f).map(|&(_, sign)| (at, sign))
    };
    INFIX.iter().enumerate().find_map(level)
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut uses = vec![0; self.nodes.len()];
        for node in &self.nodes {
            node.map(|r| {
                uses[r as usize] += 1;
                r
            });
        }
        let mut print = Print { expr: self, names: vec![None; self.nodes.len()] };
        let mut shared = 0;
        for (at, node) in self.nodes.iter().enumerate() {
            if uses[at] > 1 && !matches!(node, Node::Input(_) | Node::Const(..)) {
                write!(f, "t{shared} = {}; ", print.node(at as Ref, 0))?;
                print.names[at] = Some(shared);
                shared += 1;
            }
        }
        if self.nodes.is_empty() { Ok(()) } else { f.write_str(&print.node(self.root(), 0)) }
    }
}

struct Print<'a> {
    expr: &'a Expr,
    names: Vec<Option<usize>>,
}

impl Print<'_> {
    /// A step as an operand of a sign of this level.
    fn node(&self, at: Ref, level: usize) -> String {
        if let Some(name) = self.names[at as usize] {
            return format!("t{name}");
        }
        let of = |r: Ref| self.node(r, 0);
        match self.expr.nodes[at as usize] {
            Node::Input(i) => format!("i{i}"),
            Node::Const(DType::Bool, v) => (v.as_f64() != 0.0).to_string(),
            Node::Const(d, Scalar::Int(v)) => format!("{v}:{d}"),
            Node::Const(d, Scalar::Float(v)) => format!("{}:{d}", float(v)),
            Node::Unary(f, a) => format!("{}({})", f.name(), of(a)),
            Node::Select(c, a, b) => format!("select({}, {}, {})", of(c), of(a), of(b)),
            Node::Cast(d, a) => format!("{d}({})", of(a)),
            Node::Binary(f, a, b) => match infix(f) {
                None => format!("{}({}, {})", f.name(), of(a), of(b)),
                Some((own, sign)) => {
                    // Comparisons do not chain.
                    let text = format!("{} {sign} {}", self.node(a, own.max(1)), self.node(b, own + 1));
                    if own < level { format!("({text})") } else { text }
                }
            },
        }
    }
}

/// The shortest text that reads back as this float (every NaN as one).
pub(super) fn float(v: f64) -> String {
    if v.is_nan() { "nan".into() } else { format!("{v:?}").trim_end_matches(".0").to_string() }
}

impl Expr {
    /// Reads the text form. Steps that are written twice become one.
    pub fn parse(text: &str) -> Result<Expr, Unexpected> {
        let mut c = Cursor::new(text);
        let expr = read(&mut c)?;
        c.end()?;
        Ok(expr)
    }
}

/// Reads an expression as far as it goes.
pub(super) fn read(c: &mut Cursor) -> Result<Expr, Unexpected> {
    let mut read = Read { expr: Expr::default(), names: Vec::new(), depth: 0 };
    loop {
        let mut ahead = c.clone();
        if ahead.word() == format!("t{}", read.names.len())
            && ahead.eat("=")
            && !ahead.rest().starts_with('=')
        {
            *c = ahead;
            let step = read.infix(c, 0)?;
            read.names.push(step);
            c.expect(";")?;
        } else {
            let root = read.infix(c, 0)?;
            return Ok(read.expr.finish(root));
        }
    }
}

struct Read {
    expr: Expr,
    names: Vec<Ref>,
    /// Brackets that are open.
    depth: usize,
}

/// Brackets in brackets: more would need a larger stack than threads have.
const MOST_DEPTH: usize = 200;

impl Read {
    /// What stands in brackets.
    fn inner(&mut self, c: &mut Cursor) -> Result<Ref, Unexpected> {
        if self.depth == MOST_DEPTH {
            return c.fail("fewer brackets in each other");
        }
        self.depth += 1;
        let inner = self.infix(c, 0);
        self.depth -= 1;
        inner
    }

    fn infix(&mut self, c: &mut Cursor, level: usize) -> Result<Ref, Unexpected> {
        let Some(signs) = INFIX.get(level) else { return self.term(c) };
        let mut left = self.infix(c, level + 1)?;
        while let Some(&(f, _)) = signs.iter().find(|(_, sign)| c.eat(sign)) {
            let right = self.infix(c, level + 1)?;
            left = self.expr.push(Node::Binary(f, left, right));
        }
        Ok(left)
    }

    fn term(&mut self, c: &mut Cursor) -> Result<Ref, Unexpected> {
        if c.eat("(") {
            let inner = self.inner(c)?;
            c.expect(")")?;
            return Ok(inner);
        }
        let mut ahead = c.clone();
        let word = ahead.word();
        let numbered = |letter: char| word.strip_prefix(letter).and_then(|n| n.parse::<u32>().ok());
        let node = if !word.is_empty() && ahead.eat("(") {
            *c = ahead;
            let operands = c.list(")", |c| self.inner(c))?;
            let node = function(word, &operands);
            return node.map_or_else(
                || c.fail("a function of so many operands before this"),
                |n| Ok(self.expr.push(n)),
            );
        } else if let Some(i) = numbered('i') {
            Node::Input(i)
        } else if let Some(step) = numbered('t').and_then(|n| self.names.get(n as usize)) {
            *c = ahead;
            return Ok(*step);
        } else if word == "true" || word == "false" {
            Node::Const(DType::Bool, Scalar::Int((word == "true") as i64))
        } else {
            ahead = c.clone();
            let number = ahead.number()?;
            ahead.expect(":")?;
            match (DType::parse(ahead.word()), number) {
                (Some(d), n) if d.is_float() => Node::Const(d, Scalar::Float(n.as_f64())),
                (Some(d), Number::Int(v)) => Node::Const(d, Scalar::Int(v)),
                _ => return c.fail("a literal of its type"),
            }
        };
        *c = ahead;
        Ok(self.expr.push(node))
    }
}

fn function(name: &str, operands: &[Ref]) -> Option<Node> {
    Some(match *operands {
        [a] => match DType::parse(name) {
            Some(d) => Node::Cast(d, a),
            None => Node::Unary(Unary::parse(name)?, a),
        },
        [a, b] => Node::Binary(Binary::parse(name)?, a, b),
        [c, a, b] if name == "select" => Node::Select(c, a, b),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(text: &str) {
        let expr = Expr::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(expr.to_string(), text);
        assert_eq!(Expr::parse(&expr.to_string()).unwrap(), expr);
    }

    #[test]
    fn what_is_printed_reads_back() {
        same("i0");
        same("tanh(i0 + i1)");
        same("i0 - (i1 - i2) * i0");
        same("i0 - i1 - i2");
        same("(i0 + i1) * i2 / i3");
        same("(i0 < 1:i64) == true");
        same("max(i0, 0:f32)");
        same("-0:f32 * i0 + 1e-5:f64");
        same("select(isnan(i0), -inf:f32, nan:f32)");
        same("f32(i0) + f32(i1)");
        same("t0 = i0 * i0; t1 = exp(t0); t0 + t1 * t1");
        same("floordiv(i32(i0), -3:i32) + i32");
        same("false");
    }

    #[test]
    fn every_function_has_a_form() {
        for f in Unary::ALL {
            same(&Expr::unary(*f).to_string());
        }
        for f in Binary::ALL {
            same(&Expr::binary(*f).to_string());
        }
    }

    #[test]
    fn nonsense_is_placed() {
        for (text, column) in [("i0 +", 4), ("tanh(i0", 7), ("foo(i0)", 7), ("1.5:i64", 0), ("i0 i1", 3)] {
            assert_eq!(Expr::parse(text).unwrap_err().column, column, "{text}");
        }
    }
}
