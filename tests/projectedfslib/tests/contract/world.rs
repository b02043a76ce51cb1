//! A drive, a projected device of it, and another device that changes things from elsewhere.

use cache::{DiskStore, LocalStore};
use cloud::{ClientOptions, CloudStore, Credentials, NativeStore};
use engine::{Engine, EngineConfig};
use fs_core::{Kind, Limits, Timestamp};
use projectedfslib::{APP, App, Code, GetApp, Listed, Scan};
use projfs_windows::{
    path::Place,
    tree::Tree,
    windows::{Api, Mount, Options},
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::line::Line;
use windows::{
    Win32::System::LibraryLoader::{GetProcAddress, LoadLibraryW},
    core::{HSTRING, PCSTR},
};

const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The address of the store, and the file with the code that creates a drive.
const STORE: &str = "MESHDRIVE_STORE";
const SETUP_CODE: &str = "MESHDRIVE_SETUP_CODE";

/// The model's list of violations is one for the process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The library that lies beside this test.
fn library() -> PathBuf {
    std::env::current_exe().unwrap().with_file_name("projectedfslib.dll")
}

fn app() -> &'static dyn App {
    // SAFETY: the library is the one that was built with this test; its initialiser is the standard one.
    let library = unsafe { LoadLibraryW(&HSTRING::from(library().as_path())) }.unwrap();
    let name = format!("{APP}\0");
    // SAFETY: the name ends with a NUL.
    let found = unsafe { GetProcAddress(library, PCSTR(name.as_ptr())) }.unwrap();
    // SAFETY: the function has this type, in a library that was built by the same compiler from the
    // crate that this test links.
    let get: GetApp = unsafe { std::mem::transmute(found) };
    get()
}

/// The projected device. Stops its mount and its engine when dropped.
pub(crate) struct Device {
    pub(crate) mount: Option<Mount>,
    pub(crate) engine: Engine,
    pub(crate) tree: Tree,
}

pub(crate) struct World {
    pub(crate) app: &'static dyn App,
    pub(crate) device: Option<Device>,
    pub(crate) remote: Remote,
    pub(crate) read_only: bool,
    /// Between the device and the store.
    pub(crate) line: Line,
    credentials: Credentials,
    runtime: Runtime,
    dir: TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// Another device, without a mount.
pub(crate) struct Remote {
    pub(crate) tree: Tree,
    engine: Engine,
}

impl World {
    pub(crate) fn new() -> World {
        World::with(false)
    }

    pub(crate) fn with(read_only: bool) -> World {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // What a failed test has done shows with RUST_LOG.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let app = app();
        app.violations();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let server = std::env::var(STORE).expect("run `cargo xtask windows`: it starts the store");
        let code = std::fs::read_to_string(std::env::var_os(SETUP_CODE).unwrap()).unwrap();
        let line = Line::new(&server);
        let (mut credentials, other) = runtime.block_on(async {
            let options = ClientOptions::default();
            let names = ("Home", "here");
            let (own, recovery) =
                cloud::create_drive(&server, &code, names, &options).await.unwrap();
            let key = recovery.reveal();
            (own, cloud::join(&server, &key, "elsewhere", &options).await.unwrap())
        });
        credentials.server = line.url();
        let dir = tempfile::tempdir().unwrap();
        let engine = engine(&dir.path().join("elsewhere"), &other, &runtime, 2);
        let remote = Remote { tree: Tree::new(engine.port()), engine };
        let mut world = World {
            app,
            device: None,
            remote,
            read_only,
            line,
            credentials,
            runtime,
            dir,
            _alone: alone,
        };
        world.start();
        world
    }

    /// Mounts, with everything that was on the disk and in the cache before.
    pub(crate) fn start(&mut self) {
        let engine = engine(&self.dir.path().join("here"), &self.credentials, &self.runtime, 1);
        // SAFETY: the model keeps the contract of ProjFS.
        let api = unsafe { Api::load_from(&library()) }.unwrap();
        let options = Options {
            root: self.root(),
            ledger: self.ledger(),
            replica: [7; 16],
            instance: [9; 16],
            read_only: self.read_only,
        };
        let mount = Mount::start(api, engine.port(), &options).unwrap();
        engine.attach(mount.driver());
        let tree = Tree::new(engine.port());
        self.device = Some(Device { mount: Some(mount), engine, tree });
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut device) = self.device.take() {
            drop(device.mount.take());
            device.engine.shutdown().unwrap();
        }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.dir.path().join("projfs.sqlite")
    }

    pub(crate) fn device(&self) -> &Device {
        self.device.as_ref().unwrap()
    }

    pub(crate) fn mount(&self) -> &Mount {
        self.device().mount.as_ref().unwrap()
    }

    /// Asks the core as the control pipe does, about a path in the drive's own names.
    #[track_caller]
    pub(crate) fn pin(&self, at: &str, on: bool) {
        let names = self.device().tree.own_names(&place(at)).unwrap();
        let request = fs_core::Request::Control(fs_core::Command::Pin(names, on));
        self.device().tree.port().call(request).unwrap();
    }

    /// Until every place was looked at.
    #[track_caller]
    pub(crate) fn quiet(&self) {
        let mount = self.device().mount.as_ref().unwrap();
        wait_until("the queue is empty", || mount.waiting().unwrap() == 0);
    }

    pub(crate) fn list(&self, place: &str) -> Result<Vec<String>, Code> {
        let listed = self.app.list(&self.root(), place, Scan::default())?;
        Ok(listed.into_iter().map(|Listed { name, .. }| name).collect())
    }

    pub(crate) fn read(&self, place: &str) -> Result<Vec<u8>, Code> {
        self.app.read(&self.root(), place, 0, usize::MAX)
    }

    #[track_caller]
    pub(crate) fn write(&self, place: &str, data: &[u8]) {
        self.app.write(&self.root(), place, 0, data, true).unwrap();
    }

    /// Until a folder lists exactly these, with these lengths.
    #[track_caller]
    pub(crate) fn lists(&self, place: &str, expected: &[(&str, usize)]) {
        wait_until(&format!("{place} lists {expected:?}"), || {
            let Ok(listed) = self.app.list(&self.root(), place, Scan::default()) else {
                return false;
            };
            let found = listed.iter().map(|entry| (entry.name.as_str(), entry.size as usize));
            found.eq(expected.iter().copied())
        });
    }

    pub(crate) fn state(&self, place: &str) -> &'static str {
        self.app.state(&self.root(), place)
    }

    /// Nothing was done against the contract.
    #[track_caller]
    pub(crate) fn keeps_the_contract(&self) {
        assert_eq!(self.app.violations(), Vec::<String>::new());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
        let _ = self.remote.engine.shutdown();
    }
}

fn engine(dir: &Path, credentials: &Credentials, runtime: &Runtime, seed: u64) -> Engine {
    let options = cache::Options { reserve_bytes: 0, ..cache::Options::default() };
    let local: Arc<dyn LocalStore> = Arc::new(DiskStore::open(dir, options).unwrap());
    let native = NativeStore::new(credentials.clone(), ClientOptions::default()).unwrap();
    let cloud: Arc<dyn CloudStore> = Arc::new(native);
    Engine::start(EngineConfig {
        limits: Limits { disk_floor: 0, settle_ms: 50, ..Limits::default() },
        local,
        cloud,
        seed,
        device: credentials.device_name.clone(),
        runtime: runtime.handle().clone(),
    })
    .unwrap()
}

pub(crate) fn place(text: &str) -> Place {
    Place::new(&text.encode_utf16().collect::<Vec<_>>())
}

/// A time that differs for different content.
fn time_of(data: &[u8]) -> Timestamp {
    let sum =
        data.iter().fold(data.len() as i64, |sum, &byte| sum * 31 % 1_000_003 + i64::from(byte));
    Timestamp(1_700_000_000_000_000_000 + sum * 1_000_000)
}

impl Remote {
    /// Makes or replaces a file.
    #[track_caller]
    pub(crate) fn write(&self, at: &str, data: &[u8]) {
        let found = self.tree.entry(&place(at)).unwrap();
        let ino = match found {
            Some(entry) => entry.node.attr.ino,
            None => self.tree.make(&place(at), Kind::File).unwrap(),
        };
        self.tree.push(ino, &mut &data[..], time_of(data)).unwrap();
    }

    #[track_caller]
    pub(crate) fn make_dir(&self, at: &str) {
        self.tree.make(&place(at), Kind::Dir).unwrap();
    }

    #[track_caller]
    pub(crate) fn remove(&self, at: &str) {
        self.tree.remove(&place(at)).unwrap();
    }

    #[track_caller]
    pub(crate) fn rename(&self, from: &str, to: &str) {
        self.tree.rename(&place(from), &place(to), true).unwrap();
    }

    pub(crate) fn read(&self, at: &str) -> Option<Vec<u8>> {
        let attr = self.tree.entry(&place(at)).unwrap()?.node.attr;
        let handle = self.tree.open(attr.ino, false).ok()?;
        let mut all = Vec::new();
        while (all.len() as u64) < attr.size {
            let part = self.tree.read_at((attr.ino, handle), all.len() as u64, 1 << 20).ok()?;
            if part.is_empty() {
                break;
            }
            all.extend_from_slice(&part);
        }
        self.tree.close(attr.ino, handle);
        Some(all)
    }

    #[track_caller]
    pub(crate) fn sees(&self, at: &str, data: &[u8]) {
        wait_until(&format!("elsewhere {at} has its content"), || {
            self.read(at).as_deref() == Some(data)
        });
    }

    pub(crate) fn names(&self, at: &str) -> Vec<String> {
        let Some(dir) = self.tree.dir(&place(at)).unwrap() else { return Vec::new() };
        let listing = self.tree.listing(dir).unwrap();
        listing.entries().iter().map(|entry| String::from_utf16_lossy(&entry.shown)).collect()
    }
}
