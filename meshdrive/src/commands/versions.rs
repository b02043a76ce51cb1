//! `meshdrive versions`

use super::App;
use crate::{
    client::{Control, locate},
    failure::Outcome,
    render::{self, table, text},
};
use protocol::control::{Reply, Request, VersionReport};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file in a mounted drive
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(app: &App, args: Args) -> Outcome {
    let place = locate::path(&app.dirs, &args.path)?;
    let control = Control::new(&app.dirs, &place.label)?;
    let versions: Vec<VersionReport> =
        match control.ask(Request::Versions { path: place.path }).await? {
            Reply::Versions(versions) => versions,
            other => return Err(control.unexpected(&other)),
        };
    if args.json {
        return render::json(&versions);
    }
    if versions.is_empty() {
        render::talk(format!("{} has no version in the cloud yet.", args.path.display()));
        return Ok(());
    }
    let row = |version: &VersionReport| {
        let mark = if version.current { " (current)" } else { "" };
        [
            format!("{}{mark}", version.rev),
            text::size(version.size),
            text::time(version.modified_ns),
            text::time(version.stored_ns),
            version.device.clone(),
        ]
    };
    let head = ["VERSION", "SIZE", "CHANGED", "IN THE CLOUD SINCE", "DEVICE"];
    table::print(head, &versions.iter().map(row).collect::<Vec<_>>())
}
