//! Takes what is not in the cloud out of a drive that nobody serves, into a plain folder, and only then
//! out of the drive ([ADR 27](../../../docs/adr/0027-what-is-taken-out-of-a-drive.md)).
//!
//! First everything is written beside its final place and synced, then it is named in one step, then the
//! local state forgets it in one transaction. Whenever that ends halfway, it can be begun anew.

mod attributes;
mod folder;
mod notes;
mod source;
mod view;

use crate::{
    dirs::{Dirs, Label, private_dir},
    failure::{Attempt, Failure, Outcome},
    render::{progress::Line, text},
};
use cache::{DiskStore, LocalStore};
use folder::Folder;
use notes::Notes;
pub(crate) use source::Source;
use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};
use view::{Change, View};

/// Where things are written before they are whole: nothing of it counts, since the drive still has it all.
const UNFINISHED: &str = ".unfinished";
/// Tries to find a free name.
const NAMES_MAX: u32 = 1_000;

/// What was taken out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Taken {
    /// Where it is; `None` when there was nothing but changes of names and the like.
    pub(crate) folder: Option<PathBuf>,
    /// The text that says what else was changed.
    pub(crate) notes: PathBuf,
    /// Files whose content was written, their bytes, and those of them that are not whole.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) parts: u64,
    /// Changes that have no content.
    pub(crate) others: u64,
}

/// Takes everything out of a drive whose locks the caller has. `None`: there was nothing.
///
/// # Errors
/// Whatever keeps a part of it from being read or written, above all a full disk: then the drive still has
/// all of it.
pub(crate) async fn take_out(
    dirs: &Dirs,
    label: &Label,
    source: Source,
    line: &Line,
) -> Outcome<Option<Taken>> {
    let state = dirs.drive_state(label);
    let disk = DiskStore::open(&state, cache::Options::default())
        .attempt(|| format!("cannot open the local state in {}", state.display()))?;
    let unread = || format!("cannot read the local state in {}", state.display());
    let view = View::read(&disk).attempt(unread)?;
    let taken = match view.is_empty() {
        true => None,
        false => Some(
            save(dirs, label, &view, (&disk, source), line)
                .await
                .map_err(|failure| failure.context(stays(label)))?,
        ),
    };
    disk.shutdown().attempt(unread)?;
    if taken.is_some() {
        disk.forget_pending().attempt(|| {
            format!("all is saved, but {} cannot let go of it: take it out again", state.display())
        })?;
    }
    Ok(taken)
}

fn stays(label: &Label) -> String {
    format!("nothing was taken out of {label}: its changes stay on this device")
}

/// Writes everything, durably, and names it.
async fn save(
    dirs: &Dirs,
    label: &Label,
    view: &View,
    (local, source): (&dyn LocalStore, Source),
    line: &Line,
) -> Outcome<Taken> {
    let home = dirs.recovered(label);
    private_dir(&home)?;
    let draft = home.join(UNFINISHED);
    clear(&draft)?;
    private_dir(&draft)?;
    let written = write(&draft, label, view, (local, source), line).await;
    let (mut taken, notes) = match written {
        Ok(written) => written,
        Err(failure) => {
            // Its room may be what is missing.
            let _ = clear(&draft);
            return Err(failure);
        }
    };
    let time = text::time(i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(0));
    let name = free_name(&home, &time.replace(':', "."))?;
    taken.notes = home.join(format!("{name}.txt"));
    let folder = home.join(&name);
    let finish = || {
        let is_empty = fs::read_dir(&draft)?.next().is_none();
        let text = notes.text(label, &time, &taken);
        let mut file = File::create_new(&taken.notes)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_all()?;
        if is_empty {
            fs::remove_dir(&draft)?
        } else {
            fs::rename(&draft, &folder)?
        }
        sync_above(&home)?;
        Ok::<_, io::Error>(is_empty)
    };
    let is_empty = finish().attempt(|| format!("cannot write {}", folder.display()))?;
    taken.folder = (!is_empty).then_some(folder);
    Ok(taken)
}

async fn write(
    draft: &Path,
    label: &Label,
    view: &View,
    (local, mut source): (&dyn LocalStore, Source),
    line: &Line,
) -> Outcome<(Taken, Notes)> {
    let mut folder = Folder::new(draft, local);
    let mut notes = Notes::default();
    let mut taken = Taken::default();
    for change in view.changes() {
        match change {
            Change::Note(note) => {
                taken.others += 1;
                notes.add(note);
                continue;
            }
            Change::Node { node, content, place } => {
                let put = folder.put(node, content, place, &mut source).await;
                let put = put.map_err(|failure| {
                    failure.context(format!("cannot save {}", view.shown_path(node)))
                })?;
                taken.files += u64::from(put.is_file);
                taken.bytes += put.bytes;
                taken.parts += u64::from(put.is_part);
                notes.extend(put.notes);
            }
            Change::Name { node, target } => {
                notes.extend(folder.link(node, view.place(node), target, view)?);
                taken.others += 1;
            }
        }
        let files = text::count(taken.files, "file", "files");
        line.say(format!("{label}: {files}, {} saved", text::size(taken.bytes)));
    }
    line.say(format!("{label}: waiting for the disk"));
    folder.finish()?;
    Ok((taken, notes))
}

/// Removes what an earlier run did not finish.
fn clear(draft: &Path) -> Outcome {
    match fs::remove_dir_all(draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).attempt(|| format!("cannot remove the unfinished {}", draft.display()))
        }
        _ => Ok(()),
    }
}

/// A name that neither a folder nor a text has.
fn free_name(home: &Path, name: &str) -> Outcome<String> {
    let is_free = |name: &String| {
        let text = home.join(format!("{name}.txt"));
        [home.join(name), text].iter().all(|path| fs::symlink_metadata(path).is_err())
    };
    let numbered = (2..NAMES_MAX).map(|number| format!("{name}-{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(is_free).ok_or_else(|| {
        Failure::general(format!("no free name for it in {}", home.display()))
            .hint("look through that folder and move what is in it elsewhere")
    })
}

/// Syncs a folder, and those above it that may have been made for it.
fn sync_above(folder: &Path) -> io::Result<()> {
    const LEVELS: usize = 3;
    folder.ancestors().take(LEVELS).try_for_each(|above| File::open(above)?.sync_all())
}
