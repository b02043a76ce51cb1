//! Keeps an eye on the drive: is it still mounted, is the core well, what does systemd show.

use super::{alarm::Alarm, desk, drive::Drive, inhibit::Inhibitor};
use crate::{config::Config, store};
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
            notify(&[Word::Status(&shown)]);
        }
    }
}

/// A change of the network is many messages: links, addresses, routes.
#[cfg(unix)]
const GATHER: Duration = Duration::from_secs(1);

/// From now on a store that is away is looked for as soon as this machine's network changes, on a thread
/// that ends with the process.
#[cfg(unix)]
pub(crate) fn network(port: engine::Port) {
    let follow = move || {
        let network = crate::system::Network::listen()?;
        loop {
            network.changed()?;
            std::thread::sleep(GATHER);
            network.skip()?;
            port.network_changed();
        }
    };
    let run = move || {
        let Err(error): std::io::Result<std::convert::Infallible> = follow();
        tracing::info!(%error, "the kernel does not tell of changes of the network");
    };
    if let Err(error) = std::thread::Builder::new().name("network".into()).spawn(run) {
        tracing::warn!(%error, "changes of the network are not followed");
    }
}

/// What the manager of services is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Word<'a> {
    Ready,
    Stopping,
    Status(&'a str),
    /// Be patient for so long.
    Wait(Duration),
}

/// Tells systemd, if it is there.
#[cfg(unix)]
pub(crate) fn notify(words: &[Word<'_>]) {
    use sd_notify::NotifyState;
    let states: Vec<NotifyState<'_>> = words
        .iter()
        .map(|word| match *word {
            Word::Ready => NotifyState::Ready,
            Word::Stopping => NotifyState::Stopping,
            Word::Status(text) => NotifyState::Status(text),
            Word::Wait(span) => {
                let micros = u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
                NotifyState::ExtendTimeoutUsec(micros)
            }
        })
        .collect();
    if let Err(error) = sd_notify::notify(&states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// It is no service of Windows.
#[cfg(windows)]
pub(crate) fn notify(words: &[Word<'_>]) {
    for word in words {
        match word {
            Word::Status(text) => tracing::trace!(text),
            Word::Wait(span) => tracing::trace!(?span, "not done yet"),
            Word::Ready | Word::Stopping => {}
        }
    }
}
