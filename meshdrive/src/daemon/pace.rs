//! How long what is unsent will take, measured: from how fast it became less in the last half minute.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How far the measurement goes back.
const WINDOW: Duration = Duration::from_secs(30);
/// It must span at least this much before it says anything.
const LEAST: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    nodes: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<VecDeque<Sample>>);

impl Pace {
    /// Notes what is unsent at `at`; called about once a second.
    pub(crate) fn note(&self, at: Instant, nodes: u64, bytes: u64) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What was sent before there was nothing to send says nothing of what came since.
        let grew = samples.back().is_some_and(|last| nodes > last.nodes || bytes > last.bytes);
        if nodes == 0 || grew {
            samples.clear();
        }
        samples.push_back(Sample { at, nodes, bytes });
        while samples.front().is_some_and(|first| at.duration_since(first.at) > WINDOW) {
            samples.pop_front();
        }
    }

    /// How long the rest takes at that pace; `None`: nothing to send, or not known.
    pub(crate) fn left(&self) -> Option<Duration> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, last) = (samples.front()?, samples.back()?);
        let span = last.at.duration_since(first.at);
        if last.nodes == 0 || span < LEAST {
            return None;
        }
        let rest = |before: u64, now: u64| match before.saturating_sub(now) {
            _ if now == 0 => Some(Duration::ZERO),
            0 => None,
            done => Some(span.mul_f64(now as f64 / done as f64)),
        };
        // Files of one commit are done together, so bytes tell more where there are some.
        match last.bytes {
            0 => rest(first.nodes, last.nodes),
            _ => rest(first.bytes, last.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, secs: u64) -> Instant {
        start + Duration::from_secs(secs)
    }

    #[test]
    fn the_rest_is_in_proportion() {
        let (pace, start) = (Pace::default(), Instant::now());
        pace.note(start, 10, 1_000);
        assert_eq!(pace.left(), None);
        pace.note(at(start, 4), 9, 800);
        assert_eq!(pace.left(), Some(Duration::from_secs(16)));
        pace.note(at(start, 8), 0, 0);
        assert_eq!(pace.left(), None);
    }

    #[test]
    fn what_stands_still_has_no_end() {
        let (pace, start) = (Pace::default(), Instant::now());
        for secs in 0..60 {
            pace.note(at(start, secs), 5, 700);
        }
        assert_eq!(pace.left(), None);
    }

    #[test]
    fn new_changes_begin_a_new_measurement() {
        let (pace, start) = (Pace::default(), Instant::now());
        pace.note(start, 10, 0);
        pace.note(at(start, 3), 5, 0);
        assert_eq!(pace.left(), Some(Duration::from_secs(3)));
        pace.note(at(start, 4), 500, 0);
        assert_eq!(pace.left(), None);
    }
}
