//! Commands that ProjFS waits for: each is completed exactly once, unless ProjFS cancels it first.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Commands that may be under way at once. ProjFS has no limit of its own: every waiting program is
/// one. Beyond it callers are told to come again.
pub const COMMANDS_MAX: usize = 4_096;

/// Whether ProjFS still wants the answer.
#[derive(Clone, Debug, Default)]
pub struct Token(Arc<AtomicBool>);

impl Token {
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// All commands under way, by the number that ProjFS gave them.
#[derive(Debug, Default)]
pub struct Commands(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    open: HashMap<i32, Token>,
    closed: bool,
}

impl Commands {
    /// Notes a command before its work starts, so that a cancellation cannot come too early. `None`
    /// at [`COMMANDS_MAX`], and after [`Commands::close`].
    pub fn begin(&self, id: i32) -> Option<Token> {
        let mut state = self.lock();
        if state.closed || state.open.len() >= COMMANDS_MAX {
            return None;
        }
        let token = Token::default();
        state.open.insert(id, token.clone());
        Some(token)
    }

    /// Whether the caller may complete the command: true once at most, and never after it was
    /// cancelled.
    #[must_use]
    pub fn finish(&self, id: i32, token: &Token) -> bool {
        let open = &mut self.lock().open;
        // The number may be in use again for another command by now.
        let own = open.get(&id).is_some_and(|found| Arc::ptr_eq(&found.0, &token.0));
        if own {
            open.remove(&id);
        }
        own && !token.is_cancelled()
    }

    /// ProjFS no longer waits.
    pub fn cancel(&self, id: i32) {
        if let Some(token) = self.lock().open.remove(&id) {
            token.0.store(true, Ordering::Release);
        }
    }

    /// Takes back all that are under way and gives their numbers, to be completed as failed. None begins
    /// from here on.
    #[must_use]
    pub fn close(&self) -> Vec<i32> {
        let mut state = self.lock();
        state.closed = true;
        let taken = state.open.drain().map(|(id, token)| {
            token.0.store(true, Ordering::Release);
            id
        });
        taken.collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_finished_once() {
        let commands = Commands::default();
        let token = commands.begin(7).unwrap();
        assert!(commands.finish(7, &token));
        assert!(!commands.finish(7, &token));
    }

    #[test]
    fn a_cancelled_command_is_not_completed() {
        let commands = Commands::default();
        let token = commands.begin(7).unwrap();
        commands.cancel(7);
        assert!(token.is_cancelled() && !commands.finish(7, &token));
        // The number comes again: the late end of the first one must not take the second one's.
        let second = commands.begin(7).unwrap();
        assert!(!commands.finish(7, &token) && commands.finish(7, &second));
    }

    #[test]
    fn there_is_a_limit_and_all_can_be_taken_back() {
        let commands = Commands::default();
        let ids = 0..i32::try_from(COMMANDS_MAX).unwrap();
        let tokens: Vec<Token> = ids.map(|id| commands.begin(id).unwrap()).collect();
        assert!(commands.begin(-1).is_none());
        assert_eq!(commands.close().len(), COMMANDS_MAX);
        assert!(tokens.iter().all(Token::is_cancelled));
        assert!(commands.begin(-1).is_none(), "nobody would complete it");
    }
}
