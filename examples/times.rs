//! Times of calls that are taken by turns, and whether the machine was quiet enough to tell them.

use std::time::Duration;

/// Times that lie farther apart than this part of their median are worth a note.
const NOISY: f64 = 0.2;

/// What each call took.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Adds that of one call.
    pub fn add(&mut self, time: Duration) {
        self.0.insert(self.0.partition_point(|t| *t <= time), time);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The middle one; zero where there is none.
    pub fn median(&self) -> Duration {
        self.at(2)
    }

    /// How far the middle half of them lie apart, as a part of the median; 0 where there is none.
    pub fn spread(&self) -> f64 {
        let apart = (self.at(3) - self.at(1)).as_secs_f64();
        if apart == 0.0 { 0.0 } else { apart / self.median().as_secs_f64() }
    }

    /// The one that so many quarters of them come before.
    fn at(&self, quarters: usize) -> Duration {
        self.0.get(self.0.len() * quarters / 4).copied().unwrap_or_default()
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Times {
        let mut all = Times(times.into_iter().collect());
        all.0.sort_unstable();
        all
    }
}

/// Prints a note where times of one path lie so far apart ([`Times::spread`]) that their ratios tell little.
pub fn note_if_busy(spreads: impl IntoIterator<Item = f64>) {
    if let Some(note) = note(spreads) {
        println!("{note}");
    }
}

fn note(spreads: impl IntoIterator<Item = f64>) -> Option<String> {
    let spread = spreads.into_iter().fold(0.0, f64::max);
    (spread > NOISY).then(|| {
        let apart = 100.0 * spread;
        format!(
            "note: the machine was busy: times of one path lie {apart:.0} % apart, so take them with care"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(milliseconds: &[u64]) -> Times {
        milliseconds.iter().map(|&ms| Duration::from_millis(ms)).collect()
    }

    #[test]
    fn the_middle_half_counts() {
        let mut some = times(&[9, 1, 5]);
        some.add(Duration::from_millis(4));
        some.add(Duration::from_millis(6));
        assert_eq!((some.count(), some.median()), (5, Duration::from_millis(5)));
        assert!((some.spread() - 0.4).abs() < 1e-12);
        assert_eq!((Times::default().median(), Times::default().spread()), (Duration::ZERO, 0.0));
    }

    #[test]
    fn a_busy_machine_is_told() {
        let (quiet, busy) = (times(&[10, 10, 11, 11, 90]), times(&[10, 10, 12, 14, 14]));
        assert_eq!(note([quiet.spread()]), None);
        assert!(note([quiet.spread(), busy.spread()]).is_some_and(|n| n.contains("33 % apart")));
    }
}
