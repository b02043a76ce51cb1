//! What people and programs do: random operations, remembered so that answers can be judged.

mod judge;
mod saves;

use judge::{is_placed, judge_read};

pub(crate) use judge::listen;

use crate::device::Device;
use crate::oracle::History;
use crate::random::Random;
use bytes::Bytes;
use fs_core::{
    Command, CreateSpec, Event, HandleId, Ino, Kind, Name, NodeId, OpenFlags, Owner, Pending,
    RenameFlags, Request, Response, SetAttrs, Ticket, Via,
};
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

const NAMES: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"e.txt"];
const FILE_MAX: usize = 300;

/// What was asked, as far as the answer matters to an oracle.
pub(crate) enum Asked {
    Create {
        data: Option<Vec<u8>>,
        flags: OpenFlags,
    },
    Open {
        flags: OpenFlags,
    },
    Write {
        ino: Ino,
        offset: u64,
        token: [u8; 8],
        data: Vec<u8>,
    },
    Truncate {
        ino: Ino,
        size: u64,
    },
    Read {
        ino: Ino,
        handle: HandleId,
        offset: u64,
        len: u64,
    },
    /// `len` bytes at most, from one file to another at the same or another offset.
    Copy {
        from: (Ino, u64),
        to: (Ino, u64),
        len: u64,
    },
    /// May take a file out of its place.
    Remove,
    Other,
    Barrier(Promised),
}

/// What a barrier speaks of: what was acknowledged when it was asked for.
pub(crate) struct Promised {
    pub(crate) tokens: Vec<(Ino, [u8; 8])>,
    pub(crate) made: Vec<(Ino, NodeId)>,
}

/// What one device's user knows.
#[derive(Default)]
pub(crate) struct User {
    pub(crate) asked: BTreeMap<Ticket, Asked>,
    pub(crate) handles: BTreeMap<Ino, HandleId>,
    /// Contents as this user must see them.
    pub(crate) shadow: BTreeMap<Ino, Vec<u8>>,
    /// Files with an operation under way.
    pub(crate) busy: BTreeSet<Ino>,
    /// Acknowledged writes that nothing here has overwritten: they must never be lost.
    pub(crate) tokens: BTreeMap<Ino, Vec<(u64, [u8; 8])>>,
    pub(crate) opening: BTreeMap<Ticket, Ino>,
    /// What each handle has read; of closed ones in `read`.
    pub(crate) reading: BTreeMap<HandleId, History>,
    pub(crate) read: Vec<History>,
    /// Barriers that have just been passed.
    pub(crate) promised: Vec<Promised>,
    /// Handles whose bytes go past the drive.
    pub(crate) unseen: BTreeSet<HandleId>,
    /// What each open handle may do.
    pub(crate) flags: BTreeMap<HandleId, OpenFlags>,
    /// Handles of files that were open already.
    pub(crate) second: Vec<(Ino, HandleId)>,
    /// What a kernel would not have taken.
    pub(crate) broken: Option<String>,
    /// Somebody has brought back what was removed, maybe beside what has its name now.
    pub(crate) undid: bool,
    /// A save that takes several steps.
    pub(crate) save: Option<saves::Save>,
    /// Saves as editors do, writes what others write too, and decides conflicts.
    pub(crate) saves: bool,
    /// Makes hard links too.
    pub(crate) links: bool,
    /// Tells the tokens of devices apart.
    pub(crate) salt: u64,
    pub(crate) last_token: u64,
}

impl User {
    /// After a crash nothing is open, and what was not acknowledged may or may not have happened.
    pub(crate) fn crashed(&mut self) {
        self.asked.clear();
        self.opening.clear();
        self.handles.clear();
        self.shadow.clear();
        self.busy.clear();
        self.unseen.clear();
        self.flags.clear();
        self.second.clear();
        self.promised.clear();
        self.read.extend(std::mem::take(&mut self.reading).into_values());
        self.save = None;
    }

    pub(crate) fn histories(&self) -> impl Iterator<Item = &History> {
        self.read.iter().chain(self.reading.values())
    }

    /// What was read of a file so far, and what comes, is of no one version: it is written to here.
    fn mix(&mut self, ino: Ino) {
        self.reading.values_mut().filter(|history| history.ino == ino).for_each(|h| h.mixed = true);
    }

    /// Notes a new handle. A kernel keeps one file in one mode.
    fn opened(&mut self, ino: Ino, handle: HandleId, flags: OpenFlags, via: Via) {
        let unseen = via != Via::Core;
        let others = self.second.iter().map(|(ino, handle)| (*ino, *handle));
        let mut open = others.chain(self.handles.iter().map(|(ino, handle)| (*ino, *handle)));
        if open.any(|(other, handle)| other == ino && self.unseen.contains(&handle) != unseen) {
            self.broken = Some(format!("inode {}: cached and passed at once", ino.0));
        }
        self.flags.insert(handle, flags);
        let history = History { ino, mixed: flags.write || unseen, ..History::default() };
        self.reading.insert(handle, history);
        if unseen {
            self.unseen.insert(handle);
        }
        match self.handles.entry(ino) {
            Entry::Vacant(entry) => drop(entry.insert(handle)),
            Entry::Occupied(_) => self.second.push((ino, handle)),
        }
    }

    pub(crate) fn closed(&mut self, handle: HandleId) {
        self.read.extend(self.reading.remove(&handle));
        self.flags.remove(&handle);
        self.unseen.remove(&handle);
    }

    /// Second handles of files that nothing is under way on.
    pub(crate) fn take_second(&mut self) -> Option<(Ino, HandleId)> {
        let at = self.second.iter().position(|(ino, _)| !self.busy.contains(ino))?;
        Some(self.second.swap_remove(at))
    }

    /// Makes bytes to be written known again, unless they are common ones.
    fn stamp(&mut self, data: &mut Vec<u8>) -> [u8; 8] {
        if data.starts_with(COMMON) {
            return *COMMON;
        }
        self.last_token += 1;
        let token = (self.salt << 40 | self.last_token).to_be_bytes();
        data.splice(..data.len().min(8), token);
        token
    }

    fn may(&self, handle: HandleId, what: fn(&OpenFlags) -> bool) -> bool {
        self.flags.get(&handle).is_some_and(what)
    }

    fn write_shadow(&mut self, ino: Ino, offset: usize, data: &[u8]) {
        if let Some(shadow) = self.shadow.get_mut(&ino) {
            let end = offset + data.len();
            if shadow.len() < end {
                shadow.resize(end, 0);
            }
            shadow[offset..end].copy_from_slice(data);
        }
    }

    fn forget_tokens(&mut self, ino: Ino, from: u64, to: u64) {
        self.mix(ino);
        if let Some(tokens) = self.tokens.get_mut(&ino) {
            tokens.retain(|(at, token)| *at + token.len() as u64 <= from || *at >= to);
        }
    }
}

fn name(random: &mut Random) -> Name {
    Name::new(NAMES[random.below(NAMES.len())]).expect("legal")
}

/// Live nodes in memory of one kind.
fn nodes(device: &Device, kind: Kind) -> Vec<Ino> {
    let live = device.drive.nodes().filter(|(row, _)| {
        row.kind == kind && !row.gone && (row.parent != Ino::NONE || row.ino == Ino::ROOT)
    });
    live.map(|(row, _)| row.ino).collect()
}

fn child(device: &Device, parent: Ino, name: &Name) -> Option<Ino> {
    let mut nodes = device.drive.nodes();
    nodes.find(|(row, _)| row.parent == parent && row.name == *name).map(|(row, _)| row.ino)
}

/// Copies, or makes a hard link. Says whether it was its turn.
fn link(
    device: &mut Device,
    user: &mut User,
    random: &mut Random,
    (dir, file): (Ino, Option<Ino>),
) -> bool {
    if random.chance(6) {
        if let Some((request, asked)) = copy(user, random) {
            ask(device, user, request, asked);
        }
        return true;
    }
    if !random.chance(8) {
        return false;
    }
    if let Some(ino) = file {
        let request = Request::Link { ino, parent: dir, name: name(random) };
        ask(device, user, request, Asked::Other);
    }
    true
}

/// Starts one random operation.
pub(crate) fn act(device: &mut Device, user: &mut User, random: &mut Random) {
    let dirs = nodes(device, Kind::Dir);
    let Some(dir) = random.pick(&dirs).copied() else { return };
    let files = nodes(device, Kind::File);
    let file = random.pick(&files).copied();
    if user.links && link(device, user, random, (dir, file)) {
        return;
    }
    if user.saves && saves::act(device, user, random, dir) {
        return;
    }
    let (request, asked) = match random.below(100) {
        0..15 => create(user, random, dir),
        15..20 => (make(random, dir, Kind::Dir), Asked::Other),
        20..22 => (make(random, dir, Kind::Symlink), Asked::Other),
        22..42 if unseen(user, file) => return write_unseen(device, user, random, file),
        22..42 => match file.and_then(|ino| write(user, random, ino)) {
            Some(asked) => asked,
            None => return open(device, user, random, file),
        },
        42..52 if unseen(user, file) => return read_unseen(device, user, random, file),
        42..52 => match file.and_then(|ino| read(device, user, random, ino)) {
            Some(asked) => asked,
            None => return open(device, user, random, file),
        },
        52..57 => match file.filter(|ino| !user.busy.contains(ino)) {
            Some(ino) => truncate(user, random, ino),
            None => return,
        },
        57..65 => unlink(device, user, random, dir),
        65..69 => (Request::Rmdir { parent: dir, name: name(random) }, Asked::Other),
        69..82 => {
            let to = dirs[random.below(dirs.len())];
            rename(device, user, random, (dir, to))
        }
        82..86 => (chmod(random, file.unwrap_or(dir)), Asked::Other),
        86..88 => (Request::Lookup { parent: dir, name: name(random) }, Asked::Other),
        88..92 => match close(user, random) {
            Some(request) => (request, Asked::Other),
            None => return,
        },
        92..94 => (Request::Control(Command::Evict(Vec::new())), Asked::Other),
        94..95 => {
            let path = vec![name(random)];
            (Request::Control(Command::Pin(path, random.chance(60))), Asked::Other)
        }
        95..97 => (Request::Control(Command::Sync(Vec::new())), barrier(device, user)),
        _ => match file {
            Some(ino) => (Request::Fsync { ino, data_only: false }, Asked::Other),
            None => return,
        },
    };
    ask(device, user, request, asked);
}

pub(crate) fn ask(device: &mut Device, user: &mut User, request: Request, asked: Asked) -> Ticket {
    let ticket = device.ticket();
    user.asked.insert(ticket, asked);
    device.handle(Event::Request(ticket, request));
    ticket
}

fn barrier(device: &Device, user: &User) -> Asked {
    let tokens =
        user.tokens.iter().flat_map(|(ino, tokens)| tokens.iter().map(|(_, t)| (*ino, *t)));
    let made = device.drive.nodes().filter(|(row, _)| row.pending.has(Pending::CREATE));
    let made = made.filter(|(row, _)| row.parent != Ino::NONE).map(|(row, _)| (row.ino, row.id));
    let made = made.collect();
    Asked::Barrier(Promised { tokens: tokens.collect(), made })
}

fn create(user: &mut User, random: &mut Random, dir: Ino) -> (Request, Asked) {
    let (read, passthrough) = (random.chance(50), random.chance(70));
    let flags =
        OpenFlags { read, write: true, exclusive: true, passthrough, ..OpenFlags::default() };
    let request = Request::Create {
        parent: dir,
        name: name(random),
        mode: 0o644,
        owner: Owner::default(),
        flags,
    };
    let len = random_len(random);
    let data = random.chance(80).then(|| payload(user, random, len));
    (request, Asked::Create { data, flags })
}

fn random_len(random: &mut Random) -> usize {
    8 + random.below(FILE_MAX - 8)
}

/// What several devices may write alike.
pub(crate) const COMMON: &[u8; 8] = b"the same";

fn payload(user: &User, random: &mut Random, len: usize) -> Vec<u8> {
    if user.saves && random.chance(30) {
        return COMMON.to_vec();
    }
    (0..len).map(|_| random.next() as u8 | 1).collect()
}

fn make(random: &mut Random, dir: Ino, kind: Kind) -> Request {
    let target = if kind == Kind::Symlink { b"elsewhere".to_vec() } else { Vec::new() };
    let spec = CreateSpec { kind, mode: 0o755, rdev: 0, owner: Owner::default(), target };
    Request::Make { parent: dir, name: name(random), spec }
}

/// Opens a file, maybe a second time.
fn open(device: &mut Device, user: &mut User, random: &mut Random, file: Option<Ino>) {
    let Some(ino) = file else { return };
    let again = user.handles.contains_key(&ino);
    if user.busy.contains(&ino) || again && !random.chance(30) {
        return;
    }
    let (read, write) = [(true, false), (false, true), (true, true), (true, true)][random.below(4)];
    let truncate = write && random.chance(20);
    let passthrough = random.chance(70);
    let flags = OpenFlags { read, write, truncate, passthrough, ..OpenFlags::default() };
    if truncate {
        user.forget_tokens(ino, 0, u64::MAX);
    }
    user.busy.insert(ino);
    let ticket = Ticket(device.next_ticket + 1);
    user.opening.insert(ticket, ino);
    ask(device, user, Request::Open { ino, flags }, Asked::Open { flags });
}

/// Whether the file is open in a way that the drive does not see.
fn unseen(user: &User, file: Option<Ino>) -> bool {
    let handle = file.filter(|ino| !user.busy.contains(ino)).and_then(|ino| user.handles.get(&ino));
    handle.is_some_and(|handle| user.unseen.contains(handle))
}

fn write_unseen(device: &mut Device, user: &mut User, random: &mut Random, file: Option<Ino>) {
    let Some((ino, handle)) = file.and_then(|ino| Some((ino, *user.handles.get(&ino)?))) else {
        return;
    };
    if !user.may(handle, |flags| flags.write) {
        return open(device, user, random, file);
    }
    let len = random_len(random).min(60);
    let data = payload(user, random, len);
    put_unseen(device, user, ino, (random.below(FILE_MAX) as u64, data));
}

fn put_unseen(device: &mut Device, user: &mut User, ino: Ino, (offset, mut data): (u64, Vec<u8>)) {
    if device.disk.len(ino).is_none() {
        return; // dropped: the handle has the only file, which nobody will look for
    }
    let token = user.stamp(&mut data);
    user.forget_tokens(ino, offset, offset + data.len() as u64);
    device.disk.write_unseen(ino, offset, &data);
    device.pass(1_000);
    if is_placed(device, ino) {
        user.tokens.entry(ino).or_default().push((offset, token));
    }
    user.write_shadow(ino, offset as usize, &data);
}

fn read_unseen(device: &mut Device, user: &mut User, random: &mut Random, file: Option<Ino>) {
    let Some((ino, handle)) = file.and_then(|ino| Some((ino, *user.handles.get(&ino)?))) else {
        return;
    };
    let Some(len) = device.disk.len(ino).filter(|_| user.may(handle, |flags| flags.read)) else {
        return open(device, user, random, file);
    };
    let bytes = Bytes::from(device.disk.read(ino, fs_core::Range::new(0, len)));
    let read = judge_read(device, user, (ino, 0, u64::MAX), Ok(Response::Data(bytes)));
    user.broken = read.err().map(|what| format!("{what} (past the drive)")).or(user.broken.take());
}

fn write(user: &mut User, random: &mut Random, ino: Ino) -> Option<(Request, Asked)> {
    if user.busy.contains(&ino) {
        return None;
    }
    let handle = *user.handles.get(&ino)?;
    if !user.may(handle, |flags| flags.write) {
        return None;
    }
    let len = random_len(random).min(60);
    let data = payload(user, random, len);
    let offset = if data == COMMON { 0 } else { random.below(FILE_MAX) as u64 };
    Some(write_at(user, ino, handle, offset, data))
}

pub(crate) fn write_at(
    user: &mut User,
    ino: Ino,
    handle: HandleId,
    offset: u64,
    mut data: Vec<u8>,
) -> (Request, Asked) {
    let token = user.stamp(&mut data);
    user.forget_tokens(ino, offset, offset + data.len() as u64);
    user.busy.insert(ino);
    let bytes = Bytes::from(data.clone());
    let request = Request::Write { ino, handle, offset, data: bytes, strip: false };
    (request, Asked::Write { ino, offset, token, data })
}

fn read(
    device: &Device,
    user: &mut User,
    random: &mut Random,
    ino: Ino,
) -> Option<(Request, Asked)> {
    if user.busy.contains(&ino) {
        return None;
    }
    let handle = *user.handles.get(&ino)?;
    if !user.may(handle, |flags| flags.read) {
        return None;
    }
    let _ = device;
    let offset = random.below(FILE_MAX) as u64;
    let len = 1 + random.below(FILE_MAX) as u64;
    user.busy.insert(ino);
    let request = Request::Read { ino, handle, offset, len: len as u32 };
    Some((request, Asked::Read { ino, handle, offset, len }))
}

fn copy(user: &mut User, random: &mut Random) -> Option<(Request, Asked)> {
    let idle: Vec<(Ino, HandleId)> = user
        .handles
        .iter()
        .filter(|(ino, _)| !user.busy.contains(ino))
        .map(|(ino, handle)| (*ino, *handle))
        .collect();
    let (from, from_handle) = *random.pick(&idle)?;
    let (to, to_handle) = *random.pick(&idle)?;
    if from == to {
        return None;
    }
    let whole = random.chance(60);
    let place = |random: &mut Random| if whole { 0 } else { random.below(FILE_MAX) as u64 };
    let (from_offset, to_offset) = (place(random), place(random));
    let len = if whole { 1 << 20 } else { 1 + random.below(FILE_MAX) as u64 };
    user.forget_tokens(to, to_offset, to_offset + len);
    user.busy.extend([from, to]);
    let request = Request::Copy {
        from: (from, from_handle, from_offset),
        to: (to, to_handle, to_offset),
        len,
    };
    Some((request, Asked::Copy { from: (from, from_offset), to: (to, to_offset), len }))
}

fn truncate(user: &mut User, random: &mut Random, ino: Ino) -> (Request, Asked) {
    let size = random.below(FILE_MAX) as u64;
    user.forget_tokens(ino, size, u64::MAX);
    user.busy.insert(ino);
    let set = SetAttrs { size: Some(size), ..SetAttrs::default() };
    (Request::Setattr { ino, set, handle: None }, Asked::Truncate { ino, size })
}

fn unlink(device: &Device, user: &mut User, random: &mut Random, dir: Ino) -> (Request, Asked) {
    let name = name(random);
    if let Some(ino) = child(device, dir, &name) {
        user.forget_tokens(ino, 0, u64::MAX);
    }
    (Request::Unlink { parent: dir, name }, Asked::Remove)
}

fn rename(
    device: &Device,
    user: &mut User,
    random: &mut Random,
    (from, to): (Ino, Ino),
) -> (Request, Asked) {
    let names = (name(random), name(random));
    let flags = RenameFlags { no_replace: random.chance(15), exchange: random.chance(15) };
    let flags =
        if flags.exchange { RenameFlags { no_replace: false, exchange: true } } else { flags };
    if let Some(ino) = child(device, to, &names.1)
        && !flags.exchange
    {
        user.forget_tokens(ino, 0, u64::MAX);
    }
    (Request::Rename { from: (from, names.0), to: (to, names.1), flags }, Asked::Remove)
}

fn chmod(random: &mut Random, ino: Ino) -> Request {
    let mode = [0o600, 0o640, 0o755][random.below(3)];
    let set = SetAttrs { mode: Some(mode), ..SetAttrs::default() };
    Request::Setattr { ino, set, handle: None }
}

fn close(user: &mut User, random: &mut Random) -> Option<Request> {
    if let Some((ino, handle)) = user.take_second() {
        user.closed(handle);
        return Some(Request::Release { ino, handle });
    }
    let open: Vec<(Ino, HandleId)> = user
        .handles
        .iter()
        .filter(|(ino, _)| !user.busy.contains(ino))
        .map(|(ino, handle)| (*ino, *handle))
        .collect();
    let (ino, handle) = *random.pick(&open)?;
    user.handles.remove(&ino);
    user.closed(handle);
    Some(Request::Release { ino, handle })
}
