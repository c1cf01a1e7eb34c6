//! How attribute values are written and read.

use super::expr::float;
use crate::cursor::{Cursor, Unexpected};
use crate::network::layer::{PadMode, PoolOp, Range, ReduceOp, ScanOp};

/// A value with a text form.
pub(super) trait Field: Sized + PartialEq {
    fn write(&self) -> String;
    fn read(c: &mut Cursor) -> Result<Self, Unexpected>;
}

impl Field for usize {
    fn write(&self) -> String {
        self.to_string()
    }
    fn read(c: &mut Cursor) -> Result<usize, Unexpected> {
        c.index()
    }
}

impl Field for isize {
    fn write(&self) -> String {
        self.to_string()
    }
    fn read(c: &mut Cursor) -> Result<isize, Unexpected> {
        let negative = c.eat("-");
        let size: isize = c.index()?;
        Ok(if negative { -size } else { size })
    }
}

impl Field for f64 {
    fn write(&self) -> String {
        float(*self)
    }
    fn read(c: &mut Cursor) -> Result<f64, Unexpected> {
        Ok(c.number()?.as_f64())
    }
}

impl<T: Field> Field for Option<T> {
    fn write(&self) -> String {
        self.as_ref().map_or_else(|| "none".into(), T::write)
    }
    fn read(c: &mut Cursor) -> Result<Option<T>, Unexpected> {
        if c.eat("none") { Ok(None) } else { T::read(c).map(Some) }
    }
}

impl<T: Field> Field for Vec<T> {
    fn write(&self) -> String {
        format!("[{}]", self.iter().map(T::write).collect::<Vec<_>>().join(","))
    }
    fn read(c: &mut Cursor) -> Result<Vec<T>, Unexpected> {
        c.expect("[")?;
        c.list("]", T::read)
    }
}

impl<A: Field, B: Field> Field for (A, B) {
    fn write(&self) -> String {
        format!("({},{})", self.0.write(), self.1.write())
    }
    fn read(c: &mut Cursor) -> Result<(A, B), Unexpected> {
        c.expect("(")?;
        let a = A::read(c)?;
        c.expect(",")?;
        let b = B::read(c)?;
        c.expect(")")?;
        Ok((a, b))
    }
}

/// `start:step:len`.
impl Field for Range {
    fn write(&self) -> String {
        format!("{}:{}:{}", self.start, self.step, self.len)
    }
    fn read(c: &mut Cursor) -> Result<Range, Unexpected> {
        let start = c.index()?;
        c.expect(":")?;
        let step = isize::read(c)?;
        c.expect(":")?;
        Ok(Range { start, step, len: c.index()? })
    }
}

macro_rules! words {
    ($ty:ty, $what:literal, $($value:expr => $word:literal),+ $(,)?) => {
        impl Field for $ty {
            fn write(&self) -> String {
                let words: &[($ty, &str)] = &[$(($value, $word)),+];
                let word = words.iter().find(|(v, _)| v == self).map(|(_, w)| *w);
                word.expect("every value has a word").to_string()
            }
            fn read(c: &mut Cursor) -> Result<$ty, Unexpected> {
                $(if c.eat($word) { return Ok($value); })+
                c.fail($what)
            }
        }
    };
}

words!(bool, "true or false", true => "true", false => "false");
words!(ScanOp, "sum or prod", ScanOp::Sum => "sum", ScanOp::Prod => "prod");
words!(ReduceOp, "a reduction",
    ReduceOp::Sum => "sum",
    ReduceOp::Mean => "mean",
    ReduceOp::Prod => "prod",
    ReduceOp::Max => "max",
    ReduceOp::Min => "min",
    ReduceOp::Any => "any",
    ReduceOp::All => "all",
    ReduceOp::ArgMax => "argmax",
    ReduceOp::ArgMin => "argmin",
);

/// `max`, or `average(count padding?, divisor)`.
impl Field for PoolOp {
    fn write(&self) -> String {
        match *self {
            PoolOp::Max => "max".into(),
            PoolOp::Average { count_padding, divisor } => {
                format!("average{}", (count_padding, divisor).write())
            }
        }
    }
    fn read(c: &mut Cursor) -> Result<PoolOp, Unexpected> {
        if c.eat("max") {
            return Ok(PoolOp::Max);
        }
        c.expect("average")?;
        let (count_padding, divisor) = Field::read(c)?;
        Ok(PoolOp::Average { count_padding, divisor })
    }
}

/// `constant(0.5)`, `reflect`, `replicate` or `circular`.
impl Field for PadMode {
    fn write(&self) -> String {
        match self {
            PadMode::Constant(v) => format!("constant({})", float(*v)),
            PadMode::Reflect => "reflect".into(),
            PadMode::Replicate => "replicate".into(),
            PadMode::Circular => "circular".into(),
        }
    }
    fn read(c: &mut Cursor) -> Result<PadMode, Unexpected> {
        for (word, mode) in [
            ("reflect", PadMode::Reflect),
            ("replicate", PadMode::Replicate),
            ("circular", PadMode::Circular),
        ] {
            if c.eat(word) {
                return Ok(mode);
            }
        }
        c.expect("constant")?;
        c.expect("(")?;
        let value = f64::read(c)?;
        c.expect(")")?;
        Ok(PadMode::Constant(value))
    }
}
