//! Giving back the room on this disk that the core can fill again.

use super::{provider::Provider, worker::Trouble};
use crate::{
    decide::{Disk, Known},
    path::Place,
};
use fs_core::{Answer, Command, FsError, Ino, Request, Response};
use std::collections::HashSet;

impl Provider {
    /// Takes what is clean at and below a place off the disk; gives the bytes that were freed. What is
    /// pinned, what was written here and is not in the core, and what is open stays.
    pub(super) fn evict(&self, place: &Place) -> u64 {
        let pinned = self.pinned().and_then(|pinned| {
            let above = self.is_below(place, &pinned)?;
            Ok((!above).then_some(pinned))
        });
        match pinned {
            Ok(Some(pinned)) => self.evict_below(place, &pinned),
            Ok(None) => 0,
            Err(error) => {
                tracing::warn!(%error, "what is pinned is not known; nothing is evicted");
                0
            }
        }
    }

    fn evict_below(&self, place: &Place, pinned: &HashSet<Ino>) -> u64 {
        match self.is_named(place, pinned) {
            Ok(false) => {}
            Ok(true) => return 0,
            Err(error) => {
                tracing::debug!(%place, %error, "not evicted: perhaps it is pinned");
                return 0;
            }
        }
        let mut freed = 0;
        for name in self.disk.children(place).unwrap_or_default() {
            freed += self.evict_below(&place.join(&name), pinned);
        }
        match self.evict_one(place) {
            Ok(bytes) => freed + bytes,
            Err(error) => {
                tracing::debug!(%place, %error, "stays on the disk");
                freed
            }
        }
    }

    fn evict_one(&self, place: &Place) -> Result<u64, Trouble> {
        if place.is_root() {
            return Ok(0);
        }
        let disk = self.disk.look(place)?;
        if matches!(disk, Disk::Placeholder { dir: true } | Disk::Virtual | Disk::Dir) {
            return Ok(0);
        }
        let known = self.ledger.known(place)?;
        self.take_file_off(place, disk)?;
        Ok(known.map_or(0, |known| known.shown.size))
    }

    /// Takes a file off the disk that the core has as it is here.
    fn take_file_off(&self, place: &Place, disk: Disk) -> Result<(), Trouble> {
        let known = self.ledger.known(place)?.filter(|known| !known.is_dir);
        match (disk, known) {
            (Disk::Placeholder { dir: false }, _) => self.project(place),
            (Disk::Touched(print), Some(Known { print: Some(sent), .. })) if sent == print => {
                self.project(place)
            }
            (Disk::File(print), Some(Known { print: Some(sent), .. })) if sent == print => {
                self.project_file(place, print)
            }
            _ => Err(Trouble::Moving),
        }
    }

    /// Takes everything at and below a place off the disk, if the core has all of it.
    ///
    /// # Errors
    /// At the first thing that has to stay. What is off the disk by then is projected again.
    pub(super) fn take_off(&self, place: &Place) -> Result<(), Trouble> {
        match self.disk.look(place)? {
            Disk::Virtual => Ok(()),
            Disk::Placeholder { dir: true } => {
                for name in self.disk.children(place)? {
                    self.take_off(&place.join(&name))?;
                }
                self.project(place)
            }
            disk => self.take_file_off(place, disk),
        }
    }

    /// The nodes that are pinned by name; what is below them is pinned too.
    fn pinned(&self) -> Result<HashSet<Ino>, FsError> {
        let asked = self.tree.port().call(Request::Control(Command::Pins))?;
        let Response::Answer(Answer::Pins(files)) = asked else { return Err(FsError::Io) };
        let mut pinned = HashSet::new();
        for file in files {
            pinned.extend(self.tree.named(&file.path)?);
        }
        Ok(pinned)
    }

    /// Whether a place or a folder above it is pinned.
    fn is_below(&self, place: &Place, pinned: &HashSet<Ino>) -> Result<bool, FsError> {
        let mut at = Some(place.clone());
        while let Some(here) = at.filter(|here| !here.is_root()) {
            if self.is_named(&here, pinned)? {
                return Ok(true);
            }
            at = here.parent();
        }
        Ok(pinned.contains(&Ino::ROOT))
    }

    /// Whether a place itself is pinned.
    fn is_named(&self, place: &Place, pinned: &HashSet<Ino>) -> Result<bool, FsError> {
        let entry = self.tree.entry(place)?;
        Ok(entry.is_some_and(|entry| pinned.contains(&entry.node.attr.ino)))
    }
}
