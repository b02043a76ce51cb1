//! Counters for the operator, in the text form of Prometheus.

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use protocol::operator::{Collection, DriveCollection, Scrub, Sum};
use std::time::Duration;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    endpoint: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Endpoint {
    endpoint: String,
}

type Latencies = Family<Endpoint, Histogram, fn() -> Histogram>;

#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    latencies: Latencies,
    pub(crate) commits: Counter,
    pub(crate) ops: Counter,
    pub(crate) packs: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) upkeep: Upkeep,
}

/// What collections and scrubs have done.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    collections: Counter,
    versions: Counter,
    purged: Counter,
    condemned: Counter,
    deleted: Counter,
    dropped: Counter,
    dropped_bytes: Counter,
    repacked_bytes: Counter,
    waiting: Gauge,
    held: Gauge,
    scrubbed_bytes: Counter,
    scrub_errors: Counter,
    bad_packs: Gauge,
}

impl Upkeep {
    pub(crate) fn collected(&self, done: &Collection) {
        self.collections.inc();
        let total = |sum: fn(&DriveCollection) -> Sum| {
            done.drives.iter().map(sum).fold(Sum::default(), |all, one| Sum {
                count: all.count + one.count,
                bytes: all.bytes + one.bytes,
            })
        };
        self.versions.inc_by(total(|drive| drive.versions).count);
        self.purged.inc_by(total(|drive| drive.trash).count);
        self.condemned.inc_by(total(|drive| drive.condemned).count);
        self.deleted.inc_by(total(|drive| drive.deleted).count);
        let dropped = total(|drive| drive.dropped);
        self.dropped.inc_by(dropped.count);
        self.dropped_bytes.inc_by(dropped.bytes);
        self.repacked_bytes.inc_by(done.drives.iter().map(|drive| drive.moved_bytes).sum());
        let waiting = total(|drive| drive.waiting).count + total(|drive| drive.condemned).count;
        self.waiting.set(waiting.cast_signed());
        let held = total(|drive| drive.holding).count + total(|drive| drive.held).count;
        self.held.set(held.cast_signed());
    }

    pub(crate) fn scrubbed(&self, done: &Scrub) {
        self.scrubbed_bytes.inc_by(done.packs.bytes);
        let bad: usize = done.drives.iter().map(|drive| drive.bad_packs.len()).sum();
        self.scrub_errors.inc_by((bad + done.database.len()) as u64);
        self.bad_packs.set(bad as i64);
    }

    fn register(&self, registry: &mut Registry) {
        let counters = [
            ("collections", "Collections that were finished", &self.collections),
            ("versions_thinned", "Replaced versions that were given up", &self.versions),
            ("trash_purged", "Nodes of the trash that were given up", &self.purged),
            ("chunks_condemned", "Chunks that nothing named", &self.condemned),
            ("chunks_deleted", "Condemned chunks that were given up", &self.deleted),
            ("packs_dropped", "Packs without chunks that were removed", &self.dropped),
            ("scrub_errors", "Bad packs and faults of the database found", &self.scrub_errors),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let bytes = [
            ("packs_dropped", "Bytes of packs that were removed", &self.dropped_bytes),
            ("repacked", "Bytes of chunks moved to new packs", &self.repacked_bytes),
            ("scrubbed", "Bytes of packs that were read back", &self.scrubbed_bytes),
        ];
        for (name, help, counter) in bytes {
            registry.register_with_unit(name, help, Unit::Bytes, counter.clone());
        }
        let gauges = [
            ("chunks_waiting", "Condemned chunks not yet given up", &self.waiting),
            ("packs_held", "Packs without chunks not yet removed", &self.held),
            ("packs_bad", "Packs that the last scrub found bad", &self.bad_packs),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
    }
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        // 0.25 ms to 8 s.
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_25, 2.0, 16));
        let mut metrics = Metrics {
            registry: Registry::with_prefix("meshdrive"),
            requests: Family::default(),
            latencies: Latencies::new_with_constructor(buckets),
            commits: Counter::default(),
            ops: Counter::default(),
            packs: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            upkeep: Upkeep::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("requests", "Answered requests", metrics.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "Time until the head of the answer was ready",
            Unit::Seconds,
            metrics.latencies.clone(),
        );
        registry.register("commits", "Commits that made a rev", metrics.commits.clone());
        registry.register("ops", "Operations that took effect", metrics.ops.clone());
        registry.register("packs", "Packs that were stored", metrics.packs.clone());
        metrics.upkeep.register(registry);
        for (name, counter) in [("received", &metrics.bytes_in), ("sent", &metrics.bytes_out)] {
            let text = format!("Bytes of bodies {name}");
            registry.register_with_unit(name, text, Unit::Bytes, counter.clone());
        }
        metrics
    }

    pub(crate) fn answered(&self, endpoint: &str, status: u16, took: Duration) {
        let endpoint = endpoint.to_owned();
        self.requests.get_or_create(&Request { endpoint: endpoint.clone(), status }).inc();
        self.latencies.get_or_create(&Endpoint { endpoint }).observe(took.as_secs_f64());
    }

    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}
