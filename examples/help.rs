//! What `--help` says: a program's own documentation, and what is said of arguments that a program does not take. Programs without libtorch have it too.

/// Prints the documentation at the beginning of a program's source and ends the process, if an argument is `--help` or `-h`.
pub fn explain(source: &str) {
    if std::env::args().skip(1).any(|word| word == "--help" || word == "-h") {
        source
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .for_each(|line| println!("{}", line.trim_start()));
        std::process::exit(0);
    }
}

/// The arguments of a program that takes at most `most` of them and no option.
///
/// # Errors
/// A sentence that names what is one too many, and says what the program takes.
#[allow(dead_code, reason = "not every program with a help takes plain arguments alone")]
pub fn arguments(usage: &str, most: usize) -> Result<Vec<std::ffi::OsString>, String> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let option = words.iter().find(|word| word.to_string_lossy().starts_with('-'));
    match option.or(words.get(most)) {
        Some(word) => Err(format!("`{}` is not understood; usage: {usage}", word.to_string_lossy())),
        None => Ok(words),
    }
}
