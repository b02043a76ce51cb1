//! The control socket: HTTP over a Unix socket that only its owner may open, and only processes of the
//! same user (or root) are listened to.

use crate::{
    dirs,
    failure::{Attempt, Outcome},
};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::Listener,
};
use protocol::control::{
    CONTROL_PATH, REQUEST_BYTES, Refusal, RefusalCode, Reply, Request, STATUS_PATH,
};
use std::{
    fs,
    future::Future,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::net::{UnixListener, UnixStream, unix::SocketAddr};

/// How long to wait after the system had no descriptor for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Whoever answers requests.
pub(crate) trait Clerk: Clone + Send + Sync + 'static {
    fn answer(&self, request: Request) -> impl Future<Output = Result<Reply, Refusal>> + Send;
}

/// A bound control socket. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    listener: Option<UnixListener>,
}

impl Socket {
    /// Binds `path`, which a daemon that has died may have left. The caller holds the drive's lock,
    /// so nobody else listens there.
    pub(crate) fn bind(path: &Path) -> Outcome<Socket> {
        let what = || format!("cannot make the control socket {}", path.display());
        if let Some(folder) = path.parent() {
            dirs::private_dir(folder)?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).attempt(what);
            }
            _ => {}
        }
        let listener = UnixListener::bind(path).attempt(what)?;
        // Between bind and here the directory's 0700 keeps others out.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).attempt(what)?;
        Ok(Socket { path: path.into(), listener: Some(listener) })
    }

    /// Answers until `stop`, then lets running requests end.
    pub(crate) async fn serve<C: Clerk>(
        mut self,
        clerk: C,
        stop: impl Future<Output = ()> + Send + 'static,
    ) {
        let Some(listener) = self.listener.take() else { return };
        let router = Router::new()
            .route(CONTROL_PATH, post(control::<C>))
            .route(STATUS_PATH, get(status::<C>))
            .layer(DefaultBodyLimit::max(REQUEST_BYTES))
            .with_state(clerk);
        let door = Door { listener, uid: rustix::process::geteuid().as_raw() };
        if let Err(error) = axum::serve(door, router).with_graceful_shutdown(stop).await {
            tracing::error!(%error, "the control socket ended");
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

async fn control<C: Clerk>(State(clerk): State<C>, Json(request): Json<Request>) -> Response {
    respond(clerk.answer(request).await)
}

async fn status<C: Clerk>(State(clerk): State<C>) -> Response {
    respond(clerk.answer(Request::Status).await)
}

fn respond(answer: Result<Reply, Refusal>) -> Response {
    match answer {
        Ok(reply) => Json(reply).into_response(),
        Err(refusal) => {
            let status = match refusal.code {
                RefusalCode::NotFound => StatusCode::NOT_FOUND,
                RefusalCode::Invalid => StatusCode::BAD_REQUEST,
                _ => StatusCode::CONFLICT,
            };
            (status, Json(refusal)).into_response()
        }
    }
}

/// Lets in the same user and root.
struct Door {
    listener: UnixListener,
    uid: u32,
}

impl Listener for Door {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => match stream.peer_cred() {
                    Ok(peer) if peer.uid() == self.uid || peer.uid() == 0 => {
                        return (stream, address);
                    }
                    Ok(peer) => tracing::warn!(uid = peer.uid(), "refused a control connection"),
                    Err(error) => {
                        tracing::warn!(%error, "a control connection without credentials")
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a control connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

#[cfg(test)]
mod tests;
