//! Open files and directories.

use crate::{HandleId, Ino, Kind, Name, OpenFlags};
use alloc::{collections::BTreeMap, vec::Vec};

/// How a file is being read, for read-ahead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Pace {
    /// Where the next read starts if the file is read in order.
    pub(crate) next: u64,
    /// Bytes to fetch ahead; 0 after a jump.
    pub(crate) window: u64,
}

/// How the bytes of a handle travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Route {
    /// As requests.
    #[default]
    Core,
    /// The kernel reads the backing file itself.
    Read,
    /// The kernel reads and writes the backing file itself: what is written is not told.
    Blind,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Handle {
    pub(crate) ino: Ino,
    pub(crate) flags: OpenFlags,
    pub(crate) route: Route,
    /// Made by `Create`: answered with attributes.
    pub(crate) created: bool,
    pub(crate) pace: Pace,
    /// Directories: the listing as it was at the last rewind.
    pub(crate) listing: Option<Vec<(Name, Ino, Kind)>>,
}

#[derive(Debug, Default)]
pub(crate) struct Handles {
    open: BTreeMap<HandleId, Handle>,
    last: u64,
}

impl Handles {
    pub(crate) fn open(&mut self, ino: Ino, flags: OpenFlags) -> HandleId {
        self.last += 1;
        let id = HandleId(self.last);
        let handle = Handle {
            ino,
            flags,
            route: Route::Core,
            created: false,
            pace: Pace::default(),
            listing: None,
        };
        self.open.insert(id, handle);
        id
    }

    /// The handle, if it is one of `ino`.
    pub(crate) fn get_mut(&mut self, id: HandleId, ino: Ino) -> Option<&mut Handle> {
        self.open.get_mut(&id).filter(|handle| handle.ino == ino)
    }

    pub(crate) fn close(&mut self, id: HandleId) -> Option<Handle> {
        self.open.remove(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}

impl Handles {
    /// The bytes of a file around where its readers are.
    pub(crate) fn near(&self, ino: Ino, keep: u64) -> crate::Ranges {
        let of_file = self.open.values().filter(|handle| handle.ino == ino);
        of_file
            .map(|handle| {
                let at = handle.pace.next;
                crate::Range::new(at.saturating_sub(1 << 20), at.saturating_add(keep))
            })
            .collect()
    }
}
