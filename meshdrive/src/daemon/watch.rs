//! Keeps an eye on the drive: is it still mounted, is the core well, what does systemd show.

use super::{desk, drive::Drive};
use sd_notify::NotifyState;
use std::time::Duration;

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

pub(crate) async fn watch(drive: &Drive) -> End {
    let mut shown = String::new();
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
        if let Ok(status) = desk::status(drive).await
            && status.sentence != shown
        {
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
