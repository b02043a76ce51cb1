//! The way from kernel requests to the core, which can be shut: a daemon that hands its mount over
//! takes no more requests in and lets those inside go out. What comes to a shut door is not answered,
//! so the kernel sends it again to the next daemon.

use engine::Port;
use fs_core::{FsError, Request, Response};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Clone)]
pub(crate) struct Door {
    port: Port,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    count: Mutex<Count>,
    bell: Condvar,
}

#[derive(Default)]
struct Count {
    inside: usize,
    shut: bool,
    /// Even what is inside is not answered any more.
    mute: bool,
}

impl Door {
    pub(crate) fn new(port: Port) -> Door {
        Door { port, state: Arc::default() }
    }

    /// What does not wait for the core.
    pub(crate) fn port(&self) -> &Port {
        &self.port
    }

    /// As [`Port::submit`], while the door is open.
    pub(crate) fn submit(
        &self,
        request: Request,
        reply: impl FnOnce(Result<Response, FsError>) + Send + 'static,
    ) {
        {
            let mut count = self.state.lock();
            if count.shut {
                // A reply that is dropped would answer with an error.
                return std::mem::forget(reply);
            }
            count.inside += 1;
        }
        let state = Arc::clone(&self.state);
        self.port.submit(request, move |answer| {
            if state.lock().mute {
                std::mem::forget(reply);
            } else {
                reply(answer);
            }
            state.leave();
        });
    }

    /// Lets nothing in any more, and waits until all that is inside was answered, at most for `limit`;
    /// what is left then is not answered either. Says whether nothing was left.
    pub(crate) fn shut(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut count = self.state.lock();
        count.shut = true;
        while count.inside > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.state.bell.wait_timeout(count, left);
            count = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        count.mute = true;
        count.inside == 0
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self) {
        let mut count = self.lock();
        count.inside -= 1;
        if count.inside == 0 && count.shut {
            self.bell.notify_all();
        }
    }
}
