//! From what went wrong on the wire to what the caller must do about it.

use fs_core::{CloudError, CloudErrorKind, Mono};
use protocol::{codec, wire::Problem};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use std::error::Error;
use std::time::Duration;

/// The longest wait that a server may ask for; more is taken as this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// An answer that is not a success.
pub(crate) fn from_answer(
    what: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> CloudError {
    let Ok(problem) = codec::decode::<Problem>(body) else {
        return unspoken(what, status, headers, body);
    };
    let (kind, advice) = meaning(&problem.code, status);
    let detail = printable(&problem.detail);
    let mut error = CloudError::new(kind, format!("{what}: {detail}{advice}"));
    let asked = problem.retry_after_ms.map(Duration::from_millis).or(retry_after(headers));
    error.retry_after = asked.map(mono);
    error
}

fn meaning(code: &str, status: StatusCode) -> (CloudErrorKind, &'static str) {
    use CloudErrorKind as Kind;
    match code {
        "unauthorized" => (
            Kind::Denied,
            "; `meshdrive drive join NAME --again` with a new code keeps what is here",
        ),
        "revoked" => (
            Kind::Denied,
            "; this device was removed from the drive (`meshdrive drive join NAME --again` with a new code \
             takes it in again)",
        ),
        "code_unknown" => (
            Kind::Denied,
            "; codes work once and not for long: ask for a new one on another device",
        ),
        "gone" | "not_found" => (Kind::Gone, ""),
        "too_large" | "invalid" => (Kind::Invalid, ""),
        "upgrade" => (Kind::Invalid, "; update Meshdrive on this device or on the server"),
        "quota" => (Kind::Quota, "; free some space in the drive or raise its quota"),
        "busy" | "internal" => (Kind::Retry, ""),
        _ => (by_status(status), ""),
    }
}

fn by_status(status: StatusCode) -> CloudErrorKind {
    match status.as_u16() {
        401 | 403 => CloudErrorKind::Denied,
        404 | 410 => CloudErrorKind::Gone,
        408 | 425 | 429 | 500..=506 | 508..=599 => CloudErrorKind::Retry,
        507 => CloudErrorKind::Quota,
        _ => CloudErrorKind::Invalid,
    }
}

/// An answer that no Meshdrive server gives: a proxy, a portal, or something else altogether.
fn unspoken(what: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> CloudError {
    if status.is_redirection() || looks_like_html(body) && !status.is_server_error() {
        return captive(what);
    }
    let text = format!("{what}: answered {status} without a reason");
    // A stranger's 4xx says nothing about us: it must not make the caller give up for good, or believe that
    // the store does not know it any more.
    let kind = match by_status(status) {
        CloudErrorKind::Invalid | CloudErrorKind::Gone | CloudErrorKind::Denied => {
            CloudErrorKind::Retry
        }
        kind => kind,
    };
    let mut error = CloudError::new(kind, text);
    error.retry_after = retry_after(headers).map(mono);
    error
}

/// Something between us and the server answers in its place.
pub(crate) fn captive(what: &str) -> CloudError {
    let text = format!(
        "{what}: something else than a Meshdrive server answered (a captive portal or a proxy?); \
         open a web page to sign in to this network, or check the server's address"
    );
    CloudError::new(CloudErrorKind::Retry, text)
}

pub(crate) fn looks_like_html(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'<')
}

/// The request did not get through, or its answer broke off.
pub(crate) fn broken(what: &str, error: &reqwest::Error) -> CloudError {
    let cause = root_cause(error);
    if error.is_connect() || error.is_timeout() {
        let text =
            format!("{what}: cannot reach the server ({cause}); is it running, is the network up?");
        return CloudError::new(CloudErrorKind::Offline, text);
    }
    CloudError::new(CloudErrorKind::Retry, format!("{what}: the connection broke off ({cause})"))
}

/// Nothing moved for too long.
pub(crate) fn silent(what: &str, waited: Duration) -> CloudError {
    let text = format!(
        "{what}: no byte moved for {} s; the server or the network is stuck",
        waited.as_secs()
    );
    CloudError::new(CloudErrorKind::Offline, text)
}

/// The innermost error, where the operating system says what happened.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// A length of time in the unit that the core keeps time in.
fn mono(wait: Duration) -> Mono {
    Mono(wait.min(RETRY_AFTER_MAX).as_nanos() as u64)
}

/// Text from a server, fit for a terminal and a log: one line, no control characters, bounded.
fn printable(text: &str) -> String {
    const MOST: usize = 500;
    text.chars().filter(|c| !c.is_control()).take(MOST).collect()
}
