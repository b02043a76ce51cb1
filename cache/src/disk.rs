//! [`DiskStore`]: the local store in a directory.

#[cfg(test)]
mod tests;

use crate::content::Content;
use crate::fill::Fill;
use crate::index::{self, Readers};
use crate::journal::Journal;
use crate::layout::{self, Layout, Lock};
use crate::queue::Queue;
use crate::reserve::Reserve;
use crate::writer::{self, Keeper};
use crate::{Error, LocalStore, locked, platform, recover};
use bytes::Bytes;
use fs_core::{Change, Ino, Loaded, Measure, NodeId, Range, Recovered, Seq};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Bytes kept back for a full disk (`Options::reserve_bytes`).
const RESERVE_BYTES: u64 = 64 << 20;
/// Length at which a journal segment is closed (`Options::segment_bytes`).
const SEGMENT_BYTES: u64 = 32 << 20;
/// Journal that the index may lack before `journal` waits for it (`Options::backlog_bytes`).
const BACKLOG_BYTES: u64 = 64 << 20;

/// Sizes of a store, in bytes. Tests make them small.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of the file that is given back when the disk is full. 0: none.
    pub reserve_bytes: u64,
    /// Length at which a segment of the journal is closed; it is removed once the index has it.
    pub segment_bytes: u64,
    /// Length of journal that the index may lack before `journal` waits.
    pub backlog_bytes: u64,
    /// Stands in for the name of this start of the operating system. `None`: the real one.
    pub boot_id: Option<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            reserve_bytes: RESERVE_BYTES,
            segment_bytes: SEGMENT_BYTES,
            backlog_bytes: BACKLOG_BYTES,
            boot_id: None,
        }
    }
}

/// The local store of one drive, in one directory that it alone may use.
///
/// Dropped without [`LocalStore::shutdown`], it stops as if the process had been killed: what is in
/// the journal is there at the next start.
pub struct DiskStore {
    shared: Arc<Shared>,
    keeper: Mutex<Option<JoinHandle<Keeper>>>,
    mover: Mutex<Option<JoinHandle<()>>>,
    recovered: Mutex<Option<Recovered>>,
    notices: Vec<String>,
    closed: AtomicBool,
    // Last: the directory is free only when the thread has ended.
    _lock: Lock,
}

/// What the callers and the writer's thread use together.
pub(crate) struct Shared {
    pub(crate) layout: Layout,
    pub(crate) queue: Queue,
    pub(crate) journal: Arc<Journal>,
    pub(crate) content: Content,
    fill: Fill,
    pub(crate) reserve: Reserve,
    readers: Readers,
}

impl DiskStore {
    /// Opens the store in `dir`, or makes a new one, and recovers from whatever happened before.
    ///
    /// # Errors
    /// `Io` when another process uses the directory (`ResourceBusy`), when it cannot be written, or
    /// when a newer version of the program made it; `Full` when there is no room to start.
    pub fn open(dir: &Path, options: Options) -> Result<DiskStore, Error> {
        platform::private_dir(dir).map_err(|error| Error::io(dir, error))?;
        let lock = Lock::take(dir)?;
        let layout = Layout::create(dir)?;
        let reserve = Reserve::new(layout.reserve(), options.reserve_bytes);
        let started = match recover::start(&layout, &options) {
            Err(Error::Full(_)) if reserve.release() => recover::start(&layout, &options)?,
            result => result?,
        };
        let last = started.recovered.last_seq.0;
        let shared = Arc::new(Shared {
            readers: Readers::new(&layout.index()),
            queue: Queue::new(last, options.backlog_bytes),
            journal: started.journal,
            content: started.content,
            fill: Fill::default(),
            reserve,
            layout,
        });
        let keeper = Keeper::new(Arc::clone(&shared), started.writer, last);
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let failed = |error| Error::io(dir, error);
        let mover = writer::Mover::new(Arc::clone(&shared));
        let mover = thread("cache-mover").spawn(|| mover.run()).map_err(failed)?;
        let thread = thread("cache-writer").spawn(|| keeper.run()).map_err(failed)?;
        Ok(DiskStore {
            shared,
            keeper: Mutex::new(Some(thread)),
            mover: Mutex::new(Some(mover)),
            recovered: Mutex::new(Some(started.recovered)),
            notices: started.notices,
            closed: AtomicBool::new(false),
            _lock: lock,
        })
    }

    /// What recovery found and people should know, in whole sentences; empty when all was well.
    #[must_use]
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Once the reserve is spent, contents must not eat up what it gave back: then nothing more could
    /// be recorded, and the store could not even be opened again.
    fn leave_room_for_records(&self) -> Result<(), Error> {
        let shared = &self.shared;
        let short = shared.reserve.is_released() && self.disk_free()? < shared.reserve.last_room();
        if short { Err(Error::Full(shared.layout.dir.display().to_string())) } else { Ok(()) }
    }

    /// Whether the reserve for a full disk is spent, or there was never room for it.
    #[must_use]
    pub fn reserve_released(&self) -> bool {
        self.shared.reserve.is_released()
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) {
            let source = io::Error::other("the store is closed");
            return Err(Error::io(&self.shared.layout.dir, source));
        }
        Ok(())
    }

    /// Loads from the index once it has everything that was queued.
    fn load(
        &self,
        load: impl FnOnce(&Readers) -> rusqlite::Result<Vec<Loaded>>,
    ) -> Result<Vec<Loaded>, Error> {
        self.shared.queue.wait_applied()?;
        let rows = load(&self.shared.readers);
        rows.map_err(|error| {
            let error = Error::sql(&self.shared.layout.index(), &error);
            if let Error::Corrupt(text) = &error {
                layout::ask_for_rebuild(&self.shared.layout, text);
            }
            error
        })
    }
}

impl LocalStore for DiskStore {
    fn recover(&self) -> Result<Recovered, Error> {
        let recovered = locked(&self.recovered).take();
        recovered.ok_or_else(|| {
            let source = io::Error::other("recovered already; open the store anew");
            Error::io(&self.shared.layout.dir, source)
        })
    }

    fn load_dir(&self, dir: Ino) -> Result<Vec<Loaded>, Error> {
        self.load(|readers| readers.load_dir(dir))
    }

    fn load_node(&self, ino: Ino) -> Result<Vec<Loaded>, Error> {
        self.load(|readers| readers.load_node(ino))
    }

    fn load_ids(&self, ids: &[NodeId]) -> Result<Vec<Loaded>, Error> {
        self.load(|readers| readers.load_ids(ids))
    }

    fn queue(&self, seq: Seq, batch: Vec<Change>) {
        self.shared.queue.push(seq.0, batch);
    }

    fn journal(&self, seq: Seq) -> Result<(), Error> {
        let shared = &self.shared;
        shared.journal.write(seq.0, &shared.queue, &shared.reserve)?;
        shared.queue.wait_for_room()
    }

    fn sync(&self, ino: Option<Ino>, upto: Seq) -> Result<(), Error> {
        if let Some(ino) = ino {
            self.shared.content.sync(ino)?;
        }
        self.journal(upto)?;
        if self.closed.load(Ordering::Acquire) {
            // Closing made everything durable and removed the journal.
            return Ok(());
        }
        self.shared.journal.sync(upto.0)
    }

    fn read(&self, ino: Ino, range: Range) -> Result<Bytes, Error> {
        self.shared.content.read(ino, range)
    }

    fn read_into(&self, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.shared.content.read_into(ino, offset, buffer)
    }

    fn write(&self, ino: Ino, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.check_open()?;
        self.leave_room_for_records()?;
        // A full disk has no room to write bytes twice.
        let small = !self.shared.reserve.is_missing();
        self.shared.content.write(ino, offset, data, small)
    }

    fn write_through(&self, ino: Ino, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.check_open()?;
        self.leave_room_for_records()?;
        self.shared.content.write(ino, offset, data, false)
    }

    fn fill(&self, ino: Ino, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.check_open()?;
        self.leave_room_for_records()?;
        self.shared.fill.write(&self.shared.content, ino, offset, data)
    }

    fn copy(&self, from: Ino, part: Range, to: Ino, offset: u64) -> Result<(), Error> {
        self.check_open()?;
        self.leave_room_for_records()?;
        self.shared.content.copy(from, part, to, offset)
    }

    fn truncate(&self, ino: Ino, size: u64) -> Result<(), Error> {
        self.check_open()?;
        self.shared.content.truncate(ino, size)
    }

    fn zero(&self, ino: Ino, range: Range) -> Result<(), Error> {
        self.check_open()?;
        self.shared.content.zero(ino, range)
    }

    fn measure(&self, ino: Ino, begin: bool, writers: bool) -> Result<Measure, Error> {
        if begin {
            self.check_open()?;
            self.leave_room_for_records()?;
        }
        self.shared.content.measure(ino, begin, writers)
    }

    fn backing(&self, ino: Ino) -> Result<Option<File>, Error> {
        self.shared.content.backing(ino)
    }

    fn hand_out(&self, ino: Ino) -> Result<(), Error> {
        self.shared.content.hand_out(ino)
    }

    fn evict(&self, ino: Ino) -> Result<(), Error> {
        self.check_open()?;
        self.shared.content.evict(ino)
    }

    fn disk_free(&self) -> Result<u64, Error> {
        let dir = &self.shared.layout.dir;
        platform::disk_free(dir).map_err(|error| Error::io(dir, error))
    }

    fn disk_used(&self) -> Result<u64, Error> {
        Ok(self.shared.content.used())
    }

    fn shutdown(&self) -> Result<(), Error> {
        let mut keeper = locked(&self.keeper);
        if keeper.is_none() {
            return self.check_closed();
        }
        // While the writer is in trouble the store stays open, so that nothing is lost.
        self.shared.queue.wait_applied()?;
        self.shared.queue.close(true);
        let Some(thread) = keeper.take() else { return Ok(()) };
        let keeper = thread.join().map_err(|_| self.dead())?;
        self.closed.store(true, Ordering::Release);
        self.stop_mover();
        self.shared.content.sync_all()?;
        keeper.finish()?;
        layout::mark_clean(&self.shared.layout)
    }
}

impl DiskStore {
    /// A number that stays while inode numbers mean what they mean: a new index has another one.
    ///
    /// # Errors
    /// `Io` when the index cannot be read.
    pub fn replica(&self) -> Result<u64, Error> {
        let read = self.shared.readers.replica();
        read.map_err(|error| Error::sql(&self.shared.layout.index(), &error))
    }

    /// Takes a store that was shut down back to what the cloud is known to have: every change that the
    /// cloud does not have is forgotten, with the bytes that were written. For bytes that are kept
    /// elsewhere by now. All or nothing, also when the power fails; the next start reads from the cloud
    /// what is missing.
    ///
    /// # Errors
    /// `Io` when it was not shut down, or when the index cannot be written: then nothing was forgotten.
    /// When backing files cannot be removed all is forgotten: the next start removes them.
    pub fn forget_pending(&self) -> Result<(), Error> {
        let path = self.shared.layout.index();
        if !self.closed.load(Ordering::Acquire) {
            let source = io::Error::other("the store is still open");
            return Err(Error::io(&self.shared.layout.dir, source));
        }
        let sql = |error: rusqlite::Error| Error::sql(&path, &error);
        let conn = index::open(&path)
            .map_err(|error| Error::io(&path, io::Error::other(error.to_string())))?;
        index::forget_pending(&conn).map_err(sql)?;
        let graves = index::graves(&conn).map_err(sql)?;
        for &ino in &graves {
            self.shared.content.evict(ino)?;
        }
        let mut writer = index::Writer::new(conn).map_err(sql)?;
        writer.buried(&graves).and_then(|()| writer.checkpoint()).map_err(sql)
    }

    fn check_closed(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) { Ok(()) } else { Err(self.dead()) }
    }

    /// Small writes stay where they are.
    fn stop_mover(&self) {
        self.shared.journal.small.stop();
        if let Some(thread) = locked(&self.mover).take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that moves small writes had died");
        }
    }

    fn dead(&self) -> Error {
        let source =
            io::Error::other("the thread that writes the index has died; restart the drive");
        Error::io(&self.shared.layout.dir, source)
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        self.stop_mover();
        if let Some(thread) = locked(&self.keeper).take() {
            self.shared.queue.close(false);
            if thread.join().is_err() {
                tracing::error!("the thread that writes the index had died");
            }
        }
    }
}
