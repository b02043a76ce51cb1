//! Directory listings. A handle keeps the listing as it was at the last rewind, so that positions
//! stay valid while entries come and go. Entries are in the order of their inode numbers, and a
//! position names the number it follows: it means the same in a listing that was taken anew.

use super::Flow;
use crate::drive::Drive;
use crate::faults::{Halt, Need, Step};
use crate::tree::Inode;
use crate::{DirEntry, FsError, HandleId, Ino, Kind, Name, OpenFlags, Response, Via};
use alloc::vec::Vec;

/// Positions 1 and 2 follow `.` and `..`.
const DOTS: [&[u8]; 2] = [b".", b".."];
/// The position after an entry is its inode number and this much: no inode that has a name is 0 or 1.
const AFTER: u64 = 1;
/// The kernel lists a directory anew when it doubts the attributes of one child in so many: asked for
/// one by one they cost some twenty times as much.
const DOUBTED_PART: usize = 16;

impl Drive {
    pub(super) fn opendir(&mut self, ino: Ino) -> Step<Flow> {
        if !self.node(ino)?.is_dir() {
            return Err(FsError::NotDirectory.into());
        }
        let keep_cache = self.tree.get_mut(ino).is_some_and(|dir| {
            let known = dir.listing_known && !is_doubted(dir);
            // From here on the kernel reads a listing that is right, unless somebody who has opened the
            // directory before is still taking in an older one.
            dir.listing_known |= !dir.is_held();
            dir.opens += 1;
            known
        });
        let handle = self.handles.open(ino, OpenFlags { read: true, ..OpenFlags::default() });
        Ok(Some(Response::Opened { handle, keep_cache, via: Via::Core }))
    }

    pub(super) fn readdir(
        &mut self,
        (ino, handle): (Ino, HandleId),
        cookie: u64,
        (mut room, cost): (usize, fn(usize) -> usize),
        plus: bool,
    ) -> Step<Flow> {
        self.snapshot_listing(ino, handle, cookie == 0)?;
        if plus {
            if let Some(dir) = self.tree.get_mut(ino).filter(|_| cookie == 0) {
                dir.doubts = 0;
            }
            self.listing(ino)?; // all entries in memory: one that is missing now is really gone
        }
        let parent = self.node(ino)?.row.parent;
        let open = self.handles.get_mut(handle, ino).ok_or(FsError::BadHandle)?;
        let listing = open.listing.take().unwrap_or_default();
        let mut entries = Vec::new();
        let mut lacking = None;
        let first = match usize::try_from(cookie) {
            Ok(dots) if dots < DOTS.len() => dots,
            _ => DOTS.len() + listing.partition_point(|(_, child, _)| child.0 + AFTER <= cookie),
        };
        for position in first..listing.len() + DOTS.len() {
            let mut entry = match self.listed((ino, parent), position, &listing) {
                Ok(entry) => entry,
                Err(Halt::Fault(Need::Target(id))) => {
                    lacking = Some(id);
                    break;
                }
                Err(halt) => return Err(halt),
            };
            if plus && !self.is_still_there(ino, position, &listing) {
                continue; // the kernel would take it for an entry that is there now
            }
            if plus {
                entry.attr = self.tree.get(entry.ino).map(Inode::attr);
                if entry.attr.is_none_or(|attr| attr.nlink == 0) && position >= DOTS.len() {
                    continue; // removed since the listing was taken
                }
            }
            let needed = cost(entry.name.len());
            if needed > room {
                break;
            }
            room -= needed;
            if plus && position >= DOTS.len() {
                self.remember(entry.ino);
            }
            entries.push(entry);
        }
        if let Some(open) = self.handles.get_mut(handle, ino) {
            open.listing = Some(listing);
        }
        match lacking {
            Some(id) if entries.is_empty() => Err(Halt::Fault(Need::Targets(ino, id))),
            _ => Ok(Some(Response::Entries(entries))),
        }
    }

    /// The kernel reads a file of its own accord, and doubts its attributes from then on.
    pub(crate) fn doubt(&mut self, ino: Ino) {
        let parent = self.tree.get(ino).map(|inode| inode.row.parent);
        if let Some(dir) = parent.and_then(|parent| self.tree.get_mut(parent)) {
            dir.doubts = dir.doubts.saturating_add(1);
        }
    }

    /// Whether the child at a position of the listing of `dir` has that name and place now.
    fn is_still_there(&self, dir: Ino, position: usize, listing: &[(Name, Ino, Kind)]) -> bool {
        let Some((name, child, _)) =
            position.checked_sub(DOTS.len()).and_then(|at| listing.get(at))
        else {
            return true;
        };
        self.tree.child(dir, name).is_some_and(|inode| inode.row.ino == *child)
    }

    /// The entry at a position of the listing of `dir`, without attributes.
    fn listed(
        &self,
        (dir, parent): (Ino, Ino),
        position: usize,
        listing: &[(Name, Ino, Kind)],
    ) -> Step<DirEntry> {
        if let Some(dots) = DOTS.get(position) {
            let ino = if position == 0 || dir == Ino::ROOT { dir } else { parent };
            let (name, cookie) = (dots.to_vec(), position as u64 + 1);
            return Ok(DirEntry { ino, kind: Kind::Dir, name, cookie, attr: None });
        }
        let (name, child, kind) = &listing[position - DOTS.len()];
        let (ino, kind) = self.entry(*child, *kind)?;
        let (name, cookie) = (name.as_bytes().to_vec(), child.0 + AFTER);
        Ok(DirEntry { ino, kind, name, cookie, attr: None })
    }

    /// What a listed child shows: of a hard link, the node that it names.
    fn entry(&self, child: Ino, kind: Kind) -> Step<(Ino, Kind)> {
        let Some(inode) = self.tree.get(child).filter(|_| kind == Kind::Link) else {
            return Ok((child, kind));
        };
        let shown = self.shown(inode)?;
        Ok((shown.row.ino, shown.row.kind))
    }

    pub(super) fn closedir(&mut self, ino: Ino, handle: HandleId) -> Flow {
        let closed = self.handles.close(handle).is_some();
        if let Some(dir) = self.tree.get_mut(ino).filter(|_| closed) {
            dir.opens = dir.opens.saturating_sub(1);
            self.tree.may_be_idle();
        }
        self.reap(ino);
        Some(Response::Done)
    }

    /// Takes the listing for a handle, if it has none or is rewound.
    fn snapshot_listing(&mut self, ino: Ino, handle: HandleId, rewind: bool) -> Step<()> {
        let open = self.handles.get_mut(handle, ino).ok_or(FsError::BadHandle)?;
        if open.listing.is_some() && !rewind {
            return Ok(());
        }
        let dir = self.listing(ino)?;
        let children = dir.children.iter().filter_map(|(name, child)| {
            self.tree.get(*child).map(|inode| (name.clone(), *child, inode.row.kind))
        });
        let mut listing: Vec<_> = children.collect();
        listing.sort_unstable_by_key(|(_, child, _)| *child);
        if let Some(open) = self.handles.get_mut(handle, ino) {
            open.listing = Some(listing);
        }
        Ok(())
    }
}

fn is_doubted(dir: &Inode) -> bool {
    dir.doubts as usize * DOUBTED_PART > dir.children.len()
}
