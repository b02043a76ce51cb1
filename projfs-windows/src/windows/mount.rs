//! Start and end of a projected root.

use super::{
    api::{Api, Missing, Raw},
    callbacks::CALLBACKS,
    context::Context,
    disk::DiskView,
    provider::{Bell, Provider},
    remote::Remote,
    rename::RenameError,
    worker,
};
use crate::{
    commands::Commands,
    crew::Crew,
    hresult::CANCELLED,
    ledger::{Ledger, LedgerError},
    path::Place,
    placing::Placing,
    session::Sessions,
    tree::Tree,
    version::provider_id,
};
use engine::{Driver, Port};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use windows::{
    Win32::{
        Foundation::ERROR_REPARSE_POINT_ENCOUNTERED,
        Storage::ProjectedFileSystem::{
            PRJ_NOTIFICATION_MAPPING, PRJ_NOTIFY_FILE_HANDLE_CLOSED_FILE_DELETED,
            PRJ_NOTIFY_FILE_HANDLE_CLOSED_FILE_MODIFIED, PRJ_NOTIFY_FILE_OVERWRITTEN,
            PRJ_NOTIFY_FILE_PRE_CONVERT_TO_FULL, PRJ_NOTIFY_FILE_RENAMED,
            PRJ_NOTIFY_NEW_FILE_CREATED, PRJ_NOTIFY_PRE_DELETE, PRJ_NOTIFY_PRE_RENAME,
            PRJ_NOTIFY_PRE_SET_HARDLINK, PRJ_STARTVIRTUALIZING_OPTIONS,
        },
    },
    core::{GUID, HRESULT, PCWSTR},
};

/// Threads for lookups and listings, and for files that are being fetched: so many programs may wait for
/// the store at once.
const NAME_THREADS: usize = 8;
const DATA_THREADS: usize = 16;

/// Between two looks at the queue by somebody who waits for its end.
const SETTLE_PAUSE: Duration = Duration::from_millis(10);

/// What ProjFS tells of. Listings of opens would cost every open a call.
const NOTIFY: [u32; 9] = [
    PRJ_NOTIFY_NEW_FILE_CREATED.0,
    PRJ_NOTIFY_FILE_OVERWRITTEN.0,
    PRJ_NOTIFY_FILE_HANDLE_CLOSED_FILE_MODIFIED.0,
    PRJ_NOTIFY_FILE_HANDLE_CLOSED_FILE_DELETED.0,
    PRJ_NOTIFY_FILE_RENAMED.0,
    PRJ_NOTIFY_PRE_DELETE.0,
    PRJ_NOTIFY_PRE_RENAME.0,
    PRJ_NOTIFY_PRE_SET_HARDLINK.0,
    PRJ_NOTIFY_FILE_PRE_CONVERT_TO_FULL.0,
];

#[derive(Debug, thiserror::Error)]
pub enum MountError {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("{path}: {source}")]
    Root { path: String, source: io::Error },
    #[error("a thread cannot be started: {0}")]
    Threads(#[from] io::Error),
    #[error("{path} cannot be projected: {source}")]
    Start { path: String, source: windows::core::Error },
}

/// Where and how a drive is projected.
#[derive(Clone, Debug)]
pub struct Options {
    /// A folder on NTFS, not the root of a volume. It is made if it is missing.
    pub root: PathBuf,
    /// The driver's own file, outside the root.
    pub ledger: PathBuf,
    /// Names the local state whose inode numbers are in placeholders.
    pub replica: [u8; 16],
    /// Of the root: the same for its whole life.
    pub instance: [u8; 16],
    pub read_only: bool,
}

/// A projected drive. Dropping it stops it.
#[derive(Debug)]
pub struct Mount {
    provider: Arc<Provider>,
    raw: Mutex<Option<Running>>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Running(Raw);

// SAFETY: the context is a handle that any thread may close.
unsafe impl Send for Running {}

impl Mount {
    /// Starts to project the drive behind `port`. Attach [`Mount::driver`] to the engine afterwards.
    ///
    /// # Errors
    /// When the library, the folder or the driver's file cannot be used, or ProjFS refuses.
    pub fn start(api: Api, port: Port, options: &Options) -> Result<Mount, MountError> {
        let root_error = |source| MountError::Root { path: name(&options.root), source };
        std::fs::create_dir_all(&options.root).map_err(root_error)?;
        let (ledger, found) = Ledger::open(&options.ledger, &options.replica)?;
        tracing::debug!(?found, "the driver's file");
        let api = Arc::new(api);
        let provider = Arc::new(Provider {
            context: Context::default(),
            commands: Commands::default(),
            sessions: Sessions::default(),
            tree: Tree::new(port),
            ledger,
            disk: DiskView::new(Arc::clone(&api), options.root.clone()),
            placing: Placing::default(),
            api,
            provider_id: provider_id(&options.replica),
            instance: GUID::from_u128(u128::from_le_bytes(options.instance)),
            read_only: options.read_only,
            names: Crew::start("projfs-names", NAME_THREADS)?,
            data: Crew::start("projfs-data", DATA_THREADS)?,
            bell: Bell::default(),
        });
        let start = |source| MountError::Start { path: name(&options.root), source };
        mark_root(&provider).map_err(start)?;
        let raw = virtualize(&provider).map_err(start)?;
        let mount = Mount {
            provider: Arc::clone(&provider),
            raw: Mutex::new(Some(Running(raw))),
            worker: Mutex::default(),
        };
        let own = Arc::clone(&provider);
        let thread = std::thread::Builder::new().name("projfs-worker".into());
        let thread = thread.spawn(move || worker::run(&own))?;
        *mount.worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        // What happened while nobody watched.
        provider.bell.ring(|rung| rung.scan = true);
        Ok(mount)
    }

    /// To be told of changes that come from elsewhere.
    #[must_use]
    pub fn driver(&self) -> Arc<dyn Driver> {
        Arc::new(Remote::new(&self.provider))
    }

    /// Places that wait to be looked at; one more while it is not known which do.
    ///
    /// # Errors
    /// When the driver's file cannot be read.
    pub fn waiting(&self) -> Result<u64, MountError> {
        let rung = *self.provider.bell.state.lock().unwrap_or_else(PoisonError::into_inner);
        // In this order: what the scan finds is in the queue before it ends.
        let unknown = u64::from(rung.scan || rung.scanning);
        Ok(self.provider.ledger.waiting()? + unknown)
    }

    /// Waits until every place was looked at, so that the core knows of everything that was done here.
    /// Whether that was within `limit`; what is open, for one, may keep a place waiting.
    #[must_use]
    pub fn settle(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            match self.waiting() {
                Ok(0) => return true,
                Ok(_) if Instant::now() < end => std::thread::sleep(SETTLE_PAUSE),
                Ok(_) => return false,
                Err(error) => {
                    tracing::error!(%error, "the queue cannot be read");
                    // No sooner: callers ask again.
                    std::thread::sleep(end.saturating_duration_since(Instant::now()));
                    return false;
                }
            }
        }
    }

    /// The drive's tree by the paths that Windows uses.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.provider.tree
    }

    /// Renames a file or folder, also one that ProjFS refuses to rename. Wait with [`Mount::settle`] first.
    ///
    /// # Errors
    /// See [`RenameError`]; nothing was renamed then.
    pub fn rename(&self, from: &Place, to: &Place) -> Result<(), RenameError> {
        self.provider.rename(from, to)
    }

    /// Takes what is clean at and below a path off this disk; it is projected again. Gives the bytes that
    /// were freed. What is pinned stays, what was written here and has not been handed to the core, and
    /// what is open.
    #[must_use]
    pub fn evict(&self, place: &Place) -> u64 {
        self.provider.evict(place)
    }

    /// Stops to project; what is on the disk stays. Whoever waits is told that the drive is gone.
    pub fn stop(&self) {
        let running = self.raw.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running(raw)) = running else { return };
        let provider = &self.provider;
        provider.bell.ring(|rung| rung.stop = true);
        for id in provider.commands.close() {
            if let Some(call) = provider.context.call() {
                // SAFETY: the context is open while `call` lives.
                let _ = unsafe {
                    (provider.api.complete)(call.raw, id, HRESULT(CANCELLED), std::ptr::null())
                };
            }
        }
        if !provider.context.close() {
            tracing::error!("ProjFS hangs in a call; the root is left to end with this program");
            return;
        }
        // SAFETY: no call is under way and none begins; this is no callback.
        unsafe { (provider.api.stop)(raw) };
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if worker.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that looks at places panicked");
        }
        // SAFETY: the count was raised for ProjFS at the start; after the stop no callback comes.
        unsafe { Arc::decrement_strong_count(Arc::as_ptr(provider)) };
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes the root one that can be projected into, unless it is.
fn mark_root(provider: &Provider) -> windows::core::Result<()> {
    let root = provider.disk.wide(&Place::root());
    // SAFETY: the path ends with a NUL, and lives across the call with the id; no target, no version.
    let marked = unsafe {
        (provider.api.mark_directory)(
            PCWSTR(root.as_ptr()),
            PCWSTR::null(),
            std::ptr::null(),
            &raw const provider.instance,
        )
    };
    if marked == ERROR_REPARSE_POINT_ENCOUNTERED.to_hresult() { Ok(()) } else { marked.ok() }
}

fn virtualize(provider: &Arc<Provider>) -> windows::core::Result<Raw> {
    // ProjFS reads the mappings at any time until the stop; they are never freed, which costs a few
    // bytes a mount.
    let everywhere: &'static [u16; 1] = &[0];
    let mapping = Box::leak(Box::new(PRJ_NOTIFICATION_MAPPING {
        NotificationBitMask: windows::Win32::Storage::ProjectedFileSystem::PRJ_NOTIFY_TYPES(
            NOTIFY.iter().fold(0, |all, one| all | one),
        ),
        NotificationRoot: PCWSTR(everywhere.as_ptr()),
    }));
    let options = PRJ_STARTVIRTUALIZING_OPTIONS {
        NotificationMappings: mapping,
        NotificationMappingsCount: 1,
        ..Default::default()
    };
    let root = provider.disk.wide(&Place::root());
    let context = Arc::into_raw(Arc::clone(provider));
    let mut raw = Raw::default();
    // SAFETY: all pointers live across the call, the callbacks and mappings for ever, and the context
    // until the stop.
    let started = unsafe {
        (provider.api.start)(
            PCWSTR(root.as_ptr()),
            &raw const CALLBACKS,
            context.cast(),
            &raw const options,
            &raw mut raw,
        )
    };
    if let Err(error) = started.ok() {
        // SAFETY: ProjFS did not take the context.
        unsafe { Arc::decrement_strong_count(context) };
        return Err(error);
    }
    provider.context.offer(raw);
    Ok(raw)
}

fn name(path: &Path) -> String {
    path.display().to_string()
}
