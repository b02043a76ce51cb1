//! Connections that read, each on a thread that may block.

use crate::{body::elsewhere, problem::Problem};
use rusqlite::Connection;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Connections; more readers wait.
const CONNECTIONS: usize = 8;

#[derive(Debug)]
pub(super) struct Readers {
    free: Arc<Mutex<Vec<Connection>>>,
    turns: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn open(
        mut open: impl FnMut() -> rusqlite::Result<Connection>,
    ) -> rusqlite::Result<Readers> {
        let free = (0..CONNECTIONS).map(|_| open()).collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(Readers {
            free: Arc::new(Mutex::new(free)),
            turns: Arc::new(Semaphore::new(CONNECTIONS)),
        })
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let stopping = || Problem::busy("the store is stopping", std::time::Duration::from_secs(1));
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| stopping())?;
        let free = self.free.clone();
        elsewhere(move || {
            let _turn = turn;
            let conn = free.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let conn = Lent { conn: Some(conn.ok_or_else(stopping)?), home: &free };
            let Some(open) = &conn.conn else { return Err(stopping()) };
            let tx = open.unchecked_transaction()?;
            let result = work(&tx);
            tx.finish()?;
            result
        })
        .await
    }

    /// Lets readers finish, takes no more, and closes the connections.
    pub(super) fn close(&self) {
        self.turns.close();
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A connection that goes home, also after a panic.
struct Lent<'a> {
    conn: Option<Connection>,
    home: &'a Mutex<Vec<Connection>>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.home.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        }
    }
}
