//! The cases in `tests/cases/input-specs.txt`: a spec, `->`, and how it prints or what is wrong with it.

use super::InputSpec;
use trt_subgraph::Random;

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

#[test]
fn damaged_specs_are_errors_with_a_place() {
    let cases: Vec<&str> =
        CASES.lines().filter_map(|l| l.split_once("  ->  ")).map(|(spec, _)| spec).collect();
    let pieces: Vec<char> = "()[]{}@%;:,'\"=-.09ae\u{e9}\u{1f600} ".chars().collect();
    let mut random = Random::new(7);
    let mut faults = 0;
    for _ in 0..20_000 {
        let mut spec: Vec<char> = random.pick(&cases).chars().collect();
        for _ in 0..=random.below(3) {
            let at = random.below(spec.len() + 1);
            match random.below(3) {
                0 if at < spec.len() => _ = spec.remove(at),
                1 if at < spec.len() => spec[at] = *random.pick(&pieces),
                _ => spec.insert(at, *random.pick(&pieces)),
            }
        }
        let text: String = spec.iter().collect();
        match text.parse::<InputSpec>() {
            Ok(read) => assert_eq!(read.to_string().parse::<InputSpec>(), Ok(read), "of {text}"),
            Err(e) => {
                assert!((1..=spec.len() + 1).contains(&e.column), "column {} of {text}", e.column);
                faults += 1;
            }
        }
    }
    assert!(faults > 5_000, "only {faults} specs were damaged");
}
