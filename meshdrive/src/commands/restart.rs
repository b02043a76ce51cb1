//! `meshdrive restart` and `meshdrive upgrade`

use super::App;
use crate::{
    client::{Control, locate},
    dirs::Label,
    drives,
    failure::{Failure, Kind, Outcome},
    render::{self, progress::Line},
};
use protocol::control::{DriveStatus, Reply, Request};
use std::{
    ffi::OsString,
    time::{Duration, Instant},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The drive stays mounted. Open files stay open, locks stay held, and what programs ask for meanwhile is
answered by the new daemon.")]
pub(crate) struct Args {
    /// Name or mountpoint of the drive [default: every mounted one]
    #[arg(value_name = "DRIVE")]
    drive: Option<OsString>,
}

/// How long the new daemon may take to answer.
const START_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// `upgrade`: only daemons whose program was replaced.
pub(crate) async fn run(app: &App, args: Args, upgrade: bool) -> Outcome {
    let labels = match &args.drive {
        Some(drive) => vec![locate::drive(&app.dirs, drive)?],
        None => drives::mounted(&app.dirs)?,
    };
    if labels.is_empty() {
        return Err(Failure::new(Kind::NotMounted, "no drive is mounted"));
    }
    for label in &labels {
        let line = Line::new(format!("restarting {label}"));
        let told = restart(app, label, upgrade).await?;
        drop(line);
        render::talk(told);
    }
    Ok(())
}

async fn restart(app: &App, label: &Label, upgrade: bool) -> Outcome<String> {
    let control = Control::new(&app.dirs, label)?;
    let before = control.status().await?;
    match control.ask(Request::Restart { if_changed: upgrade }).await? {
        Reply::Restarting => {}
        Reply::Unchanged => {
            return Ok(format!("{label} runs the installed program already ({}).", before.version));
        }
        other => return Err(control.unexpected(&other)),
    }
    let after = successor(app, label, &before).await?;
    Ok(if upgrade {
        format!("{label} goes on with version {} (before: {}).", after.version, before.version)
    } else {
        format!("{label} has a new daemon: process {} (before: {}).", after.pid, before.pid)
    })
}

/// The state as the next daemon says it.
async fn successor(app: &App, label: &Label, before: &DriveStatus) -> Outcome<DriveStatus> {
    let end = Instant::now() + START_LIMIT;
    loop {
        // A new client each time: an old one may keep a connection to the old daemon.
        match Control::new(&app.dirs, label)?.status().await {
            Ok(status) if status.pid != before.pid => return Ok(status),
            Err(failure) if failure.kind == Kind::NotMounted => return Err(failure),
            _ if Instant::now() >= end => {
                return Err(Failure::general(format!("the new daemon of {label} does not answer"))
                    .hint(format!("see its log {}", app.dirs.log_file(label).display())));
            }
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}
