//! The world: devices, the store, and chance.

use crate::device::{Device, InFlight};
use crate::oracle::{self, Oracle};
use crate::random::Random;
use crate::store::Store;
use crate::workload::{Asked, User, act, ask, listen};
use fs_core::{
    Attr, Command, ContentRef, DirEntry, Event, HandleId, Ino, Kind, Limits, OpenFlags, Pending,
    Request, Response, Rev,
};
use std::collections::BTreeMap;

/// The shape of a run; all of it follows from the seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    pub seed: u64,
    /// Chance moves before everything is let come to rest.
    pub steps: usize,
    /// Users make hard links too.
    pub links: bool,
    /// Users save as editors do, write alike, and decide conflicts.
    pub saves: bool,
    /// Some names stay on some devices for a while (`.meshignore`).
    pub ignores: bool,
}

/// What can come of two devices' changes, and the words by which a device notes it.
pub const OUTCOMES: [(&str, &str); 8] = [
    ("an edit met another edit", "changed here and elsewhere"),
    ("a new node met a new one of its name", "made here and elsewhere"),
    ("a move met another move", "moved elsewhere too"),
    ("a change met a removal", "removed elsewhere, kept because"),
    ("a change met a removal for good", "gone from the trash too"),
    ("two moves made a circle", "another device moved a folder above it"),
    ("a write met a version that was replaced", "written to a version that was replaced"),
    ("a mass of changes was held", "held: "),
];

/// What a run did, for the digest and for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// The same for the same seed, always.
    pub digest: u64,
    pub commits: u64,
    pub crashes: u64,
    /// Conflict copies that stand at the end.
    pub conflicts: u64,
    /// Files that were made or changed alike on two devices.
    pub twins: u64,
    /// How often each of [`OUTCOMES`] was noted.
    pub outcomes: [u64; OUTCOMES.len()],
}

/// A broken promise, with what runs it again.
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub steps: usize,
    pub links: bool,
    pub saves: bool,
    pub ignores: bool,
    pub what: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Failure { seed, steps, links, saves, ignores, what } = self;
        let links = if *links { "LINKS=1 " } else { "" };
        let saves = if *saves { "SAVES=1 " } else { "" };
        let ignores = if *ignores { "IGNORES=1 " } else { "" };
        write!(
            f,
            "SEED={seed} STEPS={steps} {links}{saves}{ignores}cargo test -p simulation one_seed -- --nocapture\n{what}"
        )
    }
}

/// Moves until the world must have come to rest.
const REST_STEPS: usize = 60_000;
const QUOTA: u64 = 4096 * 8;

struct World {
    random: Random,
    store: Store,
    devices: Vec<Device>,
    users: Vec<User>,
    head: Rev,
    report: Report,
}

/// Runs the world of a seed.
///
/// # Errors
/// The first promise that did not hold.
pub fn run(config: Config) -> Result<Report, Box<Failure>> {
    let mut world = World::new(config);
    let outcome = world.play(config.steps).and_then(|()| world.rest()).and_then(|()| world.judge());
    match outcome {
        Ok(()) => Ok(world.report),
        Err(what) => {
            let Config { seed, steps, links, saves, ignores } = config;
            Err(Box::new(Failure { seed, steps, links, saves, ignores, what }))
        }
    }
}

impl World {
    fn new(Config { seed, links, saves, ignores, .. }: Config) -> World {
        let mut random = Random::new(seed);
        let count = 1 + random.below(3);
        let small = random.chance(40);
        let limits = Limits {
            cache_bytes: if small { QUOTA } else { 1 << 30 },
            settle_ms: 50,
            passthrough_min: 64,
            idle_nodes: if random.chance(50) { 4 } else { 10_000 },
            mass_percent: if saves { 30 } else { 0 },
            mass_least: 3,
            mass_window_ms: 1_000,
            held_nodes: if small { 3 } else { 10_000 },
            ..Limits::default()
        };
        let mut devices: Vec<Device> =
            (0..count).map(|number| Device::new(number, limits, random.next())).collect();
        if ignores {
            devices.iter_mut().for_each(|device| device.ignore(b""));
        }
        let users = (0..count)
            .map(|number| User { salt: number as u64 + 1, links, saves, ..User::default() })
            .collect();
        World {
            random,
            store: Store::new(),
            devices,
            users,
            head: Rev(0),
            report: Report::default(),
        }
    }

    fn play(&mut self, steps: usize) -> Result<(), String> {
        for _ in 0..steps {
            let number = self.random.below(self.devices.len());
            self.step(number)?;
            self.after(number)?;
        }
        Ok(())
    }

    fn step(&mut self, number: usize) -> Result<(), String> {
        let device = &mut self.devices[number];
        if self.users[number].saves && self.random.chance(1) {
            look_at_held(device, &mut self.users[number], &self.store, &mut self.random);
            return Ok(());
        }
        if device.ignores() && self.random.chance(2) {
            let starts: Vec<u8> = (0..2).map(|_| b'a' + self.random.below(6) as u8).collect();
            device.ignore(&starts);
        }
        match self.random.below(1_000) {
            0..350 => act(device, &mut self.users[number], &mut self.random),
            350..880 => {
                if !device.flights.is_empty() {
                    let index = self.random.below(device.flights.len());
                    device.complete(index, &mut self.store, &mut self.random, false);
                }
            }
            880..965 => device.tick(),
            965..985 => {
                device.pass(30_000_000);
                device.handle(Event::Tick);
            }
            985..993 => {
                device.online = !device.online;
                let up = device.online;
                device.handle(Event::Link(if up { Ok(()) } else { Err(crate::device::lost()) }));
            }
            _ => {
                self.report.crashes += 1;
                let seed = self.random.next();
                device.crash(&mut self.store, &mut self.random, seed);
                self.users[number].crashed();
            }
        }
        Ok(())
    }

    /// Answers, invariants, hints.
    fn after(&mut self, number: usize) -> Result<(), String> {
        let device = &mut self.devices[number];
        let user = &mut self.users[number];
        listen(device, user)?;
        if !device.ignores() {
            Oracle::Barrier.judge(oracle::barrier(device, user, &self.store))?;
        }
        device.drive.check().map_err(|what| format!("device {number}: {what}"))?;
        let head = self.store.head();
        if head != self.head {
            self.head = head;
            Oracle::ValidTree.judge(self.store.check())?;
            for device in &mut self.devices {
                if device.online {
                    device.flights.push(InFlight::Hint(head));
                }
            }
        }
        let mix = self.devices[number].flights.len() as u64 ^ self.devices[number].mono;
        self.report.digest = (self.report.digest ^ mix).wrapping_mul(0x0100_0000_01b3);
        Ok(())
    }

    /// No more faults: everybody closes, goes online, nothing stays on one device only, and the world comes
    /// to rest.
    fn rest(&mut self) -> Result<(), String> {
        for number in 0..self.devices.len() {
            let device = &mut self.devices[number];
            device.online = true;
            if device.ignores() {
                device.ignore(b"");
            }
            device.handle(Event::Link(Ok(())));
            device.flights.push(InFlight::Hint(self.store.head()));
        }
        for _ in 0..REST_STEPS {
            let mut idle = true;
            for number in 0..self.devices.len() {
                self.close_files(number);
                let device = &mut self.devices[number];
                if !device.flights.is_empty() {
                    idle = false;
                    let index = self.random.below(device.flights.len());
                    device.complete(index, &mut self.store, &mut self.random, true);
                } else if !is_settled(device, self.store.head())
                    || !self.users[number].busy.is_empty()
                {
                    idle = false;
                    if self.users[number].saves && self.random.chance(20) {
                        let approve = Request::Control(Command::Approve);
                        ask(device, &mut self.users[number], approve, Asked::Other);
                    }
                    device.tick();
                }
                self.after(number)?;
            }
            if idle {
                return Ok(());
            }
        }
        let device = self.devices.iter().find(|device| !is_settled(device, self.store.head()));
        let what = format!("the world does not come to rest: {:?}", device.map(describe));
        Err(Oracle::Termination.broken(what))
    }

    fn close_files(&mut self, number: usize) {
        let user = &mut self.users[number];
        let open: Vec<(Ino, HandleId)> = user
            .handles
            .iter()
            .filter(|(ino, _)| !user.busy.contains(ino))
            .map(|(ino, handle)| (*ino, *handle))
            .collect();
        while let Some((ino, handle)) = user.take_second() {
            user.closed(handle);
            ask(&mut self.devices[number], user, Request::Release { ino, handle }, Asked::Other);
        }
        for (ino, handle) in open {
            user.handles.remove(&ino);
            user.closed(handle);
            ask(&mut self.devices[number], user, Request::Release { ino, handle }, Asked::Other);
        }
    }

    fn judge(&mut self) -> Result<(), String> {
        Oracle::ValidTree.judge(self.store.check())?;
        Oracle::ValidTree.judge(oracle::links_hold(&self.store))?;
        for number in 0..self.devices.len() {
            self.judge_device(number)?;
        }
        let marked = |device: &Device| {
            device.drive.nodes().filter(|(row, _)| row.is_conflict_copy()).count() as u64
        };
        let conflicts: Vec<u64> = self.devices.iter().map(marked).collect();
        if conflicts.iter().any(|count| *count != conflicts[0]) {
            return Err(format!("the devices list different conflicts: {conflicts:?}"));
        }
        for device in &self.devices {
            for (count, (_, words)) in self.report.outcomes.iter_mut().zip(OUTCOMES) {
                *count += device.notes.iter().filter(|note| note.contains(words)).count() as u64;
            }
        }
        self.report.conflicts = conflicts[0];
        self.report.commits = self.store.head().0;
        for version in self.store.versions.values() {
            for byte in &version.bytes {
                self.report.digest =
                    (self.report.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        Ok(())
    }

    fn judge_device(&mut self, number: usize) -> Result<(), String> {
        let store = &mut self.store;
        let (device, user) = (&mut self.devices[number], &self.users[number]);
        let quiet = oracle::is_quiet(device, store, &mut self.random);
        Oracle::Termination.judge(quiet)?;
        Oracle::Convergence.judge(oracle::at_rest(device))?;
        Oracle::NothingLost.judge(oracle::nothing_lost(user, store, number))?;
        Oracle::OneVersionPerHandle.judge(oracle::one_version(user.histories(), store))?;
        let tree = self.walk(number)?;
        let shown = tree.iter().map(|(path, attr)| (path.clone(), oracle::seen(attr)));
        let device = &self.devices[number];
        Oracle::Convergence.judge(oracle::converged(&shown.collect(), &self.store, device))?;
        self.read_everything(number, &tree)?;
        let device = &self.devices[number];
        let alone = self.devices.len() == 1 && !self.users[number].undid;
        Oracle::ConflictNames.judge(oracle::conflict_names(tree.keys(), alone))?;
        self.report.twins += device.twins;
        Oracle::Bounds.judge(oracle::bounded(device, device.quota()))
    }

    /// The whole tree of a device, through the ordinary door.
    fn walk(&mut self, number: usize) -> Result<BTreeMap<Vec<u8>, Attr>, String> {
        let mut tree = BTreeMap::new();
        let mut todo = vec![(Ino::ROOT, Vec::new())];
        while let Some((dir, path)) = todo.pop() {
            let entries = self.list(number, dir)?;
            for entry in entries.into_iter().skip(2) {
                let attr = entry.attr.ok_or("an entry without attributes")?;
                let mut below = path.clone();
                if !below.is_empty() {
                    below.push(b'/');
                }
                below.extend_from_slice(&entry.name);
                if entry.kind == Kind::Dir {
                    todo.push((entry.ino, below.clone()));
                }
                tree.insert(below, attr);
            }
        }
        Ok(tree)
    }

    /// All entries of a directory, in pages of a few.
    fn list(&mut self, number: usize, dir: Ino) -> Result<Vec<DirEntry>, String> {
        let opened = self.call(number, Request::Opendir { ino: dir })?;
        let Ok(Response::Opened { handle, .. }) = opened else {
            return Err(format!("device {number}: opendir: {opened:?}"));
        };
        let mut entries: Vec<DirEntry> = Vec::new();
        loop {
            let cookie = entries.last().map_or(0, |entry| entry.cookie);
            let request =
                Request::Readdir { ino: dir, handle, cookie, room: 3, cost: |_| 1, plus: true };
            match self.call(number, request)? {
                Ok(Response::Entries(page)) if page.is_empty() => break,
                Ok(Response::Entries(page)) => entries.extend(page),
                other => return Err(format!("device {number}: readdir: {other:?}")),
            }
        }
        let closed = self.call(number, Request::Releasedir { ino: dir, handle })?;
        closed.map(|_| entries).map_err(|error| error.to_string())
    }

    /// Every file reads as the store has it, through the ordinary door.
    fn read_everything(
        &mut self,
        number: usize,
        tree: &BTreeMap<Vec<u8>, Attr>,
    ) -> Result<(), String> {
        let stored = oracle::stored(&self.store);
        let files: Vec<(Ino, ContentRef, u64)> = tree
            .iter()
            .filter(|(_, attr)| attr.kind == Kind::File)
            .filter_map(|(path, attr)| {
                let node = stored.get(path)?;
                Some((attr.ino, ContentRef { id: node.id, rev: node.content_rev }, attr.size))
            })
            .collect();
        for (ino, content, size) in files {
            let flags = OpenFlags { read: true, ..OpenFlags::default() };
            let opened = self.call(number, Request::Open { ino, flags })?;
            let Ok(Response::Opened { handle, .. }) = opened else {
                return Err(format!("device {number}: open of inode {} failed", ino.0));
            };
            let request = Request::Read { ino, handle, offset: 0, len: size as u32 };
            let bytes = match self.call(number, request)? {
                Ok(Response::Data(bytes)) => bytes,
                other => return Err(format!("device {number}: inode {}: {other:?}", ino.0)),
            };
            let _ = self.call(number, Request::Release { ino, handle })?;
            let stored = self.store.fetch(content).map_err(|error| error.to_string())?;
            if bytes != stored {
                return Err(format!(
                    "device {number}: inode {} reads {:?}, the store has {:?}",
                    ino.0, bytes, stored
                ));
            }
        }
        Ok(())
    }

    /// Asks and lets everything run until the answer.
    fn call(
        &mut self,
        number: usize,
        request: Request,
    ) -> Result<Result<Response, fs_core::FsError>, String> {
        let device = &mut self.devices[number];
        let ticket = device.ticket();
        device.handle(Event::Request(ticket, request));
        for _ in 0..10_000 {
            if let Some(at) = device.replies.iter().position(|(other, _)| *other == ticket) {
                return device.replies.remove(at).map(|(_, result)| result).ok_or("lost".into());
            }
            if device.flights.is_empty() {
                device.tick();
            } else {
                let index = self.random.below(device.flights.len());
                device.complete(index, &mut self.store, &mut self.random, true);
            }
        }
        Err("a request without an answer".to_string())
    }
}

/// Somebody lets go of what is held, or takes it back.
fn look_at_held(device: &mut Device, user: &mut User, store: &Store, random: &mut Random) {
    let mut commands = vec![Command::Approve, Command::UndoRemovals];
    let rewritten = device.drive.nodes().filter(|(row, _)| row.pending.has(Pending::CONTENT));
    for (row, _) in rewritten {
        let content = ContentRef { id: row.id, rev: row.content_rev };
        if let Some(version) = store.versions.get(&content) {
            let (size, mtime) = (version.bytes.len() as u64, row.attrs.mtime);
            commands.push(Command::PutBack { ino: row.ino, rev: row.content_rev, size, mtime });
        }
    }
    if let Some(command) = random.pick(&commands).cloned() {
        user.undid |= command == Command::UndoRemovals;
        ask(device, user, Request::Control(command), Asked::Other);
    }
}

fn is_settled(device: &Device, head: Rev) -> bool {
    let pending = device.drive.nodes().any(|(row, content)| {
        !row.pending.is_none() || content.is_some_and(|content| content.blind)
    });
    !pending && device.drive.applied() == head
}

fn describe(device: &Device) -> String {
    let pending: Vec<_> =
        device.drive.nodes().filter(|(row, _)| !row.pending.is_none()).take(3).collect();
    format!(
        "device {}: applied {:?}, deadline {:?}, now {}, flights {}, pending {pending:#?}, notes {:?}",
        device.number,
        device.drive.applied(),
        device.drive.deadline(),
        device.mono,
        device.flights.len(),
        device.notes
    )
}
