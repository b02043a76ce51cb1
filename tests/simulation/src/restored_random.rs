//! Random work on two devices, a backup somewhere in it, the restore of it later, random work again.
//! What was in the store or waited to be sent when it was restored, and is wholly on a device, is kept:
//! in a file, in a conflict copy or as a version.

use crate::pair::{LOCAL, Pair, REMOTE};
use crate::random::Random;
use crate::store::Store;
use fs_core::{
    ContentRef, CreateSpec, Ino, Kind, Name, NodeRow, OpenFlags, Owner, Pending, Range,
    RenameFlags, Request, Response,
};
use std::collections::{BTreeMap, BTreeSet};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const SEEDS: u64 = 600;

struct Run {
    pair: Pair,
    random: Random,
    /// The store before it was restored.
    lost: Store,
    /// Contents that must be there at the end.
    promised: BTreeSet<Vec<u8>>,
    /// What was last written here, by device and inode.
    written: BTreeMap<(usize, Ino), Vec<u8>>,
    count: u32,
}

impl Run {
    fn new(seed: u64) -> Run {
        let pair = Pair::new();
        let lost = pair.store.clone();
        let (promised, written) = (BTreeSet::new(), BTreeMap::new());
        Run { pair, random: Random::new(seed), lost, promised, written, count: 0 }
    }

    fn row(&self, device: usize, ino: Ino) -> Option<NodeRow> {
        let mut rows = self.pair.devices[device].drive.nodes();
        rows.find(|(row, _)| row.ino == ino).map(|(row, _)| row.clone())
    }

    /// The inodes of a kind that a device shows.
    fn shown(&self, device: usize, kind: Kind) -> Vec<Ino> {
        let rows = self.pair.devices[device].drive.nodes();
        let shown =
            rows.filter(|(row, _)| row.kind == kind && row.parent != Ino::NONE && !row.gone);
        shown.map(|(row, _)| row.ino).collect()
    }

    /// A device knows this content of the file and puts another in its place, or none.
    fn give_up(&mut self, device: usize, ino: Ino) {
        let Some(row) = self.row(device, ino) else { return };
        let version = ContentRef { id: row.id, rev: row.content_rev };
        for store in [&self.lost, &self.pair.store] {
            if let Some(version) = store.versions.get(&version) {
                self.promised.remove(&version.bytes);
            }
        }
        if row.pending.has(Pending::CREATE.with(Pending::CONTENT))
            && let Some(bytes) = self.written.get(&(device, ino))
        {
            self.promised.remove(bytes);
        }
    }

    /// Something a program does; what the drive refuses is no fault.
    fn work(&mut self) {
        let device = self.random.below(2);
        match self.random.below(10) {
            0 => {
                let online = self.random.chance(50);
                self.pair.set_online(device, online);
            }
            1 => _ = self.pair.go_on(device, 500),
            2 => {
                let steps = self.random.below(40);
                self.pair.go_on(device, steps);
            }
            3 => self.meet(),
            4 => self.make_folder(device),
            5 => self.remove(device),
            6 => self.rename(device),
            _ => self.save(device),
        }
    }

    fn some_place(&mut self, device: usize) -> (Ino, Name) {
        let mut folders = self.shown(device, Kind::Dir);
        folders.push(Ino::ROOT);
        let folder = folders[self.random.below(folders.len())];
        let name = NAMES[self.random.below(NAMES.len())];
        (folder, Name::new(name.as_bytes()).expect("legal"))
    }

    fn some_file(&mut self, device: usize) -> Option<(Ino, (Ino, Name))> {
        let files = self.shown(device, Kind::File);
        let ino = *files.get(self.random.below(files.len().max(1)))?;
        let row = self.row(device, ino)?;
        Some((ino, (row.parent, row.name)))
    }

    fn make_folder(&mut self, device: usize) {
        let (parent, name) = self.some_place(device);
        let spec = CreateSpec {
            kind: Kind::Dir,
            mode: 0o755,
            rdev: 0,
            owner: Owner::default(),
            target: Vec::new(),
        };
        let _ = self.pair.ask(device, Request::Make { parent, name, spec });
    }

    fn remove(&mut self, device: usize) {
        let Some((ino, (parent, name))) = self.some_file(device) else { return };
        self.give_up(device, ino);
        let _ = self.pair.ask(device, Request::Unlink { parent, name });
    }

    fn rename(&mut self, device: usize) {
        let folders = self.shown(device, Kind::Dir);
        let from = match self.some_file(device) {
            Some((_, from)) if self.random.chance(60) || folders.is_empty() => from,
            _ if folders.is_empty() => return,
            _ => {
                let ino = folders[self.random.below(folders.len())];
                let Some(row) = self.row(device, ino) else { return };
                (row.parent, row.name)
            }
        };
        let to = self.some_place(device);
        let lookup = Request::Lookup { parent: to.0, name: to.1.clone() };
        if let Ok(Response::Entry(there)) = self.pair.ask(device, lookup) {
            self.give_up(device, there.ino);
        }
        let flags = RenameFlags::default();
        let _ = self.pair.ask(device, Request::Rename { from, to, flags });
    }

    fn save(&mut self, device: usize) {
        self.count += 1;
        let bytes = format!("content {:04} {}", self.count, "x".repeat(self.random.below(40)));
        let flags = OpenFlags { read: true, write: true, truncate: true, ..OpenFlags::default() };
        let existing = self.random.chance(60).then(|| self.some_file(device)).flatten();
        let opened = match existing {
            Some((ino, _)) => {
                self.give_up(device, ino);
                self.pair.ask(device, Request::Open { ino, flags })
            }
            None => {
                let (parent, name) = self.some_place(device);
                let (mode, owner) = (0o644, Owner::default());
                let flags = OpenFlags { exclusive: true, ..flags };
                self.pair.ask(device, Request::Create { parent, name, mode, owner, flags })
            }
        };
        let (ino, handle) = match opened {
            Ok(Response::Opened { handle, .. }) => (existing_ino(&existing), handle),
            Ok(Response::Created { attr, handle, .. }) => (attr.ino, handle),
            _ => return,
        };
        let data = bytes::Bytes::from(bytes.clone());
        let write = Request::Write { ino, handle, offset: 0, data, strip: false };
        assert!(self.pair.ask(device, write).is_ok());
        assert!(self.pair.ask(device, Request::Release { ino, handle }).is_ok());
        self.written.insert((device, ino), bytes.clone().into_bytes());
        self.promised.insert(bytes.into_bytes());
    }

    /// The store as it was; promised is what the devices have of what is lost with it.
    fn restore(&mut self, backup: &Store, epoch: u64) {
        for device in [REMOTE, LOCAL] {
            self.pair.set_online(device, false);
            self.pair.go_on(device, 500);
        }
        self.lost = std::mem::replace(&mut self.pair.store, backup.clone());
        self.pair.store.come_back(epoch);
        let mut here = BTreeSet::new();
        let mut given_up = Vec::new();
        for device in [REMOTE, LOCAL] {
            let drive = &self.pair.devices[device].drive;
            for (row, content) in drive.nodes().filter(|(row, _)| row.kind == Kind::File) {
                let unsent = Pending::CREATE.with(Pending::CONTENT);
                if row.pending.has(unsent) {
                    here.extend(self.written.get(&(device, row.ino)).cloned());
                }
                if row.pending.has(unsent.with(Pending::TRASH)) {
                    given_up.push(ContentRef { id: row.id, rev: row.content_rev });
                }
                let is_newest = self
                    .lost
                    .live()
                    .any(|node| node.id == row.id && node.content_rev == row.content_rev);
                let is_whole = content.is_some_and(|content| {
                    content.valid.within(Range::new(0, row.size)) == [Range::new(0, row.size)]
                });
                let version = ContentRef { id: row.id, rev: row.content_rev };
                if is_newest && is_whole && !row.gone {
                    here.extend(self.lost.versions.get(&version).map(|found| found.bytes.clone()));
                }
            }
        }
        for version in given_up {
            if let Some(version) = self.lost.versions.get(&version) {
                here.remove(&version.bytes);
            }
        }
        let kept: BTreeSet<Vec<u8>> =
            backup.versions.values().map(|version| version.bytes.clone()).collect();
        self.promised.retain(|bytes| here.contains(bytes) || kept.contains(bytes));
    }

    /// Every folder's rows come to memory, where a crash had left them out.
    fn load(&mut self, device: usize) {
        let mut known = BTreeSet::new();
        loop {
            let folders = [vec![Ino::ROOT], self.shown(device, Kind::Dir)].concat();
            let new: Vec<Ino> = folders.into_iter().filter(|ino| known.insert(*ino)).collect();
            if new.is_empty() {
                return;
            }
            for parent in new {
                let name = Name::new(b"not there").expect("legal");
                let _ = self.pair.ask(device, Request::Lookup { parent, name });
            }
        }
    }

    /// The devices have all bytes of all files.
    fn read_all(&mut self) {
        for device in [REMOTE, LOCAL] {
            self.load(device);
            for ino in self.shown(device, Kind::File) {
                let flags = OpenFlags { read: true, ..OpenFlags::default() };
                let opened = self.pair.ask(device, Request::Open { ino, flags });
                let Ok(Response::Opened { handle, .. }) = opened else { continue };
                let _ = self.pair.ask(device, Request::Read { ino, handle, offset: 0, len: 99 });
                let _ = self.pair.ask(device, Request::Release { ino, handle });
            }
        }
    }

    /// Both come into step; what nobody has all bytes of may hold up what depends on it.
    fn meet(&mut self) {
        for _ in 0..5 {
            for device in [REMOTE, LOCAL] {
                self.pair.set_online(device, true);
                self.pair.go_on(device, 2_000);
            }
        }
        self.pair.store.check().expect("a valid tree");
    }

    fn judge(&mut self, seed: u64) {
        self.meet();
        [REMOTE, LOCAL].into_iter().for_each(|device| self.load(device));
        let stuck = self.pair.status(REMOTE).attention + self.pair.status(LOCAL).attention > 0;
        for device in [REMOTE, LOCAL] {
            let status = self.pair.status(device);
            assert!(!status.unsure, "seed {seed}: {status:?}");
            assert!(status.applied == self.pair.store.head(), "seed {seed}: {status:?}");
        }
        if stuck {
            return; // what no device has wholly stays in sight where a part of it is
        }
        let versions = self.pair.store.versions.values();
        let found: BTreeSet<&Vec<u8>> = versions.map(|version| &version.bytes).collect();
        for bytes in &self.promised {
            let text = String::from_utf8_lossy(bytes);
            assert!(found.contains(bytes), "seed {seed}: lost: {text}\n{}", self.pair.notes());
        }
        self.pair.agreed();
    }
}

fn existing_ino(existing: &Option<(Ino, (Ino, Name))>) -> Ino {
    existing.as_ref().map_or(Ino::NONE, |(ino, _)| *ino)
}

fn run(seed: u64) {
    eprintln!("seed {seed}");
    let mut run = Run::new(seed);
    let before = run.random.below(25);
    (0..before).for_each(|_| run.work());
    let mut backup = run.pair.store.clone();
    for epoch in 8..8 + 1 + run.random.below(3) as u64 {
        let lost = run.random.below(25);
        (0..lost).for_each(|_| run.work());
        if run.random.chance(80) {
            run.meet();
            run.read_all();
        }
        (0..run.random.below(6)).for_each(|_| run.work());
        run.restore(&backup, epoch);
        let after = run.random.below(15);
        (0..after).for_each(|_| run.work());
        if run.random.chance(50) {
            let number = run.random.below(2);
            let Pair { devices, store, random } = &mut run.pair;
            devices[number].crash(store, random, seed);
        }
        if run.random.chance(50) {
            // All that is known is gone into the new past.
            run.meet();
            backup = run.pair.store.clone();
        }
    }
    run.judge(seed);
}

#[test]
fn nothing_that_a_device_has_is_lost_with_a_restore() {
    let given = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match given("RESTORED_SEED") {
        Some(seed) => run(seed),
        None => (0..given("RESTORED_SEEDS").unwrap_or(SEEDS)).for_each(run),
    }
}
