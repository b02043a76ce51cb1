//! Two devices at one store, driven by hand: first apart, then together again.

use crate::device::{Device, InFlight};
use crate::random::Random;
use crate::store::Store;
use bytes::Bytes;
use fs_core::{
    Answer, Command, CreateSpec, Event, FsError, Ino, Kind, Limits, Mono, Name, OpenFlags, Owner,
    RenameFlags, Request, Response, SetAttrs, Status,
};
use std::collections::BTreeMap;

const STEPS: usize = 20_000;

/// What the folder tree of a device looks like: contents of files, `None` for folders.
pub(crate) type Seen = BTreeMap<String, Option<Vec<u8>>>;

pub(crate) struct Pair {
    pub(crate) devices: [Device; 2],
    pub(crate) store: Store,
    pub(crate) random: Random,
}

/// The device whose changes the store has first, and the one that finds them there.
pub(crate) const REMOTE: usize = 0;
pub(crate) const LOCAL: usize = 1;

impl Pair {
    pub(crate) fn new() -> Pair {
        Pair::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Pair {
        let device = |number| Device::new(number, limits, 1 + number as u64);
        let mut pair =
            Pair { devices: [device(0), device(1)], store: Store::new(), random: Random::new(1) };
        pair.meet();
        pair
    }

    /// Everything under way on one device ends, and time passes until nothing is due within a minute.
    pub(crate) fn rest(&mut self, number: usize) {
        let rests = self.go_on(number, STEPS);
        let device = &self.devices[number];
        let notes = &device.notes[device.notes.len().saturating_sub(9)..];
        let pending: Vec<_> =
            device.drive.nodes().filter(|(row, _)| !row.pending.is_none()).collect();
        assert!(rests, "device {number} does not come to rest: {notes:#?} {pending:#?}");
    }

    /// The same, in so many steps at most. Says whether it has come to rest.
    pub(crate) fn go_on(&mut self, number: usize, steps: usize) -> bool {
        let device = &mut self.devices[number];
        for _ in 0..steps {
            if !device.flights.is_empty() {
                device.complete(0, &mut self.store, &mut self.random, true);
                continue;
            }
            let soon = Mono(device.mono).plus_millis(70_000);
            match device.drive.deadline() {
                Some(deadline) if deadline < soon => device.tick(),
                _ => return true,
            }
        }
        false
    }

    pub(crate) fn set_online(&mut self, number: usize, online: bool) {
        let device = &mut self.devices[number];
        device.online = online;
        device.handle(Event::Link(if online { Ok(()) } else { Err(crate::device::lost()) }));
        if online {
            device.flights.push(InFlight::Hint(self.store.head()));
        }
    }

    /// Neither reaches the store any more.
    pub(crate) fn part(&mut self) {
        self.meet();
        for number in [REMOTE, LOCAL] {
            self.set_online(number, false);
        }
    }

    /// The remote one's changes reach the store, then the other comes back; both end in step.
    pub(crate) fn meet(&mut self) {
        for number in [REMOTE, LOCAL] {
            self.set_online(number, true);
            self.rest(number);
        }
        for _ in 0..4 {
            for number in [REMOTE, LOCAL] {
                self.devices[number].flights.push(InFlight::Hint(self.store.head()));
                self.rest(number);
            }
        }
        self.store.check().expect("a valid tree");
    }

    pub(crate) fn ask(&mut self, number: usize, request: Request) -> Result<Response, FsError> {
        let device = &mut self.devices[number];
        let ticket = device.ticket();
        device.handle(Event::Request(ticket, request));
        for _ in 0..STEPS {
            let found = device.replies.iter().position(|(other, _)| *other == ticket);
            if let Some((_, result)) = found.and_then(|at| device.replies.remove(at)) {
                return result;
            }
            if device.flights.is_empty() {
                device.tick();
            } else {
                device.complete(0, &mut self.store, &mut self.random, true);
            }
        }
        panic!("no answer");
    }

    pub(crate) fn command(&mut self, number: usize, command: Command) -> Result<Answer, FsError> {
        match self.ask(number, Request::Control(command))? {
            Response::Answer(answer) => Ok(answer),
            other => panic!("{other:?}"),
        }
    }

    /// The folder and name of a path.
    fn place(&mut self, number: usize, path: &str) -> (Ino, Name) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let name = Name::new(name.as_bytes()).expect("legal");
        (self.find(number, folder).expect("a folder"), name)
    }

    pub(crate) fn find(&mut self, number: usize, path: &str) -> Option<Ino> {
        let mut at = Ino::ROOT;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let name = Name::new(part.as_bytes()).expect("legal");
            match self.ask(number, Request::Lookup { parent: at, name }) {
                Ok(Response::Entry(attr)) => at = attr.ino,
                _ => return None,
            }
        }
        Some(at)
    }

    /// Writes a file anew, or makes it.
    pub(crate) fn save(&mut self, number: usize, path: &str, bytes: &[u8]) {
        let flags = OpenFlags { read: true, write: true, truncate: true, ..OpenFlags::default() };
        let (ino, handle) = match self.find(number, path) {
            Some(ino) => match self.ask(number, Request::Open { ino, flags }) {
                Ok(Response::Opened { handle, .. }) => (ino, handle),
                other => panic!("{other:?}"),
            },
            None => {
                let (parent, name) = self.place(number, path);
                let owner = Owner::default();
                let create = Request::Create { parent, name, mode: 0o644, owner, flags };
                match self.ask(number, create) {
                    Ok(Response::Created { attr, handle, .. }) => (attr.ino, handle),
                    other => panic!("{other:?}"),
                }
            }
        };
        let data = Bytes::copy_from_slice(bytes);
        let written =
            self.ask(number, Request::Write { ino, handle, offset: 0, data, strip: false });
        assert_eq!(written, Ok(Response::Written(bytes.len() as u32)));
        self.done(number, Request::Release { ino, handle });
    }

    fn done(&mut self, number: usize, request: Request) {
        assert_eq!(self.ask(number, request), Ok(Response::Done));
    }

    pub(crate) fn mkdir(&mut self, number: usize, path: &str) {
        let (parent, name) = self.place(number, path);
        let spec = CreateSpec {
            kind: Kind::Dir,
            mode: 0o755,
            rdev: 0,
            owner: Owner::default(),
            target: Vec::new(),
        };
        let made = self.ask(number, Request::Make { parent, name, spec });
        assert!(made.is_ok(), "{made:?}");
    }

    pub(crate) fn remove(&mut self, number: usize, path: &str) {
        let (parent, name) = self.place(number, path);
        self.done(number, Request::Unlink { parent, name });
    }

    pub(crate) fn rmdir(&mut self, number: usize, path: &str) {
        let (parent, name) = self.place(number, path);
        self.done(number, Request::Rmdir { parent, name });
    }

    /// `rm -r`
    pub(crate) fn remove_all(&mut self, number: usize, path: &str) {
        let below = format!("{path}/");
        let found = self.paths(number);
        for (path, (_, kind)) in found.iter().rev().filter(|(path, _)| path.starts_with(&below)) {
            match kind {
                Kind::Dir => self.rmdir(number, path),
                _ => self.remove(number, path),
            }
        }
        self.rmdir(number, path);
    }

    pub(crate) fn mv(&mut self, number: usize, from: &str, to: &str) {
        let (from, to) = (self.place(number, from), self.place(number, to));
        self.done(number, Request::Rename { from, to, flags: RenameFlags::default() });
    }

    pub(crate) fn chmod(&mut self, number: usize, path: &str, mode: u32) {
        let ino = self.find(number, path).expect("is there");
        let set = SetAttrs { mode: Some(mode), ..SetAttrs::default() };
        let answer = self.ask(number, Request::Setattr { ino, set, handle: None });
        assert!(answer.is_ok(), "{answer:?}");
    }

    pub(crate) fn mode(&mut self, number: usize, path: &str) -> u32 {
        let ino = self.find(number, path).expect("is there");
        match self.ask(number, Request::Getattr { ino }) {
            Ok(Response::Attr(attr)) => attr.mode,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn set_xattr(&mut self, number: usize, path: &str, name: &str, value: &[u8]) {
        let ino = self.find(number, path).expect("is there");
        let (name, value) = (name.as_bytes().to_vec(), value.to_vec());
        self.done(number, Request::Setxattr { ino, name, value, create: false, replace: false });
    }

    pub(crate) fn xattr(&mut self, number: usize, path: &str, name: &str) -> Option<Vec<u8>> {
        let ino = self.find(number, path).expect("is there");
        let name = name.as_bytes().to_vec();
        match self.ask(number, Request::Getxattr { ino, name, uid: 0 }) {
            Ok(Response::Xattr(value)) => Some(value),
            Err(FsError::NoAttribute) => None,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn status(&mut self, number: usize) -> Status {
        match self.command(number, Command::Status) {
            Ok(Answer::Status(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    /// Lets one device go on until its status is so.
    pub(crate) fn until(&mut self, number: usize, is_so: impl Fn(&Status) -> bool) {
        for _ in 0..STEPS {
            if is_so(&self.status(number)) {
                return;
            }
            let device = &mut self.devices[number];
            if device.flights.is_empty() {
                device.tick();
            } else {
                device.complete(0, &mut self.store, &mut self.random, true);
            }
        }
        panic!("never so: {:?}", self.status(number));
    }

    pub(crate) fn read(&mut self, number: usize, ino: Ino) -> Vec<u8> {
        let flags = OpenFlags { read: true, ..OpenFlags::default() };
        let Ok(Response::Opened { handle, .. }) = self.ask(number, Request::Open { ino, flags })
        else {
            panic!("cannot be opened")
        };
        let read = self.ask(number, Request::Read { ino, handle, offset: 0, len: 1 << 20 });
        self.done(number, Request::Release { ino, handle });
        match read {
            Ok(Response::Data(bytes)) => bytes.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// All that a device shows.
    pub(crate) fn seen(&mut self, number: usize) -> Seen {
        let found = self.paths(number).into_iter();
        found
            .map(|(path, (ino, kind))| (path, (kind == Kind::File).then(|| self.read(number, ino))))
            .collect()
    }

    fn paths(&self, number: usize) -> BTreeMap<String, (Ino, Kind)> {
        let rows: BTreeMap<Ino, (Ino, Name, Kind)> = self.devices[number]
            .drive
            .nodes()
            .map(|(row, _)| (row.ino, (row.parent, row.name.clone(), row.kind)))
            .collect();
        let mut found = BTreeMap::new();
        for (ino, (parent, name, kind)) in &rows {
            let mut path = String::from_utf8_lossy(name.as_bytes()).into_owned();
            let mut at = *parent;
            while at != Ino::ROOT
                && let Some((above, name, _)) = rows.get(&at)
            {
                path = format!("{}/{path}", String::from_utf8_lossy(name.as_bytes()));
                at = *above;
            }
            if *ino == Ino::ROOT || at != Ino::ROOT {
                continue; // without a place
            }
            found.insert(path, (*ino, *kind));
        }
        found
    }

    /// What both show; they must agree, and nothing may be pending.
    pub(crate) fn agreed(&mut self) -> Seen {
        let (one, other) = (self.seen(REMOTE), self.seen(LOCAL));
        assert_eq!(one, other, "the devices differ: {:?}", self.devices[LOCAL].notes);
        for device in &self.devices {
            let pending: Vec<_> =
                device.drive.nodes().filter(|(row, _)| !row.pending.is_none()).collect();
            assert!(pending.is_empty(), "{pending:?} {:?}", device.notes);
        }
        one
    }

    pub(crate) fn notes(&self) -> String {
        self.devices[LOCAL].notes.join("\n")
    }
}

/// A tree from paths and contents; paths that end in `/` are folders.
pub(crate) fn tree(entries: &[(&str, &str)]) -> Seen {
    let entry = |(path, content): &(&str, &str)| match path.strip_suffix('/') {
        Some(folder) => (folder.to_string(), None),
        None => (path.to_string(), Some(content.as_bytes().to_vec())),
    };
    entries.iter().map(entry).collect()
}
