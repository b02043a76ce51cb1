//! The control socket's place: a named pipe that only its owner may open, from this machine only.

use super::rights::OwnerOnly;
use crate::failure::{Attempt, Outcome};
use axum::serve::Listener;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::net::windows::named_pipe::{NamedPipeServer, ServerOptions};
use windows::Win32::Foundation::ERROR_PIPE_BUSY;

/// How long to wait after the system had no further instance of the pipe.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Lets in the same user. The name is gone when the last instance is.
#[derive(Debug)]
pub(crate) struct Door {
    name: PathBuf,
    rights: OwnerOnly,
    /// Is there before anybody is let in, so that the name never goes.
    next: Option<NamedPipeServer>,
}

impl Door {
    /// The first instance: fails when another process has the name.
    pub(crate) fn bind(path: &Path) -> Outcome<Door> {
        let what = || format!("cannot make the control pipe {}", path.display());
        let rights = OwnerOnly::new().attempt(what)?;
        let mut door = Door { name: path.into(), rights, next: None };
        door.next = Some(door.instance(true).attempt(what)?);
        Ok(door)
    }

    fn instance(&self, first: bool) -> io::Result<NamedPipeServer> {
        let mut options = ServerOptions::new();
        options.first_pipe_instance(first).reject_remote_clients(true);
        let mut attributes = self.rights.attributes();
        // SAFETY: the attributes, and what they point to, live across the call.
        unsafe {
            options.create_with_security_attributes_raw(&self.name, (&raw mut attributes).cast())
        }
    }
}

impl Listener for Door {
    type Io = NamedPipeServer;
    type Addr = ();

    async fn accept(&mut self) -> (NamedPipeServer, ()) {
        loop {
            if self.next.is_none() {
                match self.instance(false) {
                    Ok(instance) => self.next = Some(instance),
                    Err(error) => {
                        tracing::warn!(%error, "cannot make an instance of the control pipe");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                }
            }
            let Some(waiting) = &self.next else { continue };
            let connected = waiting.connect().await;
            let following = self.instance(false).ok();
            match (connected, std::mem::replace(&mut self.next, following)) {
                (Ok(()), Some(instance)) => return (instance, ()),
                (Ok(()), None) => {}
                (Err(error), _) => {
                    tracing::debug!(%error, "a control connection did not come about")
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether somebody answers there.
pub(crate) fn is_listening(path: &Path) -> bool {
    let busy = ERROR_PIPE_BUSY.0.cast_signed();
    match std::fs::OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => true,
        Err(error) => error.raw_os_error() == Some(busy),
    }
}

/// Lets a client connect there.
pub(crate) fn client(builder: reqwest::ClientBuilder, path: &Path) -> reqwest::ClientBuilder {
    builder.windows_named_pipe(path.as_os_str())
}
