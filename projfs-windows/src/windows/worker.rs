//! The thread that looks at places, one after the other, and does what follows from what is there.

use super::provider::{Provider, Rung};
use crate::{
    decide::{Action, Core, Disk, decide},
    ledger::{Hint, LedgerError},
    path::Place,
};
use fs_core::{FsError, Kind};
use std::{
    collections::{HashMap, HashSet},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::PoisonError,
    time::Duration,
};

/// How long a place that could not be dealt with waits: somebody has it open, or the core is busy.
const RETRY: Duration = Duration::from_millis(500);
/// How often something that was moved to where nothing is may be looked for: a minute.
const MOVES_WAIT: u32 = 120;
/// Moves that are followed from one place to the next.
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
    let mut failed = Failed::default();
    loop {
        let rung = wait(provider, !failed.0.is_empty());
        if rung.stop {
            return;
        }
        if rung.scan {
            scan(provider, &Place::root());
            provider.bell.ring(|rung| rung.scanning = false);
        }
        pass(provider, &mut failed);
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
    *state = Rung { stop: state.stop, scanning: state.scan, ..Rung::default() };
    rung
}

/// What could not be done, and how often it was tried.
#[derive(Default)]
struct Failed(HashMap<i64, u32>);

/// One way through the queue. What concerns a place that had to wait waits too.
fn pass(provider: &Provider, failed: &mut Failed) {
    let mut after = 0;
    let mut blocked = HashSet::new();
    let mut left = HashMap::new();
    while !provider.context.is_closed() {
        let (id, hint) = match provider.ledger.next(after) {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(error) => {
                tracing::error!(%error, "the queue cannot be read");
                left.insert(after, 0);
                break;
            }
        };
        after = id;
        let tried = failed.0.get(&id).copied().unwrap_or(0);
        let mut keys =
            [Some(&hint.place), hint.target.as_ref()].into_iter().flatten().map(Place::key);
        if keys.any(|key| blocked.contains(&key)) || !attempt(provider, id, &hint, tried) {
            left.insert(id, tried.saturating_add(1));
            blocked.extend(
                [Some(&hint.place), hint.target.as_ref()].into_iter().flatten().map(Place::key),
            );
        } else if let Err(error) = provider.ledger.done(id) {
            tracing::error!(%error, "a place cannot be taken off the queue");
        }
    }
    failed.0 = left;
}

/// Whether it is done.
fn attempt(provider: &Provider, id: i64, hint: &Hint, tried: u32) -> bool {
    let place = &hint.place;
    match catch_unwind(AssertUnwindSafe(|| take(provider, id, hint, tried))) {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::debug!(%place, %error, "looked at again later");
            false
        }
        Err(_) => {
            tracing::error!(%place, "looking at it panicked; it is looked at again later");
            false
        }
    }
}

fn take(provider: &Provider, id: i64, hint: &Hint, tried: u32) -> Result<(), Trouble> {
    let Some(target) = &hint.target else {
        return look(provider, &hint.place, hint.removed);
    };
    let trail = provider.ledger.follow(id, target, CHASE_MAX)?;
    let arrived = is_there(provider, &trail.end)?;
    if !arrived && !trail.goes_on {
        if tried < MOVES_WAIT {
            // It has gone on from there, and nobody has said where to yet.
            return Err(Trouble::Moving);
        }
        tracing::warn!(place = %hint.place, "moved to where nothing is; it shows again where it was");
        let disk = provider.disk.look(&hint.place)?;
        let vanished = disk == Disk::Tombstone;
        return if vanished {
            provider.act(&hint.place, disk, Action::ClearTombstone)
        } else {
            Ok(())
        };
    }
    if arrived {
        carry(provider, &hint.place, &trail.end)?;
    }
    look(provider, &hint.place, !arrived)?;
    look(provider, &trail.end, false)
}

fn is_there(provider: &Provider, place: &Place) -> Result<bool, Trouble> {
    Ok(!matches!(provider.disk.look(place)?, Disk::Virtual | Disk::Tombstone))
}

/// A program has moved something: the node moves with it, if it is still what was known there.
fn carry(provider: &Provider, from: &Place, to: &Place) -> Result<(), Trouble> {
    let renamed_only = from.key() == to.key();
    if from == to || (!renamed_only && is_there(provider, from)?) {
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
    provider.tree.rename(from, to, true)?;
    provider.ledger.moved(from, to)?;
    Ok(())
}

/// Looks at one place and does what follows. `removed`: a program is known to have removed it.
pub(super) fn look(provider: &Provider, place: &Place, removed: bool) -> Result<(), Trouble> {
    if place.is_root() {
        return Ok(());
    }
    let watch = provider.placing.watch(place);
    let disk = match provider.disk.look(place)? {
        // With the folder that it was in: that has the mark.
        Disk::Virtual if removed && is_below_removed(provider, place)? => Disk::Tombstone,
        disk => disk,
    };
    let core = match provider.tree.entry(place)? {
        None => Core::Nothing,
        Some(entry) => match entry.node.attr.kind {
            Kind::File => Core::File(crate::bytes::shown(&entry.node.attr)),
            Kind::Dir => Core::Dir(entry.node.attr.ino),
            _ => Core::Other,
        },
    };
    let known = provider.ledger.known(place)?;
    let action = match decide(disk, core, known) {
        // Perhaps it was moved: whoever says so comes later.
        Action::RemoveFromCore if !removed => Action::Nothing,
        // ProjFS cannot keep programs from making new files.
        action if provider.read_only && action.changes_the_drive() => {
            tracing::warn!(%place, "mounted for reading only: it stays on this disk");
            return Ok(());
        }
        action => action,
    };
    tracing::trace!(%place, removed, ?disk, ?core, ?known, ?action);
    if disk == Disk::Virtual {
        // Nothing, or to forget. A placeholder that has come there since is known, and may be of an
        // earlier version than the core's.
        let done = watch.unless_placed(|| provider.act(place, disk, action));
        return done.unwrap_or(Err(Trouble::Moving));
    }
    provider.act(place, disk, action)
}

fn is_below_removed(provider: &Provider, place: &Place) -> Result<bool, Trouble> {
    let mut at = place.parent();
    while let Some(folder) = at.filter(|folder| !folder.is_root()) {
        if provider.disk.look(&folder)? == Disk::Tombstone {
            return Ok(true);
        }
        at = folder.parent();
    }
    Ok(false)
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
        // What was removed while nobody watched, or before the end of the last time.
        provider.look_at(&Hint { removed: true, ..Hint::look(child.clone()) });
        if is_dir {
            scan(provider, &child);
        }
    }
}
