//! Answers the control socket.

use super::{
    activity, conflicts, convert, drive::Drive, driver, history, metrics, socket::Clerk, undo,
};
use crate::{commands::unmount::FORCE, mounts, render::sentence};
use fs_core::{Answer, Command, FsError, Response};
use protocol::control::{
    DriveStatus, PathText, Refusal, RefusalCode, Reply, Request, Unmount, Unmounted,
};
use std::{sync::Arc, time::Duration};

/// Pending nodes up to which files and folders are told apart: what the core lists at most.
const COUNTED_MAX: u64 = 1_000;
/// After the unmount, how long a change that slipped in at the last moment may take to be sent.
const LATE_LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(crate) struct Desk(Arc<Drive>);

impl Desk {
    pub(crate) fn new(drive: Arc<Drive>) -> Desk {
        Desk(drive)
    }
}

impl Clerk for Desk {
    async fn answer(&self, request: Request) -> Result<Reply, Refusal> {
        let drive = &*self.0;
        match request {
            Request::Status => Ok(Reply::Status(Box::new(status(drive).await?))),
            Request::Path { path } => match drive.command(&path, Command::PathStatus).await? {
                Answer::Path(status) => Ok(Reply::Path(convert::path(status))),
                other => Err(odd(&other)),
            },
            Request::Pin { path, on } => {
                drive.command(&path, |path| Command::Pin(path, on)).await.map(|_| Reply::Done)
            }
            Request::Pins => files(drive, Command::Pins).await,
            Request::Pending => files(drive, Command::PendingList).await,
            Request::Evict { path } => {
                let projected = evict_projected(&self.0, &path).await;
                let bytes = projected + evict(drive, &path).await?;
                Ok(Reply::Freed { bytes })
            }
            Request::Sync { path } => {
                drive.port.look_for_store();
                settled(&self.0).await;
                drive.command(&path, Command::Sync).await.map(|_| Reply::Done)
            }
            Request::Pause { on } => {
                drive
                    .core(Command::Pause(on))
                    .await
                    .map_err(|error| drive_refusal(drive, error))?;
                Ok(Reply::Done)
            }
            Request::Versions { path } => history::versions(drive, &path).await,
            Request::Restore { path, rev } => history::restore(drive, &path, rev).await,
            Request::Trash => history::trash(drive).await,
            Request::Untrash(ask) => history::untrash(drive, &ask).await,
            Request::Conflicts => conflicts::list(drive).await,
            Request::Resolve { path, keep } => conflicts::resolve(drive, &path, keep).await,
            Request::Approve => undo::approve(drive).await,
            Request::UndoHeld => undo::held(drive).await,
            Request::UndoDevice(ask) => undo::device(drive, &ask).await,
            Request::MergeBase { path } => conflicts::merge_base(drive, &path).await,
            Request::EmptyTrash { ids } => activity::empty(drive, &ids).await,
            Request::Log(query) => activity::log(drive, &query).await,
            Request::Metrics => {
                let status = status(drive).await?;
                let text = metrics::render(&status, drive.native.traffic());
                Ok(Reply::Metrics { text })
            }
            Request::Rename { from, to } => rename(&self.0, from, to).await,
            Request::Unmount(ask) => unmount(&self.0, ask).await,
            Request::Restart { if_changed } => restart(drive, if_changed).await,
        }
    }
}

/// An answer of a kind that the question cannot have: a bug.
pub(super) fn odd(answer: &Answer) -> Refusal {
    Refusal {
        code: RefusalCode::Failed,
        message: format!("the drive gave an unexpected answer: {answer:?}"),
        hint: Some("please report this".into()),
    }
}

pub(super) fn drive_refusal(drive: &Drive, error: FsError) -> Refusal {
    convert::refusal(&PathText::Text(drive.label.to_string()), error)
}

async fn files(drive: &Drive, command: Command) -> Result<Reply, Refusal> {
    let answer = drive.core(command).await.map_err(|error| drive_refusal(drive, error))?;
    match answer {
        Answer::Pins(files) | Answer::Pending(files) => {
            Ok(Reply::Files(files.into_iter().map(convert::file).collect()))
        }
        other => Err(odd(&other)),
    }
}

async fn evict(drive: &Drive, path: &PathText) -> Result<u64, Refusal> {
    match drive.command(path, Command::Evict).await? {
        Answer::Freed(bytes) => Ok(bytes),
        other => Err(odd(&other)),
    }
}

/// What is clean outside of the core's own cache.
async fn evict_projected(drive: &Arc<Drive>, path: &PathText) -> u64 {
    let (held, path) = (Arc::clone(drive), path.clone());
    tokio::task::spawn_blocking(move || driver::evict(&held.mount, &path)).await.unwrap_or(0)
}

/// Returns when the core knows of everything that was done before.
pub(super) async fn settled(drive: &Arc<Drive>) {
    loop {
        let held = Arc::clone(drive);
        let settled = tokio::task::spawn_blocking(move || driver::settle(&held.mount)).await;
        if !matches!(settled, Ok(false)) {
            return;
        }
    }
}

async fn rename(drive: &Arc<Drive>, from: PathText, to: PathText) -> Result<Reply, Refusal> {
    let held = Arc::clone(drive);
    let renamed = tokio::task::spawn_blocking(move || driver::rename(&held.mount, &from, &to));
    renamed.await.map_err(|error| failed(error.to_string()))?.map(|()| Reply::Done)
}

/// The numbers and the sentence.
pub(super) async fn status(drive: &Drive) -> Result<DriveStatus, Refusal> {
    let answer = drive.core(Command::Status).await.map_err(|error| drive_refusal(drive, error))?;
    let Answer::Status(core) = answer else { return Err(odd(&answer)) };
    let mut status = convert::status(&core);
    status.drive = drive.label.to_string();
    status.mountpoint = drive.mountpoint.display().to_string();
    status.pid = std::process::id();
    status.version = env!("CARGO_PKG_VERSION").into();
    (status.passthrough, status.passthrough_off) = driver::passthrough(&drive.mount);
    status.uptime_secs = drive.keeper.uptime().as_secs();
    status.supervisor = drive.keeper.supervisor();
    status.crashes = drive.keeper.crashes();
    status.restarts = drive.keeper.life().saturating_sub(status.crashes);
    status.offline_secs = drive.link.seen(core.online);
    status.pending_nodes += driver::waiting(&drive.mount);
    if (1..=COUNTED_MAX).contains(&core.pending_nodes)
        && let Ok(Answer::Pending(files)) = drive.core(Command::PendingList).await
        && files.len() as u64 == status.pending_nodes
    {
        let folders = files.iter().filter(|file| file.dir).count() as u64;
        status.pending_folders = Some(folders);
        status.pending_files = Some(core.pending_nodes - folders);
    }
    status.left_secs = drive.pace.left().map(|left| left.as_secs().max(1));
    status.all_in_cloud = sentence::all_in_cloud(&status);
    status.safe_to_switch_off =
        status.all_in_cloud && status.dirty_bytes == status.local_only_bytes;
    status.sentence = sentence::of_drive(&status);
    Ok(status)
}

/// Unmounts when nothing is unsent (or that may stay), then frees the cache and ends the daemon.
async fn unmount(drive: &Arc<Drive>, ask: Unmount) -> Result<Reply, Refusal> {
    let _one = drive.unmounting.lock().await;
    let before = status(drive).await?;
    if (before.pending_nodes > 0 || before.unsure) && !ask.keep_pending {
        return Err(unsent(drive, &before));
    }
    let root = PathText::Text(String::new());
    // While it is projected: Windows takes nothing off the disk otherwise.
    let mut freed_bytes = if ask.keep_cache { 0 } else { evict_projected(drive, &root).await };
    detach(drive).await?;
    // Nothing can be written any more. What slipped in since the look above is sent now, or by the
    // next mount: it is on the disk.
    let mut after = status(drive).await?;
    if after.pending_nodes > 0 && !ask.keep_pending {
        let sent = drive.command(&root, Command::Sync);
        let _ = tokio::time::timeout(LATE_LIMIT, sent).await;
        after = status(drive).await?;
    }
    if !ask.keep_cache {
        match evict(drive, &root).await {
            Ok(bytes) => freed_bytes += bytes,
            Err(refusal) => {
                tracing::warn!(why = refusal.message, "the local contents could not be freed");
            }
        }
    }
    driver::forget(&drive.mount);
    drive.quit.notify_one();
    Ok(Reply::Unmounted(Unmounted { freed_bytes, kept_pending: after.pending_nodes }))
}

fn unsent(drive: &Drive, status: &DriveStatus) -> Refusal {
    let code = if status.online { RefusalCode::Unsent } else { RefusalCode::Offline };
    Refusal {
        code,
        message: format!("{} stays mounted: {}", drive.label, status.sentence),
        hint: Some(format!(
            "wait, or `meshdrive unmount {} --keep-pending`: the changes stay on this device and \
             are sent by the next mount{FORCE}",
            drive.label
        )),
    }
}

async fn detach(drive: &Arc<Drive>) -> Result<(), Refusal> {
    let held = Arc::clone(drive);
    let detached = tokio::task::spawn_blocking(move || held.mount.unmount(false)).await;
    let error = match detached {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error,
        Err(error) => return Err(failed(format!("cannot unmount {}: {error}", drive.label))),
    };
    if !matches!(error, driver::MountError::Busy(_)) {
        return Err(failed(error.to_string()));
    }
    let mountpoint = drive.mountpoint.clone();
    let holders = tokio::task::spawn_blocking(move || mounts::holders(&mountpoint)).await;
    let holders = holders.unwrap_or_default();
    let by = if holders.is_empty() { String::new() } else { format!(" by {}", holders.join(", ")) };
    Err(Refusal {
        code: RefusalCode::Busy,
        message: format!("{} is in use{by}; it stays mounted", drive.mountpoint.display()),
        hint: Some("close what uses it (a shell may stand in it), then unmount again".into()),
    })
}

/// Ends this daemon for a new one, when somebody is there to start it and it would start.
async fn restart(drive: &Drive, if_changed: bool) -> Result<Reply, Refusal> {
    let _one = drive.unmounting.lock().await;
    if drive.keeper.supervisor().is_none() {
        return Err(Refusal {
            code: RefusalCode::Failed,
            message: format!("{} has no supervisor that would start a new daemon", drive.label),
            hint: Some("unmount it and mount it again (without --no-supervisor)".into()),
        });
    }
    let program = drive.keeper.program();
    match program.is_replaced() {
        Ok(false) if if_changed => return Ok(Reply::Unchanged),
        Ok(_) => {}
        Err(error) => return Err(stays(drive, format!("its program cannot be found: {error}"))),
    }
    program.try_out().await.map_err(|why| stays(drive, why))?;
    drive.again.notify_one();
    Ok(Reply::Restarting)
}

fn stays(drive: &Drive, why: String) -> Refusal {
    Refusal {
        code: RefusalCode::Failed,
        message: format!("the daemon of {} goes on: {why}", drive.label),
        hint: Some("install the program again, then try again".into()),
    }
}

fn failed(message: String) -> Refusal {
    Refusal { code: RefusalCode::Failed, message, hint: None }
}

impl Drive {
    /// Asks the core.
    pub(super) async fn core(&self, command: Command) -> Result<Answer, FsError> {
        match self.port.ask(fs_core::Request::Control(command)).await? {
            Response::Answer(answer) => Ok(answer),
            _ => Err(FsError::Io),
        }
    }

    /// Asks the core about a path.
    pub(super) async fn command(
        &self,
        path: &PathText,
        command: impl FnOnce(Vec<fs_core::Name>) -> Command,
    ) -> Result<Answer, Refusal> {
        let components = driver::components(&self.mount, path)?;
        self.core(command(components)).await.map_err(|error| convert::refusal(path, error))
    }
}
