//! News of the head: one stream of hints that stays open, so that no change costs a request. Where
//! nothing comes through such a stream (some proxies hold answers back), one held request after the
//! other.

use crate::client::Call;
use crate::native::Native;
use crate::problem;
use fs_core::{CloudError, CloudErrorKind, Rev};
use protocol::codec::decode;
use protocol::limits::FEED_HEARTBEAT_SECS;
use protocol::wire;
use reqwest::Response;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long one wait lasts when nothing happens; less than the server may hold a request.
const QUIET: Duration = Duration::from_secs(45);
/// The first hint comes at once, unless something on the way holds the stream back.
const FIRST_HINT: Duration = Duration::from_secs(10);
/// A stream that does not even beat for so long is dead.
const SILENCE: Duration = Duration::from_secs(3 * FEED_HEARTBEAT_SECS);
/// Bytes of a line of the stream.
const LINE_BYTES: usize = 4 << 10;
/// The media type of a stream of events (HTML living standard, 9.2).
const EVENTS: &str = "text/event-stream";

/// How the head is waited for.
#[derive(Default)]
pub(crate) struct Feed(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    Closed,
    Open(Hints),
    /// Nothing comes through a stream here.
    Held,
}

/// An open stream.
struct Hints {
    response: Response,
    /// What has come and is not a whole line yet.
    rest: Vec<u8>,
    heard: Instant,
    /// No hint has come yet. The first one says where the head is, whatever was known before.
    fresh: bool,
}

/// What a look at the stream gave.
enum News {
    Head(Rev),
    Quiet,
    Ended,
}

impl Native {
    pub(crate) async fn wait_head(&self, seen: Rev) -> Result<Rev, CloudError> {
        // Whoever else waits at the same time does so by a request of its own.
        let Ok(mut state) = self.feed.0.try_lock() else { return self.wait_held(seen).await };
        let mut hints = match std::mem::take(&mut *state) {
            State::Held => {
                *state = State::Held;
                return self.wait_held(seen).await;
            }
            State::Open(hints) => hints,
            State::Closed => {
                let response = self.client.open(self.feed_call(""), EVENTS).await?;
                Hints { response, rest: Vec::new(), heard: Instant::now(), fresh: true }
            }
        };
        let news = hints.wait(seen).await.inspect_err(|_| self.client.renew())?;
        match news {
            News::Head(rev) => {
                *state = State::Open(hints);
                Ok(rev)
            }
            News::Quiet if hints.fresh => {
                tracing::info!("no hints come through the stream; the head is asked for instead");
                *state = State::Held;
                self.wait_held(seen).await
            }
            News::Quiet => {
                *state = State::Open(hints);
                Ok(seen)
            }
            // A request says whether only the stream is gone, or the store.
            News::Ended => self.wait_held(seen).await,
        }
    }

    async fn wait_held(&self, seen: Rev) -> Result<Rev, CloudError> {
        let call = self.feed_call(&format!("?since={}&wait={}", seen.0, QUIET.as_secs()));
        let drive = self.client.call(call.held(QUIET), decode::<wire::Drive>).await?;
        let known = self.epoch.load(Ordering::Relaxed);
        if known != 0 && drive.epoch != known {
            let text = "the store came back from a backup; connecting anew";
            return Err(CloudError::new(CloudErrorKind::Offline, text));
        }
        Ok(Rev(drive.head))
    }

    fn feed_call(&self, how: &str) -> Call {
        Call::get(format!("{}/feed{how}", self.path))
    }
}

impl Hints {
    /// Waits for a head beyond `seen`, or at first for any other.
    async fn wait(&mut self, seen: Rev) -> Result<News, CloudError> {
        let end = Instant::now() + if self.fresh { FIRST_HINT } else { QUIET };
        loop {
            while let Some(line) = self.line() {
                let Some(rev) = head_of(&line) else { continue };
                let first = std::mem::take(&mut self.fresh);
                if rev > seen || first && rev != seen {
                    return Ok(News::Head(rev));
                }
            }
            if self.rest.len() > LINE_BYTES {
                let text =
                    "the feed sends what are no hints; the server may not be a Meshdrive one";
                return Err(CloudError::new(CloudErrorKind::Corrupt, text));
            }
            let dead = self.heard + SILENCE;
            let left = end.min(dead).saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.response.chunk()).await {
                Ok(Ok(Some(part))) => {
                    self.heard = Instant::now();
                    self.rest.extend_from_slice(&part);
                }
                Ok(Ok(None) | Err(_)) => return Ok(News::Ended),
                Err(_) if dead <= Instant::now() => return Err(problem::silent("feed", SILENCE)),
                Err(_) => return Ok(News::Quiet),
            }
        }
    }

    /// The next whole line that has come.
    fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.rest.iter().position(|&byte| byte == b'\n')?;
        let mut line: Vec<u8> = self.rest.drain(..=end).collect();
        line.truncate(end);
        Some(line)
    }
}

/// The id of an event is the head it speaks of; beats and all other lines say nothing.
fn head_of(line: &[u8]) -> Option<Rev> {
    let text = str::from_utf8(line).ok()?.strip_prefix("id:")?;
    text.trim().parse().ok().map(Rev)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_from_the_ids_of_events() {
        assert_eq!(head_of(b"id: 12"), Some(Rev(12)));
        assert_eq!(head_of(b"id:7\r"), Some(Rev(7)));
        for line in [&b": beat"[..], b"event: hint", b"data: {}", b"", b"id: -1", b"id: \xff"] {
            assert_eq!(head_of(line), None);
        }
    }
}
