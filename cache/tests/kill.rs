//! A real `kill -9`: what a process was told is safe is there for the next one.

// A test of its own: a failed step is a failed test.
#![allow(clippy::unwrap_used)]

use cache::{DiskStore, LocalStore, Options};
use fs_core::{
    Attrs, Change, Ino, Kind, Name, NodeId, NodeRow, Pending, Range, Rev, Seq, Timestamp, Xattrs,
};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Set for the process that is going to be killed: its state directory.
const VICTIM: &str = "MESHDRIVE_TEST_VICTIM";
/// Acknowledged batches before the kill, one run each.
const RUNS: [u64; 4] = [1, 20, 333, 1_500];

fn options() -> Options {
    Options { reserve_bytes: 0, segment_bytes: 20_000, ..Options::default() }
}

#[test]
fn acknowledged_changes_and_bytes_survive_kill_9() {
    if let Some(dir) = std::env::var_os(VICTIM) {
        work_until_killed(Path::new(&dir));
    }
    let dir = tempfile::TempDir::new().unwrap();
    let mut last = 0;
    for run in RUNS {
        let said = kill_after(dir.path(), run);
        let store = DiskStore::open(dir.path(), options()).unwrap();
        let recovered = store.recover().unwrap();
        assert!(recovered.last_seq.0 >= said, "{said} was acknowledged: {recovered:?}");
        assert!(said >= last + run);
        last = recovered.last_seq.0;
        for ino in 1..=last {
            let found = store.load_node(Ino(ino)).unwrap();
            let content = found[0].content.as_ref().unwrap();
            assert!(content.dirty.covers(Range::new(0, 8)));
            assert_eq!(store.read(Ino(ino), Range::new(0, 8)).unwrap(), ino.to_le_bytes()[..]);
        }
        // At most the last write had no record yet.
        let lost = std::fs::read_dir(dir.path().join("lost+found")).unwrap().count();
        assert!(lost <= 2 * RUNS.len(), "{:?}", store.notices());
    }
}

/// Runs this test's victim, kills it after `count` acknowledged batches, returns the last of them.
fn kill_after(dir: &Path, count: u64) -> u64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "acknowledged_changes_and_bytes_survive_kill_9", "--nocapture"]);
    let mut child = command.env(VICTIM, dir).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let numbers = lines.map_while(Result::ok).filter_map(|line| line.parse::<u64>().ok());
    let mut last = 0;
    for (number, _) in numbers.zip(0..count) {
        last = number;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    last
}

/// Writes files and says the number of each batch once it is in the journal.
fn work_until_killed(dir: &Path) -> ! {
    let store = DiskStore::open(dir, options()).unwrap();
    let first = store.recover().unwrap().last_seq.0 + 1;
    for seq in first.. {
        let ino = Ino(seq);
        store.write(ino, 0, &seq.to_le_bytes()).unwrap();
        let wrote = Change::Wrote { ino, range: Range::new(0, 8), size: 8, mtime: Timestamp(1) };
        store.queue(Seq(seq), vec![Change::PutNode(Box::new(node(seq))), wrote]);
        store.journal(Seq(seq)).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{seq}").and_then(|()| out.flush()).unwrap();
    }
    unreachable!("numbers do not end")
}

fn node(ino: u64) -> NodeRow {
    let time = Timestamp(0);
    NodeRow {
        ino: Ino(ino),
        id: NodeId([1; 16]),
        parent: Ino(1),
        name: Name::new(format!("file {ino}").as_bytes()).unwrap(),
        kind: Kind::File,
        attrs: Attrs {
            mode: 0o600,
            uid: 0,
            gid: 0,
            rdev: 0,
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
            target: Vec::new(),
            xattrs: Xattrs::new(),
        },
        size: 0,
        meta_rev: Rev(0),
        content_rev: Rev(0),
        pending: Pending::CREATE,
        origin: None,
        listed: false,
        pinned: false,
        gone: false,
    }
}
