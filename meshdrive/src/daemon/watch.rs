//! Keeps an eye on the drive: is it still mounted, is the core well, what does systemd show.

use super::{alarm::Alarm, desk, drive::Drive, inhibit::Inhibitor};
use crate::{config::Config, store};
use sd_notify::NotifyState;
use std::time::{Duration, Instant};

/// How often it looks. Everything here is answered from memory.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why the watch ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The mount was taken away from outside (`umount`).
    Unmounted,
    /// The core failed: a restart recovers.
    Failed,
}

pub(crate) async fn watch(drive: &Drive, config: &Config) -> End {
    let mut shown = String::new();
    let mut alarm = Alarm::new(&config.notify.command);
    let mut inhibitor = Inhibitor::new(config.stop.inhibit);
    let has_hours = !config.upload.hours.is_empty() || !config.download.hours.is_empty();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if drive.engine.failed() {
            return End::Failed;
        }
        if drive.mount.ended() || !drive.mount.mounted() {
            // By our own `unmount` perhaps: let that finish what it has to do after it.
            drop(drive.unmounting.lock().await);
            return End::Unmounted;
        }
        if has_hours {
            drive.throttled.set(store::rates(config));
        }
        let Ok(status) = desk::status(drive).await else { continue };
        let now = Instant::now();
        drive.pace.note(now, status.pending_nodes, status.pending_bytes);
        alarm.see(&status);
        let sending = status.pending_nodes > 0 && status.online && !status.paused;
        inhibitor.see(&status.drive, sending, now);
        if status.sentence != shown {
            shown = status.sentence;
            notify(&[NotifyState::Status(&shown)]);
        }
    }
}

/// Tells systemd, if it is there.
pub(crate) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
