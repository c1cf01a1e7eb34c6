//! Random programs. The generator follows element types, sizes in every set, shared memory and how exact values are, so that nearly
//! every program runs, and so that nothing discontinuous is asked of values that rounding may change.

mod contract;
mod control;
mod create;
mod index;
mod lists;
mod pointwise;
mod reduce;
mod scope;
mod setting;
mod views;
mod writes;

use crate::program::{Program, Statement};
use scope::Generator;

/// One way of making a statement; `None` where nothing in scope fits it. What it did to the scope then is of no account.
type Family = fn(&mut Generator) -> Option<()>;

/// The families with their weights.
const FAMILIES: &[(usize, Family)] = &[
    (14, pointwise::arithmetic),
    (6, pointwise::with_number),
    (8, pointwise::smooth),
    (4, pointwise::exact),
    (3, pointwise::steps),
    (4, pointwise::comparison),
    (3, pointwise::choice),
    (4, pointwise::cast),
    (12, views::any),
    (5, reduce::fold),
    (3, reduce::along),
    (2, reduce::order),
    (4, contract::product),
    (2, contract::image),
    (2, contract::normalised),
    (4, index::picked),
    (3, index::joined),
    (2, index::replaced),
    (2, index::dynamic),
    (2, create::tensor),
    (2, create::like),
    (4, create::number),
    (1, create::layout),
    (1, create::random),
    (8, writes::in_place),
    (5, writes::part),
    (2, writes::attribute),
    (3, writes::form),
    (4, control::branch),
    (3, control::repetition),
    (1, control::early_end),
    (3, lists::made),
    (3, lists::used),
    (2, lists::grown),
    (1, lists::walked),
    (2, lists::derived),
    (1, lists::optional),
    (1, lists::dict),
    (3, views::by_int),
    (1, views::changed),
];

/// The program of a seed.
pub fn program(seed: u64) -> Program {
    let mut generator = Generator::new(seed);
    let steps = 4 + generator.random.below(16);
    for _ in 0..steps {
        step(&mut generator);
    }
    generator.finish()
}

/// Adds one statement that fits the scope.
fn step(generator: &mut Generator) {
    let total: usize = FAMILIES.iter().map(|f| f.0).sum();
    for _ in 0..30 {
        let mut at = generator.random.below(total);
        let family = FAMILIES.iter().find(|f| {
            let here = at < f.0;
            at = at.saturating_sub(f.0);
            here
        });
        let before = generator.clone();
        if (family.expect("the weights are those of the total").1)(generator).is_some() {
            return;
        }
        let random = generator.random.clone();
        *generator = before;
        generator.random = random;
    }
}

/// Statements that `make` adds, as a block of its own: what they define is gone afterwards.
fn block(generator: &mut Generator, make: impl FnOnce(&mut Generator)) -> Vec<Statement> {
    let (body, variables) = (std::mem::take(&mut generator.body), generator.variables.len());
    generator.depth += 1;
    make(generator);
    generator.depth -= 1;
    generator.variables.truncate(variables);
    std::mem::replace(&mut generator.body, body)
}
