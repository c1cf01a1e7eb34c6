//! Reading one line of text, left to right: what the parsers of the text forms share.

use std::fmt;

/// What stood in the way of reading a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unexpected {
    /// Column, in bytes from 0.
    pub column: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl fmt::Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: expected {}", self.column + 1, self.expected)
    }
}

impl std::error::Error for Unexpected {}

/// A position in a line. Every method skips blanks first.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

/// A number as it is written: with a fraction, an exponent, `inf` or `nan` it is a float.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Int(v) => v as f64,
            Number::Float(v) => v,
        }
    }
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, at: 0 }
    }

    /// What is left, without leading blanks.
    pub fn rest(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        &self.text[self.at..]
    }

    pub fn fail<T>(&self, expected: &'static str) -> Result<T, Unexpected> {
        Err(Unexpected { column: self.at, expected })
    }

    /// Takes `token` if it comes next. A token that ends in a letter is not taken from within a longer word.
    pub fn eat(&mut self, token: &str) -> bool {
        let Some(after) = self.rest().strip_prefix(token) else { return false };
        if token.ends_with(is_word) && after.starts_with(is_word) {
            return false;
        }
        self.at += token.len();
        true
    }

    pub fn expect(&mut self, token: &'static str) -> Result<(), Unexpected> {
        if self.eat(token) { Ok(()) } else { self.fail(token) }
    }

    pub fn end(&mut self) -> Result<(), Unexpected> {
        if self.rest().is_empty() { Ok(()) } else { self.fail("the end of the line") }
    }

    /// The longest run of characters that `belongs` accepts; possibly empty.
    pub fn run(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// Letters, digits and underscores; possibly none.
    pub fn word(&mut self) -> &'a str {
        self.run(is_word)
    }

    /// A non-negative integer.
    pub fn index<T: std::str::FromStr>(&mut self) -> Result<T, Unexpected> {
        let start = self.clone();
        self.run(|c| c.is_ascii_digit()).parse().or_else(|_| start.fail("a non-negative integer"))
    }

    pub fn number(&mut self) -> Result<Number, Unexpected> {
        let start = self.clone();
        let negative = self.eat("-");
        let mut text = self.run(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_');
        // A range's dots and an exponent's sign are no letters of a number.
        if let Some(range) = text.find("..") {
            self.at -= text.len() - range;
            text = &text[..range];
        }
        let mut owned = text.to_string();
        if text.starts_with(|c: char| c.is_ascii_digit()) && text.ends_with(['e', 'E']) && self.eat("-") {
            owned = format!("{text}-{}", self.run(|c| c.is_ascii_digit()));
        }
        if negative {
            owned.insert(0, '-');
        }
        if let Ok(v) = owned.parse::<i64>()
            && !(negative && v == 0)
        {
            return Ok(Number::Int(v));
        }
        match owned.parse::<f64>() {
            Ok(v) => Ok(Number::Float(v)),
            Err(_) => start.fail("a number"),
        }
    }

    /// A string in double quotes, with the escapes that Rust writes: `\"`, `\\`, `\n`, `\u{7f}` and the like.
    pub fn string(&mut self) -> Result<String, Unexpected> {
        self.expect("\"")?;
        let mut out = String::new();
        let mut letters = self.text[self.at..].char_indices();
        while let Some((at, c)) = letters.next() {
            match c {
                '"' => {
                    self.at += at + 1;
                    return Ok(out);
                }
                '\\' => match letters.next().map(|(_, c)| c) {
                    Some('n') => out.push('\n'),
                    Some('r') => out.push('\r'),
                    Some('t') => out.push('\t'),
                    Some('0') => out.push('\0'),
                    Some('u') => {
                        let digits = letters.as_str().strip_prefix('{').and_then(|rest| rest.split_once('}'));
                        let code = digits.and_then(|(hex, _)| u32::from_str_radix(hex, 16).ok());
                        let Some((c, (hex, _))) = code.and_then(char::from_u32).zip(digits) else {
                            return self.fail("the hexadecimal number of a character");
                        };
                        out.push(c);
                        // The digits and their braces are characters of one byte.
                        letters.nth(hex.len() + 1);
                    }
                    other => out.extend(other),
                },
                c => out.push(c),
            }
        }
        self.fail("a closing quote")
    }

    /// `item, item, ...` up to and with `close`; the opening has been taken.
    pub fn list<T>(
        &mut self,
        close: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<T, Unexpected>,
    ) -> Result<Vec<T>, Unexpected> {
        let mut out = Vec::new();
        while !self.eat(close) {
            if !out.is_empty() {
                self.expect(",")?;
            }
            out.push(item(self)?);
        }
        Ok(out)
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_form() {
        let read = |text| Cursor::new(text).number();
        assert_eq!(read(" -12,"), Ok(Number::Int(-12)));
        assert_eq!(read("1e-5)"), Ok(Number::Float(1e-5)));
        assert_eq!(read("2.5..3"), Ok(Number::Float(2.5)));
        assert_eq!(read("0..3"), Ok(Number::Int(0)));
        assert!(matches!(read("-0"), Ok(Number::Float(v)) if v.is_sign_negative()));
        assert!(matches!(read("nan"), Ok(Number::Float(v)) if v.is_nan()));
        assert_eq!(read("-inf"), Ok(Number::Float(f64::NEG_INFINITY)));
        assert!(read("x").is_err());
    }

    #[test]
    fn lists_strings_and_places() {
        let mut c = Cursor::new(" [ 1, 2] \"a\\\"b\" tail");
        assert!(c.eat("["));
        assert_eq!(c.list("]", Cursor::index::<usize>), Ok(vec![1, 2]));
        assert_eq!(c.string().unwrap(), "a\"b");
        assert!(!c.eat("ta") && c.eat("tail") && c.end().is_ok());
        let error = Cursor::new("[1 2]").list("]", Cursor::index::<usize>).unwrap_err();
        assert_eq!(error.column, 0);
        assert!(Cursor::new("\"open").string().is_err());
    }
}
