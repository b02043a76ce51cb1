//! The tree of the past: what is known of it, and what has to be asked for. No I/O, no clock.

use super::time::When;
use fs_core::{
    Attr, ContentRef, DirEntry, FsError, HandleId, Ino, Kind, Name, NodeId, Range, RemoteNode,
    Request, Response, Rev, Timestamp, Via,
};
use std::{collections::HashMap, sync::Arc};

/// Inode numbers from here on are of the past; those of the drive stay far below.
const FIRST: u64 = 1 << 62;
/// `.meshdrive`, and `at` in it.
pub(super) const HOME: Ino = Ino(FIRST + 1);
pub(super) const AT: Ino = Ino(FIRST + 2);
const FIRST_FREE: u64 = FIRST + 16;
/// The name under the root, and the one in it.
pub(super) const HOME_NAME: &[u8] = b".meshdrive";
const AT_NAME: &[u8] = b"at";
/// `.` and `..` come first; the position of an entry is where it stands, plus these.
const DOTS: u64 = 2;

pub(super) fn is_past(ino: Ino) -> bool {
    ino.0 >= FIRST
}

/// What a request needs to know first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Want {
    /// Which commit was the last at the time that `name` says.
    Moment(Name),
    /// What a folder held.
    Listing { ino: Ino, dir: NodeId, rev: Rev },
    /// Bytes of a version.
    Bytes { content: ContentRef, range: Range },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Halt {
    Want(Want),
    Error(FsError),
}

impl From<FsError> for Halt {
    fn from(error: FsError) -> Halt {
        Halt::Error(error)
    }
}

type Step<T> = Result<T, Halt>;
type Children = Arc<Vec<(Name, Ino, Kind)>>;

struct Node {
    parent: Ino,
    rev: Rev,
    remote: RemoteNode,
    /// References of the kernel, and open handles.
    refs: u64,
    opens: u64,
    /// A listing names it.
    listed: bool,
    children: Option<Children>,
}

pub(super) struct Tree {
    nodes: HashMap<Ino, Node>,
    by_key: HashMap<(Rev, NodeId), Ino>,
    /// Moments that names stand for.
    moments: HashMap<Name, Rev>,
    next: u64,
    next_handle: u64,
    /// When this tree was made: the times of the folders that stand for none of the drive.
    made: Timestamp,
}

impl Tree {
    pub(super) fn new(made: Timestamp) -> Tree {
        Tree {
            nodes: HashMap::new(),
            by_key: HashMap::new(),
            moments: HashMap::new(),
            next: FIRST_FREE,
            next_handle: FIRST,
            made,
        }
    }

    /// Answers a request, or says what is lacking; it is asked again when that is known.
    pub(super) fn answer(&mut self, request: &Request) -> Step<Response> {
        match request {
            Request::Lookup { parent, name } => self.lookup(*parent, name),
            Request::Forget { ino, count } => {
                if let Some(node) = self.nodes.get_mut(ino) {
                    node.refs = node.refs.saturating_sub(*count);
                }
                self.reap(*ino);
                Ok(Response::Done)
            }
            Request::Getattr { ino } => Ok(Response::Attr(self.attr(*ino)?)),
            Request::Readlink { ino } => self.readlink(*ino),
            Request::Open { ino, flags } => {
                if flags.write || flags.truncate {
                    return Err(FsError::ReadOnly.into());
                }
                match self.kind(*ino)? {
                    Kind::File => Ok(self.open(*ino)),
                    Kind::Dir => Err(FsError::IsDirectory.into()),
                    _ => Err(FsError::Invalid.into()),
                }
            }
            Request::Opendir { ino } => match self.kind(*ino)? {
                Kind::Dir => Ok(self.open(*ino)),
                _ => Err(FsError::NotDirectory.into()),
            },
            Request::Read { ino, offset, len, .. } => self.read(*ino, *offset, *len),
            Request::Readdir { ino, cookie, room, cost, plus, .. } => {
                self.readdir(*ino, *cookie, (*room, *cost), *plus)
            }
            Request::Release { ino, .. } | Request::Releasedir { ino, .. } => {
                if let Some(node) = self.nodes.get_mut(ino) {
                    node.opens = node.opens.saturating_sub(1);
                }
                self.reap(*ino);
                Ok(Response::Done)
            }
            Request::Flush { .. } | Request::Fsync { .. } | Request::Unpass { .. } => {
                Ok(Response::Done)
            }
            Request::Getxattr { ino, name, .. } => {
                let found = self.nodes.get(ino).and_then(|node| node.remote.attrs.xattrs.get(name));
                Ok(Response::Xattr(found.ok_or(FsError::NoAttribute)?.clone()))
            }
            Request::Listxattr { ino } => Ok(Response::XattrNames(self.xattr_names(*ino))),
            Request::Seek { ino, offset, hole, .. } => self.seek(*ino, *offset, *hole),
            // The kernel copies by reading then.
            Request::Copy { to, .. } if !is_past(to.0) => Err(FsError::Unsupported.into()),
            _ => Err(FsError::ReadOnly.into()),
        }
    }

    fn readlink(&self, ino: Ino) -> Step<Response> {
        let remote = &self.node(ino)?.remote;
        match remote.kind {
            Kind::Symlink => Ok(Response::Target(remote.attrs.target.clone())),
            _ => Err(FsError::Invalid.into()),
        }
    }

    fn xattr_names(&self, ino: Ino) -> Vec<u8> {
        let xattrs = self.nodes.get(&ino).map(|node| &node.remote.attrs.xattrs);
        let names = xattrs.into_iter().flat_map(|xattrs| xattrs.keys());
        names.flat_map(|name| [&name[..], b"\0"].concat()).collect()
    }

    /// All of a file counts as data.
    fn seek(&self, ino: Ino, offset: u64, hole: bool) -> Step<Response> {
        let size = self.node(ino)?.remote.size;
        match (offset < size, hole) {
            (false, _) => Err(FsError::NoData.into()),
            (true, true) => Ok(Response::Offset(size)),
            (true, false) => Ok(Response::Offset(offset)),
        }
    }

    fn lookup(&mut self, parent: Ino, name: &Name) -> Step<Response> {
        let ino = match (parent, name.as_bytes()) {
            (Ino::ROOT, HOME_NAME) => HOME,
            (HOME, AT_NAME) => AT,
            (HOME, _) => return Err(FsError::NotFound.into()),
            (AT, _) => {
                let rev = self.moments.get(name).copied();
                self.root_at(rev.ok_or_else(|| Halt::Want(Want::Moment(name.clone())))?)
            }
            _ => {
                let children = self.children(parent)?;
                let found = children.binary_search_by(|(child, _, _)| child.cmp(name));
                children[found.map_err(|_| FsError::NotFound)?].1
            }
        };
        let attr = self.attr(ino)?;
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.refs += 1;
        }
        Ok(Response::Entry(attr))
    }

    /// The root of the drive at a commit.
    fn root_at(&mut self, rev: Rev) -> Ino {
        let mut attrs = super::attrs::of_folder(self.made);
        attrs.mode = 0o755;
        let remote = RemoteNode {
            id: NodeId::ROOT,
            parent: NodeId::ROOT,
            name: Name::none(),
            kind: Kind::Dir,
            attrs,
            size: 0,
            meta_rev: rev,
            content_rev: Rev(0),
            live: true,
        };
        self.place(AT, rev, remote)
    }

    /// The inode number of a node of the past.
    fn place(&mut self, parent: Ino, rev: Rev, remote: RemoteNode) -> Ino {
        let key = (rev, remote.id);
        if let Some(ino) = self.by_key.get(&key) {
            return *ino;
        }
        let ino = Ino(self.next);
        self.next += 1;
        self.by_key.insert(key, ino);
        let node = Node { parent, rev, remote, refs: 0, opens: 0, listed: false, children: None };
        self.nodes.insert(ino, node);
        ino
    }

    fn node(&self, ino: Ino) -> Result<&Node, FsError> {
        self.nodes.get(&ino).ok_or(FsError::Stale)
    }

    fn kind(&self, ino: Ino) -> Result<Kind, FsError> {
        if ino == HOME || ino == AT { Ok(Kind::Dir) } else { Ok(self.node(ino)?.remote.kind) }
    }

    fn attr(&self, ino: Ino) -> Result<Attr, FsError> {
        if ino == HOME || ino == AT {
            return Ok(super::attrs::shown(ino, Kind::Dir, 0, &super::attrs::of_folder(self.made)));
        }
        let remote = &self.node(ino)?.remote;
        Ok(super::attrs::shown(ino, remote.kind, remote.size, &remote.attrs))
    }

    fn open(&mut self, ino: Ino) -> Response {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.opens += 1;
        }
        self.next_handle += 1;
        // The past does not change.
        Response::Opened { handle: HandleId(self.next_handle), keep_cache: true, via: Via::Core }
    }

    fn read(&self, ino: Ino, offset: u64, len: u32) -> Step<Response> {
        let remote = &self.node(ino)?.remote;
        let end = offset.saturating_add(u64::from(len)).min(remote.size);
        if offset >= end {
            return Ok(Response::Data(bytes::Bytes::new()));
        }
        let content = ContentRef { id: remote.id, rev: remote.content_rev };
        Err(Halt::Want(Want::Bytes { content, range: Range::new(offset, end) }))
    }

    /// The children of a folder, by name.
    fn children(&self, ino: Ino) -> Step<Children> {
        if ino == HOME {
            let at = Name::new(AT_NAME)?;
            return Ok(Arc::new(vec![(at, AT, Kind::Dir)]));
        }
        if ino == AT {
            // There are too many times to be listed.
            return Ok(Arc::default());
        }
        let node = self.node(ino)?;
        if node.remote.kind != Kind::Dir {
            return Err(FsError::NotDirectory.into());
        }
        let want = Want::Listing { ino, dir: node.remote.id, rev: node.rev };
        node.children.clone().ok_or(Halt::Want(want))
    }

    fn readdir(
        &mut self,
        ino: Ino,
        cookie: u64,
        (mut room, cost): (usize, fn(usize) -> usize),
        plus: bool,
    ) -> Step<Response> {
        let children = self.children(ino)?;
        let parent = match ino {
            HOME => Ino::ROOT,
            AT => HOME,
            _ => self.node(ino)?.parent,
        };
        let mut entries = Vec::new();
        for position in cookie..children.len() as u64 + DOTS {
            let (name, child, kind) = match position {
                0 => (&b"."[..], ino, Kind::Dir),
                1 => (&b".."[..], parent, Kind::Dir),
                _ => {
                    let (name, child, kind) = &children[(position - DOTS) as usize];
                    (name.as_bytes(), *child, *kind)
                }
            };
            let needed = cost(name.len());
            if needed > room {
                break;
            }
            room -= needed;
            let attr = if plus && position >= DOTS { Some(self.attr(child)?) } else { None };
            if let Some(node) = self.nodes.get_mut(&child).filter(|_| attr.is_some()) {
                node.refs += 1;
            }
            let name = name.to_vec();
            entries.push(DirEntry { ino: child, kind, name, cookie: position + 1, attr });
        }
        Ok(Response::Entries(entries))
    }

    /// What `name` stands for, from now on or until it is forgotten.
    pub(super) fn learn_moment(&mut self, name: Name, rev: Rev) {
        self.moments.insert(name, rev);
    }

    pub(super) fn forget_moment(&mut self, name: &Name) {
        self.moments.remove(name);
    }

    /// What a folder held.
    pub(super) fn learn_listing(&mut self, ino: Ino, nodes: Vec<RemoteNode>) {
        let Some(rev) = self.nodes.get(&ino).map(|node| node.rev) else { return };
        let mut children = Vec::with_capacity(nodes.len());
        for remote in nodes {
            let (name, kind) = (remote.name.clone(), remote.kind);
            let child = self.place(ino, rev, remote);
            children.push((name, child, kind));
        }
        children.sort_unstable();
        // An honest store gives no name twice.
        children.dedup_by(|later, first| later.0 == first.0);
        for (_, child, _) in &children {
            if let Some(node) = self.nodes.get_mut(child) {
                node.listed = true;
            }
        }
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.children = Some(Arc::new(children));
        }
    }

    /// Lets go of what nobody refers to: the kernel, a handle, or a listing that is still there.
    fn reap(&mut self, ino: Ino) {
        let mut idle = vec![ino];
        while let Some(ino) = idle.pop() {
            let Some(node) = self.nodes.get_mut(&ino) else { continue };
            if node.refs > 0 || node.opens > 0 {
                continue;
            }
            for (_, child, _) in node.children.take().iter().flat_map(|children| children.iter()) {
                if let Some(child_node) = self.nodes.get_mut(child) {
                    child_node.listed = false;
                    idle.push(*child);
                }
            }
            if let Some(node) = self.nodes.get(&ino).filter(|node| !node.listed) {
                self.by_key.remove(&(node.rev, node.remote.id));
                self.nodes.remove(&ino);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }
}

/// Whether a request is about the past, and not for the drive.
pub(crate) fn claims(request: &Request) -> bool {
    let home = |parent: &Ino, name: &Name| *parent == Ino::ROOT && name.as_bytes() == HOME_NAME;
    let entry = |parent: &Ino, name: &Name| is_past(*parent) || home(parent, name);
    match request {
        Request::Lookup { parent, name }
        | Request::Make { parent, name, .. }
        | Request::Create { parent, name, .. }
        | Request::Unlink { parent, name }
        | Request::Rmdir { parent, name } => entry(parent, name),
        Request::Link { ino, parent, name } => is_past(*ino) || entry(parent, name),
        Request::Rename { from, to, .. } => entry(&from.0, &from.1) || entry(&to.0, &to.1),
        Request::Copy { from, to, .. } => is_past(from.0) || is_past(to.0),
        Request::Forget { ino, .. }
        | Request::Getattr { ino }
        | Request::Setattr { ino, .. }
        | Request::Readlink { ino }
        | Request::Open { ino, .. }
        | Request::Read { ino, .. }
        | Request::Write { ino, .. }
        | Request::Flush { ino, .. }
        | Request::Unpass { ino, .. }
        | Request::Release { ino, .. }
        | Request::Fsync { ino, .. }
        | Request::Opendir { ino }
        | Request::Readdir { ino, .. }
        | Request::Releasedir { ino, .. }
        | Request::Getxattr { ino, .. }
        | Request::Setxattr { ino, .. }
        | Request::Listxattr { ino }
        | Request::Removexattr { ino, .. }
        | Request::Seek { ino, .. }
        | Request::Allocate { ino, .. } => is_past(*ino),
        Request::Statfs | Request::Control(_) => false,
    }
}

/// How long before now a time must lie to be one that does not move, in nanoseconds: the clocks of
/// this device and of the store differ.
const SETTLED_NS: i64 = 60_000_000_000;

/// Whether what a time stands for may still change.
pub(super) fn is_moving(when: &When, now: Timestamp) -> bool {
    when.moves || when.time.0 > now.0 - SETTLED_NS
}
