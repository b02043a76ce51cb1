//! Backing files that the kernel reads and writes by itself, by the numbers it knows them under.
//!
//! All handles of a file that are open by passthrough must name the same number, and a number costs a
//! descriptor and a call to get: it is kept for a while after the last close. What cannot be done here
//! (no privilege, an old kernel, a cache on a stacked file system) is found out by the first try.

use engine::Port;
use fs_core::{FsError, HandleId, Ino};
use fuser::{BackingId, InitFlags, KernelConfig};
use lru::LruCache;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Numbers kept for files that nobody has open. Each holds one open file in the kernel.
const IDLE_MAX: NonZeroUsize = NonZeroUsize::new(1_024).expect("1024 is not 0");
/// Backing files lie on a plain file system, not on one that is stacked on another (`struct
/// fuse_init_out`, `max_stack_depth`); so this mount itself may still be stacked on.
const STACK_DEPTH: u32 = 1;

/// Whether files are handed to the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Passthrough {
    On,
    /// Everything works without it, only slower. Says why, and what would change it.
    Off(String),
}

/// The backing files of one mount that the kernel knows.
pub(crate) struct Backings {
    state: Mutex<State>,
    on: AtomicBool,
    why_not: Mutex<String>,
}

#[derive(Default)]
struct State {
    open: HashMap<Ino, Open>,
    /// Which handles are open by passthrough, and of which file.
    handles: HashMap<HandleId, Ino>,
    idle: Option<LruCache<Ino, Known>>,
}

#[derive(Clone)]
struct Known {
    /// The core's number of the backing file.
    file: u64,
    id: Arc<BackingId>,
}

struct Open {
    known: Known,
    handles: u32,
    /// The file was dropped meanwhile: not to be kept after the last close.
    gone: bool,
}

impl Backings {
    pub(crate) fn new(wanted: bool) -> Arc<Backings> {
        let why_not =
            if wanted { "not mounted yet" } else { "not asked for; see mount --passthrough" };
        Arc::new(Backings {
            state: Mutex::default(),
            on: AtomicBool::new(false),
            why_not: Mutex::new(why_not.into()),
        })
    }

    /// Asks the kernel for the feature.
    pub(crate) fn negotiate(&self, wanted: bool, config: &mut KernelConfig) {
        if !wanted {
            return;
        }
        if config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_err() {
            self.give_up("this kernel has no FUSE passthrough; Linux 6.9 and later have");
        } else if config.set_max_stack_depth(STACK_DEPTH).is_ok() {
            self.on.store(true, Ordering::Release);
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    pub(crate) fn report(&self) -> Passthrough {
        if self.is_on() {
            return Passthrough::On;
        }
        Passthrough::Off(self.why_not.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn give_up(&self, why: &str) {
        self.on.store(false, Ordering::Release);
        *self.why_not.lock().unwrap_or_else(PoisonError::into_inner) = why.into();
        tracing::info!(why, "files are not handed to the kernel");
    }

    /// The kernel's number for the backing file of `ino`, for one more handle. `len`: the length that
    /// it must have, in bytes.
    ///
    /// # Errors
    /// Why the kernel cannot have the file; the handle must go another way then.
    pub(crate) fn take(
        &self,
        (ino, handle): (Ino, HandleId),
        (file, len): (u64, Option<u64>),
        port: &Port,
        register: impl FnOnce(&File) -> io::Result<BackingId>,
    ) -> io::Result<Arc<BackingId>> {
        // Held while the kernel is told: of two opens at once the second must find the first's number.
        let mut state = self.lock();
        if let Some(open) = state.open.get_mut(&ino) {
            open.handles += 1;
            let id = Arc::clone(&open.known.id);
            state.handles.insert(handle, ino);
            return Ok(id);
        }
        let kept = state.idle().pop(&ino).filter(|known| known.file == file);
        let known = match kept {
            Some(known) => known,
            None => Known { file, id: Arc::new(self.register(ino, len, port, register)?) },
        };
        let id = Arc::clone(&known.id);
        state.open.insert(ino, Open { known, handles: 1, gone: false });
        state.handles.insert(handle, ino);
        Ok(id)
    }

    fn register(
        &self,
        ino: Ino,
        len: Option<u64>,
        port: &Port,
        register: impl FnOnce(&File) -> io::Result<BackingId>,
    ) -> io::Result<BackingId> {
        let refused = |error: FsError| io::Error::other(error.to_string());
        let file = port.backing(ino).map_err(refused)?;
        let file = file.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        if let Some(len) = len
            && file.metadata()?.len() != len
        {
            return Err(io::Error::other("the backing file has another length than the file"));
        }
        register(&file).inspect_err(|error| self.learn(error))
    }

    /// Some refusals will be the same for every file.
    fn learn(&self, error: &io::Error) {
        match error.raw_os_error() {
            Some(libc::EPERM) => self.give_up(
                "only a program with CAP_SYS_ADMIN may hand files to the kernel: mount as root",
            ),
            Some(libc::ELOOP) => self.give_up(
                "the cache lies on a stacked file system (such as overlayfs): put it on a plain one",
            ),
            Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS) => {
                self.give_up("the file system of the cache cannot do it");
            }
            _ => tracing::debug!(%error, "a file was not handed to the kernel"),
        }
    }

    /// A handle was closed for good, however it was open.
    pub(crate) fn release(&self, handle: HandleId) {
        let mut state = self.lock();
        let Some(ino) = state.handles.remove(&handle) else { return };
        let Some(open) = state.open.get_mut(&ino) else { return };
        open.handles -= 1;
        if open.handles > 0 {
            return;
        }
        let closed = state.open.remove(&ino);
        let kept = closed.filter(|open| !open.gone);
        let dropped = kept.and_then(|open| state.idle().push(ino, open.known));
        drop(state);
        drop(dropped); // a call to the kernel
    }

    /// The backing file of `ino` is gone.
    pub(crate) fn forget(&self, ino: Ino) {
        let mut state = self.lock();
        if let Some(open) = state.open.get_mut(&ino) {
            open.gone = true;
        }
        let dropped = state.idle().pop(&ino);
        drop(state);
        drop(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn idle(&mut self) -> &mut LruCache<Ino, Known> {
        self.idle.get_or_insert_with(|| LruCache::new(IDLE_MAX))
    }
}
