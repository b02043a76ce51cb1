//! A model of the local store: rows behind a journal, and backing files.

use bytes::Bytes;
use fs_core::{
    Change, ContentRow, Flight, FsError, Ino, Kind, Loaded, Local, Measure, NodeId, NodeRow,
    Outcome, Pending, Range, Ranges, Recovered, Rev, Seq, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// Rows as a sequence of batches makes them.
#[derive(Clone, Default)]
struct Rows {
    nodes: BTreeMap<Ino, NodeRow>,
    contents: BTreeMap<Ino, ContentRow>,
    flights: Vec<Flight>,
    cursor: Rev,
    epoch: u64,
    complete: bool,
    last_ino: Ino,
}

impl Rows {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::PutNode(row) => {
                self.last_ino = self.last_ino.max(row.ino);
                self.nodes.insert(row.ino, (**row).clone());
            }
            Change::DropNode(ino) => {
                self.nodes.remove(ino);
                self.contents.remove(ino);
            }
            Change::PutContent(row) => {
                self.contents.insert(row.ino, (**row).clone());
            }
            Change::DropContent(ino) => {
                self.contents.remove(ino);
            }
            Change::Wrote { ino, range, size, mtime } => {
                let row = self.content(*ino);
                row.valid.remove(*range);
                row.dirty.insert(*range);
                if let Some(node) = self.nodes.get_mut(ino) {
                    node.size = *size;
                    node.attrs.mtime = *mtime;
                    node.attrs.ctime = *mtime;
                }
            }
            Change::Filled { ino, range } => {
                let row = self.content(*ino);
                for gap in row.dirty.gaps(*range) {
                    row.valid.insert(gap);
                }
            }
            Change::Cursor { rev, epoch } => {
                self.cursor = *rev;
                self.epoch = *epoch;
            }
            Change::Complete => self.complete = true,
            Change::PutFlight(flight) => self.flights.push((**flight).clone()),
            Change::DropFlight(request) => self.flights.retain(|f| f.request != *request),
        }
    }

    fn content(&mut self, ino: Ino) -> &mut ContentRow {
        self.contents.entry(ino).or_insert_with(|| ContentRow { ino, ..ContentRow::default() })
    }

    fn loaded(&self, ino: Ino) -> Option<Loaded> {
        let node = self.nodes.get(&ino)?.clone();
        Some(Loaded { node, content: self.contents.get(&ino).cloned() })
    }

    /// The nodes and all that lie above them.
    fn with_ancestors(&self, start: impl IntoIterator<Item = Ino>) -> Vec<Loaded> {
        let mut wanted = BTreeSet::new();
        for ino in start {
            let mut at = ino;
            while let Some(row) = self.nodes.get(&at) {
                if !wanted.insert(at) || row.parent == Ino::NONE {
                    break;
                }
                at = row.parent;
            }
        }
        wanted.into_iter().filter_map(|ino| self.loaded(ino)).collect()
    }
}

#[derive(Default)]
pub(crate) struct Disk {
    /// What survives `kill -9`.
    durable: Rows,
    /// Queued but not journalled yet.
    queued: Vec<(Seq, Vec<Change>)>,
    /// What reads see: everything queued.
    visible: Rows,
    journalled: Seq,
    files: BTreeMap<Ino, Vec<u8>>,
    /// When each file was last written, in writes to this disk.
    stamps: BTreeMap<Ino, (i64, i64)>,
    clock: i64,
}

impl Disk {
    pub(crate) fn queue(&mut self, seq: Seq, batch: Vec<Change>) {
        for change in &batch {
            self.visible.apply(change);
        }
        self.queued.push((seq, batch));
    }

    pub(crate) fn journal(&mut self, upto: Seq) {
        while self.queued.first().is_some_and(|(seq, _)| *seq <= upto) {
            let (seq, batch) = self.queued.remove(0);
            batch.iter().for_each(|change| self.durable.apply(change));
            self.journalled = seq;
        }
    }

    /// kill -9: what was only queued is gone; every byte written to a file is there.
    pub(crate) fn crash(&mut self) -> Recovered {
        self.queued.clear();
        self.recover_unseen();
        self.visible = self.durable.clone();
        let rows = &self.durable;
        for (ino, file) in &mut self.files {
            // Recovery cuts a backing file to the length that its row has.
            if let Some(node) = rows.nodes.get(ino) {
                file.truncate(node.size as usize);
            }
        }
        self.files.retain(|ino, _| rows.nodes.contains_key(ino));
        let needed = rows.nodes.values().filter(|row| {
            let cached = rows.contents.contains_key(&row.ino);
            row.ino == Ino::ROOT
                || !row.pending.is_none()
                || row.pinned
                || row.gone
                || row.kind == Kind::Link
                || row.parent == Ino::NONE
                || cached
        });
        let needed: Vec<Ino> = needed.map(|row| row.ino).collect();
        Recovered {
            cursor: rows.cursor,
            epoch: rows.epoch,
            complete: rows.complete,
            acls: false,
            rows: rows.with_ancestors(needed),
            flights: rows.flights.clone(),
            last_ino: rows.last_ino,
            last_seq: self.journalled,
            repairs: Vec::new(),
        }
    }

    /// What may have been written unseen is dirty, all of it, as long as the backing file is.
    fn recover_unseen(&mut self) {
        let marked = self.durable.contents.values_mut().filter(|row| row.blind);
        for row in marked {
            let Some(node) = self.durable.nodes.get_mut(&row.ino) else { continue };
            let len = self.files.get(&row.ino).map_or(0, Vec::len) as u64;
            row.valid = Ranges::new();
            row.dirty = [Range::new(0, len)].into_iter().collect();
            row.base_len = row.base_len.min(len);
            node.size = len;
            node.attrs.ctime.0 += 1;
            if node.parent != Ino::NONE && !node.pending.has(Pending::CREATE) {
                node.pending = node.pending.with(Pending::CONTENT);
            }
        }
    }

    /// A write that goes past the drive.
    pub(crate) fn write_unseen(&mut self, ino: Ino, offset: u64, data: &[u8]) {
        self.write(ino, offset, data);
    }

    /// The length of a backing file, if there is one.
    pub(crate) fn len(&self, ino: Ino) -> Option<u64> {
        self.files.get(&ino).map(|file| file.len() as u64)
    }

    fn touch(&mut self, ino: Ino) {
        self.clock += 1;
        self.stamps.insert(ino, (self.clock, self.clock));
    }

    fn measure(&self, ino: Ino) -> Measure {
        let size = self.len(ino).unwrap_or(0);
        let (mtime, ctime) = self.stamps.get(&ino).copied().unwrap_or((0, 0));
        Measure { size, mtime: Timestamp(mtime), ctime: Timestamp(ctime), writers: false }
    }

    /// Rows for a load, as they are now (the answer may arrive much later).
    pub(crate) fn rows(&self, effect: &Local) -> Option<Vec<Loaded>> {
        let rows = &self.visible;
        match effect {
            Local::LoadDir(dir) => {
                let children = rows.nodes.values().filter(|row| row.parent == *dir);
                let mut inos: Vec<Ino> = children.map(|row| row.ino).collect();
                inos.push(*dir);
                Some(inos.into_iter().filter_map(|ino| rows.loaded(ino)).collect())
            }
            Local::LoadNode(ino) => Some(rows.with_ancestors([*ino])),
            Local::LoadIds(ids) => {
                let ids: BTreeSet<&NodeId> = ids.iter().collect();
                let found = rows.nodes.values().filter(|row| ids.contains(&row.id));
                Some(rows.with_ancestors(found.map(|row| row.ino).collect::<Vec<_>>()))
            }
            _ => None,
        }
    }

    /// Does the work of an effect on bytes.
    pub(crate) fn perform(&mut self, effect: &Local) -> Outcome {
        match effect {
            Local::Read { ino, range } => Outcome::Bytes(Ok(Bytes::from(self.read(*ino, *range)))),
            Local::Write { ino, offset, data, after, .. } => {
                self.journal(*after);
                self.write(*ino, *offset, data)
            }
            Local::Fill { ino, offset, data } => self.write(*ino, *offset, data),
            Local::Truncate { ino, size, after } => {
                self.journal(*after);
                self.touch(*ino);
                self.files.entry(*ino).or_default().resize(*size as usize, 0);
                Outcome::Local(Ok(()))
            }
            Local::Copy { from, part, to, offset, after } => {
                self.journal(*after);
                let data = Bytes::from(self.read(*from, *part));
                self.write(*to, *offset, &data)
            }
            Local::Zero { ino, range, after } => {
                self.journal(*after);
                self.touch(*ino);
                let file = self.files.entry(*ino).or_default();
                file.resize(file.len().max(range.end as usize), 0);
                if let Some(part) = file.get_mut(range.start as usize..range.end as usize) {
                    part.fill(0);
                }
                Outcome::Local(Ok(()))
            }
            Local::Sync { upto, .. } => {
                self.journal(*upto);
                Outcome::Local(Ok(()))
            }
            Local::Measure { ino, begin, after, .. } => {
                self.journal(*after);
                if *begin {
                    self.files.entry(*ino).or_default();
                    self.clock += 1;
                    self.stamps.insert(*ino, (Measure::UNWRITTEN.0, self.clock));
                }
                Outcome::Measured(Ok(self.measure(*ino)))
            }
            Local::Evict { ino, after } => {
                self.journal(*after);
                self.files.remove(ino);
                Outcome::Local(Ok(()))
            }
            Local::LoadDir(_) | Local::LoadNode(_) | Local::LoadIds(_) => {
                Outcome::Rows(Err(FsError::Io))
            }
        }
    }

    pub(crate) fn read(&self, ino: Ino, range: Range) -> Vec<u8> {
        let empty = Vec::new();
        let file = self.files.get(&ino).unwrap_or(&empty);
        (range.start..range.end).map(|at| file.get(at as usize).copied().unwrap_or(0)).collect()
    }

    fn write(&mut self, ino: Ino, offset: u64, data: &[u8]) -> Outcome {
        self.touch(ino);
        let file = self.files.entry(ino).or_default();
        let end = offset as usize + data.len();
        if file.len() < end {
            file.resize(end, 0);
        }
        file[offset as usize..end].copy_from_slice(data);
        Outcome::Local(Ok(()))
    }
}
