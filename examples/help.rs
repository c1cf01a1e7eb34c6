//! What `--help` says: a program's own documentation. Programs without libtorch have it too.

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
