//! Equal contents made on two devices are no conflict. Before news is applied, every file in it that
//! collides with a change made here and has the same length is compared, byte by byte.

use crate::drive::Drive;
use crate::jobs::Work;
use crate::merge::origin_of;
use crate::tree::Inode;
use crate::{
    Change, Cloud, CloudError, CloudErrorKind, ContentRef, ContentRow, Ino, Kind, NodeId, NodeRow,
    Pending, Range, Ranges, RemoteNode, Stale,
};
use alloc::{boxed::Box, vec::Vec};

/// Bytes of the longest file that is compared: the version must be fetched for it, and news waits.
const COMPARED_BYTES: u64 = 64 << 20;

/// Folders of one commit that lie in each other at most: the drive's own bound.
const TREE_DEPTH: u32 = 256;

/// A file here and the version that it may be equal to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Twin {
    ino: Ino,
    /// Of the bytes here, when they were read.
    generation: u64,
    version: ContentRef,
}

#[derive(Debug, Default)]
pub(crate) struct Twins {
    /// Being compared.
    asked: Option<Twin>,
    judged: Vec<(Twin, bool)>,
}

impl Twins {
    pub(crate) fn clear(&mut self) {
        self.judged.clear();
    }
}

impl Drive {
    /// A save by rename that news collides with is a change of the old file.
    pub(crate) fn adopt_saved(&mut self, nodes: &[RemoteNode]) {
        let away = Pending::TRASH.with(Pending::PLACE);
        for node in nodes.iter().filter(|node| node.kind == Kind::File) {
            let Some(inode) = self.tree.by_id(node.id).filter(|inode| inode.is_file()) else {
                continue;
            };
            let taker = inode.row.pending.has(away).then(|| self.taker(inode)).flatten();
            if let Some(taker) = taker {
                self.adopt_identity(taker);
            }
        }
    }

    /// Starts the next comparison that news needs. Says whether one is under way, or must wait.
    pub(crate) fn compare_twins(&mut self, nodes: &[RemoteNode]) -> bool {
        if self.inbox.twins.asked.is_some() {
            return true;
        }
        for node in nodes {
            let Some(twin) = self.possible_twin(node, nodes) else { continue };
            let is_judged =
                |(known, _): &(Twin, bool)| (known.ino, known.version) == (twin.ino, twin.version);
            if self.inbox.twins.judged.iter().any(is_judged) {
                continue;
            }
            if node.size == 0 {
                self.inbox.twins.judged.push((twin, true));
                continue;
            }
            if self.inbox.next_try().is_none() {
                self.inbox.twins.asked = Some(twin);
                let (ino, content, size) = (twin.ino, twin.version, node.size);
                self.cloud(Work::Same, Cloud::Same { ino, content, size });
            }
            return true;
        }
        false
    }

    pub(crate) fn compared(&mut self, result: Result<bool, CloudError>) {
        let Some(twin) = self.inbox.twins.asked.take() else { return };
        match result {
            Ok(same) => self.inbox.twins.judged.push((twin, same)),
            Err(error) => match error.kind {
                CloudErrorKind::Offline | CloudErrorKind::Retry => self.inbox.retry_later(self.now),
                _ => self.inbox.twins.judged.push((twin, false)), // then both are kept
            },
        }
    }

    /// The file here that collides with news and may be equal to it. `with`: news that comes with it.
    fn possible_twin(&self, remote: &RemoteNode, with: &[RemoteNode]) -> Option<Twin> {
        if !remote.live || remote.kind != Kind::File || remote.content_rev.0 == 0 {
            return None;
        }
        let inode = match self.tree.by_id(remote.id) {
            Some(inode) => {
                let edited = Pending::CONTENT;
                let barred = Pending::TRASH.with(Pending::CREATE);
                let row = &inode.row;
                let collides = row.pending.has(edited) && !row.pending.has(barred);
                Some(inode).filter(|_| collides && remote.content_rev > row.content_rev)?
            }
            None => self.made_here(remote, with)?,
        };
        let row = &inode.row;
        let size = row.size;
        let is_whole = inode.absent(Range::new(0, size)).is_empty() && !inode.is_changing();
        let is_known = is_whole && !self.passthrough.is_blind(row.ino);
        (row.kind == Kind::File && size == remote.size && size <= COMPARED_BYTES && is_known)
            .then_some(Twin {
                ino: row.ino,
                generation: inode.generation,
                version: ContentRef { id: remote.id, rev: remote.content_rev },
            })
    }

    /// The file that was made here under the name of one that the cloud has.
    fn made_here(&self, remote: &RemoteNode, with: &[RemoteNode]) -> Option<&Inode> {
        let dir = self.shown_folder(remote.parent, with, TREE_DEPTH)?;
        let inode = self.tree.child(dir, &remote.name)?;
        let id = inode.row.id;
        // Links must go on naming what they name.
        let linked = self.tree.links.has(id);
        (inode.row.pending.has(Pending::CREATE) && !linked).then_some(inode)
    }

    /// A folder of the cloud's, or the one made here that it is about to become one with.
    fn shown_folder(&self, id: NodeId, with: &[RemoteNode], levels: u32) -> Option<Ino> {
        if let Some(known) = self.tree.by_id(id) {
            return Some(known.row.ino);
        }
        let coming =
            with.iter().find(|node| node.id == id && node.kind == Kind::Dir && node.live)?;
        let above = self.shown_folder(coming.parent, with, levels.checked_sub(1)?)?;
        let twin = self.tree.child(above, &coming.name)?;
        (twin.is_dir() && twin.row.pending.has(Pending::CREATE)).then_some(twin.row.ino)
    }

    /// Whether a file here was found equal to what news brings, and has not changed since.
    pub(crate) fn is_twin(&self, ino: Ino, remote: &RemoteNode) -> bool {
        let twin = self.possible_twin(remote, &[]).filter(|twin| twin.ino == ino);
        twin.is_some_and(|twin| self.inbox.twins.judged.contains(&(twin, true)))
    }

    /// Both sides changed the content, and to the same bytes: they are the cloud's version.
    pub(crate) fn agree(&mut self, mut row: NodeRow, remote: &RemoteNode) {
        row.content_rev = remote.content_rev;
        row.attrs.mtime = remote.attrs.mtime;
        row.pending = row.pending.without(Pending::CONTENT);
        if let Some(origin) = &mut row.origin {
            origin.attrs.mtime = remote.attrs.mtime;
        }
        self.bytes_are(row.ino, remote);
        self.invalidate(Stale::Attrs(row.ino));
        self.put(row);
    }

    /// A file made here and elsewhere under one name, with the same bytes, is one file: ours takes the
    /// cloud's identity.
    pub(crate) fn become_twin(&mut self, remote: &RemoteNode) -> bool {
        let Some(mut row) = self.made_here(remote, &[]).map(|inode| inode.row.clone()) else {
            return false;
        };
        if !self.is_twin(row.ino, remote) {
            return false;
        }
        let ours = core::mem::replace(&mut row.attrs, remote.attrs.clone());
        for (name, value) in ours.xattrs {
            row.attrs.xattrs.entry(name).or_insert(value);
        }
        row.id = remote.id;
        row.meta_rev = remote.meta_rev;
        row.content_rev = remote.content_rev;
        row.pending = Pending::NONE;
        row.origin = Some(Box::new(origin_of(remote)));
        self.bytes_are(row.ino, remote);
        self.invalidate(Stale::Attrs(row.ino));
        self.put_remaining(row);
        true
    }

    /// All bytes of a file here are those of the cloud's version.
    fn bytes_are(&mut self, ino: Ino, remote: &RemoteNode) {
        let Some(inode) = self.tree.get_mut(ino) else { return };
        inode.generation += 1; // what is being staged is not wanted any more
        let blind = inode.content.as_ref().is_some_and(|content| content.blind);
        self.commit(Change::PutContent(Box::new(ContentRow {
            ino,
            base_id: remote.id,
            base_rev: remote.content_rev,
            base_len: remote.size,
            valid: [Range::new(0, remote.size)].into_iter().filter(|r| !r.is_empty()).collect(),
            dirty: Ranges::new(),
            blind,
        })));
    }
}
