//! Where connections come in: no more than so many at once, and none that hangs for ever.

use axum_server::accept::Accept;
use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower::Service;

/// A connection whose peer takes no bytes for this long is closed, in milliseconds.
#[cfg(target_os = "linux")]
const STALLED_MS: u32 = 120_000;

#[derive(Clone, Debug)]
pub(crate) struct Door {
    places: Arc<Semaphore>,
}

impl Door {
    pub(crate) fn new(connections: usize) -> Door {
        Door { places: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))) }
    }

    fn enter<S>(&self, stream: &TcpStream, service: S) -> io::Result<Guest<S>> {
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| io::Error::other("too many connections"))?;
        // Small answers must not wait for more to send (RFC 896).
        stream.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        rustix::net::sockopt::set_tcp_user_timeout(stream, STALLED_MS)?;
        Ok(Guest { service, _place: Arc::new(place) })
    }
}

impl<S> Accept<TcpStream, S> for Door {
    type Stream = TcpStream;
    type Service = Guest<S>;
    type Future = std::future::Ready<io::Result<(TcpStream, Guest<S>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        std::future::ready(self.enter(&stream, service).map(|guest| (stream, guest)))
    }
}

/// The service of one connection. It lives as long as the connection, and so does its place.
#[derive(Clone, Debug)]
pub(crate) struct Guest<S> {
    service: S,
    _place: Arc<OwnedSemaphorePermit>,
}

impl<S: Service<R>, R> Service<R> for Guest<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.service.call(request)
    }
}
