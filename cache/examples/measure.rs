//! Prints what the store costs on this machine: `cargo run --release -p cache --example measure`.

use cache::{DiskStore, LocalStore, Options};
use fs_core::{
    Attrs, Change, Ino, Kind, Name, NodeId, NodeRow, Pending, Range, Rev, Seq, Timestamp, Xattrs,
};
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error>;

const SMALL_BATCHES: usize = 20_000;
const SYNCS: usize = 200;
const NODES: u64 = 1_000_000;
const WIDE_DIR: u64 = 100_000;
const SMALL_DIR: u64 = 1_000;
const PAGE: u64 = 1_000;

fn main() -> Result<(), Failure> {
    let dir = tempfile::TempDir::new()?;
    let store = DiskStore::open(dir.path(), Options::default())?;
    let mut seq = 0;
    let mut next = || {
        seq += 1;
        Seq(seq)
    };

    let started = Instant::now();
    store.queue(next(), vec![put(1, 0)?, put(2, 1)?, put(3, 1)?]);
    for first in (0..NODES).step_by(PAGE as usize) {
        let page = (first..first + PAGE).map(|n| put(10 + n, parent_of(n)));
        let at = next();
        store.queue(at, page.collect::<Result<_, _>>()?);
        store.journal(at)?;
    }
    store.load_node(Ino(1))?;
    println!("{NODES} nodes in {:?}", started.elapsed());

    let started = Instant::now();
    let rows = store.load_dir(Ino(2))?.len();
    println!("load_dir of {rows} rows: {:?}", started.elapsed());
    let loads = times(100, || {
        store.load_dir(Ino(3))?;
        Ok(())
    })?;
    println!("load_dir of {SMALL_DIR} children: {loads}");
    let loads = times(1_000, || {
        store.load_node(Ino(500_000))?;
        Ok(())
    })?;
    println!("load_node: {loads}");

    store.write(Ino(11), 0, &[0; 4096])?;
    let writes = times(SMALL_BATCHES, || {
        let at = next();
        store.queue(at, vec![wrote(at.0)]);
        Ok(store.journal(at)?)
    })?;
    println!("queue + journal of a small batch: {writes}");
    let syncs = times(SYNCS, || {
        store.write(Ino(11), 0, &[1; 4096])?;
        let at = next();
        store.queue(at, vec![wrote(at.0)]);
        Ok(store.sync(Some(Ino(11)), at)?)
    })?;
    println!("write 4 KiB + sync: {syncs}");

    drop(store);
    let started = Instant::now();
    let store = DiskStore::open(dir.path(), Options::default())?;
    println!("open after a kill: {:?}", started.elapsed());
    let started = Instant::now();
    store.shutdown()?;
    println!("shutdown: {:?}", started.elapsed());
    drop(store);
    let bytes = std::fs::metadata(dir.path().join("index.sqlite"))?.len();
    println!("index: {} bytes a node", bytes / NODES);
    let started = Instant::now();
    drop(DiskStore::open(dir.path(), Options::default())?);
    println!("open after a clean stop: {:?}", started.elapsed());
    Ok(())
}

/// A wide folder, a small one, and the rest in folders of a thousand.
fn parent_of(number: u64) -> u64 {
    match number {
        n if n < WIDE_DIR => 2,
        n if n < WIDE_DIR + SMALL_DIR => 3,
        n => 10 + n / 1_000,
    }
}

fn put(ino: u64, parent: u64) -> Result<Change, Failure> {
    let time = Timestamp(1_700_000_000_000_000_000);
    let mut id = [0x5a; 16];
    id[..8].copy_from_slice(&ino.to_be_bytes());
    Ok(Change::PutNode(Box::new(NodeRow {
        ino: Ino(ino),
        id: NodeId(id),
        parent: Ino(parent),
        name: Name::new(format!("some-file-{ino}.txt").as_bytes())?,
        kind: Kind::File,
        attrs: Attrs {
            mode: 0o644,
            uid: 1000,
            gid: 1000,
            rdev: 0,
            atime: time,
            mtime: time,
            ctime: time,
            btime: Timestamp(time.0 - 1),
            target: Vec::new(),
            xattrs: Xattrs::new(),
        },
        size: 12_345,
        meta_rev: Rev(1000),
        content_rev: Rev(1000),
        pending: Pending::NONE,
        origin: None,
        listed: false,
        pinned: false,
        gone: false,
    })))
}

fn wrote(time: u64) -> Change {
    let mtime = Timestamp(i64::try_from(time).unwrap_or(i64::MAX));
    Change::Wrote { ino: Ino(11), range: Range::new(0, 4096), size: 4096, mtime }
}

/// Median and 99th percentile of `count` runs.
fn times(count: usize, mut run: impl FnMut() -> Result<(), Failure>) -> Result<String, Failure> {
    let mut times: Vec<Duration> = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        run()?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok(format!("p50 {:?}, p99 {:?}", times[count / 2], times[count * 99 / 100]))
}
