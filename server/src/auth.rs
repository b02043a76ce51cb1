//! Who is asking: a device shows its token, and may speak of its own drive only.

use crate::{
    app::App,
    db::drives::{self, Device},
    ids::from_path,
    problem::Problem,
};
use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::{StatusCode, header::AUTHORIZATION, request::Parts},
};
use std::sync::Arc;

/// Longest token that is looked at, in bytes.
const TOKEN_BYTES: usize = 256;

/// A known device that asks about its own drive, within its rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller(pub(crate) Device);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Caller, Problem> {
        let device = device(parts, app).await?;
        if device.revoked {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "revoked",
                "this device was removed from the drive: join again with a new code",
            ));
        }
        app.rate.check(&device.id)?;
        let params = RawPathParams::from_request_parts(parts, app)
            .await
            .map_err(|error| Problem::invalid(error.to_string()))?;
        for (name, value) in &params {
            // A foreign drive looks like one that is not there.
            if name == "drive" && from_path::<16>("drive id", value)? != device.drive_id {
                return Err(Problem::not_found("this device has no such drive"));
            }
        }
        Ok(Caller(device))
    }
}

async fn device(parts: &Parts, app: &App) -> Result<Device, Problem> {
    let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header
        .and_then(|value| value.strip_prefix("Bearer "))
        .filter(|token| token.len() <= TOKEN_BYTES);
    let Some(token) = token else {
        return Err(Problem::unauthorized("send the device's token: Authorization: Bearer ..."));
    };
    let hash = drives::token_hash(token);
    if let Some(device) = app.tokens.get(&hash) {
        return Ok(device);
    }
    let found = app.db.read(move |conn| drives::device_by_token(conn, &hash)).await?;
    let Some(device) = found else {
        return Err(Problem::unauthorized("this token is not known here"));
    };
    app.tokens.remember(hash, device);
    Ok(device)
}
