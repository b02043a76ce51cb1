//! Commands that a provider has been given and has to complete exactly once.

use crate::calls::violation;
use std::{
    collections::{HashMap, HashSet},
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a provider may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// What may be done in the course of a command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending {
    pub(crate) result: Option<i32>,
    /// The placeholder that was written for it.
    pub(crate) placeholder: Option<Vec<u16>>,
    /// The stream that data may be written for, the length of its file and what has been written.
    pub(crate) stream: Option<u128>,
    pub(crate) size: u64,
    pub(crate) written: Vec<(u64, u64)>,
    pub(crate) target: Vec<u16>,
    /// The type that an answer to a listing must carry.
    pub(crate) enumeration: bool,
}

#[derive(Default)]
struct State {
    next: i32,
    open: HashMap<i32, Pending>,
    ended: HashSet<i32>,
    cancelled: HashSet<i32>,
}

#[derive(Default)]
pub(crate) struct Table {
    state: Mutex<Option<State>>,
    done: Condvar,
}

pub(crate) static COMMANDS: Table = Table { state: Mutex::new(None), done: Condvar::new() };

impl Table {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        work(state.get_or_insert_with(State::default))
    }

    pub(crate) fn begin(&self, pending: Pending) -> i32 {
        self.with(|state| {
            state.next += 1;
            state.open.insert(state.next, pending);
            state.next
        })
    }

    /// The provider completes a command.
    pub(crate) fn complete(&self, id: i32, result: i32, enumeration: bool) -> bool {
        let known = self.with(|state| {
            if let Some(pending) = state.open.get_mut(&id) {
                if pending.result.is_some() {
                    violation("PrjCompleteCommand: completed twice");
                    return false;
                }
                if pending.enumeration && !enumeration {
                    violation("PrjCompleteCommand: a listing without TYPE_ENUMERATION");
                }
                pending.result = Some(result);
                return true;
            }
            if !state.cancelled.contains(&id) {
                let twice = state.ended.contains(&id);
                violation(if twice {
                    "PrjCompleteCommand: completed twice"
                } else {
                    "PrjCompleteCommand: no such command"
                });
            }
            false
        });
        self.done.notify_all();
        known
    }

    /// Runs `work` on the command that a provider works at.
    pub(crate) fn any<T>(
        &self,
        find: impl Fn(&Pending) -> bool,
        work: impl FnOnce(&mut Pending) -> T,
    ) -> Option<T> {
        self.with(|state| state.open.values_mut().find(|pending| find(pending)).map(work))
    }

    /// Takes a command back that the provider answered at once.
    pub(crate) fn end(&self, id: i32) -> Pending {
        self.with(|state| {
            state.ended.insert(id);
            state.open.remove(&id).unwrap_or_default()
        })
    }

    /// Waits for the end of a command that the provider said it completes later.
    pub(crate) fn wait(&self, id: i32) -> Pending {
        let end = Instant::now() + PATIENCE;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let open = state.get_or_insert_with(State::default);
            let done = open.open.get(&id).is_none_or(|pending| pending.result.is_some());
            if done || Instant::now() > end {
                break;
            }
            let waited = self.done.wait_timeout(state, Duration::from_millis(100));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        let pending = self.end(id);
        if pending.result.is_none() {
            violation("a command was never completed");
        }
        pending
    }

    /// From now on a completion is nothing.
    pub(crate) fn cancel(&self, id: i32) {
        self.with(|state| {
            state.open.remove(&id);
            state.cancelled.insert(id);
        });
    }
}
