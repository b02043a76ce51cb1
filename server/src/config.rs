//! What the operator decides.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Where and how the store runs. [`ServerConfig::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Port 0 picks a free one. Without TLS only loopback addresses are accepted.
    pub listen: SocketAddr,
    /// Holds the database and the packs; made with mode 0700 if it is not there.
    pub data_dir: PathBuf,
    pub tls: Option<TlsFiles>,
    /// Bytes of packs and bodies that one drive may hold; `None`: as much as fits on the disk.
    pub quota_bytes: Option<u64>,
    pub rates: Rates,
    pub bounds: Bounds,
    pub keep: Keep,
}

/// A certificate chain and its private key, both PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// How often one peer may ask.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Requests a second of one device, and how many may come at once. At least 1 each.
    pub requests_per_second: u32,
    pub request_burst: u32,
    /// Wrong setup or join codes a minute from one address.
    pub wrong_codes_per_minute: u32,
}

/// How much the store does at once, and how long it keeps what it could forget.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections; more are closed as they come. Each needs a file descriptor.
    pub connections: usize,
    /// Requests in work; more are answered with `busy`.
    pub requests_in_work: usize,
    /// Feeds held open, of all devices and of one.
    pub feeds: usize,
    pub feeds_per_device: usize,
    /// Answers that stream bytes, to all devices and to one; each needs up to 1.5 MiB of memory.
    pub streams: usize,
    pub streams_per_device: usize,
    /// A request other than a feed or a pack must be answered within this time.
    pub request_timeout: Duration,
    /// A body that stops arriving for this long is given up.
    pub body_idle_timeout: Duration,
    /// The log keeps at least this many commits, and those of at least this time.
    pub log_commits: u64,
    pub log_time: Duration,
}

/// How long the store keeps what is not current any more. All times are of its age clock, which runs
/// only while the store does.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// For this long after it was replaced every version stays; then, for `hourly`, the last one of
    /// each hour; then, for `daily`, the last one of each day; then none. The current one always does.
    pub all: Duration,
    pub hourly: Duration,
    pub daily: Duration,
    /// What was removed stays in the trash for this long.
    pub trash: Duration,
    /// Chunks that were sent, or asked for, are left alone for this long, so that a commit may name them.
    pub lease: Duration,
    /// A chunk that nothing names goes when a second look, at least this much later, says so too.
    pub condemned: Duration,
    /// A pack without chunks stays on the disk for this long.
    pub held: Duration,
    /// A pack of this age of which less than `repack_percent` is used is written anew.
    pub repack_after: Duration,
    pub repack_percent: u64,
    /// Bytes of packs that one collection writes anew.
    pub repack_bytes: u64,
    /// How often the store collects by itself, and within which time it reads all packs back.
    pub collect_every: Duration,
    pub scrub_every: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

impl Default for Keep {
    fn default() -> Keep {
        Keep {
            all: DAY,
            hourly: 7 * DAY,
            daily: 30 * DAY,
            trash: 30 * DAY,
            lease: DAY,
            condemned: DAY,
            held: 7 * DAY,
            repack_after: 7 * DAY,
            repack_percent: 50,
            repack_bytes: 1 << 30,
            collect_every: DAY / 4,
            scrub_every: 30 * DAY,
        }
    }
}

impl ServerConfig {
    #[must_use]
    pub fn new(listen: SocketAddr, data_dir: PathBuf) -> ServerConfig {
        ServerConfig {
            listen,
            data_dir,
            tls: None,
            quota_bytes: None,
            rates: Rates::default(),
            bounds: Bounds::default(),
            keep: Keep::default(),
        }
    }
}

impl Default for Rates {
    fn default() -> Rates {
        Rates { requests_per_second: 200, request_burst: 1_000, wrong_codes_per_minute: 5 }
    }
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            connections: 4_096,
            requests_in_work: 256,
            feeds: 4_096,
            feeds_per_device: 32,
            streams: 512,
            streams_per_device: 64,
            request_timeout: Duration::from_secs(60),
            body_idle_timeout: Duration::from_secs(30),
            log_commits: 1_000_000,
            log_time: Duration::from_secs(30 * 24 * 3_600),
        }
    }
}
