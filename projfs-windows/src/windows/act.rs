//! Carrying out what was decided about a place.

use super::{
    disk::{is_nothing, print_of},
    provider::{INFO_BYTES, Provider, known},
    worker::{self, Trouble},
};
use crate::{
    decide::{Action, Disk, Known, Print, Shown},
    ledger::Hint,
    names::UNITS_MAX,
    path::Place,
    times::from_ticks,
};
use fs_core::{FsError, Ino, Kind, Timestamp};
use std::io::Read;
use windows::{
    Win32::{
        Foundation::ERROR_REPARSE_POINT_ENCOUNTERED,
        Storage::ProjectedFileSystem::{
            PRJ_UPDATE_ALLOW_DIRTY_DATA, PRJ_UPDATE_ALLOW_DIRTY_METADATA,
            PRJ_UPDATE_ALLOW_READ_ONLY, PRJ_UPDATE_ALLOW_TOMBSTONE, PRJ_UPDATE_FAILURE_CAUSES,
            PRJ_UPDATE_TYPES,
        },
    },
    core::PCWSTR,
};

/// Bytes that are compared at once.
const COMPARE_BYTES: u32 = 1 << 20;
/// Numbers that are tried for the name of a second file.
const NAMES_MAX: usize = 1_000;
const SECOND: &str = " (conflict from this computer";

impl Provider {
    pub(super) fn act(&self, place: &Place, disk: Disk, action: Action) -> Result<(), Trouble> {
        match (action, disk) {
            (Action::Nothing, _) => Ok(()),
            (Action::Forget, _) => Ok(self.ledger.forget(place)?),
            (Action::RemoveFromCore, _) => self.remove(place),
            (Action::ClearTombstone, _) => self.clear(place, PRJ_UPDATE_ALLOW_TOMBSTONE),
            (Action::Project, Disk::File(print)) => self.project_file(place, print),
            (Action::Project, _) => self.project(place),
            (Action::Update(_), _) => self.update(place),
            (Action::Create, Disk::File(print)) => self.create(place, print),
            (Action::Push(ino), Disk::File(print)) => self.push(place, ino, print),
            (Action::KeepBoth(shown), Disk::File(print)) => self.keep_both(place, &shown, print),
            (Action::PushTimes(ino), Disk::Touched(print)) => {
                let shown = self.tree.set_mtime(ino, from_ticks(print.written))?;
                let known = Known { shown, is_dir: false, print: Some(print) };
                Ok(self.ledger.learn(place, &known)?)
            }
            (Action::MakeDir, _) => {
                self.make_parents(place)?;
                let ino = self.tree.make(place, Kind::Dir)?;
                self.adopt_dir(place, ino)
            }
            (Action::AdoptDir(ino), _) => self.adopt_dir(place, ino),
            // The disk has changed since the decision.
            _ => Err(Trouble::Moving),
        }
    }

    /// Folders on the way to a place that were made here and that the core does not have yet.
    pub(super) fn make_parents(&self, place: &Place) -> Result<(), Trouble> {
        let Some(parent) = place.parent().filter(|parent| !parent.is_root()) else {
            return Ok(());
        };
        if self.tree.dir(&parent)?.is_some() {
            return Ok(());
        }
        self.make_parents(&parent)?;
        let ino = self.tree.make(&parent, Kind::Dir)?;
        self.adopt_dir(&parent, ino)
    }

    fn remove(&self, place: &Place) -> Result<(), Trouble> {
        match self.tree.remove(place) {
            Ok(()) | Err(FsError::NotFound) => {}
            // Something came into the folder meanwhile: it shows again, with that.
            Err(FsError::NotEmpty) if self.ledger.waiting()? <= 1 => {}
            Err(error) => return Err(error.into()),
        }
        self.clear(place, PRJ_UPDATE_ALLOW_TOMBSTONE)
    }

    /// Takes what is at a place off the disk and forgets it.
    fn clear(&self, place: &Place, allow: PRJ_UPDATE_TYPES) -> Result<(), Trouble> {
        let watch = self.placing.watch(place);
        let call = self.context.call().ok_or(FsError::Offline)?;
        let path = place.with_nul();
        let mut why = PRJ_UPDATE_FAILURE_CAUSES::default();
        let allow = PRJ_UPDATE_TYPES(
            allow.0 | PRJ_UPDATE_ALLOW_READ_ONLY.0 | PRJ_UPDATE_ALLOW_DIRTY_METADATA.0,
        );
        // SAFETY: the context is open while `call` lives; path and cause live across the call.
        let deleted =
            unsafe { (self.api.delete)(call.raw, PCWSTR(path.as_ptr()), allow, &raw mut why) };
        drop(call);
        if deleted.is_err() && !is_nothing(deleted) {
            tracing::debug!(%place, why = why.0, "not taken off the disk");
            deleted.ok()?;
        }
        // A program may have made a placeholder there since: what is known is of that.
        watch.unless_placed(|| self.ledger.forget(place)).unwrap_or(Ok(()))?;
        Ok(())
    }

    pub(super) fn project(&self, place: &Place) -> Result<(), Trouble> {
        let cleared = self.clear(place, PRJ_UPDATE_TYPES(0));
        if cleared.is_err() {
            // A folder that is not empty: what is in it comes first.
            for child in self.disk.children(place)? {
                worker::look(self, &place.join(&child), false)?;
            }
        }
        cleared
    }

    /// Takes a file off the disk whose bytes are in the core, if they still are those.
    pub(super) fn project_file(&self, place: &Place, print: Print) -> Result<(), Trouble> {
        if self.disk.look(place)? != Disk::File(print) {
            return Err(Trouble::Moving);
        }
        self.clear(place, PRJ_UPDATE_ALLOW_DIRTY_DATA)
    }

    fn update(&self, place: &Place) -> Result<(), Trouble> {
        let entry = self.tree.entry(place)?.ok_or(Trouble::Moving)?;
        let info = self.placeholder_info(&entry);
        let path = place.with_nul();
        let mut why = PRJ_UPDATE_FAILURE_CAUSES::default();
        let allow =
            PRJ_UPDATE_TYPES(PRJ_UPDATE_ALLOW_READ_ONLY.0 | PRJ_UPDATE_ALLOW_DIRTY_METADATA.0);
        let call = self.context.call().ok_or(FsError::Offline)?;
        // SAFETY: the context is open while `call` lives; all pointers live across the call.
        let updated = unsafe {
            (self.api.update)(
                call.raw,
                PCWSTR(path.as_ptr()),
                &raw const info,
                INFO_BYTES,
                allow,
                &raw mut why,
            )
        };
        drop(call);
        if !is_nothing(updated) {
            updated.ok()?;
        }
        Ok(self.ledger.learn(place, &known(&entry))?)
    }

    fn create(&self, place: &Place, print: Print) -> Result<(), Trouble> {
        self.make_parents(place)?;
        let ino = match self.tree.make(place, Kind::File) {
            Err(FsError::Invalid | FsError::NameTooLong) => {
                tracing::warn!(%place, "the drive cannot have this name; the file stays on this disk only");
                return Ok(());
            }
            made => made?,
        };
        // Known before its bytes are in: an end here is followed by a push to the same node.
        let shown = crate::bytes::shown(&self.tree.attr(ino)?);
        self.ledger.learn(place, &Known { shown, is_dir: false, print: None })?;
        self.push(place, ino, print)
    }

    /// Puts the bytes on the disk into a node.
    fn push(&self, place: &Place, ino: Ino, print: Print) -> Result<(), Trouble> {
        let sent = self.send(place, ino, print);
        if sent.is_err()
            && let Ok(attr) = self.tree.attr(ino)
        {
            // A part of it may be there, or what was there a moment ago: that is what is known now, so
            // that a removal that comes next is one of this version.
            let shown = crate::bytes::shown(&attr);
            self.ledger.learn(place, &Known { shown, is_dir: false, print: None })?;
        }
        let shown = match sent {
            // The node is gone: what was written here is a new file.
            Err(Trouble::Core(FsError::NotFound | FsError::Stale)) => {
                self.ledger.forget(place)?;
                return self.create(place, print);
            }
            sent => sent?,
        };
        let here = self.tree.entry(place)?;
        if here.is_some_and(|entry| entry.node.attr.ino == ino) {
            let known = Known { shown, is_dir: false, print: Some(print) };
            return Ok(self.ledger.learn(place, &known)?);
        }
        // It was moved elsewhere meanwhile, and shows there, with these bytes.
        self.project_file(place, print)
    }

    fn send(&self, place: &Place, ino: Ino, print: Print) -> Result<Shown, Trouble> {
        let mut opened = self.disk.open(place)?;
        let shown = self.tree.push(ino, &mut opened.file, from_ticks(print.written))?;
        self.tree.forget_listing_of(ino);
        if print_of(&opened.file.metadata()?) != print {
            // Somebody went on writing: all of it again.
            return Err(Trouble::Moving);
        }
        Ok(shown)
    }

    fn keep_both(&self, place: &Place, shown: &Shown, print: Print) -> Result<(), Trouble> {
        if shown.size == print.size && self.is_same(place, shown)? {
            let known = Known { shown: *shown, is_dir: false, print: Some(print) };
            return Ok(self.ledger.learn(place, &known)?);
        }
        let second = self.second_name(place)?;
        let ino = self.tree.make(&second, Kind::File)?;
        self.send(place, ino, print)?;
        tracing::warn!(%place, copy = %second, "changed here and elsewhere: both are kept");
        self.project_file(place, print)
    }

    fn is_same(&self, place: &Place, shown: &Shown) -> Result<bool, Trouble> {
        let mut opened = self.disk.open(place)?;
        let handle = self.tree.open(shown.ino, false)?;
        let same = self.compare(&mut opened.file, (shown.ino, handle), shown.size);
        self.tree.close(shown.ino, handle);
        same
    }

    fn compare(
        &self,
        file: &mut dyn Read,
        node: (Ino, fs_core::HandleId),
        size: u64,
    ) -> Result<bool, Trouble> {
        let mut at = 0;
        while at < size {
            let theirs = self.tree.read_at(node, at, COMPARE_BYTES)?;
            let mut ours = vec![0; theirs.len()];
            file.read_exact(&mut ours)?;
            if theirs.is_empty() || ours != theirs {
                return Ok(false);
            }
            at += theirs.len() as u64;
        }
        Ok(true)
    }

    /// A free name beside `place` for what was written here.
    fn second_name(&self, place: &Place) -> Result<Place, Trouble> {
        let parent = place.parent().unwrap_or_default();
        let name = place.name();
        let dot = name.iter().rposition(|&unit| unit == u16::from(b'.')).filter(|&at| at > 0);
        let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
        for number in 1..=NAMES_MAX {
            let mark =
                if number == 1 { format!("{SECOND})") } else { format!("{SECOND} {number})") };
            let mark: Vec<u16> = mark.encode_utf16().collect();
            let room = UNITS_MAX.saturating_sub(extension.len() + mark.len());
            let second = parent.join(&[&stem[..stem.len().min(room)], &mark, extension].concat());
            if self.tree.entry(&second)?.is_none() && self.disk.look(&second)? == Disk::Virtual {
                return Ok(second);
            }
        }
        Err(FsError::Exists.into())
    }

    /// A folder that was made here becomes one that shows what the core has in it.
    fn adopt_dir(&self, place: &Place, ino: Ino) -> Result<(), Trouble> {
        let shown = Shown { ino, size: 0, mtime: Timestamp(0) };
        self.ledger.learn(place, &Known { shown, is_dir: true, print: None })?;
        let root = self.disk.wide(&Place::root());
        let path = place.with_nul();
        // SAFETY: both paths end with a NUL, and with the id they live across the call; no version is
        // given.
        let marked = unsafe {
            (self.api.mark_directory)(
                PCWSTR(root.as_ptr()),
                PCWSTR(path.as_ptr()),
                std::ptr::null(),
                &raw const self.instance,
            )
        };
        // It is one already.
        if marked != ERROR_REPARSE_POINT_ENCOUNTERED.to_hresult() {
            marked.ok()?;
        }
        for child in self.disk.children(place)? {
            self.look_at(&Hint::look(place.join(&child)));
        }
        Ok(())
    }
}
