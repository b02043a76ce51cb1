//! Random batches: the rows equal a model in memory, whatever happens in between.

use super::*;
use crate::codec::tests::change;
use fs_core::{ContentRow, Flight};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Larger than every range that the strategies make.
const FILE_LEN: u64 = 4_096;

/// What `Change` means, as plainly as it can be said.
#[derive(Clone, Default)]
struct Model {
    nodes: BTreeMap<u64, NodeRow>,
    content: BTreeMap<u64, ContentRow>,
    flights: Vec<Flight>,
    cursor: (Rev, u64),
    complete: bool,
    held: fs_core::Hold,
    last_ino: u64,
    /// Numbers are never used again.
    dead: BTreeSet<u64>,
}

impl Model {
    /// Applies a change unless the core would never make it; says whether it did.
    fn apply(&mut self, change: &Change) -> bool {
        match change {
            Change::PutNode(row) => {
                if self.dead.contains(&row.ino.0) {
                    return false;
                }
                self.last_ino = self.last_ino.max(row.ino.0);
                self.nodes.insert(row.ino.0, (**row).clone());
            }
            Change::DropNode(ino) => {
                self.dead.insert(ino.0);
                self.nodes.remove(&ino.0);
                self.content.remove(&ino.0);
            }
            Change::PutContent(row) => {
                if !self.nodes.contains_key(&row.ino.0) {
                    return false;
                }
                self.content.insert(row.ino.0, (**row).clone());
            }
            Change::DropContent(ino) => {
                self.content.remove(&ino.0);
            }
            Change::Wrote { ino, range, size, mtime } => {
                let Some(node) = self.nodes.get_mut(&ino.0) else { return false };
                (node.size, node.attrs.mtime, node.attrs.ctime) = (*size, *mtime, *mtime);
                if !range.is_empty() {
                    let row = self.content(*ino);
                    row.dirty.insert(*range);
                    row.valid.remove(*range);
                }
            }
            Change::Filled { ino, range } => {
                if !self.nodes.contains_key(&ino.0) {
                    return false;
                }
                let row = self.content(*ino);
                row.dirty.gaps(*range).into_iter().for_each(|part| row.valid.insert(part));
            }
            Change::Cursor { rev, epoch } => self.cursor = (*rev, *epoch),
            Change::Complete => self.complete = true,
            Change::Held(hold) => self.held = *hold,
            Change::PutFlight(flight) => {
                match self.flights.iter_mut().find(|known| known.request == flight.request) {
                    Some(known) => *known = (**flight).clone(),
                    None => self.flights.push((**flight).clone()),
                }
            }
            Change::DropFlight(request) => self.flights.retain(|f| f.request != *request),
        }
        true
    }

    fn content(&mut self, ino: Ino) -> &mut ContentRow {
        self.content.entry(ino.0).or_insert_with(|| ContentRow { ino, ..ContentRow::default() })
    }

    fn row(&self, ino: u64) -> Option<Loaded> {
        let node = self.nodes.get(&ino)?.clone();
        Some(Loaded { node, content: self.content.get(&ino).cloned() })
    }

    fn check_rows(&self, store: &DiskStore) {
        for ino in 1..12 {
            let rows = store.load_node(Ino(ino)).unwrap();
            assert_eq!(rows.first().cloned(), self.row(ino));
            for row in &rows {
                assert_eq!(Some(row.clone()), self.row(row.node.ino.0));
            }
            let mut children: Vec<u64> = store
                .load_dir(Ino(ino))
                .unwrap()
                .into_iter()
                .filter(|row| row.node.parent == Ino(ino))
                .map(|row| row.node.ino.0)
                .collect();
            children.sort_unstable();
            children.dedup();
            let expected: Vec<u64> = self
                .nodes
                .values()
                .filter(|node| node.parent == Ino(ino))
                .map(|node| node.ino.0)
                .collect();
            assert_eq!(children, expected);
        }
        let ids: Vec<NodeId> = self.nodes.values().map(|node| node.id).collect();
        let found: BTreeSet<u64> =
            store.load_ids(&ids).unwrap().iter().map(|row| row.node.ino.0).collect();
        assert!(self.nodes.keys().all(|ino| found.contains(ino)));
    }

    fn check_recovered(&self, recovered: &Recovered, seq: u64) {
        assert_eq!((recovered.cursor, recovered.epoch), self.cursor);
        assert_eq!(recovered.complete, self.complete);
        assert_eq!(recovered.flights, self.flights);
        assert_eq!(recovered.held, self.held);
        assert_eq!(recovered.last_seq, Seq(seq));
        assert!(recovered.last_ino.0 >= self.last_ino);
        assert_eq!(recovered.repairs, []);
        for node in self.nodes.values() {
            let hot = node.parent == Ino::NONE
                || node.ino == Ino::ROOT
                || node.pinned
                || node.gone
                || !node.pending.is_none()
                || self.content.contains_key(&node.ino.0);
            let row = recovered.rows.iter().find(|row| row.node.ino == node.ino);
            match row {
                Some(row) => assert_eq!(Some(row.clone()), self.row(node.ino.0)),
                None => assert!(!hot, "{node:?} is missing"),
            }
        }
        assert!(recovered.rows.iter().all(|row| self.nodes.contains_key(&row.node.ino.0)));
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Load,
    Journal,
    Sync,
    Close,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    proptest::sample::select(vec![Step::Load, Step::Journal, Step::Sync, Step::Close, Step::Kill])
}

/// The backing files that the changes need; the engine would have written them.
fn write_bytes(store: &DiskStore, change: &Change) {
    let ino = match change {
        Change::PutContent(row) => row.ino,
        Change::Wrote { range, .. } if range.is_empty() => return,
        Change::Wrote { ino, .. } | Change::Filled { ino, .. } => *ino,
        _ => return,
    };
    store.truncate(ino, FILE_LEN).unwrap();
}

fn run(steps: Vec<(Vec<Vec<Change>>, Step)>) {
    let dir = TempDir::new().unwrap();
    let options = Options { segment_bytes: 1_000, ..options() };
    let mut store = DiskStore::open(dir.path(), options.clone()).unwrap();
    let (mut model, mut seq) = (Model::default(), 0);
    for (batches, step) in steps {
        for batch in batches {
            let batch: Vec<Change> = batch.into_iter().filter(|c| model.apply(c)).collect();
            batch.iter().for_each(|change| write_bytes(&store, change));
            seq += 1;
            store.queue(Seq(seq), batch);
        }
        match step {
            Step::Load => model.check_rows(&store),
            Step::Journal => store.journal(Seq(seq)).unwrap(),
            Step::Sync => store.sync(Some(Ino(1)), Seq(seq)).unwrap(),
            Step::Close | Step::Kill => {
                if matches!(step, Step::Close) {
                    store.shutdown().unwrap();
                } else {
                    store.journal(Seq(seq)).unwrap();
                }
                drop(store);
                store = DiskStore::open(dir.path(), options.clone()).unwrap();
                assert!(store.notices().is_empty(), "{:?}", store.notices());
                model.check_recovered(&store.recover().unwrap(), seq);
            }
        }
    }
    model.check_rows(&store);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn rows_equal_the_model(
        steps in vec((vec(vec(change(false), 0..6), 0..6), step()), 1..6)
    ) {
        run(steps);
    }
}
