//! The namespace context: after the stop nothing may be called with it.

use super::api::Raw;
use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long calls that are under way at a stop may take.
const CALLS_END: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct State {
    raw: Option<Raw>,
    users: usize,
    closed: bool,
}

// SAFETY: the context is a handle that every thread may use (ProjFS calls back from several and takes
// completions from any); it is only handed out and compared here.
unsafe impl Send for State {}

#[derive(Debug, Default)]
pub(crate) struct Context {
    state: Mutex<State>,
    idle: Condvar,
}

/// The right to call ProjFS until it is dropped.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    context: &'a Context,
    pub(crate) raw: Raw,
}

impl Context {
    /// Notes the context: callbacks may come with it before the start returns it.
    pub(crate) fn offer(&self, raw: Raw) {
        self.lock().raw.get_or_insert(raw);
    }

    /// `None` before the start and from the stop on.
    pub(crate) fn call(&self) -> Option<Call<'_>> {
        let mut state = self.lock();
        let raw = state.raw.filter(|_| !state.closed)?;
        state.users += 1;
        Some(Call { context: self, raw })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// No call begins from here on; waits for those under way. Whether all have ended: if not, ProjFS
    /// hangs in one, and the context must not be closed under it.
    pub(crate) fn close(&self) -> bool {
        let end = Instant::now() + CALLS_END;
        let mut state = self.lock();
        state.closed = true;
        while state.users > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.idle.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut state = self.context.lock();
        state.users -= 1;
        if state.users == 0 && state.closed {
            self.context.idle.notify_all();
        }
    }
}
