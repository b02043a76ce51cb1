//! News of a drive: a stream of hints, or one held request for those who cannot stream.

use super::{drives::current, query};
use crate::{
    app::{App, Place},
    auth::Caller,
    body::Form,
    ids::Id,
    problem::Problem,
};
use axum::{
    extract::State,
    http::Uri,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, stream};
use protocol::{
    codec::hex,
    limits::{FEED_HEARTBEAT_SECS, FEED_WAIT_SECS},
    wire,
};
use serde::Deserialize;
use std::{collections::HashSet, convert::Infallible, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Hints of one stream come no closer together than this: what happens meanwhile is one hint.
const HINT_GAP: Duration = Duration::from_millis(50);

#[derive(Deserialize)]
struct FeedQuery {
    /// With it: answer once, when the head is beyond it.
    since: Option<u64>,
    /// Seconds to hold the request.
    wait: Option<u64>,
}

pub(super) async fn feed(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    form: Form,
    uri: Uri,
) -> Result<Response, Problem> {
    let ask: FeedQuery = query(&uri)?;
    let bounds = &app.config.bounds;
    let place = app.feeds.enter(device.id, bounds.feeds, bounds.feeds_per_device);
    let Some(place) = place else {
        let wait = Duration::from_secs(5);
        return Err(Problem::too_often("too many feeds are open; close one", wait));
    };
    // Listen first, read the head then: nothing falls between the two.
    let news = app.hints.listen(device.drive);
    let (stopping, revoked) = (app.stopping.subscribe(), app.revoked.subscribe());
    let mut listener = Listener { news, stopping, revoked, device: device.id, _place: place };
    let drive = current(&app, device.drive).await?;
    let Some(since) = ask.since else {
        return Ok(stream_of(listener, hex(&device.drive_id), drive.head));
    };
    if drive.head > since {
        return Ok(form.encode(&drive));
    }
    let wait = Duration::from_secs(ask.wait.unwrap_or(FEED_WAIT_SECS).min(FEED_WAIT_SECS));
    // Too late or stopping: the answer is the same as ever, only not beyond `since`.
    let _ = tokio::time::timeout(wait, listener.beyond(since)).await;
    Ok(form.encode(&current(&app, device.drive).await?))
}

struct Listener {
    news: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    revoked: watch::Receiver<HashSet<Id>>,
    device: Id,
    _place: Place,
}

impl Listener {
    /// Waits for a head beyond `seen`; `None` when the store stops, or the device was sent away.
    async fn beyond(&mut self, seen: u64) -> Option<u64> {
        tokio::select! {
            biased;
            _ = self.stopping.wait_for(|stopping| *stopping) => None,
            _ = self.revoked.wait_for(|gone| gone.contains(&self.device)) => None,
            news = self.news.wait_for(|head| *head > seen) => news.ok().map(|head| *head),
        }
    }
}

fn stream_of(listener: Listener, drive: String, head: u64) -> Response {
    let hints = hints(listener, drive, head);
    let beat = KeepAlive::new().interval(Duration::from_secs(FEED_HEARTBEAT_SECS)).text("beat");
    Sse::new(hints).keep_alive(beat).into_response()
}

/// Begins with the head as it is, then one hint for each time it has grown.
fn hints(
    listener: Listener,
    drive: String,
    head: u64,
) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold((listener, drive, head, true), |(mut listener, drive, seen, first)| async move {
        let rev = if first {
            seen
        } else {
            tokio::time::sleep(HINT_GAP).await;
            listener.beyond(seen).await?
        };
        let hint = wire::Hint { drive: drive.clone(), rev };
        let data = serde_json::to_string(&hint).unwrap_or_default();
        let event = Event::default().event("hint").id(rev.to_string()).data(data);
        Some((Ok(event), (listener, drive, rev, false)))
    })
}
