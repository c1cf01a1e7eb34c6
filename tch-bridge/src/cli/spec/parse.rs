//! Reading specs.

use super::{FORMATS, InputSpec, KINDS, Shapes, SpecError, TensorSpec, ValueSpec, is_float, kind_name};
use std::str::FromStr;
use tch::Kind;

/// A fault at a byte position, and what was expected there.
type Fault = (usize, String);

impl FromStr for InputSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<InputSpec, SpecError> {
        let read = |(name, start): (Option<String>, usize)| {
            let mut reader = Reader { text, at: start };
            let value = reader.value()?;
            reader.end()?;
            Ok(InputSpec { name, value })
        };
        read(split_name(text)).map_err(|(at, expected)| {
            let column = text.char_indices().take_while(|(start, _)| *start < at).count() + 1;
            SpecError { column, expected }
        })
    }
}

/// The name before `=`, if there is one, and where the value starts.
fn split_name(text: &str) -> (Option<String>, usize) {
    let is_name = |s: &str| {
        s.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && s.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    match text.find('=') {
        Some(at) if is_name(text[..at].trim()) => (Some(text[..at].trim().to_string()), at + 1),
        _ => (None, 0),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn peek(&mut self) -> Option<char> {
        self.skip_space();
        self.rest().chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), Fault> {
        if self.take(wanted) { Ok(()) } else { Err(self.fault(format!("`{wanted}`"))) }
    }

    fn fault(&self, expected: impl Into<String>) -> Fault {
        (self.at, expected.into())
    }

    fn end(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(',') => Err(self.fault("the end; a shape stands in brackets, as in (1,3,224,224)")),
            Some(_) => Err(self.fault("the end")),
        }
    }

    /// A run of characters that names and numbers are made of.
    fn word(&mut self) -> &str {
        self.skip_space();
        let start = self.at;
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '+' | '-');
        self.at += self.rest().find(|c| !is_part(c)).unwrap_or(self.rest().len());
        &self.text[start..self.at]
    }

    fn value(&mut self) -> Result<ValueSpec, Fault> {
        match self.peek() {
            Some('(') => self.tensor(),
            Some('[') if self.rest()[1..].trim_start().starts_with('(') => self.tensor(),
            Some('[' | '{') => self.json(),
            Some('\'') => self.quoted(),
            _ => self.scalar(),
        }
    }

    fn scalar(&mut self) -> Result<ValueSpec, Fault> {
        self.skip_space();
        let start = self.at;
        let word = self.word();
        let value = match word {
            "true" | "True" => Some(ValueSpec::Bool(true)),
            "false" | "False" => Some(ValueSpec::Bool(false)),
            "none" | "None" | "null" => Some(ValueSpec::None),
            _ => None,
        };
        let value = value.or_else(|| word.parse().ok().map(ValueSpec::Int));
        let value = value.or_else(|| word.parse().ok().map(ValueSpec::Float));
        value.ok_or_else(|| {
            (start, "a shape such as (1,3,224,224), a number, true, false, none, 'text' or JSON".into())
        })
    }

    fn quoted(&mut self) -> Result<ValueSpec, Fault> {
        self.at += 1;
        let end = self.rest().find('\'').ok_or((self.text.len(), "a closing `'`".to_string()))?;
        let text = self.rest()[..end].to_string();
        self.at += end + 1;
        Ok(ValueSpec::Text(text))
    }

    fn tensor(&mut self) -> Result<ValueSpec, Fault> {
        let start = self.at;
        let shapes = if self.take('[') { self.shape_range(start)? } else { Shapes::One(self.shape()?) };
        let (mut kind, mut format, mut range) = (None, None, None);
        let mut range_at = start;
        loop {
            let at = self.at;
            let repeated = match self.peek() {
                Some('@') => kind.replace(self.kind()?).is_some(),
                Some('%') => format.replace(self.format(&shapes)?).is_some(),
                Some('[') => {
                    range_at = self.at;
                    range.replace(self.range()?).is_some()
                }
                _ => break,
            };
            if repeated {
                return Err((at, "each of `@`, `%` and a value range once".into()));
            }
        }
        let kind = kind.unwrap_or(Kind::Float);
        let fits = |(from, to): (f64, f64)| limits(kind).is_none_or(|(low, high)| low <= from && to <= high);
        if !range.is_none_or(fits) {
            return Err((range_at, format!("a value range that {} holds", kind_name(kind))));
        }
        if !is_float(kind) && range.is_some_and(|(from, to)| from.ceil() >= to.ceil()) {
            return Err((range_at, "a value range with a whole number in it".into()));
        }
        Ok(ValueSpec::Tensor(TensorSpec { shapes, kind, channels_last: format.unwrap_or(false), range }))
    }

    fn shape_range(&mut self, start: usize) -> Result<Shapes, Fault> {
        let min = self.shape()?;
        self.next_shape()?;
        let opt = self.shape()?;
        self.next_shape()?;
        let max = self.shape()?;
        self.expect(']')?;
        let same_rank = min.len() == opt.len() && opt.len() == max.len();
        let ordered = min.iter().zip(&opt).zip(&max).all(|((a, b), c)| a <= b && b <= c);
        if !(same_rank && ordered) {
            return Err((start, "three shapes of one rank, none of whose sizes falls".into()));
        }
        Ok(Shapes::Range { min, opt, max })
    }

    fn next_shape(&mut self) -> Result<(), Fault> {
        let wanted = "`;`: a range is three shapes, [(smallest);(usual);(largest)]";
        if self.take(';') { Ok(()) } else { Err(self.fault(wanted)) }
    }

    fn shape(&mut self) -> Result<Vec<i64>, Fault> {
        self.expect('(')?;
        let mut sizes = Vec::new();
        while !self.take(')') {
            if !sizes.is_empty() {
                if !self.take(',') {
                    return Err(self.fault("`,` or `)`"));
                }
                if self.take(')') {
                    break;
                }
            }
            self.skip_space();
            let at = self.at;
            let size = self.word().parse::<i64>().ok().filter(|&n| n >= 0);
            sizes.push(size.ok_or((at, "a size, a whole number from 0".into()))?);
        }
        let elements = sizes.iter().try_fold(1i64, |n, &size| n.checked_mul(size));
        if elements.is_none_or(|n| n > 1 << 40) {
            return Err(self.fault("a shape of at most 2^40 elements"));
        }
        Ok(sizes)
    }

    fn kind(&mut self) -> Result<Kind, Fault> {
        self.at += 1;
        let at = self.at;
        let word = self.word().to_ascii_lowercase();
        let known = KINDS.iter().find(|(_, names)| names.contains(&word.as_str()));
        known.map(|(kind, _)| *kind).ok_or_else(|| {
            let names: Vec<&str> = KINDS.iter().map(|(_, names)| names[0]).collect();
            (at, format!("an element type: {}", names.join(", ")))
        })
    }

    fn format(&mut self, shapes: &Shapes) -> Result<bool, Fault> {
        self.at += 1;
        let at = self.at;
        let word = self.word().to_ascii_lowercase();
        let known = FORMATS.iter().find(|(_, names)| names.contains(&word.as_str()));
        let (channels_last, _) =
            known.ok_or((at, "a memory format: contiguous or channels_last".to_string()))?;
        let (Shapes::One(shape) | Shapes::Range { opt: shape, .. }) = shapes;
        if *channels_last && !(4..=5).contains(&shape.len()) {
            return Err((at, "channels_last only with 4 or 5 sizes".into()));
        }
        Ok(*channels_last)
    }

    fn range(&mut self) -> Result<(f64, f64), Fault> {
        let start = self.at;
        self.at += 1;
        let from = self.number()?;
        self.expect(',')?;
        let to = self.number()?;
        self.expect(')')?;
        if from < to { Ok((from, to)) } else { Err((start, "a value range that is not empty".into())) }
    }

    fn number(&mut self) -> Result<f64, Fault> {
        self.skip_space();
        let at = self.at;
        let number = self.word().parse::<f64>().ok().filter(|v| v.is_finite());
        number.ok_or((at, "a number".into()))
    }

    fn json(&mut self) -> Result<ValueSpec, Fault> {
        let start = self.at;
        let parsed: serde_json::Value = serde_json::from_str(self.rest()).map_err(|e| {
            let on_line: usize = self.rest().split_inclusive('\n').take(e.line() - 1).map(str::len).sum();
            (start + on_line + e.column().saturating_sub(1), format!("JSON ({e})"))
        })?;
        self.at = self.text.len();
        from_json(&parsed).map_err(|expected| (start, expected))
    }
}

/// The values of an integer kind, the second excluded; `None` for floating-point kinds and for i64.
fn limits(kind: Kind) -> Option<(f64, f64)> {
    Some(match kind {
        Kind::Bool => (0.0, 2.0),
        Kind::Uint8 => (0.0, 256.0),
        Kind::Int8 => (-128.0, 128.0),
        Kind::Int16 => (-32_768.0, 32_768.0),
        Kind::Int => (-2_147_483_648.0, 2_147_483_648.0),
        _ => return None,
    })
}

fn from_json(value: &serde_json::Value) -> Result<ValueSpec, String> {
    use serde_json::Value;
    Ok(match value {
        Value::Null => ValueSpec::None,
        Value::Bool(v) => ValueSpec::Bool(*v),
        Value::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(v), _) => ValueSpec::Int(v),
            (None, Some(v)) => ValueSpec::Float(v),
            (None, None) => return Err(format!("a number that fits 64 bits, not {n}")),
        },
        Value::String(text) => {
            let inner =
                InputSpec::from_str(text).map_err(|e| format!("specs as strings, and of `{text}` at {e}"))?;
            if inner.name.is_some() {
                return Err(format!("no name within JSON, where keys name things, but `{text}`"));
            }
            inner.value
        }
        Value::Array(items) => ValueSpec::List(items.iter().map(from_json).collect::<Result<_, _>>()?),
        Value::Object(entries) => {
            let one = |(key, v): (&String, &Value)| Ok::<_, String>((key.clone(), from_json(v)?));
            ValueSpec::Dict(entries.iter().map(one).collect::<Result<_, _>>()?)
        }
    })
}
