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
