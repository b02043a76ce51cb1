//! The door that drivers and the control socket knock at.

use crate::hall::Hall;
use fs_core::{FsError, Ino, Request, Response};
use std::fs::File;
use std::future::Future;
use std::sync::{Arc, mpsc};
use tokio::sync::oneshot;

/// Takes requests for one drive. Cheap to clone; usable from any thread or task.
#[derive(Clone)]
pub struct Port {
    hall: Arc<Hall>,
}

impl Port {
    pub(crate) fn new(hall: Arc<Hall>) -> Port {
        Port { hall }
    }

    /// Hands `request` to the core. `reply` is called exactly once, on this thread before `submit`
    /// returns when the answer is at hand, else later on another thread; it must not block for long.
    /// On an async worker the work is moved to a blocking thread, so this never blocks there.
    pub fn submit(
        &self,
        request: Request,
        reply: impl FnOnce(Result<Response, FsError>) + Send + 'static,
    ) {
        self.hall.submit(request, Box::new(reply));
    }

    /// Looks for the store now, if it is away, instead of waiting for the next look; and asks it soon
    /// whether it has lost something that is here.
    pub fn look_for_store(&self) {
        self.hall.look.notify_one();
        self.hall.mend.notify_one();
    }

    /// The machine's network has changed: connections are made anew, and the store is looked for.
    pub fn network_changed(&self) {
        self.hall.cloud.renew();
        self.hall.look.notify_one();
    }

    /// The backing file of `ino`, open for reading, to be handed to the kernel for passthrough. `None` if
    /// there is none.
    ///
    /// # Errors
    /// `Io` when it cannot be opened; the log says why.
    pub fn backing(&self, ino: Ino) -> Result<Option<File>, FsError> {
        self.hall.backing(ino)
    }

    /// Before the kernel reads a backing file again that it was handed before: puts everything that was
    /// written into it.
    ///
    /// # Errors
    /// `Io` or `NoSpace`; the log says why.
    pub fn hand_out(&self, ino: Ino) -> Result<(), FsError> {
        self.hall.hand_out(ino)
    }

    /// Submits `request` and waits for the answer. For plain threads, never inside async code.
    ///
    /// # Errors
    /// What the core answers; `Io` when the engine has failed or is shut down.
    pub fn call(&self, request: Request) -> Result<Response, FsError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.submit(request, move |answer| {
            // The receiver is alive until the answer is here.
            let _ = sender.send(answer);
        });
        receiver.recv().unwrap_or(Err(FsError::Io))
    }

    /// Submits `request` at once and gives a future of the answer. Dropping the future does not
    /// take the request back.
    ///
    /// # Errors
    /// As for [`Port::call`].
    pub fn ask(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Response, FsError>> + Send + 'static {
        let (sender, receiver) = oneshot::channel();
        self.submit(request, move |answer| {
            // Nobody listens when the future was dropped; the request was carried out all the same.
            let _ = sender.send(answer);
        });
        async move { receiver.await.unwrap_or(Err(FsError::Io)) }
    }
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Port")
    }
}
