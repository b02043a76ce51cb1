//! Creating a drive, inviting devices to it, joining it.

use super::query;
use crate::{
    app::App,
    auth::Caller,
    body::{self, Form},
    db::{drives, lives, now_ms},
    problem::Problem,
};
use axum::{
    extract::{ConnectInfo, Request, State},
    http::{StatusCode, Uri},
    response::Response,
};
use protocol::{limits::LABEL_BYTES, wire};
use rusqlite::Connection;
use serde::{Deserialize, de::DeserializeOwned};
use std::{net::SocketAddr, sync::Arc};

/// Bytes of the bodies here, all of them small.
const BODY_BYTES: usize = 64 << 10;
const PARAMS_BYTES: usize = 16 << 10;
const SEALED_KEY_BYTES: usize = 16 << 10;
/// A join code lives between a minute and a week, in seconds.
const INVITE_SECS: std::ops::RangeInclusive<u64> = 1..=7 * 24 * 3_600;

async fn decode<T>(app: &App, request: Request) -> Result<T, Problem>
where
    T: DeserializeOwned + Send + 'static,
{
    body::decode(request, BODY_BYTES, app.config.bounds.body_idle_timeout).await
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    form: Form,
    request: Request,
) -> Result<Response, Problem> {
    let ask: wire::CreateDrive = decode(&app, request).await?;
    check_label("drive", &ask.label)?;
    check_label("device", &ask.device)?;
    check_invite(&ask.recovery)?;
    if ask.params.len() > PARAMS_BYTES {
        return Err(Problem::invalid(format!("params may have {PARAMS_BYTES} bytes at most")));
    }
    if *ask.drive == [0; 16] {
        return Err(Problem::invalid("the id of a drive must not be all zeros"));
    }
    app.code_tries.take(peer.ip())?;
    if !app.setup.take(&ask.setup_code)? {
        return Err(code_unknown(
            "this setup code is not good (any more): take the one that the store shows now",
        ));
    }
    app.code_tries.give_back(peer.ip());
    let membership = app.db.write(move |conn| drives::create(conn, &ask)).await?;
    Ok(form.encode(&membership))
}

pub(super) async fn join(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    form: Form,
    request: Request,
) -> Result<Response, Problem> {
    let ask: wire::Join = decode(&app, request).await?;
    check_label("device", &ask.device)?;
    app.code_tries.take(peer.ip())?;
    let joined = app.db.write(move |conn| drives::join(conn, &ask)).await?;
    let Some(membership) = joined else {
        return Err(code_unknown("this join code is not known, was used, or has expired"));
    };
    app.code_tries.give_back(peer.ip());
    Ok(form.encode(&membership))
}

pub(super) async fn invite(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    request: Request,
) -> Result<StatusCode, Problem> {
    let ask: wire::CreateInvite = decode(&app, request).await?;
    check_invite(&ask.invite)?;
    if !INVITE_SECS.contains(&ask.ttl_secs) {
        return Err(Problem::invalid(format!(
            "a join code lives {} to {} seconds",
            INVITE_SECS.start(),
            INVITE_SECS.end()
        )));
    }
    let expires = now_ms() + 1_000 * ask.ttl_secs.cast_signed();
    app.db.write(move |conn| drives::invite(conn, device.drive, &ask.invite, expires)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn describe(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    form: Form,
    uri: Uri,
) -> Result<Response, Problem> {
    let DescribeQuery { epoch, known } = query(&uri)?;
    let mut drive = current(&app, device.drive).await?;
    let (Some(epoch), Some(known)) = (epoch, known) else { return Ok(form.encode(&drive)) };
    let quota = app.config.quota_bytes;
    if lives::went_back(&drive, epoch, known) {
        let begun = move |conn: &Connection| {
            // Another device may have said so first.
            let drive = drives::describe(conn, device.drive, quota)?;
            if lives::went_back(&drive, epoch, known) {
                lives::begin(conn)?;
            }
            drives::describe(conn, device.drive, quota)
        };
        drive = app.db.write(begun).await?;
        tracing::warn!(
            "a device knows commit {known} and the drive ends at {}: the data went back; devices \
             will be asked what it lacks",
            drive.head
        );
    }
    if epoch != drive.epoch {
        let common = move |conn: &Connection| lives::common(conn, device.drive, epoch);
        drive.common = Some(app.db.read(common).await?);
    }
    Ok(form.encode(&drive))
}

#[derive(Deserialize)]
struct DescribeQuery {
    /// The life of the store that the device knows, and the rev up to which it has followed it.
    epoch: Option<u64>,
    known: Option<u64>,
}

/// What the drive says of itself now.
pub(super) async fn current(app: &App, drive: i64) -> Result<wire::Drive, Problem> {
    let quota = app.config.quota_bytes;
    app.db.read(move |conn| drives::describe(conn, drive, quota)).await
}

fn code_unknown(detail: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "code_unknown", detail)
}

fn check_label(of: &str, label: &str) -> Result<(), Problem> {
    if label.len() > LABEL_BYTES || label.chars().any(char::is_control) {
        return Err(Problem::invalid(format!(
            "the label of the {of} may have {LABEL_BYTES} bytes at most and no control characters"
        )));
    }
    Ok(())
}

fn check_invite(invite: &wire::Invite) -> Result<(), Problem> {
    if invite.sealed_key.len() > SEALED_KEY_BYTES {
        return Err(Problem::invalid(format!(
            "a sealed key may have {SEALED_KEY_BYTES} bytes at most"
        )));
    }
    Ok(())
}
