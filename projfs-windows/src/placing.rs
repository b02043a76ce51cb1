//! Placeholders that are being made. What they are of is noted before they are on the disk; whoever sees
//! in between that nothing is there must not take the note for a stale one.

use crate::path::Place;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub struct Placing(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Keys of the places.
    under_way: Vec<Vec<u16>>,
    watches: Vec<Watched>,
    next: u64,
}

#[derive(Debug)]
struct Watched {
    id: u64,
    key: Vec<u16>,
    placed: bool,
}

impl Placing {
    /// A placeholder is made from now until the guard is dropped.
    #[must_use]
    pub fn begin(&self, place: &Place) -> Making<'_> {
        let key = place.key();
        let mut state = self.lock();
        for watch in state.watches.iter_mut().filter(|watch| watch.key == key) {
            watch.placed = true;
        }
        state.under_way.push(key.clone());
        Making { placing: self, key }
    }

    /// Notes from now on whether a placeholder is made at a place.
    #[must_use]
    pub fn watch(&self, place: &Place) -> Watch<'_> {
        let key = place.key();
        let mut state = self.lock();
        state.next += 1;
        let id = state.next;
        let placed = state.under_way.contains(&key);
        state.watches.push(Watched { id, key, placed });
        Watch { placing: self, id }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub struct Making<'a> {
    placing: &'a Placing,
    key: Vec<u16>,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        let mut state = self.placing.lock();
        if let Some(at) = state.under_way.iter().position(|key| *key == self.key) {
            state.under_way.swap_remove(at);
        }
    }
}

#[derive(Debug)]
pub struct Watch<'a> {
    placing: &'a Placing,
    id: u64,
}

impl Watch<'_> {
    /// Runs `work`, unless a placeholder was being made at the place at any time since the watch began;
    /// none is begun while it runs. `work` must not begin or watch anything.
    pub fn unless_placed<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let state = self.placing.lock();
        let placed = state.watches.iter().any(|watch| watch.id == self.id && watch.placed);
        (!placed).then(work)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.placing.lock().watches.retain(|watch| watch.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        Place::new(&text.encode_utf16().collect::<Vec<_>>())
    }

    #[test]
    fn a_placeholder_that_is_made_during_a_watch_is_noted() {
        let placing = Placing::default();
        let (before, other) = (placing.watch(&place("a")), placing.watch(&place("b")));
        let making = placing.begin(&place("A"));
        let during = placing.watch(&place("a"));
        drop(making);
        let after = placing.watch(&place("a"));
        let ran = |watch: &Watch<'_>| watch.unless_placed(|| ()).is_some();
        assert_eq!([&before, &during, &after, &other].map(ran), [false, false, true, true]);
        drop((before, during, after, other));
        let state = placing.lock();
        assert!(state.watches.is_empty() && state.under_way.is_empty());
    }
}
