//! What many latencies amount to.

use serde::Serialize;
use std::time::Duration;

/// Latencies of one contender, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Statistics {
    /// How many calls there were.
    pub calls: usize,
    /// The shortest.
    pub min_us: f64,
    /// Their mean.
    pub mean_us: f64,
    /// The middle one.
    pub median_us: f64,
    /// What 90 % of them do not exceed.
    pub p90_us: f64,
    /// What 95 % do not exceed.
    pub p95_us: f64,
    /// What 99 % do not exceed.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl Statistics {
    /// Of these latencies, which it sorts; `None` where there are none.
    pub fn of(latencies: &mut [Duration]) -> Option<Statistics> {
        latencies.sort_unstable();
        let us = |d: Duration| d.as_secs_f64() * 1e6;
        let (first, last) = (latencies.first()?, latencies.last()?);
        let at = |percent: f64| us(percentile(latencies, percent));
        Some(Statistics {
            calls: latencies.len(),
            min_us: us(*first),
            mean_us: us(latencies.iter().sum()) / latencies.len() as f64,
            median_us: at(50.0),
            p90_us: at(90.0),
            p95_us: at(95.0),
            p99_us: at(99.0),
            max_us: us(*last),
        })
    }
}

/// The smallest of sorted latencies that at least `percent` of them do not exceed (nearest rank).
pub fn percentile(sorted: &[Duration], percent: f64) -> Duration {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// The middle of some numbers, the mean of the two middle ones where their number is even; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some((low + high) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut latencies: Vec<Duration> = (1..=200).rev().map(Duration::from_micros).collect();
        let s = Statistics::of(&mut latencies).unwrap();
        assert_eq!((s.calls, s.min_us, s.max_us, s.median_us), (200, 1.0, 200.0, 100.0));
        assert_eq!((s.p90_us, s.p95_us, s.p99_us), (180.0, 190.0, 198.0));
        assert!((s.mean_us - 100.5).abs() < 1e-9);
        assert!(Statistics::of(&mut []).is_none());
    }

    #[test]
    fn medians_of_few() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }
}
