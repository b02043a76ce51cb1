//! Waiting for a state, never for a time.

use std::time::{Duration, Instant};

/// How long a state may take to come about before the test fails: far above what is needed, for slow
/// machines.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// # Panics
/// When it is still not so after [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    wait_for(what, || done().then_some(()));
}

/// Whether it comes about within `patience`: for what takes longer by its nature, or must not.
pub fn comes_about(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    while !done() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    true
}

/// The first value that `look` finds.
///
/// # Panics
/// When there is none after [`PATIENCE`].
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}
