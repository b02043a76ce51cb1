//! The daemon of one mounted drive: configuration -> stores -> engine -> mount -> control socket, and
//! back down in the opposite order.

mod activity;
mod alarm;
mod conflicts;
mod convert;
mod desk;
mod drive;
#[cfg(unix)]
#[path = "fuse.rs"]
mod driver;
#[cfg(windows)]
#[path = "projfs.rs"]
mod driver;
mod history;
mod inhibit;
#[cfg(unix)]
mod keeper;
#[cfg(windows)]
#[path = "alone.rs"]
mod keeper;
pub(crate) mod lock;
pub(crate) mod logs;
#[cfg(unix)]
mod memory;
mod metrics;
mod pace;
pub(crate) mod ready;
mod socket;
mod stop;
mod undo;
mod watch;

use crate::{
    checkup,
    config::Config,
    dirs::{Dirs, Label, private_dir, write_private},
    drives,
    failure::{Attempt, Failure, Kind, Outcome},
    mounts,
    store::Opened,
    system::{self, Signals},
};
use desk::Desk;
use drive::{Drive, Link};
#[cfg(windows)]
pub(crate) use driver::projected_root;
use engine::{Engine, EngineConfig};
use keeper::Start;
use pace::Pace;
use protocol::keeper::AGAIN;
use ready::Ready;
use socket::Socket;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{runtime::Runtime, sync::Notify};
pub(crate) use watch::{Word, notify};

/// Threads of the runtime: the network and the control socket. The kernel has threads of its own.
const RUNTIME_THREADS: usize = 2;
/// How long a fresh mount may take to answer its first question.
const FIRST_ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long running control requests may take to end, and tasks of the runtime after that.
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);

/// How long requests that came in may take to be answered when a new daemon takes over; it answers the
/// others. A read of bytes that are far away takes longer than anybody should wait for.
const LEAVE_LIMIT: Duration = Duration::from_millis(500);
/// Exit code of a daemon whose core has failed (`EX_SOFTWARE` of sysexits.h).
const CORE_FAILED: u8 = 70;

/// How long an earlier daemon of the drive may take to end, and how often that is looked at.
const PREDECESSOR_LIMIT: Duration = Duration::from_secs(15);
const PREDECESSOR_PAUSE: Duration = Duration::from_millis(50);

/// What to mount, and how.
pub(crate) struct Plan {
    pub(crate) dirs: Dirs,
    pub(crate) config: Config,
    pub(crate) label: Label,
    pub(crate) mountpoint: PathBuf,
    pub(crate) read_only: bool,
    /// In the background: stdout is the pipe of the starting `mount`.
    pub(crate) detached: bool,
    /// The command that mounts it at the next logon.
    #[cfg(windows)]
    pub(crate) at_logon: Vec<std::ffi::OsString>,
    /// Started by a supervisor, which starts another one when this one ends.
    pub(crate) supervised: bool,
}

/// Runs until the drive is unmounted, by command, by signal or from outside.
pub(crate) fn run(plan: &Plan) -> Outcome<ExitCode> {
    let ready = if plan.detached { Ready::Pipe } else { Ready::Terminal };
    prepare(plan).and_then(|(lock, start)| live(plan, &ready, lock, start)).map_err(|failure| {
        if plan.detached {
            tracing::error!("{}", failure.render());
        }
        ready.fail(failure)
    })
}

/// Everything before the first thread: log, limits, lock, a clean place.
fn prepare(plan: &Plan) -> Outcome<(lock::Lock, Start)> {
    private_dir(&plan.dirs.drive_state(&plan.label))?;
    let file = plan.detached.then(|| plan.dirs.log_file(&plan.label));
    logs::start(&plan.config.log, file.as_deref())?;
    if plan.detached && !plan.supervised {
        system::leave_terminal()?;
    }
    system::raise_descriptor_limit();
    let start = Start::hear(plan.supervised)?;
    let lock = take_lock(&plan.dirs, &plan.label, &plan.dirs.lock_file(&plan.label))?;
    if start.kept.is_none() {
        driver::recover(plan)?;
    }
    system::leave_folder()?;
    Ok((lock, start))
}

/// A lock of the drive. A daemon that no longer takes questions is about to end: it is waited for.
pub(crate) fn take_lock(dirs: &Dirs, label: &Label, path: &Path) -> Outcome<lock::Lock> {
    let end = Instant::now() + PREDECESSOR_LIMIT;
    loop {
        match lock::Lock::take(path) {
            Err(failure) if failure.kind == Kind::Busy => {
                if drives::is_running(dirs, label) || Instant::now() >= end {
                    return Err(explain_lock(failure, dirs, label));
                }
                std::thread::sleep(PREDECESSOR_PAUSE);
            }
            other => return other,
        }
    }
}

fn explain_lock(failure: Failure, dirs: &Dirs, label: &Label) -> Failure {
    if failure.kind != Kind::Busy {
        return failure;
    }
    let at = mounts::of(dirs, label).ok().flatten();
    let place = at.map(|at| format!(" at {}", at.display())).unwrap_or_default();
    Failure::new(Kind::Busy, format!("the drive {label} is mounted already{place}"))
        .hint(format!("unmount it first with `meshdrive unmount {label}`"))
}

fn live(plan: &Plan, ready: &Ready, lock: lock::Lock, start: Start) -> Outcome<ExitCode> {
    #[cfg(unix)]
    memory::watch();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
        .attempt(|| "cannot start the runtime".into())?;
    let done = build(plan, &runtime, start)
        .and_then(|(drive, socket)| runtime.block_on(serve(plan, ready, drive, socket)));
    runtime.shutdown_timeout(GOODBYE_LIMIT);
    // Last of all: whoever waits for the lock may open the same files now.
    drop(lock);
    done
}

/// Builds the drive from the disk up. On a failure everything built so far is taken down again.
fn build(plan: &Plan, runtime: &Runtime, start: Start) -> Outcome<(Arc<Drive>, Socket)> {
    let _inside = runtime.enter();
    let label = &plan.label;
    let Opened { native, throttled } = crate::store::open(&plan.dirs, &plan.config, label)?;
    let cloud = Arc::clone(&throttled) as Arc<dyn cloud::CloudStore>;
    let state = plan.dirs.drive_state(label);
    let disk = cache::DiskStore::open(&state, cache_options(&plan.config))
        .attempt(|| format!("cannot open the local state in {}", state.display()))?;
    let disk = Arc::new(disk);
    let local: Arc<dyn cache::LocalStore> = Arc::clone(&disk) as _;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed)
        .map_err(|error| Failure::general(format!("cannot get random bytes: {error}")))?;
    let engine = Engine::start(EngineConfig {
        limits: fs_core::Limits { life: start.keeper.life(), ..limits(&plan.config) },
        local: Arc::clone(&local),
        cloud: Arc::clone(&cloud),
        seed: u64::from_le_bytes(seed),
        device: crate::store::credentials(&plan.dirs, label)?.device_name,
        runtime: runtime.handle().clone(),
    })
    .attempt(|| format!("cannot start the drive {label} from {}", state.display()))?;
    let port = engine.port();
    let Start { mut keeper, kept } = start;
    let again = kept.is_some();
    let record = if again { Record(None) } else { record_mount(plan)? };
    let mount = driver::mount(plan, port.clone(), &disk, kept)?;
    engine.attach(mount.driver());
    if !again {
        first_answer(driver::answers_at(&mount))?;
        keeper.keep(&mount)?;
    }
    if keeper.supervisor().is_some() {
        engine.die_on_failure();
    }
    let socket = Socket::bind(&plan.dirs.socket(label))?;
    let drive = Drive {
        label: label.clone(),
        mountpoint: mount.path().into(),
        port,
        engine,
        mount,
        local,
        cloud,
        native,
        throttled,
        link: Link::default(),
        pace: Pace::default(),
        unmounting: tokio::sync::Mutex::default(),
        quit: Notify::new(),
        keeper,
        again: Notify::new(),
    };
    record.keep();
    Ok((Arc::new(drive), socket))
}

/// The note of where the drive is mounted. Goes when the mount fails; a crash leaves it.
struct Record(Option<PathBuf>);

impl Record {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn record_mount(plan: &Plan) -> Outcome<Record> {
    let place = driver::shown(&plan.mountpoint);
    let path = plan.dirs.mount_record(&plan.label);
    write_private(&path, &system::path_bytes(&place))?;
    Ok(Record(Some(path)))
}

fn cache_options(_config: &Config) -> cache::Options {
    cache::Options::default()
}

fn limits(config: &Config) -> fs_core::Limits {
    fs_core::Limits {
        cache_bytes: config.cache.size.0,
        disk_floor: config.cache.floor.0,
        read_deadline_ms: config.read.deadline.millis(),
        offline_deadline_ms: config.read.offline_deadline.millis(),
        mass_percent: config.brake.share,
        mass_least: config.brake.least,
        mass_window_ms: config.brake.window.millis(),
        settle_ms: config.upload.settle.millis(),
        owner: system::owner(),
        ..fs_core::Limits::default()
    }
}

/// The mount must answer before anybody is told that it is there.
fn first_answer(mountpoint: &Path) -> Outcome {
    let (answered, answer) = std::sync::mpsc::sync_channel(1);
    let path = mountpoint.to_path_buf();
    std::thread::spawn(move || answered.send(std::fs::metadata(&path).map(|_| ())));
    match answer.recv_timeout(FIRST_ANSWER_LIMIT) {
        Ok(done) => done.attempt(|| format!("the mount at {} fails", mountpoint.display())),
        Err(_) => {
            Err(Failure::general(format!("the mount at {} does not answer", mountpoint.display()))
                .hint("see the log, and try again; `meshdrive doctor` looks for causes"))
        }
    }
}

async fn serve(plan: &Plan, ready: &Ready, drive: Arc<Drive>, socket: Socket) -> Outcome<ExitCode> {
    let mut signals = Signals::listen()?;
    let goodbye = Arc::new(Notify::new());
    let until = Arc::clone(&goodbye);
    let control = tokio::spawn(
        socket.serve(Desk::new(Arc::clone(&drive)), async move { until.notified().await }),
    );
    let mut text = format!("Mounted {} at {}.", drive.label, drive.mountpoint.display());
    if drive.keeper.life() > 0 {
        text = format!("Serving {} at {} again.", drive.label, drive.mountpoint.display());
    }
    let free = drive.local.disk_free().unwrap_or(u64::MAX);
    if let Some(advice) = checkup::system::too_full(free, plan.config.cache.floor.0) {
        text.push_str(&format!("\nwarning: {advice}"));
    }
    if plan.detached {
        tracing::info!("{text}");
    }
    #[cfg(unix)]
    watch::network(drive.port.clone());
    drive.keeper.serving();
    driver::serving(plan, &drive.mount);
    ready.tell(&text)?;
    notify(&[Word::Ready, Word::Status(&text)]);
    let (mut failed, mut successor) = (None, None);
    tokio::select! {
        () = drive.again.notified() => {
            tracing::info!("making room for a new daemon");
            successor = Some(AGAIN);
        }
        () = drive.quit.notified() => tracing::info!("unmounted"),
        () = signals.next() => {
            tracing::info!("told to stop");
            stop::stop(&drive, &mut signals, plan.config.stop.deadline.0).await;
        }
        end = watch::watch(&drive, &plan.config) => match end {
            watch::End::Unmounted => tracing::warn!("unmounted from outside; saving and ending"),
            watch::End::Failed if drive.keeper.supervisor().is_some() => {
                successor = Some(CORE_FAILED);
            }
            watch::End::Failed => failed = Some(core_failure(&drive.label)),
        }
    }
    goodbye.notify_one();
    if let Some(code) = successor {
        let _ = tokio::time::timeout(LEAVE_LIMIT, control).await;
        let left = tokio::task::spawn_blocking(move || drive.mount.leave(LEAVE_LIMIT)).await;
        tracing::info!(answered_all = matches!(left, Ok(true)), "left the mount to a new daemon");
        // As after a crash, the journal has everything: closing the local state would only take time.
        std::process::exit(code.into());
    }
    let _ = tokio::time::timeout(GOODBYE_LIMIT, control).await;
    drop(Record(Some(plan.dirs.mount_record(&drive.label))));
    let closed = tokio::task::spawn_blocking(move || close(&drive)).await;
    let closed = closed.unwrap_or_else(|error| Err(Failure::general(error)));
    failed.map_or(closed, Err).map(|()| ExitCode::SUCCESS)
}

/// The kernel first, then the engine, so that no request finds it gone.
fn close(drive: &Drive) -> Outcome {
    if let Err(error) = drive.mount.unmount(true) {
        tracing::warn!(%error, "the mount is left behind; the next mount recovers it");
    }
    drive.engine.shutdown().attempt(|| format!("cannot close the local state of {}", drive.label))
}

fn core_failure(label: &Label) -> Failure {
    Failure::general(format!("the drive {label} has failed and was unmounted"))
        .hint("nothing that was acknowledged is lost; see the log, and mount it again")
}
