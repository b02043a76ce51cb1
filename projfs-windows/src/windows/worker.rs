//! The thread that looks at places, one after the other, and does what follows from what is there.

use super::provider::{Provider, Rung};
use crate::{
    decide::{Core, Disk, decide},
    ledger::{Hint, LedgerError},
    path::Place,
};
use fs_core::{FsError, Kind};
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::PoisonError,
    time::Duration,
};

/// How long a place that could not be dealt with waits: somebody has it open, or the core is busy.
const RETRY: Duration = Duration::from_millis(500);
/// How often a place is tried again before it is left to the next look at everything.
pub(super) const CHASE_MAX: usize = 64;

/// Why a place is looked at again later.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("{0}")]
    Core(#[from] FsError),
    #[error("{0}")]
    Disk(#[from] io::Error),
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    #[error("{0}")]
    Windows(#[from] windows::core::Error),
    #[error("it changes at this moment")]
    Moving,
}

impl From<crate::bytes::PushError> for Trouble {
    fn from(error: crate::bytes::PushError) -> Trouble {
        match error {
            crate::bytes::PushError::Core(error) => Trouble::Core(error),
            crate::bytes::PushError::Disk(error) => Trouble::Disk(error),
        }
    }
}

/// Looks at places until the provider stops.
pub(super) fn run(provider: &Provider) {
    let mut failed = false;
    loop {
        let rung = wait(provider, failed);
        if rung.stop {
            return;
        }
        if rung.scan {
            scan(provider, &Place::root());
        }
        failed = pass(provider);
    }
}

fn wait(provider: &Provider, failed: bool) -> Rung {
    let bell = &provider.bell;
    let mut state = bell.state.lock().unwrap_or_else(PoisonError::into_inner);
    while !(state.work || state.stop || state.scan) {
        if failed {
            let woken = bell.rung.wait_timeout(state, RETRY);
            let (woken, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if timeout.timed_out() {
                break;
            }
        } else {
            state = bell.rung.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
    let rung = *state;
    *state = Rung { stop: state.stop, ..Rung::default() };
    rung
}

/// One way through the queue. Whether something is left in it.
fn pass(provider: &Provider) -> bool {
    let (mut after, mut left) = (0, false);
    loop {
        if provider.context.is_closed() {
            return left;
        }
        let (id, hint) = match provider.ledger.next(after) {
            Ok(Some(next)) => next,
            Ok(None) => return left,
            Err(error) => {
                tracing::error!(%error, "the queue cannot be read");
                return true;
            }
        };
        after = id;
        let place = &hint.place;
        let done = catch_unwind(AssertUnwindSafe(|| take(provider, id, &hint)));
        match done {
            Ok(Ok(())) => {
                if let Err(error) = provider.ledger.done(id) {
                    tracing::error!(%error, "a place cannot be taken off the queue");
                }
            }
            Ok(Err(error)) => {
                left = true;
                tracing::debug!(%place, %error, "looked at again later");
            }
            Err(_) => {
                left = true;
                tracing::error!(%place, "looking at it panicked; it is looked at again later");
            }
        }
    }
}

fn take(provider: &Provider, id: i64, hint: &Hint) -> Result<(), Trouble> {
    if let Some(target) = &hint.target {
        let target = provider.ledger.goes_on(id, target, CHASE_MAX)?;
        carry(provider, &hint.place, &target)?;
        look(provider, &hint.place)?;
        look(provider, &target)?;
        return Ok(());
    }
    look(provider, &hint.place)
}

/// A program has moved something: the node moves with it, if it is still what was known there.
fn carry(provider: &Provider, from: &Place, to: &Place) -> Result<(), Trouble> {
    if from == to {
        return Ok(());
    }
    let renamed_only = from.key() == to.key();
    let left = matches!(provider.disk.look(from)?, Disk::Virtual | Disk::Tombstone);
    let arrived = !matches!(provider.disk.look(to)?, Disk::Virtual | Disk::Tombstone);
    if !(left || renamed_only) || !arrived {
        return Ok(());
    }
    let (Some(known), Some(entry)) = (provider.ledger.known(from)?, provider.tree.entry(from)?)
    else {
        return Ok(());
    };
    if known.shown.ino != entry.node.attr.ino {
        return Ok(());
    }
    provider.make_parents(to)?;
    provider.tree.rename(from, to)?;
    provider.ledger.moved(from, to)?;
    Ok(())
}

/// Looks at one place and does what follows.
pub(super) fn look(provider: &Provider, place: &Place) -> Result<(), Trouble> {
    if place.is_root() {
        return Ok(());
    }
    let disk = provider.disk.look(place)?;
    let core = match provider.tree.entry(place)? {
        None => Core::Nothing,
        Some(entry) => match entry.node.attr.kind {
            Kind::File => Core::File(crate::bytes::shown(&entry.node.attr)),
            Kind::Dir => Core::Dir(entry.node.attr.ino),
            _ => Core::Other,
        },
    };
    let known = provider.ledger.known(place)?;
    let action = decide(disk, core, known);
    tracing::trace!(%place, ?disk, ?core, ?known, ?action);
    provider.act(place, disk, action)
}

/// Puts everything into the queue that has something on the disk.
pub(super) fn scan(provider: &Provider, place: &Place) {
    let children = match provider.disk.children(place) {
        Ok(children) => children,
        Err(error) => {
            tracing::warn!(%place, %error, "cannot be looked at");
            return;
        }
    };
    for name in children {
        let child = place.join(&name);
        let is_dir = match provider.disk.look(&child) {
            Ok(disk) => matches!(disk, Disk::Dir | Disk::Placeholder { dir: true }),
            Err(_) => false,
        };
        provider.look_at(child.clone(), None);
        if is_dir {
            scan(provider, &child);
        }
    }
}
