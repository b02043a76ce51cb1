//! How far the journal has got, and what happens when it cannot be written any more.

use crate::local_job::fs_error;
use cache::LocalStore;
use fs_core::{Command, FsError, Request, Seq};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The gate between what the core decided and what the world may see of it.
#[derive(Default)]
pub(crate) struct Journal {
    /// The last batch handed to the local store.
    queued: AtomicU64,
    /// Every batch up to here survives `kill -9`.
    safe: AtomicU64,
    /// A batch could not be written. No change is accepted until it can.
    sealed: AtomicBool,
    /// It failed for another reason than a full disk: it stays sealed until a restart.
    broken: AtomicBool,
}

impl Journal {
    pub(crate) fn starting_at(seq: Seq) -> Journal {
        let journal = Journal::default();
        journal.queued.store(seq.0, Ordering::Release);
        journal.safe.store(seq.0, Ordering::Release);
        journal
    }

    pub(crate) fn note_queued(&self, seq: Seq) {
        self.queued.fetch_max(seq.0, Ordering::AcqRel);
    }

    pub(crate) fn queued(&self) -> Seq {
        Seq(self.queued.load(Ordering::Acquire))
    }

    /// Returns when every batch up to `seq` survives `kill -9`.
    ///
    /// # Errors
    /// `NoSpace` or `Io`; the journal is sealed then.
    pub(crate) fn reach(&self, store: &dyn LocalStore, seq: Seq) -> Result<(), FsError> {
        if seq.0 <= self.safe.load(Ordering::Acquire) {
            return Ok(());
        }
        match store.journal(seq) {
            Ok(()) => {
                self.safe.fetch_max(seq.0, Ordering::AcqRel);
                Ok(())
            }
            Err(error) => {
                let full = matches!(error, cache::Error::Full(_));
                self.broken.fetch_or(!full, Ordering::AcqRel);
                if !self.sealed.swap(true, Ordering::AcqRel) {
                    let next = if full { "free some space" } else { "check the disk and restart" };
                    tracing::error!(%error, "the journal cannot be written: no change is accepted; {next}");
                }
                Err(if full { FsError::NoSpace } else { fs_error(&error) })
            }
        }
    }

    /// Whether `request` may go to the core. A sealed journal refuses everything that changes the
    /// drive; after a full disk it first tries whether there is room again.
    ///
    /// # Errors
    /// `NoSpace` while the disk is full, `Io` when the journal is broken.
    pub(crate) fn admit(&self, store: &dyn LocalStore, request: &Request) -> Result<(), FsError> {
        if !self.sealed.load(Ordering::Acquire) || !changes(request) {
            return Ok(());
        }
        if self.broken.load(Ordering::Acquire) {
            return Err(FsError::Io);
        }
        self.reach(store, self.queued())?;
        self.sealed.store(false, Ordering::Release);
        tracing::info!("the journal can be written again");
        Ok(())
    }
}

/// Whether `request` promises something durable.
fn changes(request: &Request) -> bool {
    match request {
        Request::Setattr { .. }
        | Request::Make { .. }
        | Request::Create { .. }
        | Request::Unlink { .. }
        | Request::Rmdir { .. }
        | Request::Rename { .. }
        | Request::Write { .. }
        | Request::Fsync { .. }
        | Request::Setxattr { .. }
        | Request::Removexattr { .. }
        | Request::Allocate { .. } => true,
        Request::Open { flags, .. } => flags.write || flags.truncate,
        Request::Control(command) => {
            matches!(command, Command::Pin(..) | Command::Evict(_) | Command::RestoreVersion { .. })
        }
        _ => false,
    }
}
