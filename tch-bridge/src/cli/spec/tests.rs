//! The cases in `tests/cases/input-specs.txt`: a spec, `->`, and how it prints or what is wrong with it.

use super::InputSpec;

const CASES: &str = include_str!("../../../../tests/cases/input-specs.txt");

#[test]
fn cases_read_as_written() {
    let mut count = 0;
    for line in CASES.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (spec, expected) = line.split_once("  ->  ").expect("a case has `  ->  `");
        let found = match spec.parse::<InputSpec>() {
            Ok(read) => {
                let printed = read.to_string();
                assert_eq!(printed.parse::<InputSpec>(), Ok(read), "printing {spec} loses something");
                printed
            }
            Err(e) => format!("error {}: expected {}", e.column, e.expected),
        };
        assert_eq!(found, expected, "of {spec}");
        count += 1;
    }
    assert!(count > 40, "only {count} cases");
}
