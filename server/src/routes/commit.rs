//! The door for changes.

use crate::{
    app::App,
    auth::Caller,
    body::{self, Form},
    commit::{self, Sent},
    db::{
        chunks::{self, Survey},
        drives::Device,
    },
    problem::Problem,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use protocol::{codec, limits, wire};
use rusqlite::Connection;
use std::{sync::Arc, time::Duration};

pub(super) async fn commit(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    form: Form,
    request: Request,
) -> Result<Response, Problem> {
    let idle = app.config.bounds.body_idle_timeout;
    let ask: wire::Commit = body::decode(request, limits::COMMIT_BYTES, idle).await?;
    if ask.groups.is_empty() {
        return Err(Problem::invalid("a commit must have a group"));
    }
    // A task of its own: listeners must hear of the commit also if its sender has gone away.
    let task = tokio::spawn(async move { carry_out(&app, device, ask).await });
    let reply = task.await.map_err(|error| Problem::internal("commit", &error))??;
    if form == Form::Cbor {
        return Ok(body::cbor(reply));
    }
    let reply: wire::CommitReply =
        codec::decode(&reply).map_err(|error| Problem::internal("a stored reply", &error))?;
    Ok(form.encode(&reply))
}

async fn carry_out(app: &App, device: Device, ask: wire::Commit) -> Result<Vec<u8>, Problem> {
    let (quota, keep) = (app.config.quota_bytes, app.config.bounds);
    let (age, lease) = (app.db.age(), app.lease());
    let mut sent = Sent { device, commit: ask, survey: Survey::default(), age, lease };
    if commit::refs(&sent.commit).next().is_some() {
        let look = move |conn: &Connection| {
            let refs = commit::refs(&sent.commit);
            sent.survey = chunks::survey(conn, device.drive, refs)?;
            Ok(sent)
        };
        sent = app.db.read(look).await?;
    }
    let work = move |conn: &Connection| {
        if !sent.survey.is_current(conn)? {
            let wait = Duration::from_millis(50);
            return Err(Problem::busy("the store is clearing up; send it again", wait));
        }
        commit::commit(conn, sent, quota, &keep)
    };
    let done = app.db.write(work).await?;
    if let Some(rev) = done.rev {
        app.hints.announce(device.drive, rev);
        app.metrics.commits.inc();
        app.metrics.ops.inc_by(done.ops as u64);
    }
    Ok(done.reply)
}
