//! Counters for the operator, in the text form of Prometheus.

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
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
