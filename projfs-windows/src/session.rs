//! Directory enumeration sessions: from Start to End, ProjFS asks again and again, each time with a
//! buffer of its own size.

use crate::{
    listing::{Entry, Listing},
    pattern::Pattern,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Sessions that may be open at once; each holds a listing.
pub const SESSIONS_MAX: usize = 4_096;

/// The id that ProjFS gives a session: a GUID.
pub type SessionId = [u8; 16];

/// Whether an entry went into the caller's buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    Taken,
    Full,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SessionError {
    /// The buffer cannot hold even one entry: the caller must be told so
    /// (`ERROR_INSUFFICIENT_BUFFER`), or it would take an empty answer for the end.
    #[error("the buffer holds no entry")]
    BufferTooSmall,
    #[error("no such enumeration session; it was closed or never opened")]
    Unknown,
    #[error("{SESSIONS_MAX} enumeration sessions are open; close some")]
    TooMany,
}

/// One enumeration: a fixed listing, a filter, and how far the caller has got.
#[derive(Debug)]
pub struct Session {
    listing: Arc<Listing>,
    /// Captured from the first call, or from a restart.
    filter: Option<Pattern>,
    next: usize,
}

impl Session {
    #[must_use]
    pub fn new(listing: Arc<Listing>) -> Session {
        Session { listing, filter: None, next: 0 }
    }

    /// Offers entries in order to `put` until it is full or there are no more. An entry that did
    /// not fit is the first of the next call. `expression` counts on the first call and with
    /// `restart`, which also goes back to the start; otherwise it is ignored.
    ///
    /// # Errors
    /// `BufferTooSmall` when the first entry of this call does not fit.
    pub fn fill(
        &mut self,
        expression: Option<&[u16]>,
        restart: bool,
        mut put: impl FnMut(&Entry) -> Room,
    ) -> Result<(), SessionError> {
        if restart {
            self.next = 0;
        }
        if restart || self.filter.is_none() {
            self.filter = Some(Pattern::new(expression));
        }
        let filter = self.filter.as_ref();
        let mut put_any = false;
        while let Some(entry) = self.listing.entries().get(self.next) {
            if filter.is_none_or(|filter| filter.matches(&entry.shown)) {
                match put(entry) {
                    Room::Taken => put_any = true,
                    Room::Full if put_any => return Ok(()),
                    Room::Full => return Err(SessionError::BufferTooSmall),
                }
            }
            self.next += 1;
        }
        Ok(())
    }
}

/// All open sessions. Each has its own lock: ProjFS calls from several threads.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<SessionId, Arc<Mutex<Session>>>>);

impl Sessions {
    /// # Errors
    /// `TooMany` at [`SESSIONS_MAX`]. An id that is already open starts anew.
    pub fn start(&self, id: SessionId, listing: Arc<Listing>) -> Result<(), SessionError> {
        let mut open = lock(&self.0);
        if open.len() >= SESSIONS_MAX && !open.contains_key(&id) {
            return Err(SessionError::TooMany);
        }
        open.insert(id, Arc::new(Mutex::new(Session::new(listing))));
        Ok(())
    }

    /// See [`Session::fill`].
    ///
    /// # Errors
    /// `Unknown`, and those of [`Session::fill`].
    pub fn fill(
        &self,
        id: &SessionId,
        expression: Option<&[u16]>,
        restart: bool,
        put: impl FnMut(&Entry) -> Room,
    ) -> Result<(), SessionError> {
        let session = lock(&self.0).get(id).cloned().ok_or(SessionError::Unknown)?;
        lock(&session).fill(expression, restart, put)
    }

    /// # Errors
    /// `Unknown`
    pub fn end(&self, id: &SessionId) -> Result<(), SessionError> {
        lock(&self.0).remove(id).map(drop).ok_or(SessionError::Unknown)
    }
}

/// A session's state is whole between any two statements, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::tests::node;

    fn listing(names: &[&str]) -> Arc<Listing> {
        Arc::new(Listing::new(names.iter().map(|name| node(name.as_bytes())).collect()))
    }

    /// One call with room for `room` entries.
    fn call(
        session: &mut Session,
        expression: Option<&str>,
        restart: bool,
        room: usize,
    ) -> Result<Vec<String>, SessionError> {
        let units: Option<Vec<u16>> = expression.map(|text| text.encode_utf16().collect());
        let mut names = Vec::new();
        session.fill(units.as_deref(), restart, |entry| {
            if names.len() == room {
                return Room::Full;
            }
            names.push(String::from_utf16(&entry.shown).unwrap());
            Room::Taken
        })?;
        Ok(names)
    }

    #[test]
    fn small_buffers_resume_without_loss_or_repeat() {
        let mut session = Session::new(listing(&["c", "a", "b", "d", "e"]));
        assert_eq!(call(&mut session, None, false, 2).unwrap(), ["a", "b"]);
        assert_eq!(call(&mut session, None, false, 2).unwrap(), ["c", "d"]);
        assert_eq!(call(&mut session, None, false, 0), Err(SessionError::BufferTooSmall));
        assert_eq!(call(&mut session, None, false, 2).unwrap(), ["e"]);
        assert!(call(&mut session, None, false, 2).unwrap().is_empty());
        assert!(call(&mut session, None, false, 0).unwrap().is_empty());
    }

    #[test]
    fn the_first_expression_holds_until_a_restart() {
        let mut session = Session::new(listing(&["a.c", "a.h", "b.c", "b.h"]));
        assert_eq!(call(&mut session, Some("*.c"), false, 1).unwrap(), ["a.c"]);
        assert_eq!(call(&mut session, Some("*.h"), false, 9).unwrap(), ["b.c"]);
        assert_eq!(call(&mut session, Some("*.h"), true, 9).unwrap(), ["a.h", "b.h"]);
        assert_eq!(call(&mut session, None, true, 9).unwrap().len(), 4);
    }

    #[test]
    fn sessions_are_apart_and_end() {
        let sessions = Sessions::default();
        let (one, two) = ([1; 16], [2; 16]);
        sessions.start(one, listing(&["a", "b", "c"])).unwrap();
        sessions.start(two, listing(&["a", "b", "c"])).unwrap();
        let count = |id: &SessionId, room: usize| {
            let mut taken = 0;
            let put = |_: &Entry| {
                let fits = taken < room;
                taken += usize::from(fits);
                if fits { Room::Taken } else { Room::Full }
            };
            sessions.fill(id, None, false, put).map(|()| taken)
        };
        assert_eq!(count(&one, 1), Ok(1));
        assert_eq!((count(&one, 9), count(&two, 9)), (Ok(2), Ok(3)));
        assert_eq!(sessions.end(&one), Ok(()));
        assert_eq!(sessions.end(&one), Err(SessionError::Unknown));
        assert_eq!(count(&one, 9), Err(SessionError::Unknown));
        assert_eq!(count(&two, 9), Ok(0));
    }

    #[test]
    fn there_is_a_limit_of_sessions() {
        let sessions = Sessions::default();
        let empty = listing(&[]);
        let id = |number: usize| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_le_bytes());
            id
        };
        for number in 0..SESSIONS_MAX {
            sessions.start(id(number), Arc::clone(&empty)).unwrap();
        }
        let full = sessions.start(id(SESSIONS_MAX), Arc::clone(&empty));
        assert_eq!(full, Err(SessionError::TooMany));
        assert_eq!(sessions.start(id(0), empty), Ok(()));
    }
}
