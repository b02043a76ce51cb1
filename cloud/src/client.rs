//! The HTTP client: one connection pool, bounded bodies, errors that say what to do.

use crate::problem::{self, broken, captive};
use bytes::Bytes;
use fs_core::{CloudError, CloudErrorKind};
use futures_util::stream;
use protocol::codec::{CBOR, DecodeError};
use protocol::{PROTOCOL_HEADER, PROTOCOL_VERSION};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use reqwest::{Body, Method, Response, StatusCode};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A request that moves no byte, either way, for so long is given up.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bodies are handed to the connection in slices of this many bytes, so that progress shows.
const SEND_SLICE_BYTES: usize = 64 << 10;
/// Bytes that the server may send ahead on one HTTP/2 stream and on one connection (RFC 9113, 5.2):
/// the defaults, 64 KiB, hold a line of 40 ms to 1.6 MB/s. Above: what a slow disk leaves in memory.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Bytes of one HTTP/2 frame: so long an urgent answer waits behind one that is not.
const FRAME_BYTES: u32 = 64 << 10;
/// Between two questions whether the other end of an HTTP/2 connection is still there, and how long its
/// answer may take. Without them a dead one takes every request in until the kernel gives it up, after
/// about a quarter of an hour.
const PING_EVERY: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an error's body that are read at most.
const PROBLEM_BYTES: usize = 64 << 10;
/// Bytes of a custom certificate file that are read at most.
const CERTIFICATE_BYTES: u64 = 1 << 20;

/// How to reach a server.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// A PEM file of certificates to trust beside the system's: a private authority, or the server's
    /// own self-signed certificate.
    pub ca_file: Option<PathBuf>,
}

/// Requests made, and bytes of bodies sent and received, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    pub requests: u64,
    pub sent: u64,
    pub received: u64,
}

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// One server, with or without a device's token.
pub(crate) struct Client {
    pool: RwLock<Pool>,
    /// Rung when the pool was replaced.
    pub(crate) renewed: Notify,
    build: Box<dyn Fn() -> reqwest::Result<reqwest::Client> + Send + Sync>,
    base: String,
    authorization: Option<HeaderValue>,
    counters: Arc<Counters>,
}

/// The connections that are used now.
#[derive(Clone)]
struct Pool {
    http: reqwest::Client,
    /// How many pools there were before.
    number: u64,
}

/// One request. `path` is below the server's URL and starts with `/`.
pub(crate) struct Call {
    method: Method,
    path: String,
    body: Bytes,
    media: &'static str,
    /// Bytes of an answer that are read at most.
    limit: usize,
    /// Bytes that the answer is likely to have, for its buffer.
    likely: usize,
    wait: Duration,
}

impl Call {
    fn new(method: Method, path: String, body: Bytes) -> Call {
        let limit = protocol::limits::BODY_BYTES;
        Call { method, path, body, media: CBOR, limit, likely: 0, wait: IDLE_TIMEOUT }
    }

    pub(crate) fn get(path: String) -> Call {
        Call::new(Method::GET, path, Bytes::new())
    }

    pub(crate) fn delete(path: String) -> Call {
        Call::new(Method::DELETE, path, Bytes::new())
    }

    pub(crate) fn post(path: String, body: Vec<u8>) -> Call {
        Call::new(Method::POST, path, body.into())
    }

    pub(crate) fn put(path: String, body: Vec<u8>) -> Call {
        let call = Call::new(Method::PUT, path, body.into());
        Call { media: "application/octet-stream", ..call }
    }

    /// Allows the server to hold the answer back for so long.
    pub(crate) fn held(self, wait: Duration) -> Call {
        Call { wait: wait + IDLE_TIMEOUT, ..self }
    }

    pub(crate) fn limit(self, limit: usize) -> Call {
        Call { limit, ..self }
    }

    pub(crate) fn likely(self, likely: usize) -> Call {
        Call { likely, ..self }
    }
}

impl Client {
    /// # Errors
    /// A URL or certificate file that cannot be used, or a token that is not one.
    pub(crate) fn new(
        server: &str,
        token: Option<&str>,
        options: &ClientOptions,
    ) -> Result<Client, CloudError> {
        let invalid = |text: String| CloudError::new(CloudErrorKind::Invalid, text);
        // Whoever installed a provider before us is as good: it is ring as well (see deny list).
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = server.trim_end_matches('/');
        let plain = check_address(base).map_err(invalid)?;
        let trusted = match &options.ca_file {
            Some(path) if !plain => certificates(path)?,
            _ => Vec::new(),
        };
        let build = Box::new(move || {
            let builder = builder();
            if plain {
                // On this machine: neither its certificates nor its proxy have a say.
                builder.tls_certs_only([]).no_proxy().build()
            } else {
                builder.tls_certs_merge(trusted.clone()).build()
            }
        });
        let http = build()
            .map_err(|error| invalid(format!("setting up the connection to {base}: {error}")))?;
        let pool = RwLock::new(Pool { http, number: 0 });
        let authorization = match token {
            None => None,
            Some(token) => {
                let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
                    invalid("the device's token is damaged: join this drive again".to_owned())
                })?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let base = base.to_owned();
        let (renewed, counters) = (Notify::new(), Arc::default());
        Ok(Client { pool, renewed, build, base, authorization, counters })
    }

    fn pool(&self) -> Pool {
        self.pool.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on new connections are used: those that are open may lead nowhere.
    pub(crate) fn renew(&self) {
        self.replace(self.pool().number);
    }

    /// Lets the pool of that number go, unless somebody did so before.
    fn replace(&self, number: u64) {
        let mut pool = self.pool.write().unwrap_or_else(PoisonError::into_inner);
        if pool.number != number {
            return;
        }
        match (self.build)() {
            Ok(http) => {
                *pool = Pool { http, number: number + 1 };
                self.renewed.notify_one();
            }
            Err(error) => tracing::warn!(%error, "no new connections; the old ones are used on"),
        }
    }

    pub(crate) fn traffic(&self) -> Traffic {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            requests: count(&self.counters.requests),
            sent: count(&self.counters.sent),
            received: count(&self.counters.received),
        }
    }

    /// Makes a request and decodes its answer.
    pub(crate) async fn call<T>(
        &self,
        call: Call,
        decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<T, CloudError> {
        let what = self.name(&call);
        let body = self.bytes(call, CBOR).await?;
        decode(&body).map_err(|error| {
            if problem::looks_like_html(&body) {
                return captive(&what);
            }
            let text = format!("{what}: {error}; the server may be damaged or not a Meshdrive one");
            CloudError::new(CloudErrorKind::Corrupt, text)
        })
    }

    /// Makes a request and returns the bytes of its answer, all of them. `media`: what it must be.
    pub(crate) async fn bytes(&self, call: Call, media: &str) -> Result<Vec<u8>, CloudError> {
        let bounds = (call.limit, call.likely);
        let what = self.name(&call);
        let mut response = self.open(call, media).await?;
        self.read(&mut response, bounds, &what).await
    }

    /// Makes a request and returns its answer, of which only the head has been read.
    pub(crate) async fn open(&self, call: Call, media: &str) -> Result<Response, CloudError> {
        let what = self.name(&call);
        let mut response = self.send(call, &what).await?;
        let status = response.status();
        if !status.is_success() {
            let body = self.read(&mut response, (PROBLEM_BYTES, 0), &what).await;
            let body = body.unwrap_or_default();
            return Err(problem::from_answer(&what, status, response.headers(), &body));
        }
        let found = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        if status != StatusCode::NO_CONTENT
            && found.is_some_and(|found| !found.starts_with(media.as_bytes()))
        {
            return Err(captive(&what));
        }
        Ok(response)
    }

    /// Makes a request whose answer is read as it arrives: at most the call's limit.
    pub(crate) async fn stream(&self, call: Call, media: &str) -> Result<Answer, CloudError> {
        let (what, left) = (self.name(&call), call.limit);
        let response = self.open(call, media).await?;
        Ok(Answer { response, what, left, counters: self.counters.clone() })
    }

    async fn send(&self, call: Call, what: &str) -> Result<Response, CloudError> {
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let progress = Arc::new(AtomicU64::new(0));
        let pool = self.pool();
        let mut request = pool
            .http
            .request(call.method, format!("{}{}", self.base, call.path))
            .header(PROTOCOL_HEADER, PROTOCOL_VERSION)
            .header(ACCEPT, CBOR);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if !call.body.is_empty() {
            request = request
                .header(CONTENT_TYPE, call.media)
                .header(CONTENT_LENGTH, call.body.len())
                .body(self.body(call.body, progress.clone()));
        }
        let mut answer = std::pin::pin!(request.send());
        // A small body was taken whole just now, which is no sign of life.
        let mut seen = progress.load(Ordering::Relaxed);
        loop {
            match tokio::time::timeout(call.wait, &mut answer).await {
                Ok(answer) => return answer.map_err(|error| broken(what, &error)),
                // The body still moves: wait on.
                Err(_) if progress.load(Ordering::Relaxed) > seen => {
                    seen = progress.load(Ordering::Relaxed);
                }
                Err(_) => {
                    self.replace(pool.number);
                    return Err(problem::silent(what, call.wait));
                }
            }
        }
    }

    /// A body that counts what the connection has taken of it.
    fn body(&self, bytes: Bytes, progress: Arc<AtomicU64>) -> Body {
        let counters = self.counters.clone();
        let taken = move |slice: &Bytes| {
            progress.fetch_add(slice.len() as u64, Ordering::Relaxed);
            counters.sent.fetch_add(slice.len() as u64, Ordering::Relaxed);
        };
        if bytes.len() <= SEND_SLICE_BYTES {
            taken(&bytes);
            return Body::from(bytes);
        }
        let slices = stream::unfold((bytes, taken), async |(mut rest, taken)| {
            if rest.is_empty() {
                return None;
            }
            let slice = rest.split_to(rest.len().min(SEND_SLICE_BYTES));
            taken(&slice);
            Some((Ok::<_, std::convert::Infallible>(slice), (rest, taken)))
        });
        Body::wrap_stream(slices)
    }

    /// Reads a body to its end, and fails as soon as it is longer than `limit`.
    async fn read(
        &self,
        response: &mut Response,
        (limit, likely): (usize, usize),
        what: &str,
    ) -> Result<Vec<u8>, CloudError> {
        // What the other side announces is a hint for the buffer, never trusted.
        let announced = response.content_length().unwrap_or(likely as u64).min(limit as u64);
        let mut body = Vec::with_capacity(announced as usize);
        loop {
            let part = tokio::time::timeout(IDLE_TIMEOUT, response.chunk())
                .await
                .map_err(|_| problem::silent(what, IDLE_TIMEOUT))?
                .map_err(|error| broken(what, &error))?;
            let Some(part) = part else { return Ok(body) };
            self.counters.received.fetch_add(part.len() as u64, Ordering::Relaxed);
            if body.len() + part.len() > limit {
                let text = format!("{what}: the answer is longer than {limit} bytes; not read on");
                return Err(CloudError::new(CloudErrorKind::Corrupt, text));
            }
            body.extend_from_slice(&part);
        }
    }

    fn name(&self, call: &Call) -> String {
        let path = call.path.split('?').next().unwrap_or_default();
        format!("{} {}{path}", call.method, self.base)
    }
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_frame_size(FRAME_BYTES)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .user_agent(concat!("meshdrive/", env!("CARGO_PKG_VERSION")))
}

/// The body of an answer on its way here.
pub(crate) struct Answer {
    response: Response,
    what: String,
    /// Bytes that may still come.
    left: usize,
    counters: Arc<Counters>,
}

impl Answer {
    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, CloudError> {
        let part = tokio::time::timeout(IDLE_TIMEOUT, self.response.chunk())
            .await
            .map_err(|_| problem::silent(&self.what, IDLE_TIMEOUT))?
            .map_err(|error| broken(&self.what, &error))?;
        let Some(part) = part else { return Ok(None) };
        self.counters.received.fetch_add(part.len() as u64, Ordering::Relaxed);
        self.left = self.left.checked_sub(part.len()).ok_or_else(|| {
            let text = format!("{}: the answer is longer than it may be; not read on", self.what);
            CloudError::new(CloudErrorKind::Corrupt, text)
        })?;
        Ok(Some(part))
    }
}

/// Whether `base` is plain HTTP, which is for a server on this machine only: anywhere else the
/// device's token would travel in the clear.
fn check_address(base: &str) -> Result<bool, String> {
    let wrong = |why: &str| format!("'{base}' is not the address of a server: {why}");
    let url = reqwest::Url::parse(base).map_err(|error| wrong(&error.to_string()))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let here = host == "localhost"
        || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    match url.scheme() {
        "https" => Ok(false),
        "http" if here => Ok(true),
        "http" => Err(wrong("http:// is for a server on this machine only; use https://")),
        _ => Err(wrong("it starts with https:// (or http:// on this machine)")),
    }
}

fn certificates(path: &PathBuf) -> Result<Vec<reqwest::Certificate>, CloudError> {
    let invalid = |why: String| {
        let text = format!("certificate file {}: {why}", path.display());
        CloudError::new(CloudErrorKind::Invalid, text)
    };
    let mut pem = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| invalid(error.to_string()))?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, CERTIFICATE_BYTES), &mut pem)
        .map_err(|error| invalid(error.to_string()))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem)
        .map_err(|error| invalid(format!("not a PEM certificate: {error}")))?;
    if found.is_empty() { Err(invalid("no certificate in it".to_owned())) } else { Ok(found) }
}
