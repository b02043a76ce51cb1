//! The control socket's place: a Unix socket that only its owner may open, and only processes of the
//! same user (or root) are listened to.

use crate::failure::{Attempt, Outcome};
use axum::serve::Listener;
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::net::{UnixListener, UnixStream, unix::SocketAddr};

/// How long to wait after the system had no descriptor for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Lets in the same user and root. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct Door {
    path: PathBuf,
    listener: UnixListener,
    uid: u32,
}

impl Door {
    /// Binds `path`, which a daemon that has died may have left. The caller holds the drive's lock,
    /// so nobody else listens there.
    pub(crate) fn bind(path: &Path) -> Outcome<Door> {
        let what = || format!("cannot make the control socket {}", path.display());
        if let Some(folder) = path.parent() {
            super::private_dir(folder)?;
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
        Ok(Door { path: path.into(), listener, uid: rustix::process::geteuid().as_raw() })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
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

/// Whether somebody answers there.
pub(crate) fn is_listening(path: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(path).is_ok()
}

/// Lets a client connect there.
pub(crate) fn client(builder: reqwest::ClientBuilder, path: &Path) -> reqwest::ClientBuilder {
    builder.unix_socket(path)
}
