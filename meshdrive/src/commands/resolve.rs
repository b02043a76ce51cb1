//! `meshdrive resolve`

use super::App;
use crate::{
    client::{Control, locate},
    failure::{Attempt, Failure, Kind, Outcome},
    mounts,
    render::{self, text},
    system,
};
use protocol::control::{Keep, MergeBase, PathText, Reply, Request};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Choice {
    /// This device's side; on a device that made neither, what has the file's name
    Mine,
    /// The other side
    Theirs,
    /// Both, as two files
    Both,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is destroyed: the side that gives way stays a version of the file (`meshdrive versions`) or is \
in the trash (`meshdrive restore --trash`).

Examples:
  meshdrive resolve report.txt --keep mine   report.txt has one conflict copy
  meshdrive resolve 'report (conflict, laptop, 2026-11-24 08.52.43).txt' --keep both
  meshdrive resolve report.txt --merge       both changes, where they do not overlap")]
pub(crate) struct Args {
    /// A conflict copy, or a file that has one
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Whose content the file shall have
    #[arg(long, value_enum, required_unless_present = "merge")]
    keep: Option<Choice>,
    /// Put the changes of both sides into the file, if it is text and they do not overlap
    #[arg(long, conflicts_with = "keep")]
    merge: bool,
}

pub(crate) async fn run(app: &App, args: Args) -> Outcome {
    let place = locate::path(&app.dirs, &args.path)?;
    let control = Control::new(&app.dirs, &place.label)?;
    let shown = args.path.display();
    let Some(choice) = args.keep else {
        return merge(app, &control, place.path).await;
    };
    let (keep, what) = match choice {
        Choice::Mine => (Keep::Mine, "this device's side is the file now"),
        Choice::Theirs => (Keep::Theirs, "the other side is the file now"),
        Choice::Both => (Keep::Both, "both stay, as two files"),
    };
    control.ask(Request::Resolve { path: place.path, keep }).await?;
    render::talk(format!("{shown}: {what}."));
    Ok(())
}

/// Merges through the mount, like any program would; then the copy goes to the trash.
async fn merge(app: &App, control: &Control, path: PathText) -> Outcome {
    let found = match control.ask(Request::MergeBase { path }).await? {
        Reply::MergeBase(found) => found,
        other => return Err(control.unexpected(&other)),
    };
    let root = mounts::of(&app.dirs, control.label())?
        .ok_or_else(|| crate::client::not_mounted(control.label()))?;
    let at = |path: &PathText| root.join(system::path_below(path));
    let (file, copy) = (at(&found.file), at(&found.copy));
    let merged = three_ways(&found, &read(&file)?, &read(&copy)?)?;
    overwrite(&file, merged.as_bytes())?;
    // The file has both now; what it had before is one of its versions.
    let theirs = Request::Resolve {
        path: found.copy.clone(),
        keep: keeping_the_file(control, &found).await?,
    };
    control.ask(theirs).await?;
    render::talk(format!("{} has the changes of both sides.", text::path(&found.file)));
    Ok(())
}

/// The choice that keeps the file: whose it is depends on the device.
async fn keeping_the_file(control: &Control, found: &MergeBase) -> Outcome<Keep> {
    let Reply::Conflicts(open) = control.ask(Request::Conflicts).await? else {
        return Ok(Keep::Theirs);
    };
    let conflict = open.iter().find(|conflict| conflict.copy.path == found.copy);
    let copy_is_mine = conflict.is_some_and(|conflict| conflict.copy_is_mine);
    Ok(if copy_is_mine { Keep::Theirs } else { Keep::Mine })
}

fn read(path: &Path) -> Outcome<String> {
    let bytes = fs::read(path).attempt(|| format!("cannot read {}", path.display()))?;
    String::from_utf8(bytes).map_err(|_| not_merged(format!("{} is not text", path.display())))
}

fn three_ways(found: &MergeBase, file: &str, copy: &str) -> Outcome<String> {
    diffy::merge(&found.base, file, copy).map_err(|_| {
        not_merged(format!("both sides changed the same lines of {}", text::path(&found.file)))
    })
}

fn not_merged(why: String) -> Failure {
    Failure::new(Kind::General, why).hint(
        "nothing was changed; compare the two files, then decide with --keep mine, theirs or both",
    )
}

/// In place: owner, mode and attributes stay as they are.
fn overwrite(path: &Path, bytes: &[u8]) -> Outcome {
    let what = || format!("cannot write {}", path.display());
    let mut file = File::options().write(true).open(path).attempt(what)?;
    file.write_all(bytes).attempt(what)?;
    file.set_len(bytes.len() as u64).attempt(what)?;
    file.flush().attempt(what)?;
    file.sync_all().attempt(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(base: &str) -> MergeBase {
        let path = |text: &str| PathText::Text(text.into());
        MergeBase { copy: path("copy"), file: path("file"), base: base.into() }
    }

    #[test]
    fn changes_apart_are_merged() {
        let base = "one\ntwo\nthree\nfour\nfive\n";
        let merged = three_ways(
            &found(base),
            "ONE\ntwo\nthree\nfour\nfive\n",
            "one\ntwo\nthree\nfour\nFIVE\n",
        );
        assert_eq!(merged.unwrap(), "ONE\ntwo\nthree\nfour\nFIVE\n");
    }

    #[test]
    fn changes_of_one_line_are_not() {
        let merged = three_ways(&found("one\n"), "ONE\n", "eins\n");
        assert!(merged.unwrap_err().render().contains("the same lines"));
    }
}
