//! From what is on the disk to a running store. Recovery never deletes what it does not know.
//!
//! The steps: take stock of the backing files; open the index, or save what can be saved of a
//! damaged one; replay the journal onto it; check rows against backing files; make all of that
//! durable, and only then remove what is no longer needed; load what the core starts from.

mod check;
mod lost;
mod rescue;

use crate::content::Content;
use crate::index::{self, OpenError, Writer, meta};
use crate::journal::{self, Damage, Journal, Replay};
use crate::layout::{self, LastStop, Layout};
use crate::{Error, Options, platform};
use fs_core::{Change, Hold, Ino, Recovered, Rev, Seq};
use lost::LostFound;
use rusqlite::{Connection, ErrorCode};
use std::collections::BTreeSet;
use std::collections::hash_map::{Entry, HashMap};
use std::io::{Error as IoError, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

/// What recovery hands over.
pub(crate) struct Started {
    pub(crate) content: Content,
    pub(crate) writer: Writer,
    pub(crate) journal: Arc<Journal>,
    pub(crate) recovered: Recovered,
    /// What people should know: damage, and what was done about it.
    pub(crate) notices: Vec<String>,
}

/// What the steps share.
struct Recovery<'a> {
    layout: &'a Layout,
    stop: LastStop,
    content: Content,
    lost: LostFound,
    notices: Vec<String>,
    repairs: Vec<Change>,
    /// Backing files were written or cut.
    changed: bool,
}

/// Repairs that are reported one by one; more are only counted.
const REPAIRS_MAX: usize = 1_000;
/// Batches of the journal that are applied in one transaction.
const GROUP_MAX: usize = 10_000;

pub(crate) fn start(layout: &Layout, options: &Options) -> Result<Started, Error> {
    let boot = options.boot_id.clone().or_else(platform::boot_id);
    let stop = layout::last_stop(layout, boot.as_deref())?;
    if stop == LastStop::Clean {
        // Before anything changes: from now on a crash is an unclean stop.
        layout::mark_running(layout, boot.as_deref())?;
    }
    let asked = std::fs::read_to_string(layout.rebuild()).ok();
    let started = match attempt(layout, options, stop, asked) {
        // What no check of whole pages finds: rows that make no sense.
        Err(Error::Corrupt(text)) => attempt(layout, options, stop, Some(text))?,
        result => result?,
    };
    layout::mark_running(layout, boot.as_deref())?;
    layout::forget_rebuild(layout)?;
    Ok(started)
}

/// All steps. With `damage`, the index is made anew whatever it looks like.
fn attempt(
    layout: &Layout,
    options: &Options,
    stop: LastStop,
    damage: Option<String>,
) -> Result<Started, Error> {
    let (content, strange) = Content::survey(layout.content(), stop == LastStop::Clean)?;
    let lost = LostFound::new(layout.lost());
    let mut recovery = Recovery {
        layout,
        stop,
        content,
        lost,
        notices: Vec::new(),
        repairs: Vec::new(),
        changed: false,
    };
    let (writer, last) = recovery.run(damage, strange)?;
    let recovered = load(&writer, last, recovery.repairs)?;
    let dir = layout.journal();
    let journal = Journal::create(dir.clone(), last, options.segment_bytes);
    let journal = Arc::new(journal.map_err(|error| Error::io(&dir, error))?);
    let (content, notices) = (recovery.content, recovery.notices);
    content.attach(&journal);
    Ok(Started { content, writer, journal, recovered, notices })
}

impl Recovery<'_> {
    /// Everything up to a sound, durable index. Returns it with the last batch it has.
    fn run(
        &mut self,
        damage: Option<String>,
        strange: Vec<PathBuf>,
    ) -> Result<(Writer, u64), Error> {
        let path = self.layout.index();
        let sql = |error: rusqlite::Error| Error::sql(&path, &error);
        let (conn, applied) = self.open_index(damage)?;
        let mut writer = Writer::new(conn).map_err(sql)?;
        let replayed = self.replay(&mut writer, applied)?;
        if applied.is_none() && replayed.last > 0 || self.lost.has_index() {
            rescue::prune(&writer.conn, &mut self.notices).map_err(sql)?;
        }
        self.restore_small(&writer.conn, &replayed)?;
        let touched = replayed.damage.as_ref().map(|damage| &damage.touched);
        self.keep_touched(&writer.conn, touched)?;
        let unknown = self.check_content(&writer.conn)?;
        if self.changed {
            // The segments that had small writes are about to go. And what a file was cut by must not
            // come back when power is lost again, under bytes that are written later.
            self.content.sync_all()?;
        }
        let highest = self.content.inos().last().map_or(0, |ino| ino.0);
        writer.raise_last_ino(highest).map_err(sql)?;
        index::set_meta(&writer.conn, meta::APPLIED, replayed.last).map_err(sql)?;
        writer.barrier().map_err(sql)?;
        self.bury(&mut writer)?;
        self.move_unknown(unknown, strange)?;
        self.clear_journal(replayed.segments, replayed.damage)?;
        Ok((writer, replayed.last))
    }

    /// Opens the index. `None` beside it: it is new, and the journal's first batch may be any.
    fn open_index(&mut self, damage: Option<String>) -> Result<(Connection, Option<u64>), Error> {
        let path = self.layout.index();
        let existed = path.exists();
        if let Some(damage) = damage.filter(|_| existed) {
            return self.rebuild_index(&damage).map(|conn| (conn, None));
        }
        let damage = match index::open(&path) {
            Ok(conn) => match self.look_through(&conn) {
                Ok(None) => {
                    let applied = index::get_meta(&conn, meta::APPLIED);
                    let applied = applied.map_err(|error| Error::sql(&path, &error))?;
                    if applied.is_none() {
                        self.note_missing(existed);
                    }
                    return Ok((conn, applied));
                }
                Ok(Some(damage)) => damage,
                Err(error) if is_damage(&error) => error.to_string(),
                Err(error) => return Err(Error::sql(&path, &error)),
            },
            Err(OpenError::Sql(error)) if is_damage(&error) => error.to_string(),
            Err(OpenError::Sql(error)) => return Err(Error::sql(&path, &error)),
            Err(error) => {
                let source = IoError::new(ErrorKind::InvalidData, error.to_string());
                return Err(Error::io(&path, source));
            }
        };
        self.rebuild_index(&damage).map(|conn| (conn, None))
    }

    fn look_through(&self, conn: &Connection) -> rusqlite::Result<Option<String>> {
        match self.stop {
            LastStop::Clean => Ok(None),
            // SQLite files do not suffer from a killed process, but from its neighbours they may.
            LastStop::Killed | LastStop::PowerLoss => index::quick_check(conn),
        }
    }

    /// An index that knows nothing is right for a new store only.
    fn note_missing(&mut self, existed: bool) {
        let files = self.content.inos().len();
        let journal =
            std::fs::read_dir(self.layout.journal()).is_ok_and(|mut dir| dir.next().is_some());
        if files == 0 && !journal {
            return;
        }
        self.lost.set_has_index();
        self.notice(format!(
            "{}: the index is {}; a new one was made. The tree is read again from the cloud; \
             {files} backing files are matched with what the journal knows, the others go to lost+found",
            self.layout.index().display(),
            if existed { "empty" } else { "missing" },
        ));
    }

    /// Moves the damaged index aside and makes a new one from the rows of it that matter.
    fn rebuild_index(&mut self, damage: &str) -> Result<Connection, Error> {
        let path = self.layout.index();
        let kept = self.lost.keep_index(&path)?;
        self.notice(format!(
            "{}: the index is damaged ({damage}). It is kept as {}; a new one was made. The tree \
             is read again from the cloud, unsent changes are carried over where they can be read",
            path.display(),
            kept.display(),
        ));
        let conn = index::open(&path).map_err(|error| match error {
            OpenError::Sql(error) => Error::sql(&path, &error),
            error => Error::Corrupt(format!("{}: {error}", path.display())),
        })?;
        let saved = rescue::read(&kept);
        self.notice(format!("{}: {}", kept.display(), saved.summary()));
        saved.write(&conn).map_err(|error| Error::sql(&path, &error))?;
        Ok(conn)
    }

    fn replay(&mut self, writer: &mut Writer, applied: Option<u64>) -> Result<Replay, Error> {
        let path = self.layout.index();
        let content = &self.content;
        let mut group = Vec::new();
        let mut flush = |group: &mut Vec<Vec<Change>>, seq: u64| {
            let applied = writer.apply(group.iter().map(Vec::as_slice), seq, content);
            group.clear();
            applied.map(drop).map_err(|error| Error::sql(&path, &error))
        };
        let power_loss = self.stop == LastStop::PowerLoss;
        let dir = self.layout.journal();
        let replay = journal::replay(&dir, applied, power_loss, &mut |seq, batch| {
            group.push(batch);
            if group.len() < GROUP_MAX { Ok(()) } else { flush(&mut group, seq) }
        })?;
        if !group.is_empty() {
            flush(&mut group, replay.last)?;
        }
        if let Some(damage) = &replay.damage {
            self.notice(damage.text.clone());
        }
        Ok(replay)
    }

    /// Writes small writes to the backing files of those whose bytes count: other files were dropped
    /// since. After damage nobody knows which; what no row knows goes to lost+found then.
    fn restore_small(&mut self, conn: &Connection, replayed: &Replay) -> Result<(), Error> {
        let damaged = replayed.damage.is_some() || self.lost.has_index();
        let mut known = HashMap::new();
        for part in &replayed.parts {
            let known = match known.entry(part.ino) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(unknown) => {
                    let row = index::content_of(conn, Ino(part.ino));
                    let row = row.map_err(|error| Error::sql(&self.layout.index(), &error))?;
                    *unknown.insert(row.is_some() || damaged)
                }
            };
            if known {
                self.content.restore(part)?;
            }
        }
        self.changed |= !replayed.parts.is_empty();
        Ok(())
    }

    /// Files that lost batches speak of: their bytes are kept as they are now, and what is clean in
    /// them is no longer trusted, since it may have been overwritten.
    fn keep_touched(
        &mut self,
        conn: &Connection,
        touched: Option<&BTreeSet<Ino>>,
    ) -> Result<(), Error> {
        for &ino in touched.into_iter().flatten() {
            let sql = |error: rusqlite::Error| Error::sql(&self.layout.index(), &error);
            let node = index::node_of(conn, ino).map_err(sql)?;
            let row = index::content_of(conn, ino).map_err(sql)?;
            let (Some(mut row), true) = (row, self.content.exists(ino)) else { continue };
            let reason = format!("inode {}: changes of it were lost with the journal", ino.0);
            self.lost.copy(&self.content.path(ino), &reason)?;
            row.valid = fs_core::Ranges::new();
            self.distrust(conn, node.as_ref(), row)?;
        }
        Ok(())
    }

    /// Removes the segments, which the index has durably now; keeps them if some of it was lost.
    fn clear_journal(&self, segments: Vec<PathBuf>, damage: Option<Damage>) -> Result<(), Error> {
        for segment in segments {
            if damage.is_some() {
                self.lost.keep(&segment, "a segment of a damaged journal")?;
            } else {
                std::fs::remove_file(&segment).map_err(|error| Error::io(&segment, error))?;
            }
        }
        // One that came back after power loss would be replayed over later bytes.
        let dir = self.layout.journal();
        platform::sync_dir(&dir).map_err(|error| Error::io(&dir, error))
    }

    fn notice(&mut self, text: String) {
        tracing::error!("{text}");
        self.notices.push(text);
    }

    /// Makes a change that recovery needs, and remembers it.
    fn repair(&mut self, conn: &Connection, change: Change) -> Result<(), Error> {
        let done = match &change {
            Change::PutContent(row) => index::put_content(conn, row),
            Change::DropContent(ino) => index::delete_content(conn, *ino),
            Change::PutNode(node) => index::put_node(conn, node),
            _ => Ok(()),
        };
        done.map_err(|error| Error::sql(&self.layout.index(), &error))?;
        if self.repairs.len() < REPAIRS_MAX {
            self.repairs.push(change);
        }
        Ok(())
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        // A table that is not there, in a file whose version says that it is.
        || matches!(code, Some(ErrorCode::Unknown))
        || matches!(error, rusqlite::Error::FromSqlConversionFailure(..))
        || matches!(error, rusqlite::Error::InvalidColumnType(..))
        || matches!(error, rusqlite::Error::QueryReturnedNoRows)
}

/// What the core starts from.
fn load(writer: &Writer, last: u64, repairs: Vec<Change>) -> Result<Recovered, Error> {
    let conn = &writer.conn;
    let load = || {
        let mut inos = vec![Ino::ROOT];
        inos.extend(index::hot_nodes(conn)?);
        inos.extend(index::all_content(conn)?.into_iter().map(|row| row.ino));
        let number = |name| Ok::<_, rusqlite::Error>(index::get_meta(conn, name)?.unwrap_or(0));
        Ok(Recovered {
            cursor: Rev(number(meta::CURSOR)?),
            epoch: number(meta::EPOCH)?,
            complete: number(meta::COMPLETE)? != 0,
            acls: number(meta::ACLS)? != 0,
            rows: index::load_with_ancestors(conn, &inos)?,
            flights: index::flights(conn)?,
            last_ino: Ino(writer.last_ino()),
            nodes: index::node_count(conn)?,
            held: Hold::from_bits(number(meta::HELD)?),
            last_seq: Seq(last),
            repairs,
        })
    };
    load().map_err(|error: rusqlite::Error| {
        let path = conn.path().unwrap_or("index.sqlite");
        Error::sql(std::path::Path::new(path), &error)
    })
}
