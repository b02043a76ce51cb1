//! When to start a daemon again, and when not any more.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// A daemon that served for less than this has not really started.
const SHORT_LIFE: Duration = Duration::from_millis(500);
/// So many of them in a row, and another one would not help.
const SHORT_LIVES_MAX: u32 = 6;
/// The pause after the second short life in a row; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Crashes within the span from which on the drive is given up, however long each daemon has served.
const CRASHES_MAX: usize = 60;
const CRASHES_SPAN: Duration = Duration::from_secs(600);

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Start it again after this pause.
    Again(Duration),
    /// Give the mount up; why.
    GiveUp(String),
}

#[derive(Default)]
pub(super) struct Patience {
    short: u32,
    crashes: VecDeque<Instant>,
}

impl Patience {
    /// A daemon crashed `now` that had served for that long; `None`: it never got so far.
    pub(super) fn crashed(&mut self, now: Instant, served: Option<Duration>) -> Verdict {
        self.crashes.push_back(now);
        let recent = |at: &Instant| now.saturating_duration_since(*at) < CRASHES_SPAN;
        while self.crashes.front().is_some_and(|at| !recent(at)) {
            self.crashes.pop_front();
        }
        if served.is_some_and(|served| served >= SHORT_LIFE) {
            self.short = 0;
        } else {
            self.short += 1;
        }
        if self.short >= SHORT_LIVES_MAX {
            return Verdict::GiveUp(format!(
                "its daemon crashed {SHORT_LIVES_MAX} times in a row before it had served for {} ms",
                SHORT_LIFE.as_millis()
            ));
        }
        if self.crashes.len() >= CRASHES_MAX {
            return Verdict::GiveUp(format!(
                "its daemon crashed {CRASHES_MAX} times within {} minutes",
                CRASHES_SPAN.as_secs() / 60
            ));
        }
        let doublings = self.short.saturating_sub(2);
        Verdict::Again(if self.short < 2 { Duration::ZERO } else { FIRST_PAUSE * (1 << doublings) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(5));

    #[test]
    fn a_crash_now_and_then_is_forgiven_for_ever() {
        let mut patience = Patience::default();
        let start = Instant::now();
        for hour in 0..1_000 {
            let now = start + Duration::from_secs(3_600 * hour);
            assert_eq!(patience.crashed(now, LONG), Verdict::Again(Duration::ZERO));
        }
        assert_eq!(patience.crashes.len(), 1);
    }

    #[test]
    fn a_daemon_that_does_not_start_is_given_up_after_growing_pauses() {
        let mut patience = Patience::default();
        let now = Instant::now();
        let mut pauses = Vec::new();
        let why = loop {
            match patience.crashed(now, None) {
                Verdict::Again(pause) => pauses.push(pause.as_millis()),
                Verdict::GiveUp(why) => break why,
            }
        };
        assert_eq!(pauses, [0, 100, 200, 400, 800]);
        assert!(why.contains("6 times in a row"), "{why}");
    }

    #[test]
    fn a_long_life_starts_the_count_anew_but_not_for_ever() {
        let mut patience = Patience::default();
        let start = Instant::now();
        let mut crashes = 0;
        for second in 0.. {
            crashes += 1;
            let served = if second % 5 == 0 { LONG } else { Some(Duration::ZERO) };
            match patience.crashed(start + Duration::from_secs(second), served) {
                Verdict::Again(_) => {}
                Verdict::GiveUp(why) => {
                    assert!(why.contains("within 10 minutes"), "{why}");
                    break;
                }
            }
        }
        assert_eq!(crashes, CRASHES_MAX);
    }
}
