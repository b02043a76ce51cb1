//! Times in alternating slices, and what is made of them.

use anyhow::Result;
use std::time::{Duration, Instant};

/// How long `work` takes.
pub(super) fn time(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

/// The times of baseline and own work that took turns.
#[derive(Debug, Default)]
pub(super) struct Pair {
    pub(super) base: Vec<Duration>,
    pub(super) ours: Vec<Duration>,
}

impl Pair {
    /// How many times as long ours took, by the medians.
    pub(super) fn ratio(&self) -> f64 {
        secs(&self.ours) / secs(&self.base).max(1e-9)
    }
}

/// The median in seconds.
pub(super) fn secs(times: &[Duration]) -> f64 {
    percentile(times, 50).as_secs_f64()
}

/// The time that `percent` of all do not exceed; zero of none.
pub(super) fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    sorted.get((last * percent).div_ceil(100)).copied().unwrap_or_default()
}

/// A time for people.
pub(super) fn show(time: Duration) -> String {
    let secs = time.as_secs_f64();
    match secs {
        _ if secs >= 10.0 => format!("{secs:.1} s"),
        _ if secs >= 1.0 => format!("{secs:.2} s"),
        _ if secs >= 0.01 => format!("{:.0} ms", secs * 1e3),
        _ if secs >= 0.001 => format!("{:.1} ms", secs * 1e3),
        _ => format!("{:.0} µs", secs * 1e6),
    }
}

/// A median for people.
pub(super) fn median(times: &[Duration]) -> String {
    show(percentile(times, 50))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_few_and_many() {
        let times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Duration::from_millis(101));
        assert_eq!(percentile(&times, 99), Duration::from_millis(199));
        assert_eq!(percentile(&times[..1], 99), Duration::from_millis(200));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(show(Duration::from_micros(37)), "37 µs");
        assert_eq!(show(Duration::from_micros(2_500)), "2.5 ms");
        assert_eq!(show(Duration::from_millis(2_800)), "2.80 s");
    }
}
