//! Colours and progress, only where a terminal shows them.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// What [`Style`] writes.
const COLOURS: [&str; 6] = ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m"];

/// Whether to colour.
#[derive(Clone, Copy)]
pub struct Style {
    coloured: bool,
}

impl Style {
    /// That of the output stream: coloured on a terminal, unless `NO_COLOR` is set.
    pub fn of_stdout() -> Style {
        Style { coloured: std::io::stdout().is_terminal() && wanted() }
    }

    /// That of the error stream.
    pub fn of_stderr() -> Style {
        Style { coloured: std::io::stderr().is_terminal() && wanted() }
    }

    /// The text in bold.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// The text in a weaker colour.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// The text in red.
    pub fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// The text in green.
    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// The text in yellow.
    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// What may be printed in this style.
    pub fn printable(self, text: &str) -> String {
        printable(text, self.coloured)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// <https://no-color.org>.
fn wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// A bar on the error stream for `steps` steps, or a spinner where their number is 0; hidden where that is no terminal.
pub fn progress(steps: u64, what: &'static str) -> ProgressBar {
    let target = match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let (bar, template) = match steps {
        0 => (ProgressBar::new_spinner(), "{spinner} {prefix} {msg} {elapsed}"),
        _ => (ProgressBar::new(steps), "{bar:30} {pos}/{len} {prefix} {msg} {elapsed}"),
    };
    bar.set_draw_target(target);
    bar.set_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
    bar.set_prefix(what);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// One line in which places have lost their folders: `aten::relu at /a/b/model.py:3` as `aten::relu at model.py:3`. Divisions stay.
pub fn without_folders(text: &str) -> String {
    let is_place = |name: &str| {
        let line = name.split_once(':').map(|(_, line)| line);
        line.is_some_and(|line| line.starts_with(|c: char| c.is_ascii_digit()))
    };
    let word = |w: &str| match w.rsplit_once('/') {
        Some((_, name)) if w.starts_with('/') && is_place(name) => name.to_string(),
        _ => w.to_string(),
    };
    text.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// A part from 0 to 1 in per cent, which is 0 or 100 only where the part is 0 or 1.
pub fn percent(part: f64) -> String {
    match 100.0 * part {
        all if all > 0.0 && all < 0.01 => "under 0.01 %".to_string(),
        all if all > 0.0 && all < 0.1 || all > 99.9 && all < 99.99 => format!("{all:.2} %"),
        all if (99.99..100.0).contains(&all) => "over 99.99 %".to_string(),
        all => format!("{all:.1} %"),
    }
}

/// The text without what a terminal would obey: control characters as Rust writes them, but for ends of lines, tabs and, where
/// `coloured`, the colours of [`Style`]. Names in files may hold anything.
pub fn printable(text: &str, coloured: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let colour = COLOURS.iter().find(|code| coloured && rest.starts_with(**code));
        let taken = colour.map_or(c.len_utf8(), |code| code.len());
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() && colour.is_none() => out.extend(c.escape_default()),
            _ => out += &rest[..taken],
        }
        rest = &rest[taken..];
    }
    out
}

/// The text as one line of such characters.
pub fn one_line(text: &str) -> String {
    printable(text, false).replace('\n', "\\n").replace('\t', "\\t")
}

/// The text, at most `length` characters of it where a terminal shows it.
pub fn cut(text: &str, length: usize) -> String {
    if !std::io::stdout().is_terminal() || text.chars().count() <= length {
        return text.to_string();
    }
    text.chars().take(length - 1).chain(['…']).collect()
}

/// A table with numbers aligned right and words aligned left. The first row is the head.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |c: usize| rows.iter().filter_map(move |r| r.get(c));
    let widths: Vec<usize> =
        (0..columns).map(|c| cells(c).map(|t| t.chars().count()).max().unwrap_or(0)).collect();
    let right: Vec<bool> = (0..columns).map(|c| cells(c).any(|t| is_number(t))).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = if at == 0 { "" } else { "  " };
            line += &if right[at] { format!("{gap}{cell:>width$}") } else { format!("{gap}{cell:width$}") };
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

/// `12`, `-1.5e-3`, `4.01 MB`, `x 2.50 (1.90 to 3.10)`.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix("x ").unwrap_or(text);
    text.strip_prefix('-').unwrap_or(text).starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_go() {
        assert_eq!(without_folders("a at /x/y.py:3: f, b at z.py:4\nc"), "a at y.py:3: f, b at z.py:4 c");
        let code = "at y.py:3: s = float(n[1]) / stride // 2 /m[1]/k.x";
        assert_eq!(without_folders(&code.replace("y.py", "/x/y.py")), code);
    }

    #[test]
    fn parts_are_whole_only_where_they_are() {
        let parts = [0.0, 0.00003, 0.0003, 0.5, 0.9996, 0.99999, 1.0].map(percent);
        assert_eq!(
            parts,
            ["0.0 %", "under 0.01 %", "0.03 %", "50.0 %", "99.96 %", "over 99.99 %", "100.0 %"]
        );
    }

    #[test]
    fn terminals_are_given_no_orders() {
        let text = "a\x1b[31mb\x1b[0m\x1b]0;t\x07\u{9b}2J\r\té\n";
        assert_eq!(printable(text, true), "a\x1b[31mb\x1b[0m\\u{1b}]0;t\\u{7}\\u{9b}2J\\r\té\n");
        assert_eq!(one_line(text), "a\\u{1b}[31mb\\u{1b}[0m\\u{1b}]0;t\\u{7}\\u{9b}2J\\r\\té\\n");
    }

    #[test]
    fn tables_align() {
        let rows = [vec!["a".to_string(), "10".into()], vec!["bcd".into(), "5".into()]];
        assert_eq!(table(&rows), "a    10\nbcd   5\n");
        let rows = [["", "type", "off"], ["y", "f32[1,8]", "-"], ["z", "i64", "x 3.1"]];
        let rows = rows.map(|row| row.map(String::from).to_vec());
        assert_eq!(table(&rows), "   type        off\ny  f32[1,8]      -\nz  i64       x 3.1\n");
    }
}
