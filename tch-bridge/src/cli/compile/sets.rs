//! Several calls on one command line: which inputs belong together.

use super::{Point, Set};
use crate::Bounds;
use crate::cli::spec::{InputSpec, Shapes, ValueSpec, assign};
use crate::jit::{Argument, ValueType};
use serde::Serialize;
use std::collections::HashSet;
use std::fmt;

/// The specs by call. An input begins the next call when the present one has no argument left for it: its name is taken, all
/// arguments are, or the next one is no tensor and the input is.
pub(super) fn sets(specs: &[InputSpec], arguments: &[Argument]) -> Vec<Set> {
    let mut sets: Vec<Set> = vec![Vec::new()];
    for spec in specs {
        let current = sets.last().expect("there is one");
        let by_position = current.iter().filter(|s| s.name.is_none()).count();
        let full = match &spec.name {
            Some(name) => current.iter().any(|s| s.name.as_ref() == Some(name)),
            None => {
                let next = arguments.get(by_position).filter(|_| current.len() < arguments.len());
                let next = next.filter(|a| !current.iter().any(|s| s.name.as_ref() == Some(&a.name)));
                next.is_none_or(|a| !takes(&a.ty, &spec.value))
            }
        };
        if full && !current.is_empty() {
            sets.push(Vec::new());
        }
        sets.last_mut().expect("there is one").push(spec.clone());
    }
    sets
}

fn takes(ty: &ValueType, value: &ValueSpec) -> bool {
    let scalar = |ty: &ValueType| {
        matches!(ty, ValueType::Int | ValueType::Float | ValueType::Bool | ValueType::Str | ValueType::Device)
    };
    let inner = if let ValueType::Optional(inner) = ty { inner } else { ty };
    !(matches!(value, ValueSpec::Tensor(_)) && scalar(inner))
}

/// The shapes to compile a set for: all three where a spec has three.
pub(super) fn points(set: &[InputSpec]) -> Vec<Point> {
    let mut ranges = false;
    for spec in set {
        spec.value.for_each_tensor(&mut |t| ranges |= matches!(t.shapes, Shapes::Range { .. }));
    }
    if ranges { vec![Point::Opt, Point::Min, Point::Max] } else { vec![Point::Opt] }
}

/// The bounds of each argument that some set has a range for: what any of the sets has for it.
pub(super) fn bounds(specs: &[InputSpec], arguments: &[Argument]) -> Vec<Bounds> {
    let (mut all, mut ranged) = (Vec::new(), HashSet::new());
    for set in sets(specs, arguments) {
        // Wrong names and too many inputs are told when values are made of them.
        for (spec, argument) in assign(&set, arguments).unwrap_or_default() {
            let Some(spec) = spec else { continue };
            spec.value.for_each_tensor(&mut |t| {
                let (min, max) = match &t.shapes {
                    Shapes::One(shape) => (shape, shape),
                    Shapes::Range { min, max, .. } => {
                        ranged.insert(argument.name.clone());
                        (min, max)
                    }
                };
                all.push(Bounds::new(&argument.name, min.clone(), max.clone()));
            });
        }
    }
    all.retain(|b| ranged.contains(&b.argument));
    all.dedup();
    all
}

/// Where the tensors of one argument may lie: in any of the ranges, whatever the other arguments are.
#[derive(Serialize)]
pub(super) struct ArgumentRanges {
    argument: String,
    ranges: Vec<Range>,
}

/// The least and the greatest size of each axis.
#[derive(Serialize)]
struct Range {
    min: Vec<i64>,
    max: Vec<i64>,
}

/// The bounds by argument.
pub(super) fn ranges(bounds: &[Bounds]) -> Vec<ArgumentRanges> {
    let mut all: Vec<ArgumentRanges> = Vec::new();
    for Bounds { argument, min, max } in bounds {
        let range = Range { min: min.clone(), max: max.clone() };
        match all.iter_mut().find(|of| of.argument == *argument) {
            Some(of) => of.ranges.push(range),
            None => all.push(ArgumentRanges { argument: argument.clone(), ranges: vec![range] }),
        }
    }
    all
}

/// `x: [1, 3] to [8, 3] or [16, 3] to [32, 3]`.
impl fmt::Display for ArgumentRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |r: &Range| format!("{:?} to {:?}", r.min, r.max);
        let ranges: Vec<String> = self.ranges.iter().map(one).collect();
        write!(f, "{}: {}", self.argument, ranges.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(list: &[(&str, &str)]) -> Vec<Argument> {
        let one = |(name, ty): &(&str, &str)| Argument {
            name: name.to_string(),
            ty: ValueType::parse(ty),
            has_default: false,
        };
        list.iter().map(one).collect()
    }

    fn grouped(specs: &[&str], arguments: &[Argument]) -> Vec<Vec<String>> {
        let specs: Vec<InputSpec> = specs.iter().map(|s| s.parse().expect("a spec")).collect();
        let text = |set: &Set| set.iter().map(ToString::to_string).collect();
        sets(&specs, arguments).iter().map(text).collect()
    }

    #[test]
    fn inputs_fill_the_arguments_and_begin_again() {
        let two = arguments(&[("x", "Tensor"), ("y", "Optional[Tensor]")]);
        assert_eq!(
            grouped(&["(1,2)", "(2)", "(3,2)", "(4)"], &two),
            [["(1,2)@f32", "(2)@f32"], ["(3,2)@f32", "(4)@f32"]]
        );
        assert_eq!(grouped(&["x=(1)", "x=(2)"], &two), [["x=(1)@f32"], ["x=(2)@f32"]]);
        assert_eq!(grouped(&["y=(1)", "(2)", "(3)"], &two), [vec!["y=(1)@f32", "(2)@f32"], vec!["(3)@f32"]]);
        let scaled = arguments(&[("x", "Tensor"), ("scale", "float")]);
        assert_eq!(grouped(&["(1)", "(2)", "0.5"], &scaled), [vec!["(1)@f32"], vec!["(2)@f32", "0.5"]]);
        assert_eq!(grouped(&[], &two), [Vec::<String>::new()]);
    }

    #[test]
    fn an_argument_with_a_range_is_bounded_by_all_that_its_sets_say() {
        let two = arguments(&[("x", "Tensor"), ("y", "Tensor")]);
        let specs = ["[(1,2);(4,2);(8,2)]", "(3)", "(16,2)", "(5)"].map(|s| s.parse().expect("a spec"));
        assert_eq!(
            bounds(&specs, &two),
            [Bounds::new("x", [1, 2], [8, 2]), Bounds::new("x", [16, 2], [16, 2])]
        );
        let told: Vec<String> = ranges(&bounds(&specs, &two)).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["x: [1, 2] to [8, 2] or [16, 2] to [16, 2]"]);
        let fixed = ["(1,2)", "(3)"].map(|s| s.parse().expect("a spec"));
        assert_eq!(bounds(&fixed, &two), []);
    }
}
