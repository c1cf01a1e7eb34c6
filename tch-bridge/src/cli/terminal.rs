//! Colours and progress, only where a terminal shows them.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// Whether to colour.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    coloured: bool,
}

impl Style {
    pub(crate) fn of_stdout() -> Style {
        Style { coloured: std::io::stdout().is_terminal() && wanted() }
    }

    pub(crate) fn of_stderr() -> Style {
        Style { coloured: std::io::stderr().is_terminal() && wanted() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
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
pub(crate) fn progress(steps: u64, what: &'static str) -> ProgressBar {
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

/// One line in which paths have lost their folders: `aten::relu at /a/b/model.py:3` as `aten::relu at model.py:3`.
pub(crate) fn without_folders(text: &str) -> String {
    let word = |w: &str| match w.rfind('/') {
        Some(at) if w.starts_with('/') => w[at + 1..].to_string(),
        _ => w.to_string(),
    };
    text.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// The text, at most `length` characters of it where a terminal shows it.
pub(crate) fn cut(text: &str, length: usize) -> String {
    if !std::io::stdout().is_terminal() || text.chars().count() <= length {
        return text.to_string();
    }
    text.chars().take(length - 1).chain(['…']).collect()
}

/// A table with numbers aligned right and words aligned left. The first row is the head.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
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
