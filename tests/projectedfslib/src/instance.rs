//! All roots of this process, with what is on their disks. They outlive a stop, as a disk does.

use crate::{
    calls::Provider,
    item::{Item, State},
    order::key,
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io,
    os::windows::{
        ffi::{OsStrExt, OsStringExt},
        fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

pub(crate) type Place = Vec<u16>;

pub(crate) const SEPARATOR: u16 = b'\\' as u16;

#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    pub(crate) guid: u128,
    pub(crate) state: Mutex<Tree>,
    /// One program at a time makes a placeholder or fetches a file, as the kernel does it per file.
    pub(crate) filling: Mutex<()>,
}

#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) items: BTreeMap<Vec<u16>, Item>,
    pub(crate) provider: Option<Provider>,
}

static REMOVED: AtomicU64 = AtomicU64::new(0);
static ROOTS: Mutex<Vec<Arc<Root>>> = Mutex::new(Vec::new());

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn root(path: &Path) -> Option<Arc<Root>> {
    lock(&ROOTS).iter().find(|root| root.path == path).cloned()
}

pub(crate) fn root_of_context(context: usize) -> Option<Arc<Root>> {
    let roots = lock(&ROOTS);
    let open = |root: &&Arc<Root>| {
        lock(&root.state).provider.as_ref().is_some_and(|provider| provider.context == context)
    };
    roots.iter().find(open).cloned()
}

/// The root that a full path is in, and the path below it.
pub(crate) fn root_above(path: &Path) -> Option<(Arc<Root>, Place)> {
    let roots = lock(&ROOTS);
    roots.iter().find_map(|root| {
        let below = path.strip_prefix(&root.path).ok()?;
        Some((Arc::clone(root), below.as_os_str().encode_wide().collect()))
    })
}

/// `false`: it is one already.
pub(crate) fn add(path: &Path, guid: u128) -> bool {
    let mut roots = lock(&ROOTS);
    if roots.iter().any(|root| root.path == path) {
        return false;
    }
    let (state, filling) = (Mutex::default(), Mutex::default());
    roots.push(Arc::new(Root { path: path.to_owned(), guid, state, filling }));
    true
}

impl Root {
    pub(crate) fn disk(&self, place: &[u16]) -> PathBuf {
        if place.is_empty() {
            self.path.clone()
        } else {
            self.path.join(OsString::from_wide(place))
        }
    }

    /// Takes something off the disk. Its name is free at once, as under Windows, also while somebody
    /// still reads it. Wine keeps the name until the last handle is closed, and would then take with it
    /// what has been put there meanwhile: so it is moved out of the root first.
    pub(crate) fn unlink(&self, place: &[u16], dir: bool) -> io::Result<()> {
        let number = REMOVED.fetch_add(1, Ordering::Relaxed);
        let aside = self.path.with_file_name(format!("removed-{}-{number}", std::process::id()));
        fs::rename(self.disk(place), &aside)?;
        if dir { fs::remove_dir(aside) } else { fs::remove_file(aside) }
    }

    /// Fails if anybody has a file open.
    pub(crate) fn have_alone(&self, place: &[u16]) -> io::Result<()> {
        File::options().read(true).share_mode(0).open(self.disk(place)).map(drop)
    }
}

impl Tree {
    pub(crate) fn get(&self, place: &[u16]) -> Option<&Item> {
        self.items.get(&key(place))
    }

    pub(crate) fn get_mut(&mut self, place: &[u16]) -> Option<&mut Item> {
        self.items.get_mut(&key(place))
    }

    pub(crate) fn put(&mut self, place: &[u16], item: Item) {
        self.items.insert(key(place), item);
    }

    /// Whether the provider is asked about what is in a folder.
    pub(crate) fn is_projected(&self, place: &[u16]) -> bool {
        place.is_empty()
            || self.get(place).is_some_and(|item| item.dir && item.state != State::Full)
    }

    /// What is on the disk right in a folder.
    pub(crate) fn children(&self, place: &[u16]) -> Vec<(Vec<u16>, Item)> {
        let prefix = if place.is_empty() { Vec::new() } else { key(&join(place, &[])) };
        let in_it = |at: &&Vec<u16>| {
            at.starts_with(&prefix) && !at[prefix.len()..].contains(&SEPARATOR) && **at != prefix
        };
        self.items
            .iter()
            .filter(|(at, _)| in_it(at))
            .map(|(at, item)| (at.clone(), item.clone()))
            .collect()
    }
}

pub(crate) fn join(place: &[u16], name: &[u16]) -> Place {
    if place.is_empty() { name.to_vec() } else { [place, &[SEPARATOR], name].concat() }
}

pub(crate) fn split(place: &[u16]) -> (&[u16], &[u16]) {
    match place.iter().rposition(|&unit| unit == SEPARATOR) {
        Some(at) => (&place[..at], &place[at + 1..]),
        None => (&[], place),
    }
}
