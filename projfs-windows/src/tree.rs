//! The core's tree by the paths that Windows uses.
//!
//! Windows' names ignore case and the core's do not, so every component is looked up in a listing, not
//! by name. Listings are kept for a moment, and dropped when the core says that one is old.

use crate::{
    listing::{Entry, Listing, Node},
    names::{from_windows, to_windows},
    path::Place,
};
use engine::Port;
use fs_core::{DirEntry, FsError, HandleId, Ino, Kind, Name, Request, Response};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a listing may be used. Changes drop it at once; this bounds what is not heard of.
const LISTING_AGE_MAX: Duration = Duration::from_secs(1);
/// How many times as long as it took to read may be added to that where nothing is decided by it: a large
/// folder would be read again for every few of its names.
const READ_TIMES: u32 = 10;
/// Folders whose listings are kept.
const LISTINGS_MAX: usize = 256;
/// Bytes of names, and of what comes with each, that one request for entries gives.
const BATCH_BYTES: usize = 1 << 20;
const ENTRY_BYTES: usize = 128;
/// Folders between the root and a node: more is a circle.
const DEPTH_MAX: usize = 1_024;

#[derive(Debug)]
struct Kept {
    listing: Arc<Listing>,
    since: Instant,
    took: Duration,
}

/// The tree of one drive. The core tells of changes only of nodes that it was told about, so one
/// reference to each node that was ever listed is held, until the core asks for it.
#[derive(Debug)]
pub struct Tree {
    port: Port,
    kept: Mutex<HashMap<Ino, Kept>>,
    homes: Mutex<HashMap<Ino, (Ino, Name)>>,
}

impl Tree {
    #[must_use]
    pub fn new(port: Port) -> Tree {
        Tree { port, kept: Mutex::default(), homes: Mutex::default() }
    }

    #[must_use]
    pub fn port(&self) -> &Port {
        &self.port
    }

    /// The entry at `place`; `None` for nothing, and for the root, which is nobody's entry.
    ///
    /// # Errors
    /// Those of the core; a part of the path that is no folder is nothing.
    pub fn entry(&self, place: &Place) -> Result<Option<Entry>, FsError> {
        let Some(parent) = place.parent() else { return Ok(None) };
        let Some(dir) = self.dir(&parent)? else { return Ok(None) };
        Ok(self.listing(dir)?.find(place.name()).cloned())
    }

    /// As [`Tree::entry`], of which only what is shown follows: it may be some seconds older in a large
    /// folder, where no change was heard of.
    ///
    /// # Errors
    /// As there.
    pub fn entry_to_show(&self, place: &Place) -> Result<Option<Entry>, FsError> {
        let Some(parent) = place.parent() else { return Ok(None) };
        let Some(dir) = self.dir(&parent)? else { return Ok(None) };
        Ok(self.listing_with(dir, READ_TIMES)?.find(place.name()).cloned())
    }

    /// The folder at `place`, if there is one.
    ///
    /// # Errors
    /// Those of the core.
    pub fn dir(&self, place: &Place) -> Result<Option<Ino>, FsError> {
        let mut at = Ino::ROOT;
        for name in place.components() {
            match self.listing(at)?.find(name) {
                Some(entry) if entry.node.attr.kind == Kind::Dir => at = entry.node.attr.ino,
                _ => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// The node with a path in the drive's own names, joined by `/`; `None` when there is none.
    ///
    /// # Errors
    /// Those of the core.
    pub fn named(&self, path: &[u8]) -> Result<Option<Ino>, FsError> {
        let mut at = Ino::ROOT;
        for part in path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
            let listing = self.listing(at)?;
            let mut entries = listing.entries().iter();
            match entries.find(|entry| entry.node.name.as_bytes() == part) {
                Some(entry) => at = entry.node.attr.ino,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// The drive's own names on the way to `place`. Of what is not there, the names that it would get.
    ///
    /// # Errors
    /// Those of the core; `Invalid` for a name that the drive cannot have.
    pub fn own_names(&self, place: &Place) -> Result<Vec<Name>, FsError> {
        let (mut names, mut dir) = (Vec::new(), Some(Ino::ROOT));
        for shown in place.components() {
            let found = match dir {
                Some(dir) => self.listing(dir)?.find(shown).cloned(),
                None => None,
            };
            let is_dir = found.as_ref().is_some_and(|entry| entry.node.attr.kind == Kind::Dir);
            dir = found.as_ref().filter(|_| is_dir).map(|entry| entry.node.attr.ino);
            names.push(match found {
                Some(entry) => entry.node.name,
                None => from_windows(shown)?,
            });
        }
        Ok(names)
    }

    /// All entries of a folder, as Windows is shown them.
    ///
    /// # Errors
    /// Those of the core.
    pub fn listing(&self, dir: Ino) -> Result<Arc<Listing>, FsError> {
        self.listing_with(dir, 0)
    }

    fn listing_with(&self, dir: Ino, read_times: u32) -> Result<Arc<Listing>, FsError> {
        if let Some(kept) = lock(&self.kept).get(&dir)
            && kept.since.elapsed() < LISTING_AGE_MAX + kept.took * read_times
        {
            return Ok(Arc::clone(&kept.listing));
        }
        // From before it is read: what changes meanwhile makes it older than it says.
        let since = Instant::now();
        let listing = Arc::new(Listing::new(self.read(dir)?));
        let mut kept = lock(&self.kept);
        if kept.len() >= LISTINGS_MAX {
            kept.retain(|_, kept| kept.since.elapsed() < LISTING_AGE_MAX);
        }
        if kept.len() < LISTINGS_MAX {
            let took = since.elapsed();
            kept.insert(dir, Kept { listing: Arc::clone(&listing), since, took });
        }
        Ok(listing)
    }

    /// The listing of a folder is old.
    pub fn forget_listing(&self, dir: Ino) {
        lock(&self.kept).remove(&dir);
    }

    /// The listing that a node is in is old.
    pub fn forget_listing_of(&self, ino: Ino) {
        let home = lock(&self.homes).get(&ino).map(|(parent, _)| *parent);
        if let Some(parent) = home {
            self.forget_listing(parent);
        }
    }

    /// Where Windows shows an entry of a folder, whether it is there or not any more.
    #[must_use]
    pub fn place_of_entry(&self, dir: Ino, name: &Name) -> Option<Place> {
        let before = lock(&self.kept).get(&dir).map(|kept| Arc::clone(&kept.listing));
        let entries = before.as_ref().map(|listing| listing.entries()).unwrap_or_default();
        let shown = entries.iter().find(|entry| entry.node.name == *name);
        let shown = shown.map_or_else(|| to_windows(name), |entry| entry.shown.clone());
        Some(self.place_of(dir)?.join(&shown))
    }

    /// Where Windows shows a node; `None` when it is not known here.
    #[must_use]
    pub fn place_of(&self, ino: Ino) -> Option<Place> {
        let mut names = Vec::new();
        let mut at = ino;
        while at != Ino::ROOT {
            let (parent, name) = lock(&self.homes).get(&at).cloned()?;
            let kept = lock(&self.kept).get(&parent).map(|kept| Arc::clone(&kept.listing));
            let shown = kept.as_ref().and_then(|listing| listing.of(at));
            names.push(shown.map_or_else(|| to_windows(&name), |entry| entry.shown.clone()));
            if names.len() > DEPTH_MAX {
                return None;
            }
            at = parent;
        }
        Some(names.iter().rev().fold(Place::root(), |place, name| place.join(name)))
    }

    fn read(&self, dir: Ino) -> Result<Vec<Node>, FsError> {
        let opened = self.port.call(Request::Opendir { ino: dir })?;
        let Response::Opened { handle, .. } = opened else { return Err(FsError::Io) };
        let nodes = self.read_open(dir, handle);
        // Nothing to do about a listing that does not close.
        let _ = self.port.call(Request::Releasedir { ino: dir, handle });
        nodes
    }

    fn read_open(&self, dir: Ino, handle: HandleId) -> Result<Vec<Node>, FsError> {
        let mut nodes = Vec::new();
        let mut cookie = 0;
        loop {
            let cost = |len| len + ENTRY_BYTES;
            let request =
                Request::Readdir { ino: dir, handle, cookie, room: BATCH_BYTES, cost, plus: true };
            let Response::Entries(entries) = self.port.call(request)? else {
                return Err(FsError::Io);
            };
            let Some(last) = entries.last() else { return Ok(nodes) };
            cookie = last.cookie;
            for entry in entries {
                nodes.extend(self.node(dir, entry));
            }
        }
    }

    fn node(&self, dir: Ino, entry: DirEntry) -> Option<Node> {
        if entry.name == b"." || entry.name == b".." {
            return None;
        }
        let attr = entry.attr?;
        let name = Name::new(&entry.name).ok()?;
        self.hold(attr.ino, (dir, name.clone()));
        Some(Node { name, attr })
    }

    /// Keeps the reference that an answer came with, or gives it back if there is one already.
    pub fn hold(&self, ino: Ino, home: (Ino, Name)) {
        if lock(&self.homes).insert(ino, home).is_some() {
            self.port.submit(Request::Forget { ino, count: 1 }, |_| {});
        }
    }

    /// A node that is held is elsewhere now.
    pub fn moved(&self, ino: Ino, home: (Ino, Name)) {
        if let Some(known) = lock(&self.homes).get_mut(&ino) {
            *known = home;
        }
    }

    /// The core wants no more to be known of a node, or it has no place any more.
    pub fn let_go(&self, ino: Ino) {
        if lock(&self.homes).remove(&ino).is_some() {
            self.port.submit(Request::Forget { ino, count: 1 }, |_| {});
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
