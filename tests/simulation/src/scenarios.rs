//! What the drive promises, one scenario each, without chance.

use crate::device::{Device, InFlight};
use crate::random::Random;
use crate::store::Store;
use bytes::Bytes;
use fs_core::{
    Answer, Cloud, Command, CreateSpec, Event, FsError, HandleId, Ino, Kind, Limits, Local, Mono,
    Name, NodeId, Op, OpenFlags, Owner, RenameFlags, Request, Response, Rev, Status,
};

const STEPS: usize = 20_000;
const QUOTA: u64 = 10 * 4096;

/// One device at one store, with a person at it.
struct Desk {
    device: Device,
    store: Store,
    random: Random,
}

impl Desk {
    fn new() -> Desk {
        let limits = Limits { cache_bytes: QUOTA, ..Limits::default() };
        let mut desk =
            Desk { device: Device::new(0, limits, 1), store: Store::new(), random: Random::new(1) };
        desk.rest();
        desk
    }

    /// Lets everything under way finish, and time pass until nothing is due within a minute.
    fn rest(&mut self) {
        for _ in 0..STEPS {
            if !self.device.flights.is_empty() {
                self.device.complete(0, &mut self.store, &mut self.random, true);
                continue;
            }
            let soon = Mono(self.device.mono).plus_millis(30_000);
            match self.device.drive.deadline() {
                Some(deadline) if deadline < soon => self.device.tick(),
                _ => return,
            }
        }
        panic!("does not come to rest");
    }

    fn ask(&mut self, request: Request) -> Result<Response, FsError> {
        let ticket = self.device.ticket();
        self.device.handle(Event::Request(ticket, request));
        for _ in 0..STEPS {
            let found = self.device.replies.iter().position(|(other, _)| *other == ticket);
            if let Some((_, result)) = found.and_then(|at| self.device.replies.remove(at)) {
                return result;
            }
            if self.device.flights.is_empty() {
                self.device.tick();
            } else {
                self.device.complete(0, &mut self.store, &mut self.random, true);
            }
        }
        panic!("no answer");
    }

    fn create(&mut self, parent: Ino, name: &[u8]) -> (Ino, HandleId) {
        let flags = OpenFlags { read: true, write: true, ..OpenFlags::default() };
        let request = Request::Create {
            parent,
            name: named(name),
            mode: 0o644,
            owner: Owner::default(),
            flags,
        };
        match self.ask(request) {
            Ok(Response::Created { attr, handle, .. }) => (attr.ino, handle),
            other => panic!("{other:?}"),
        }
    }

    fn save(&mut self, parent: Ino, name: &[u8], bytes: &[u8]) -> Ino {
        let (ino, handle) = self.create(parent, name);
        self.write(ino, handle, 0, bytes);
        self.close(ino, handle);
        ino
    }

    fn write(&mut self, ino: Ino, handle: HandleId, offset: u64, bytes: &[u8]) {
        let data = Bytes::copy_from_slice(bytes);
        let written = self.ask(Request::Write { ino, handle, offset, data, strip: false });
        assert_eq!(written, Ok(Response::Written(bytes.len() as u32)));
    }

    fn open(&mut self, ino: Ino) -> HandleId {
        let flags = OpenFlags { read: true, write: true, ..OpenFlags::default() };
        match self.ask(Request::Open { ino, flags }) {
            Ok(Response::Opened { handle, .. }) => handle,
            other => panic!("{other:?}"),
        }
    }

    fn close(&mut self, ino: Ino, handle: HandleId) {
        assert_eq!(self.ask(Request::Release { ino, handle }), Ok(Response::Done));
    }

    fn mkdir(&mut self, parent: Ino, name: &[u8]) -> Ino {
        let spec = CreateSpec {
            kind: Kind::Dir,
            mode: 0o755,
            rdev: 0,
            owner: Owner::default(),
            target: Vec::new(),
        };
        match self.ask(Request::Make { parent, name: named(name), spec }) {
            Ok(Response::Entry(attr)) => attr.ino,
            other => panic!("{other:?}"),
        }
    }

    fn rename(&mut self, from: (Ino, &[u8]), to: (Ino, &[u8])) {
        let request = Request::Rename {
            from: (from.0, named(from.1)),
            to: (to.0, named(to.1)),
            flags: RenameFlags::default(),
        };
        assert_eq!(self.ask(request), Ok(Response::Done));
    }

    fn read(&mut self, ino: Ino, len: u32) -> Result<Response, FsError> {
        let handle = self.open(ino);
        let result = self.ask(Request::Read { ino, handle, offset: 0, len });
        self.close(ino, handle);
        result
    }

    fn status(&mut self) -> Status {
        match self.ask(Request::Control(Command::Status)) {
            Ok(Response::Answer(Answer::Status(status))) => status,
            other => panic!("{other:?}"),
        }
    }

    fn evict_all(&mut self) {
        let _ = self.ask(Request::Control(Command::Evict(Vec::new())));
        self.rest();
    }

    fn live(&self, name: &[u8]) -> Vec<NodeId> {
        let named = self.store.live().filter(|node| node.name.as_bytes() == name);
        named.map(|node| node.id).collect()
    }

    fn go_offline(&mut self) {
        self.device.online = false;
        self.device.handle(Event::Link(Err(crate::device::lost())));
    }
}

fn named(bytes: &[u8]) -> Name {
    Name::new(bytes).expect("legal")
}

#[test]
fn saving_by_rename_keeps_the_node() {
    let mut desk = Desk::new();
    desk.save(Ino::ROOT, b"report", b"first");
    desk.rest();
    let before = desk.live(b"report");
    desk.save(Ino::ROOT, b"report.new", b"second");
    desk.rename((Ino::ROOT, b"report.new"), (Ino::ROOT, b"report"));
    desk.rest();
    assert_eq!(desk.live(b"report"), before, "the same node");
    assert!(desk.live(b"report.new").is_empty());
    let versions: Vec<&[u8]> =
        desk.store.versions.values().map(|version| version.bytes.as_slice()).collect();
    assert_eq!(versions, [b"first".as_slice(), b"second"]);
}

/// The temporary file is in the cloud before it is moved over, as the save took so long; it may still
/// be open, and written to, after that.
#[test]
fn a_slow_save_by_rename_keeps_the_node() {
    for is_open in [false, true] {
        let mut desk = Desk::new();
        desk.save(Ino::ROOT, b"report", b"first");
        desk.rest();
        let before = desk.live(b"report");
        let ino = desk.save(Ino::ROOT, b"report.new", b"second");
        desk.rest();
        assert_eq!(desk.live(b"report.new").len(), 1, "it is there");
        let handle = is_open.then(|| desk.open(ino));
        if let Some(handle) = handle {
            desk.write(ino, handle, 0, b"S");
        }
        desk.rename((Ino::ROOT, b"report.new"), (Ino::ROOT, b"report"));
        if let Some(handle) = handle {
            desk.rest();
            desk.close(ino, handle);
        }
        desk.rest();
        assert_eq!(desk.live(b"report"), before, "the same node");
        assert!(desk.live(b"report.new").is_empty());
        let mine = |id: &NodeId| before.contains(id);
        let versions = desk.store.versions.iter().filter(|(content, _)| mine(&content.id));
        let versions: Vec<&[u8]> = versions.map(|(_, version)| version.bytes.as_slice()).collect();
        let last: &[u8] = if is_open { b"Second" } else { b"second" };
        assert_eq!(versions, [b"first".as_slice(), last]);
        assert_eq!(desk.status().pending_nodes, 0);
    }
}

#[test]
fn a_backup_by_rename_leaves_the_history_with_the_name() {
    let mut desk = Desk::new();
    desk.save(Ino::ROOT, b"notes", b"first");
    desk.rest();
    let before = desk.live(b"notes");
    desk.rename((Ino::ROOT, b"notes"), (Ino::ROOT, b"notes~"));
    desk.save(Ino::ROOT, b"notes", b"second");
    desk.rest();
    assert_eq!(desk.live(b"notes"), before);
    assert_ne!(desk.live(b"notes~"), before);
}

#[test]
fn what_dies_young_is_never_sent() {
    let mut desk = Desk::new();
    desk.save(Ino::ROOT, b"scratch", b"x");
    let request = Request::Unlink { parent: Ino::ROOT, name: named(b"scratch") };
    assert_eq!(desk.ask(request), Ok(Response::Done));
    desk.rest();
    assert_eq!(desk.store.head(), Rev(0));
    assert_eq!(desk.status().pending_nodes, 0);
}

#[test]
fn a_temporary_name_waits_longer() {
    let mut desk = Desk::new();
    desk.save(Ino::ROOT, b"movie.part", b"x");
    desk.save(Ino::ROOT, b"movie", b"y");
    desk.rest();
    assert_eq!((desk.live(b"movie").len(), desk.live(b"movie.part").len()), (1, 0));
    desk.device.pass(60_000_000_000);
    desk.device.handle(Event::Tick);
    desk.rest();
    assert_eq!(desk.live(b"movie.part").len(), 1, "delayed, not dropped");
}

/// The answer to a connect may be on its way when the store is lost: it is no news any more.
#[test]
fn an_answer_from_before_a_loss_makes_no_one_online() {
    let mut desk = Desk::new();
    desk.save(Ino::ROOT, b"file", b"x");
    desk.rest();
    // A hint that is behind what was sent makes it ask.
    desk.device.handle(Event::Head(Rev(0)));
    assert_eq!(desk.device.flights.len(), 1, "it asks");
    desk.device.handle(Event::Link(Err(crate::device::lost())));
    desk.device.complete(0, &mut desk.store, &mut desk.random, true);
    assert!(!desk.status().online);
    desk.go_offline();
    desk.rest();
    assert!(!desk.status().online);
}

#[test]
fn renaming_a_folder_is_one_operation() {
    let mut desk = Desk::new();
    let dir = desk.mkdir(Ino::ROOT, b"old");
    for number in 0..50_u8 {
        desk.save(dir, format!("f{number}").as_bytes(), b"x");
    }
    desk.rest();
    let before = desk.store.head();
    desk.rename((Ino::ROOT, b"old"), (Ino::ROOT, b"new"));
    desk.rest();
    assert_eq!(desk.store.head(), Rev(before.0 + 1));
    assert_eq!(desk.store.log.last().map(|commit| commit.nodes.len()), Some(1));
}

#[test]
fn a_small_edit_of_an_absent_file_stages_only_itself() {
    let mut desk = Desk::new();
    let ino = desk.save(Ino::ROOT, b"big", &[7; 3000]);
    desk.rest();
    desk.evict_all();
    let handle = desk.open(ino);
    desk.write(ino, handle, 1000, b"edit");
    desk.close(ino, handle);
    desk.device.pass(1_000_000_000);
    desk.device.handle(Event::Tick);
    let staged = desk.device.flights.iter().find_map(|flight| match flight {
        InFlight::Cloud { effect: Cloud::Stage(items), .. } => items.first(),
        _ => None,
    });
    let item = staged.expect("is being staged");
    assert_eq!(item.dirty.bytes(), 4);
    assert_eq!(item.base.map(|base| base.len), Some(3000));
    assert!(item.valid.is_empty(), "nothing was fetched");
}

#[test]
fn a_commit_that_was_on_its_way_is_sent_again_as_it_was() {
    let mut desk = Desk::new();
    desk.save(Ino::ROOT, b"letter", b"dear");
    let mut sent = None;
    for _ in 0..STEPS {
        let at =
            desk.device.flights.iter().position(|flight| {
                matches!(flight, InFlight::Cloud { effect: Cloud::Commit(_), .. })
            });
        if let Some(InFlight::Cloud { effect: Cloud::Commit(flight), .. }) =
            at.map(|at| desk.device.flights.swap_remove(at))
        {
            desk.store.commit(&flight);
            sent = Some(flight.request);
            break;
        }
        if desk.device.flights.is_empty() {
            desk.device.tick();
        } else {
            desk.device.complete(0, &mut desk.store, &mut desk.random, true);
        }
    }
    // The answer is lost with the process.
    desk.device.crash(&mut desk.store, &mut desk.random, 2);
    desk.rest();
    assert_eq!(desk.store.head(), Rev(1), "exactly once");
    assert_eq!(desk.store.log.first().map(|commit| commit.request), sent);
    assert_eq!(desk.live(b"letter").len(), 1);
}

#[test]
fn absent_bytes_offline_fail_by_their_deadline() {
    let mut desk = Desk::new();
    let ino = desk.save(Ino::ROOT, b"far", b"away");
    desk.rest();
    desk.evict_all();
    desk.go_offline();
    let before = desk.device.mono;
    assert_eq!(desk.read(ino, 4), Err(FsError::Offline));
    let waited = Mono(desk.device.mono).millis_since(Mono(before));
    assert!((2_900..4_000).contains(&waited), "{waited} ms");
    desk.save(Ino::ROOT, b"near", b"here");
    assert_eq!(desk.status().pending_nodes, 1, "writing goes on");
}

#[test]
fn reading_far_more_than_the_quota_stays_within_it() {
    let mut desk = Desk::new();
    let inos: Vec<Ino> = (0..100_u8)
        .map(|number| {
            let ino = desk.save(Ino::ROOT, format!("f{number}").as_bytes(), &[number; 4096]);
            desk.rest();
            ino
        })
        .collect();
    for (number, ino) in inos.into_iter().enumerate() {
        let bytes = Bytes::from(vec![number as u8; 4096]);
        assert_eq!(desk.read(ino, 4096), Ok(Response::Data(bytes)));
        let status = desk.status();
        assert!(status.cached_bytes <= QUOTA, "{}", status.cached_bytes);
    }
}

#[test]
fn pinned_bytes_stay() {
    let mut desk = Desk::new();
    let kept = desk.save(Ino::ROOT, b"kept", b"mine");
    let gone = desk.save(Ino::ROOT, b"gone", b"not");
    let pin = Command::Pin(vec![named(b"kept")], true);
    assert_eq!(desk.ask(Request::Control(pin)), Ok(Response::Answer(Answer::Done)));
    desk.rest();
    desk.evict_all();
    desk.go_offline();
    assert_eq!(desk.read(kept, 4), Ok(Response::Data(Bytes::from_static(b"mine"))));
    assert_eq!(desk.read(gone, 3), Err(FsError::Offline));
}

#[test]
fn dirty_bytes_are_recorded_before_clean_ones_change() {
    let mut desk = Desk::new();
    let ino = desk.save(Ino::ROOT, b"file", b"clean bytes");
    desk.rest();
    let handle = desk.open(ino);
    let ticket = desk.device.ticket();
    let data = Bytes::from_static(b"dirty");
    let request = Request::Write { ino, handle, offset: 0, data, strip: false };
    desk.device.handle(Event::Request(ticket, request));
    let write = desk.device.flights.iter().find_map(|flight| match flight {
        InFlight::Local { effect: Local::Write { after, .. }, .. } => Some(*after),
        _ => None,
    });
    assert!(write.expect("is being written").0 > 0, "waits for its record");
    // Crash with the bytes written and the write not acknowledged: the file is known as dirty.
    let at =
        desk.device.flights.iter().position(|flight| {
            matches!(flight, InFlight::Local { effect: Local::Write { .. }, .. })
        });
    let Some(InFlight::Local { effect, .. }) = at.map(|at| desk.device.flights.swap_remove(at))
    else {
        panic!("the write is gone");
    };
    desk.device.disk.perform(&effect);
    desk.device.crash(&mut desk.store, &mut desk.random, 3);
    desk.rest();
    let newest = desk.store.versions.values().next_back().map(|version| version.bytes.clone());
    assert_eq!(newest, Some(b"dirty bytes".to_vec()), "what the device shows is what is sent");
}

#[test]
fn an_old_version_comes_back_without_its_bytes_moving() {
    let mut desk = Desk::new();
    let ino = desk.save(Ino::ROOT, b"doc", b"one");
    desk.rest();
    let first = desk.store.log.last().map(|commit| commit.nodes[0].clone()).expect("sent");
    let handle = desk.open(ino);
    desk.write(ino, handle, 0, b"two!");
    desk.close(ino, handle);
    desk.rest();
    let command = Command::RestoreVersion {
        path: vec![named(b"doc")],
        rev: first.content_rev,
        size: first.size,
        mtime: first.attrs.mtime,
    };
    assert_eq!(desk.ask(Request::Control(command)), Ok(Response::Answer(Answer::Done)));
    desk.device.pass(1_000_000_000);
    desk.device.handle(Event::Tick);
    let nothing_read = desk.device.flights.iter().all(|flight| match flight {
        InFlight::Cloud { effect: Cloud::Stage(items), .. } => items[0].dirty.is_empty(),
        InFlight::Cloud { effect, .. } => !matches!(effect, Cloud::Fetch { .. }),
        _ => true,
    });
    assert!(nothing_read);
    desk.rest();
    assert_eq!(desk.read(ino, 10), Ok(Response::Data(Bytes::from_static(b"one"))));
}

#[test]
fn a_rename_over_a_file_is_one_group() {
    let mut desk = Desk::new();
    desk.save(Ino::ROOT, b"a", b"1");
    desk.save(Ino::ROOT, b"b", b"2");
    desk.rest();
    desk.rename((Ino::ROOT, b"a"), (Ino::ROOT, b"b"));
    desk.device.pass(1_000_000_000);
    desk.device.handle(Event::Tick);
    for _ in 0..STEPS {
        let commit = desk.device.flights.iter().find_map(|flight| match flight {
            InFlight::Cloud { effect: Cloud::Commit(flight), .. } => Some(flight.clone()),
            _ => None,
        });
        if let Some(flight) = commit {
            let ops: Vec<&Op> = flight.groups[0].ops.iter().collect();
            assert_eq!(ops.len(), 2, "{ops:?}");
            return;
        }
        desk.device.complete(0, &mut desk.store, &mut desk.random, true);
    }
    panic!("no commit");
}
