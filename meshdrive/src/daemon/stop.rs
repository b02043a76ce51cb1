//! The end of a daemon that was told to stop by a signal: send what can be sent, unmount, save.

use super::{
    desk,
    drive::Drive,
    watch::{Word, notify},
};
use crate::{mounts, system::Signals};
use fs_core::Command;
use protocol::control::PathText;
use std::{sync::Arc, time::Duration};

/// How often the state is looked at while draining.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What systemd is asked for on top, each time.
const EXTEND: Duration = Duration::from_secs(10);
/// A busy mount is tried again so often, this far apart, before it is detached lazily.
const BUSY_TRIES: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// Sends what is unsent, at most for `limit`, not at all while offline or paused; a second signal
/// ends the wait. Then unmounts. What is left is on the disk and is sent by the next mount.
pub(crate) async fn stop(drive: &Arc<Drive>, signals: &mut Signals, limit: Duration) {
    notify(&[Word::Stopping]);
    tokio::select! {
        () = drain(drive) => {}
        () = signals.next() => tracing::warn!("told to stop twice: not waiting for unsent changes"),
        () = tokio::time::sleep(limit) => tracing::warn!("stop.deadline is over"),
    }
    detach(drive).await;
    match desk::status(drive).await {
        Ok(status) if status.all_in_cloud => tracing::info!("everything is in the cloud"),
        Ok(status) => tracing::warn!(
            pending = status.pending_nodes,
            bytes = status.pending_bytes,
            "unsent changes stay on this device and are sent by the next mount"
        ),
        Err(refusal) => tracing::error!(why = refusal.message, "the last state is unknown"),
    }
}

async fn drain(drive: &Arc<Drive>) {
    let root = PathText::Text(String::new());
    let watch = async {
        loop {
            let Ok(status) = desk::status(drive).await else { return };
            if status.all_in_cloud || !status.online || status.paused {
                return;
            }
            notify(&[Word::Status(&status.sentence), Word::Wait(EXTEND)]);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let send = async {
        desk::settled(drive).await;
        drive.command(&root, Command::Sync).await
    };
    tokio::select! {
        _ = send => {}
        () = watch => {}
    }
}

/// Unmounts; what still uses the drive after a moment keeps its open files until it closes them, but
/// the daemon does not wait for it.
async fn detach(drive: &Arc<Drive>) {
    for _ in 0..BUSY_TRIES {
        match unmount(drive, false).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(error, "not unmounted yet"),
        }
        tokio::time::sleep(BUSY_PAUSE).await;
    }
    let mountpoint = drive.mountpoint.clone();
    let holders = tokio::task::spawn_blocking(move || mounts::holders(&mountpoint)).await;
    tracing::warn!(
        by = holders.unwrap_or_default().join(", "),
        "the drive is in use: detaching it all the same"
    );
    if let Err(error) = unmount(drive, true).await {
        tracing::error!(error, "cannot unmount; the next mount recovers it");
    }
}

async fn unmount(drive: &Arc<Drive>, lazy: bool) -> Result<(), String> {
    let held = Arc::clone(drive);
    match tokio::task::spawn_blocking(move || held.mount.unmount(lazy)).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
