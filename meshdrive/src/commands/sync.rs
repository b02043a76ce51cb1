//! `meshdrive sync`

use super::App;
use crate::{
    client::{Control, locate},
    failure::{Failure, Kind, Outcome},
    render::{self, progress::Line, sentence},
};
use protocol::control::{PathText, Request};
use std::{ffi::OsString, process::ExitCode, time::Duration};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A path in a drive, or a drive [default: the only mounted one]
    #[arg(value_name = "PATH")]
    path: Option<OsString>,
    /// Give up after this time, for instance 30s [default: wait as long as it takes]
    #[arg(long, value_name = "TIME")]
    timeout: Option<crate::config::Span>,
}

pub(crate) async fn run(app: &App, args: Args) -> Outcome<ExitCode> {
    let place = locate::place_or_only(&app.dirs, args.path.as_ref())?;
    let control = Control::new(&app.dirs, &place.label)?;
    let line = Line::new("sending");
    let sent = send(&control, place.path, &line);
    let limit = async {
        match args.timeout {
            Some(span) => tokio::time::sleep(span.0).await,
            None => std::future::pending().await,
        }
    };
    let end = tokio::select! {
        end = sent => end,
        () = limit => Err(Failure::new(Kind::Unsent, "not everything is in the cloud yet")
            .hint("it goes on being sent; `meshdrive status` says how far it is")),
    };
    drop(line);
    end?;
    render::talk("Everything changed before this is in the cloud.");
    Ok(ExitCode::SUCCESS)
}

/// How often the numbers are asked for while waiting, and how long the store may be out of reach
/// before waiting makes no sense.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const OFFLINE_PATIENCE: Duration = Duration::from_secs(10);
/// The same if it has been out of reach for longer than that already.
const LOOK_PATIENCE: Duration = Duration::from_secs(3);

/// Waits until everything changed below `path` before this call is in the cloud; says how far it is.
///
/// # Errors
/// `Offline` when the store stays out of reach, or `Unsent` when sending is paused.
pub(crate) async fn send(control: &Control, path: PathText, line: &Line) -> Outcome {
    let watch = async {
        let mut offline = Duration::ZERO;
        loop {
            let status = control.status().await?;
            line.say(format!("sending: {} left", sentence::left(&status)));
            if status.paused && status.pending_nodes > 0 {
                return Err(Failure::new(Kind::Unsent, sentence::of_drive(&status))
                    .hint(format!("`meshdrive resume {}` goes on sending", control.label())));
            }
            if let Some(held) = sentence::held(&status) {
                return Err(Failure::new(Kind::Unsent, held)
                    .hint("look with `meshdrive status --pending`, then approve it or undo it"));
            }
            offline = if status.online { Duration::ZERO } else { offline + LOOK_EVERY };
            // The daemon looks for the store as soon as it is asked to send.
            let known = status.refused || status.offline_secs > Some(OFFLINE_PATIENCE.as_secs());
            if offline >= if known { LOOK_PATIENCE } else { OFFLINE_PATIENCE } {
                let hint = if status.refused {
                    "it is sent when the store takes this device in again"
                } else {
                    "it is sent as soon as the store can be reached again"
                };
                return Err(Failure::new(Kind::Offline, sentence::of_drive(&status)).hint(hint));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        done = control.ask(Request::Sync { path }) => done.map(|_| ()),
        stopped = watch => stopped,
    }
}
