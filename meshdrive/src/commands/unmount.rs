//! `meshdrive unmount`

#[cfg(unix)]
mod force;

use super::{App, sync};
use crate::{
    client::{self, Control, locate},
    daemon::lock,
    dirs::Label,
    failure::{Failure, Kind, Outcome},
    render::{self, progress::Line, sentence, text},
    system,
};
use protocol::control::{Reply, Request, Unmount, Unmounted};
use std::{ffi::OsString, process::ExitCode, time::Duration};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name or mountpoint of the drive [default: the only mounted one]
    #[arg(value_name = "DRIVE")]
    drive: Option<OsString>,
    /// Leave local contents on the disk, so that the next mount starts with them
    #[arg(long)]
    keep_cache: bool,
    /// Do not wait for unsent changes: they stay on this device and are sent by the next mount
    #[arg(long, visible_alias = "no-wait")]
    keep_pending: bool,
    /// Do not wait for unsent changes: move them out of the drive, into plain files in a folder of this
    /// device, and say where. Also what `.meshignore` keeps here. The next mount starts from what the store
    /// has. Also for a drive that is not mounted
    #[cfg(unix)]
    #[arg(long, conflicts_with = "keep_pending")]
    force: bool,
}

/// How long the daemon may take to close its files after it has unmounted.
const EXIT_LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The other way, where there is one.
pub(crate) const FORCE: &str = if cfg!(unix) { " (`--force` moves them to a folder)" } else { "" };

pub(crate) async fn run(app: &App, args: Args) -> Outcome<ExitCode> {
    let label = match &args.drive {
        Some(drive) => locate::drive(&app.dirs, drive)?,
        None => locate::only(&app.dirs)?,
    };
    // This process may stand in the drive itself.
    system::leave_folder()?;
    #[cfg(unix)]
    if args.force {
        return force::run(app, &label, args.keep_cache).await;
    }
    let control = Control::new(&app.dirs, &label)?;
    let before = control.status().await?;
    if !args.keep_pending && before.pending_nodes > 0 {
        drain(&control, &label).await?;
    }
    let ask = Unmount { keep_cache: args.keep_cache, keep_pending: args.keep_pending };
    let done = unmount(app, &control, ask).await?;
    render::talk(farewell(&label, done, args.keep_cache));
    Ok(ExitCode::SUCCESS)
}

/// Returns when the daemon has ended.
async fn unmount(app: &App, control: &Control, ask: Unmount) -> Outcome<Unmounted> {
    let _line = Line::new("unmounting");
    let done = match control.ask(Request::Unmount(ask)).await? {
        Reply::Unmounted(done) => done,
        other => return Err(control.unexpected(&other)),
    };
    wait_for_exit(app, control.label()).await?;
    Ok(done)
}

/// Sends everything; an interruption, or a store out of reach, leaves the drive mounted.
async fn drain(control: &Control, label: &Label) -> Outcome {
    let line = Line::new("sending");
    let stay = format!("{label} stays mounted");
    let choice = format!(
        "to unmount anyway: `meshdrive unmount {label} --keep-pending`; the changes stay on this device and \
         are sent by the next mount{FORCE}"
    );
    tokio::select! {
        sent = sync::send(control, client::root(), &line) => {
            sent.map_err(|failure| failure.context(stay).hint(choice))
        }
        _ = tokio::signal::ctrl_c() => {
            let left = control.status().await.map(|status| sentence::of_drive(&status));
            Err(Failure::new(Kind::Unsent, left.unwrap_or_else(|_| "interrupted".into()))
                .context(format!("interrupted: {stay}"))
                .hint(choice))
        }
    }
}

async fn wait_for_exit(app: &App, label: &Label) -> Outcome {
    let mut waited = Duration::ZERO;
    let locks = [app.dirs.lock_file(label), app.dirs.supervisor_lock(label)];
    while lock::is_held(&locks[0])? || lock::is_held(&locks[1])? {
        if waited >= EXIT_LIMIT {
            return Err(Failure::general(format!(
                "{label} is unmounted, but its daemon has not ended yet"
            ))
            .hint(format!("see its log {}", app.dirs.log_file(label).display())));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        waited += LOOK_EVERY;
    }
    Ok(())
}

fn farewell(label: &Label, done: Unmounted, keep_cache: bool) -> String {
    let cache = if keep_cache {
        "local contents stay on the disk".into()
    } else {
        format!("freed {}", text::size(done.freed_bytes))
    };
    match done.kept_pending {
        0 => format!("Unmounted {label}: everything is in the cloud; {cache}."),
        kept => format!(
            "Unmounted {label}: {} on this device only, to be sent by the next mount; {cache}.",
            text::count(kept, "change is", "changes are")
        ),
    }
}
