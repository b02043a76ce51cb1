//! Many threads, one order.

use super::*;
use std::sync::atomic::AtomicBool;

const THREADS: u64 = 6;
const BATCHES: u64 = 150;

#[test]
fn what_any_thread_was_told_is_there_after_a_kill() {
    let dir = TempDir::new().unwrap();
    let options = Options { segment_bytes: 4_000, backlog_bytes: 20_000, ..options() };
    let store = DiskStore::open(dir.path(), options.clone()).unwrap();
    store.queue(Seq(1), vec![put(node(1, 0, ""))]);
    let next = Mutex::new(2_u64);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (store, next) = (&store, &next);
                scope.spawn(move || {
                    for count in 0..BATCHES {
                        let ino = Ino(100 + thread * BATCHES + count);
                        store.write(ino, 0, &ino.0.to_le_bytes()).unwrap();
                        let wrote = Change::Wrote {
                            ino,
                            range: Range::new(0, 8),
                            size: 8,
                            mtime: Timestamp(7),
                        };
                        let seq = {
                            let mut next = locked(next);
                            let seq = Seq(*next);
                            *next += 1;
                            store.queue(seq, vec![put(node(ino.0, 1, "f")), wrote]);
                            seq
                        };
                        match count % 10 {
                            0 => store.sync(Some(ino), seq).unwrap(),
                            _ => store.journal(seq).unwrap(),
                        }
                        if count % 25 == 0 {
                            let rows = store.load_node(ino).unwrap();
                            assert_eq!(rows.first().unwrap().node.size, 8);
                        }
                    }
                })
            })
            .collect();
        let (store, done) = (&store, &done);
        scope.spawn(move || {
            while !done.load(Ordering::Acquire) {
                store.load_dir(Ino(1)).unwrap();
            }
        });
        let results: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Release);
        results.into_iter().for_each(|result| result.unwrap());
    });
    drop(store);
    let store = DiskStore::open(dir.path(), options).unwrap();
    let recovered = store.recover().unwrap();
    assert_eq!(recovered.last_seq.0, 1 + THREADS * BATCHES);
    assert_eq!(recovered.rows.len() as u64, 1 + THREADS * BATCHES);
    assert!(store.notices().is_empty(), "{:?}", store.notices());
    for ino in 100..100 + THREADS * BATCHES {
        assert_eq!(store.read(Ino(ino), Range::new(0, 8)).unwrap(), ino.to_le_bytes()[..]);
    }
}
