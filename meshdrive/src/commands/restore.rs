//! `meshdrive restore`

use super::App;
use crate::{
    client::{Control, locate},
    dirs::Dirs,
    failure::{Failure, Outcome},
    render::{self, table, text},
    system,
};
use protocol::control::{Reply, Request, TrashItem, Untrash};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meshdrive restore report.odt --version 41       make version 41 the current content
  meshdrive restore --trash                       list the trash
  meshdrive restore --trash old/report.odt        bring it back to where it was
  meshdrive restore --trash 018f... --to new.odt  bring it back elsewhere")]
pub(crate) struct Args {
    /// A file in a mounted drive; with --trash: what to bring back, by its old path or its id
    #[arg(value_name = "PATH", required_unless_present = "trash")]
    path: Option<PathBuf>,
    /// The version to go back to, as `versions` lists them
    #[arg(
        long,
        value_name = "VERSION",
        required_unless_present = "trash",
        conflicts_with = "trash"
    )]
    version: Option<u64>,
    /// List the trash, or bring something back from it
    #[arg(long)]
    trash: bool,
    /// Bring it back to this path of the drive instead of where it was
    #[arg(long, value_name = "PATH", requires_all = ["trash", "path"])]
    to: Option<PathBuf>,
    /// Bring a folder back without what was removed from it
    #[arg(long, requires_all = ["trash", "path"])]
    only: bool,
    /// The drive, with --trash [default: the only mounted one]
    #[arg(long, value_name = "DRIVE", requires = "trash")]
    drive: Option<OsString>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    /// The list of the trash.
    pub(super) fn list(drive: Option<OsString>, json: bool) -> Args {
        Args { path: None, version: None, trash: true, to: None, only: false, drive, json }
    }

    /// Something from the trash.
    pub(super) fn bring_back(
        path: PathBuf,
        to: Option<PathBuf>,
        only: bool,
        (drive, json): (Option<OsString>, bool),
    ) -> Args {
        Args { path: Some(path), version: None, trash: true, to, only, drive, json }
    }
}

pub(crate) async fn run(app: &App, args: Args) -> Outcome {
    match (&args.path, args.version) {
        (Some(path), Some(rev)) => version(app, path, rev).await,
        (path, _) => trash(app, &args, path.as_deref()).await,
    }
}

async fn version(app: &App, path: &Path, rev: u64) -> Outcome {
    let place = locate::path(&app.dirs, path)?;
    let control = Control::new(&app.dirs, &place.label)?;
    control.ask(Request::Restore { path: place.path, rev }).await?;
    render::talk(format!("{} has the content of version {rev} again.", path.display()));
    Ok(())
}

async fn trash(app: &App, args: &Args, wanted: Option<&Path>) -> Outcome {
    let label = match (&args.drive, wanted) {
        (Some(drive), _) => locate::drive(&app.dirs, drive)?,
        (None, Some(path)) if path.is_absolute() => locate::path(&app.dirs, path)?.label,
        (None, _) => locate::only(&app.dirs)?,
    };
    let control = Control::new(&app.dirs, &label)?;
    let items: Vec<TrashItem> = match control.ask(Request::Trash).await? {
        Reply::Trash(items) => items,
        other => return Err(control.unexpected(&other)),
    };
    let Some(wanted) = wanted else {
        return list(&items, args.json);
    };
    let item = find(&app.dirs, &items, wanted)?;
    let to = args.to.as_deref().map(|to| locate::path(&app.dirs, to)).transpose()?;
    if to.as_ref().is_some_and(|to| to.label != label) {
        return Err(Failure::usage("--to names a path in another drive")
            .hint("bring it back in its own drive, then move it"));
    }
    let ask = Untrash { id: item.id.clone(), to: to.map(|to| to.path), only: args.only };
    let restored = match control.ask(Request::Untrash(ask)).await? {
        Reply::Restored(paths) => paths,
        other => return Err(control.unexpected(&other)),
    };
    if args.json {
        return render::json(&restored);
    }
    for path in &restored {
        render::data(text::path(path))?;
    }
    let count = text::count(restored.len() as u64, "file or folder", "files and folders");
    render::talk(format!("Restored {count}."));
    Ok(())
}

fn list(items: &[TrashItem], json: bool) -> Outcome {
    if json {
        return render::json(&items);
    }
    if items.is_empty() {
        render::talk("The trash is empty.");
        return Ok(());
    }
    let row = |item: &TrashItem| {
        let size = if item.dir { "-".into() } else { text::size(item.size) };
        let slash = if item.dir { "/" } else { "" };
        let path = format!("{}{slash}", text::path(&item.path));
        [item.id.clone(), size, text::time(item.modified_ns), path]
    };
    table::print(["ID", "SIZE", "CHANGED", "PATH"], &items.iter().map(row).collect::<Vec<_>>())
}

/// By id, else by path; the newest wins, as the list is newest first.
fn find<'a>(dirs: &Dirs, items: &'a [TrashItem], wanted: &Path) -> Outcome<&'a TrashItem> {
    let name = system::below(wanted.as_os_str());
    let name = name.as_bytes();
    let below = if wanted.is_absolute() { Some(locate::path(dirs, wanted)?.path) } else { None };
    let path = below.as_ref().map_or(name, |path| path.as_bytes());
    items
        .iter()
        .find(|item| item.id.as_bytes() == name)
        .or_else(|| items.iter().find(|item| item.path.as_bytes() == path))
        .ok_or_else(|| {
            Failure::general(format!("{} is not in the trash", wanted.display()))
                .hint("`meshdrive restore --trash` lists what is; name it by its path in the drive or its id")
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::control::PathText;

    fn item(id: &str, path: &str) -> TrashItem {
        TrashItem {
            id: id.into(),
            path: PathText::Text(path.into()),
            dir: false,
            size: 1,
            modified_ns: 0,
            removed_rev: 1,
        }
    }

    #[test]
    fn the_newest_of_a_path_is_found_first_and_any_by_id() {
        let dirs = Dirs::new(Some(Path::new("/h"))).unwrap();
        let items = [item("aa", "x/y"), item("bb", "x/y")];
        assert_eq!(find(&dirs, &items, Path::new("x/y")).unwrap().id, "aa");
        assert_eq!(find(&dirs, &items, Path::new("bb")).unwrap().id, "bb");
        assert!(find(&dirs, &items, Path::new("y")).is_err());
    }
}
