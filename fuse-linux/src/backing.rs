//! Backing files that the kernel reads and writes by itself, by the numbers it knows them under.
//!
//! All handles of a file that are open by passthrough must name the same number, and a number costs a
//! descriptor and a call to get: it is kept for a while after the last close. What cannot be done here
//! (no privilege, an old kernel, a cache on a stacked file system) is found out by the first try.

use crate::mount::MountConfig;
use crate::passed::{Passed, Record};
use crate::registrar::{self, Registrar};
use engine::Port;
use fs_core::{FsError, HandleId, Ino};
use fuser::{InitFlags, KernelConfig};
use lru::LruCache;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

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
    /// The way to the kernel, to give numbers back.
    channel: OnceLock<OwnedFd>,
    /// The program that may do what this one may not, if there is one.
    helper_program: Option<PathBuf>,
    helper: OnceLock<Registrar>,
}

#[derive(Default)]
struct State {
    open: HashMap<Ino, Open>,
    /// Which handles are open by passthrough, of which file, and their slots in the record.
    handles: HashMap<HandleId, (Ino, Option<u32>)>,
    idle: Option<LruCache<Ino, Known>>,
    record: Option<Record>,
}

#[derive(Clone)]
struct Known {
    /// The core's number of the backing file.
    file: u64,
    /// The kernel's.
    id: u32,
}

struct Open {
    known: Known,
    handles: u32,
    /// The file was dropped meanwhile: not to be kept after the last close.
    gone: bool,
    /// Handles of an earlier daemon are among them: the kernel takes no other way for new ones.
    inherited: bool,
}

impl Backings {
    /// Without a place where it is written down what is open nothing is handed to the kernel, since no
    /// successor could go on. `fresh`: the mount is new.
    pub(crate) fn new(config: &MountConfig, fresh: bool) -> Arc<Backings> {
        let wanted = config.passthrough;
        let mut why_not: String =
            if wanted { "no place to record it" } else { "switched off" }.into();
        let mut state = State::default();
        if let Some(path) = &config.passed {
            match Record::open(path, fresh) {
                Ok((record, found)) => state.inherit(record, &found),
                Err(error) => why_not = format!("{}: {error}", path.display()),
            }
        }
        Arc::new(Backings {
            state: Mutex::new(state),
            on: AtomicBool::new(false),
            why_not: Mutex::new(why_not),
            channel: OnceLock::new(),
            helper_program: config.helper.clone(),
            helper: OnceLock::new(),
        })
    }

    /// Gives the channel by which numbers are given back.
    pub(crate) fn set_channel(&self, channel: OwnedFd) {
        let _ = self.channel.set(channel);
    }

    /// Whether the kernel serves a handle of this file by itself that an earlier daemon gave out.
    pub(crate) fn is_inherited(&self, ino: Ino) -> bool {
        self.lock().open.get(&ino).is_some_and(|open| open.inherited)
    }

    /// Asks the kernel for the feature.
    pub(crate) fn negotiate(&self, wanted: bool, config: &mut KernelConfig) {
        if !wanted || self.lock().record.is_none() {
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
        register: impl FnOnce(&File) -> io::Result<u32>,
    ) -> io::Result<u32> {
        // Held while the kernel is told: of two opens at once the second must find the first's number.
        let mut state = self.lock();
        if let Some(open) = state.open.get_mut(&ino) {
            open.handles += 1;
            let id = open.known.id;
            state.note(Passed { ino, handle, id });
            return Ok(id);
        }
        let kept = state.idle().pop(&ino).filter(|known| known.file == file);
        let known = match kept {
            Some(known) => {
                // Small writes may have come since.
                if let Err(error) = port.hand_out(ino) {
                    state.idle().put(ino, known);
                    return Err(io::Error::other(error.to_string()));
                }
                known
            }
            None => Known { file, id: self.register(ino, len, port, register)? },
        };
        let id = known.id;
        state.open.insert(ino, Open { known, handles: 1, gone: false, inherited: false });
        state.note(Passed { ino, handle, id });
        Ok(id)
    }

    fn register(
        &self,
        ino: Ino,
        len: Option<u64>,
        port: &Port,
        register: impl FnOnce(&File) -> io::Result<u32>,
    ) -> io::Result<u32> {
        let refused = |error: FsError| io::Error::other(error.to_string());
        let file = port.backing(ino).map_err(refused)?;
        let file = file.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        if let Some(len) = len
            && file.metadata()?.len() != len
        {
            return Err(io::Error::other("the backing file has another length than the file"));
        }
        let registered = match self.helper.get() {
            Some(helper) => helper.register(&file),
            None => register(&file).or_else(|error| self.by_helper(error, &file)),
        };
        registered.inspect_err(|error| self.learn(error))
    }

    /// For lack of privilege the helper is asked, from now on first. `refused`: what the kernel said.
    fn by_helper(&self, refused: io::Error, file: &File) -> io::Result<u32> {
        let (Some(libc::EPERM), Some(program), Some(channel)) =
            (refused.raw_os_error(), &self.helper_program, self.channel.get())
        else {
            return Err(refused);
        };
        let asked = Registrar::start(program, channel)
            .and_then(|helper| helper.register(file).map(|id| (helper, id)));
        match asked {
            Ok((helper, id)) => {
                tracing::info!(program = %program.display(), "files are handed over by the helper");
                // Only one thread gets here at a time: the state is locked.
                let _ = self.helper.set(helper);
                Ok(id)
            }
            Err(error) => {
                tracing::debug!(program = %program.display(), %error, "the helper did not help");
                Err(refused)
            }
        }
    }

    /// Some refusals will be the same for every file.
    fn learn(&self, error: &io::Error) {
        match error.raw_os_error() {
            Some(libc::EPERM) => self.give_up(
                "only a program with CAP_SYS_ADMIN may hand files to the kernel: mount as root, or \
                 install meshdrive-passthrough beside this program",
            ),
            Some(libc::ELOOP) => self.give_up(
                "the cache lies on a stacked file system (such as overlayfs): put it on a plain one",
            ),
            Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS) => {
                self.give_up("the file system of the cache cannot do it");
            }
            Some(libc::EPIPE) => self.give_up("meshdrive-passthrough has ended: mount again"),
            _ => tracing::debug!(%error, "a file was not handed to the kernel"),
        }
    }

    /// A handle was closed for good, however it was open.
    pub(crate) fn release(&self, handle: HandleId) {
        let mut state = self.lock();
        let Some((ino, slot)) = state.handles.remove(&handle) else { return };
        if let (Some(slot), Some(record)) = (slot, &mut state.record) {
            record.remove(slot);
        }
        let Some(open) = state.open.get_mut(&ino) else { return };
        open.handles -= 1;
        if open.handles > 0 {
            return;
        }
        let Some(closed) = state.open.remove(&ino) else { return };
        let dropped = if closed.gone {
            Some(closed.known)
        } else {
            state.idle().push(ino, closed.known).map(|(_, known)| known)
        };
        drop(state);
        self.give_back(dropped);
    }

    /// The backing file of `ino` is gone.
    pub(crate) fn forget(&self, ino: Ino) {
        let mut state = self.lock();
        if let Some(open) = state.open.get_mut(&ino) {
            open.gone = true;
        }
        let dropped = state.idle().pop(&ino);
        drop(state);
        self.give_back(dropped);
    }

    /// Ends the kernel's use of a number.
    fn give_back(&self, dropped: Option<Known>) {
        let (Some(known), Some(channel)) = (dropped, self.channel.get()) else { return };
        let done = match self.helper.get() {
            Some(helper) => helper.give_back(known.id),
            None => registrar::give_back(channel, known.id),
        };
        if let Err(error) = done {
            tracing::debug!(%error, "the kernel keeps the number of a backing file");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes over what an earlier daemon has written down.
    fn inherit(&mut self, record: Record, found: &[(u32, Passed)]) {
        self.record = Some(record);
        for (slot, passed) in found {
            let known = Known { file: 0, id: passed.id };
            let open = Open { known, handles: 0, gone: true, inherited: true };
            self.open.entry(passed.ino).or_insert(open).handles += 1;
            self.handles.insert(passed.handle, (passed.ino, Some(*slot)));
        }
    }

    /// Writes down one more handle.
    fn note(&mut self, passed: Passed) {
        let slot = self.record.as_mut().and_then(|record| {
            let added = record.add(passed);
            added.inspect_err(|error| tracing::warn!(%error, "an open file is not recorded")).ok()
        });
        self.handles.insert(passed.handle, (passed.ino, slot));
    }

    fn idle(&mut self) -> &mut LruCache<Ino, Known> {
        self.idle.get_or_insert_with(|| LruCache::new(IDLE_MAX))
    }
}
