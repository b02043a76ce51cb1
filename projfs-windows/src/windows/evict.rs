//! Giving back the room on this disk that the core can fill again.

use super::{provider::Provider, worker::Trouble};
use crate::{
    decide::{Disk, Known},
    path::Place,
};

impl Provider {
    /// Takes what is clean at and below a place off the disk; gives the bytes that were freed. What was
    /// written here and is not in the core, or is open, stays.
    pub(super) fn evict(&self, place: &Place) -> u64 {
        let mut freed = 0;
        let children = self.disk.children(place).unwrap_or_default();
        for name in children {
            freed += self.evict(&place.join(&name));
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
        let known = self.ledger.known(place)?.filter(|known| !known.is_dir);
        let bytes = known.map_or(0, |known| known.shown.size);
        match (disk, known) {
            (Disk::Placeholder { dir: false }, _) => self.project(place)?,
            (Disk::File(print), Some(Known { print: Some(sent), .. })) if sent == print => {
                self.project_file(place, print)?;
            }
            _ => return Ok(0),
        }
        Ok(bytes)
    }
}
