//! For which sizes of an argument engines are meant.

use crate::Error;
use crate::nearest::suggestion;
use serde::Serialize;
use std::fmt;

/// The least and the greatest sizes of an argument for which there are to be engines. Calls outside are the host's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Bounds {
    /// The argument's name. In a list, tuple or dict each tensor has to be inside.
    pub argument: String,
    /// The least size of each axis.
    pub min: Vec<i64>,
    /// The greatest size of each axis, itself included.
    pub max: Vec<i64>,
}

/// `x: [1, 3] to [32, 3]`.
impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?} to {:?}", self.argument, self.min, self.max)
    }
}

impl Bounds {
    /// Bounds of the argument of this name.
    pub fn new(argument: &str, min: impl Into<Vec<i64>>, max: impl Into<Vec<i64>>) -> Bounds {
        Bounds { argument: argument.into(), min: min.into(), max: max.into() }
    }

    /// # Errors
    /// [`Error::Bounds`] where `min` and `max` are no shapes of one rank with `min` below `max`, or no method has such an argument.
    pub(crate) fn check(&self, arguments: &[String]) -> Result<(), Error> {
        let wrong = |why: String| Err(Error::Bounds { argument: self.argument.clone(), why });
        let falls = |(min, max): (&i64, &i64)| *min < 0 || min > max;
        if self.min.len() != self.max.len() || self.min.iter().zip(&self.max).any(falls) {
            return wrong(format!(
                "{:?} to {:?} is no range of shapes; both need a size for each axis, the second none below the first",
                self.min, self.max
            ));
        }
        if arguments.contains(&self.argument) {
            return Ok(());
        }
        let like = suggestion(&self.argument, arguments.iter().map(String::as_str));
        wrong(format!("no method takes an argument of that name; there are {}{like}", arguments.join(", ")))
    }
}
