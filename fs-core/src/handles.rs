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

impl Handle {
    fn new(ino: Ino, flags: OpenFlags) -> Handle {
        let (route, pace) = (Route::default(), Pace::default());
        Handle { ino, flags, route, created: false, pace, listing: None }
    }
}

/// The number of a handle is the life that it was opened in, then a count within that life.
const COUNT_BITS: u32 = 40;

#[derive(Debug, Default)]
pub(crate) struct Handles {
    open: BTreeMap<HandleId, Handle>,
    last: u64,
}

impl Handles {
    /// Handles of a mount that `life` daemons have served before.
    pub(crate) fn of_life(life: u32) -> Handles {
        Handles { open: BTreeMap::new(), last: u64::from(life) << COUNT_BITS }
    }

    /// Whether the handle was opened before this daemon started and has not been used since.
    pub(crate) fn is_earlier(&self, id: HandleId) -> bool {
        id.0 >> COUNT_BITS < self.last >> COUNT_BITS && !self.open.contains_key(&id)
    }

    /// Takes over a handle of an earlier life. The kernel checks itself what each descriptor may do,
    /// and says where an appended byte goes.
    pub(crate) fn take_over(&mut self, id: HandleId, ino: Ino) {
        let flags = OpenFlags { read: true, write: true, ..OpenFlags::default() };
        self.open.insert(id, Handle::new(ino, flags));
    }

    pub(crate) fn open(&mut self, ino: Ino, flags: OpenFlags) -> HandleId {
        self.last += 1;
        let id = HandleId(self.last);
        self.open.insert(id, Handle::new(ino, flags));
        id
    }

    /// The handle, if it is one of `ino`.
    pub(crate) fn get_mut(&mut self, id: HandleId, ino: Ino) -> Option<&mut Handle> {
        self.open.get_mut(&id).filter(|handle| handle.ino == ino)
    }

    pub(crate) fn is_open(&self, id: HandleId) -> bool {
        self.open.contains_key(&id)
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
