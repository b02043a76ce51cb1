//! `meshdrive pin`, `meshdrive unpin`, `meshdrive pins`

use super::App;
use crate::{
    client::{Control, locate},
    failure::Outcome,
    render,
};
use protocol::control::{FileReport, Reply, Request};
use std::{ffi::OsString, path::PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files and folders; what is in a folder follows, also what comes later
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Name or mountpoint of the drive [default: the only mounted one]
    #[arg(value_name = "DRIVE")]
    drive: Option<OsString>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(app: &App, args: Args, on: bool) -> Outcome {
    for path in &args.paths {
        let place = locate::path(&app.dirs, path)?;
        let control = Control::new(&app.dirs, &place.label)?;
        control
            .ask(Request::Pin { path: place.path, on })
            .await
            .map_err(|failure| failure.context(format!("cannot change {}", path.display())))?;
        render::talk(if on {
            format!("{} stays on this device; what is missing is being fetched.", path.display())
        } else {
            format!("{} may be evicted again.", path.display())
        });
    }
    Ok(())
}

pub(crate) async fn list(app: &App, args: ListArgs) -> Outcome {
    let place = locate::place_or_only(&app.dirs, args.drive.as_ref())?;
    let control = Control::new(&app.dirs, &place.label)?;
    let pins: Vec<FileReport> = match control.ask(Request::Pins).await? {
        Reply::Files(pins) => pins,
        other => return Err(control.unexpected(&other)),
    };
    if args.json {
        return render::json(&pins);
    }
    if pins.is_empty() {
        render::talk(format!("Nothing is pinned in {}.", place.label));
        return Ok(());
    }
    render::table::files(&pins)
}
