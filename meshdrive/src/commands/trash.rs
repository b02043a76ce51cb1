//! `meshdrive trash`

use super::{App, restore};
use crate::{
    client::{Control, locate},
    failure::{Failure, Outcome},
    render::{self, text},
};
use protocol::control::{Reply, Request, TrashItem};
use std::{
    ffi::OsString,
    io::{BufRead, IsTerminal},
    path::PathBuf,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List what was removed, newest first
    List(ListArgs),
    /// Bring something back
    Restore(RestoreArgs),
    /// Remove everything in the trash for good
    Empty(EmptyArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// The drive [default: the only mounted one]
    #[arg(value_name = "DRIVE")]
    drive: Option<OsString>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// What to bring back, by its old path or its id
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Bring it back to this path of the drive instead of where it was
    #[arg(long, value_name = "PATH")]
    to: Option<PathBuf>,
    /// Bring a folder back without what was removed from it
    #[arg(long)]
    only: bool,
    /// The drive [default: the only mounted one]
    #[arg(long, value_name = "DRIVE")]
    drive: Option<OsString>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct EmptyArgs {
    /// The drive [default: the only mounted one]
    #[arg(value_name = "DRIVE")]
    drive: Option<OsString>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(app: &App, verb: Verb) -> Outcome {
    match verb {
        Verb::List(args) => restore::run(app, restore::Args::list(args.drive, args.json)).await,
        Verb::Restore(args) => {
            let RestoreArgs { path, to, only, drive, json } = args;
            restore::run(app, restore::Args::bring_back(path, to, only, (drive, json))).await
        }
        Verb::Empty(args) => empty(app, args).await,
    }
}

#[derive(serde::Serialize)]
struct Emptied {
    removed: u64,
}

async fn empty(app: &App, args: EmptyArgs) -> Outcome {
    let label = match &args.drive {
        Some(drive) => locate::drive(&app.dirs, drive)?,
        None => locate::only(&app.dirs)?,
    };
    let control = Control::new(&app.dirs, &label)?;
    let mut removed = 0;
    let mut sure = args.yes;
    loop {
        let items: Vec<TrashItem> = match control.ask(Request::Trash).await? {
            Reply::Trash(items) => items,
            other => return Err(control.unexpected(&other)),
        };
        if items.is_empty() {
            break;
        }
        if !sure {
            agree(&items, &label.to_string())?;
            sure = true;
        }
        let ids = items.into_iter().map(|item| item.id).collect();
        let gone = match control.ask(Request::EmptyTrash { ids }).await? {
            Reply::Emptied { nodes } => nodes,
            other => return Err(control.unexpected(&other)),
        };
        removed += gone;
        if gone == 0 {
            break;
        }
    }
    if args.json {
        return render::json(&Emptied { removed });
    }
    let count = text::count(removed, "file or folder", "files and folders");
    render::talk(format!("Removed {count} for good."));
    Ok(())
}

/// Asks, when there is somebody to answer.
fn agree(items: &[TrashItem], drive: &str) -> Outcome {
    let size: u64 = items.iter().map(|item| item.size).sum();
    let many = if items.len() >= 1_000 { "at least " } else { "" };
    let count = text::count(items.len() as u64, "file or folder", "files and folders");
    let what = format!("{many}{count}, {}", text::size(size));
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("the trash of {drive} holds {what}"))
            .hint("say --yes to remove all of it for good"));
    }
    eprint!("Remove {what} of {drive} for good? There is no way back. Type `yes`: ");
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    if read.is_err() || line.trim() != "yes" {
        return Err(Failure::usage("nothing was removed"));
    }
    Ok(())
}
