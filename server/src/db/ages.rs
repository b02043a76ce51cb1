//! How old things are. The machine's clock may be set, so nothing is ever forgotten by it. The age
//! clock of a store runs only while the store does, by a clock that cannot be set, and goes on where
//! it was. Things stay longer than they must when the store was off, never shorter.

use std::time::Instant;

#[derive(Debug)]
pub(crate) struct Ages {
    base: i64,
    since: Instant,
}

impl Ages {
    /// Goes on from an age in milliseconds.
    pub(crate) fn from(base: i64) -> Ages {
        Ages { base, since: Instant::now() }
    }

    /// The age of the store in milliseconds; never goes back.
    pub(crate) fn now(&self) -> i64 {
        let passed = i64::try_from(self.since.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.base.saturating_add(passed)
    }
}
