//! `meshdrive log`

use super::App;
use crate::{
    client::{Control, locate},
    failure::Outcome,
    render::{self, table, text},
};
use protocol::control::{LogEntry, LogQuery, Reply, Request};
use std::{ffi::OsString, path::PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file or folder in a mounted drive; also one that was removed, by where it was
    #[arg(value_name = "PATH", required_unless_present = "id")]
    path: Option<PathBuf>,
    /// The file with this id, as `store scrub` names it
    #[arg(long, value_name = "ID", conflicts_with = "path")]
    id: Option<String>,
    /// The drive, with --id [default: the only mounted one]
    #[arg(long, value_name = "DRIVE", requires = "id")]
    drive: Option<OsString>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(app: &App, args: Args) -> Outcome {
    let (label, query) = match (&args.path, args.id) {
        (Some(path), _) => {
            let place = locate::path(&app.dirs, path)?;
            (place.label, LogQuery { path: Some(place.path), id: None })
        }
        (None, id) => {
            let label = match &args.drive {
                Some(drive) => locate::drive(&app.dirs, drive)?,
                None => locate::only(&app.dirs)?,
            };
            (label, LogQuery { path: None, id })
        }
    };
    let control = Control::new(&app.dirs, &label)?;
    let entries: Vec<LogEntry> = match control.ask(Request::Log(query)).await? {
        Reply::Log(entries) => entries,
        other => return Err(control.unexpected(&other)),
    };
    if args.json {
        return render::json(&entries);
    }
    if entries.is_empty() {
        render::talk("The cloud store knows of nothing that happened to it.");
        return Ok(());
    }
    let row = |entry: &LogEntry| {
        let version = format!("{}", entry.rev);
        [text::time(entry.time_ns), entry.device.clone(), version, entry.what.join(", ")]
    };
    table::print(
        ["TIME", "DEVICE", "VERSION", "WHAT"],
        &entries.iter().map(row).collect::<Vec<_>>(),
    )
}
