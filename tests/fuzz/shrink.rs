//! From a program that fails to a small one that still does.

use crate::program::Program;

/// Takes steps to smaller programs as long as they fail. Gives the smallest one found with its steps: at each, which of the
/// [`Program::smaller`] ones was taken.
pub fn shrink(program: Program, mut fails: impl FnMut(&Program, &[usize]) -> bool) -> (Program, Vec<usize>) {
    let (mut smallest, mut steps) = (program, Vec::new());
    let mut from = 0;
    loop {
        let candidates = smallest.smaller();
        let count = candidates.len();
        let found = candidates.into_iter().enumerate().cycle_from(from).find(|(at, candidate)| {
            steps.push(*at);
            let still = fails(candidate, &steps);
            if !still {
                steps.pop();
            }
            still
        });
        match found {
            Some((at, program)) => {
                smallest = program;
                from = at.min(count.saturating_sub(2));
            }
            None => return (smallest, steps),
        }
    }
}

/// An iteration that starts in the middle.
trait CycleFrom: Iterator + Sized {
    fn cycle_from(self, start: usize) -> std::vec::IntoIter<Self::Item> {
        let mut all: Vec<Self::Item> = self.collect();
        let n = all.len();
        all.rotate_left(if n == 0 { 0 } else { start % n });
        all.into_iter()
    }
}

impl<I: Iterator> CycleFrom for I {}
