//! Starting and stopping the service.

use crate::{
    app::App,
    config::{ServerConfig, TlsFiles},
    db::{Db, OpenError},
    door::Door,
    operator::{self, MaintenanceError},
    packs::Packs,
    routes,
    setup::SetupCode,
    upkeep::schedule,
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use protocol::operator::{Collection, Scrub};
use std::{
    fs::{self, File, TryLockError},
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle};

/// Requests may take this long to finish when the service stops.
const STOP_TIME: Duration = Duration::from_secs(10);
/// The first request of a connection must arrive within this time, the TLS handshake not counted.
const FIRST_REQUEST_TIME: Duration = Duration::from_secs(10);
/// A connection without a request is closed after this time. Longer than clients keep idle
/// connections (reqwest: 90 s), so that none is closed just as it is taken up again.
const IDLE_TIME: Duration = Duration::from_secs(100);
/// Streams of one HTTP/2 connection.
const STREAMS_PER_CONNECTION: u32 = 256;
/// Bytes that a client may send ahead on one HTTP/2 stream, and on one connection.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// Why the store does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "{0} can be reached from other machines, so it needs TLS: give a certificate and a key, or \
         listen on 127.0.0.1"
    )]
    NeedsTls(SocketAddr),
    #[error("listening on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the TLS files {} and {}: {source}", files.cert.display(), files.key.display())]
    Tls { files: TlsFiles, source: io::Error },
    #[error("the data directory {}: {source}", dir.display())]
    DataDir { dir: PathBuf, source: io::Error },
    #[error("another store is running on the data directory {}: stop it first", .0.display())]
    InUse(PathBuf),
    #[error(transparent)]
    Database(#[from] OpenError),
    #[error("making a setup code: {0}")]
    SetupCode(String),
}

/// A running store. Stop it with [`Server::stop`]; dropping it ends it at once.
pub struct Server {
    app: Arc<App>,
    address: SocketAddr,
    serving: JoinHandle<io::Result<()>>,
    upkeep: JoinHandle<()>,
    /// The file that tells the operator where to ask.
    door: PathBuf,
    ending: EndOnDrop,
}

/// Closes the listener and all connections, and ends what runs beside, when it is dropped.
struct EndOnDrop(Handle<SocketAddr>, watch::Sender<bool>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.1.send_replace(true);
        self.0.shutdown();
    }
}

impl Server {
    /// Opens the data directory, making it if need be, and serves from now on.
    ///
    /// # Errors
    /// See [`StartError`]. Must be called within a tokio runtime.
    pub async fn start(config: ServerConfig) -> Result<Server, StartError> {
        if config.tls.is_none() && !config.listen.ip().is_loopback() {
            return Err(StartError::NeedsTls(config.listen));
        }
        let dir = config.data_dir.clone();
        let lock = lock_dir(&dir)?;
        let packs = Packs::open(&dir).map_err(|source| StartError::DataDir { dir, source })?;
        let db = Db::open(&config.data_dir)?;
        let setup =
            SetupCode::generate().map_err(|error| StartError::SetupCode(error.to_string()))?;
        let listen_error = |source| StartError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let tls = match &config.tls {
            Some(files) => Some(load_tls(files).await?),
            None => None,
        };
        let app = Arc::new(App::new(config, lock, db, packs, setup));
        let door = operator::open(&app).await;
        let dir = app.config.data_dir.clone();
        let door = door.map_err(|source| StartError::DataDir { dir, source })?;
        let handle = Handle::new();
        let serving = serve(&app, listener, tls, handle.clone())
            .map_err(|source| StartError::Listen { address, source })?;
        tracing::info!(%address, "the store is open");
        let upkeep = schedule::start(app.clone());
        let ending = EndOnDrop(handle, app.stopping.clone());
        Ok(Server { app, address, serving, upkeep, door, ending })
    }

    /// The address that it listens on, with the port that was picked.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The one-time code that creates a drive; another one once it has been used.
    #[must_use]
    pub fn setup_code(&self) -> String {
        self.app.setup.watch().borrow().clone()
    }

    /// Tells of each new setup code.
    #[must_use]
    pub fn setup_codes(&self) -> watch::Receiver<String> {
        self.app.setup.watch()
    }

    /// Lets go of what has had its time, as the schedule does by itself. With `dry_run` it only says
    /// what would go.
    ///
    /// # Errors
    /// The database or the disk fails.
    pub async fn collect(&self, dry_run: bool) -> Result<Collection, MaintenanceError> {
        self.app.collect(dry_run).await.map_err(Into::into)
    }

    /// Reads back everything that is stored.
    ///
    /// # Errors
    /// The database or the disk fails.
    pub async fn scrub(&self) -> Result<Scrub, MaintenanceError> {
        self.app.scrub().await.map_err(Into::into)
    }

    /// Takes no more requests, ends event streams, lets running requests finish for up to 10 s, and
    /// closes the database.
    pub async fn stop(self) {
        self.app.stopping.send_replace(true);
        self.ending.0.graceful_shutdown(Some(STOP_TIME));
        match self.serving.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "serving has failed"),
            Err(error) => tracing::error!(%error, "the serving task has failed"),
        }
        if let Err(error) = self.upkeep.await {
            tracing::error!(%error, "the upkeep has failed");
        }
        let app = self.app;
        if let Err(error) = app.db.keep_age().await {
            tracing::warn!(%error, "the age of the store could not be noted");
        }
        let door = self.door;
        let close = move || {
            let _ = fs::remove_file(door);
            app.db.close();
            app.lock.unlock()
        };
        match tokio::task::spawn_blocking(close).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "unlocking the data directory has failed"),
            Err(error) => tracing::error!(%error, "closing the database has failed"),
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

pub(crate) fn lock_dir(dir: &Path) -> Result<File, StartError> {
    let fail = |source| StartError::DataDir { dir: dir.to_owned(), source };
    make_private_dir(dir).map_err(fail)?;
    let path = dir.join("lock");
    let lock = File::options().create(true).truncate(false).write(true).open(path).map_err(fail)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(fail(source)),
    }
}

#[cfg(unix)]
fn make_private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // It may have been there with a wider mode.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

/// A user's own folders are private by default on Windows.
#[cfg(not(unix))]
fn make_private_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

async fn load_tls(files: &TlsFiles) -> Result<RustlsConfig, StartError> {
    // Err means that a provider was installed before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    RustlsConfig::from_pem_file(&files.cert, &files.key)
        .await
        .map_err(|source| StartError::Tls { files: files.clone(), source })
}

fn serve(
    app: &Arc<App>,
    listener: TcpListener,
    tls: Option<RustlsConfig>,
    handle: Handle<SocketAddr>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let door = Door::new(app.config.bounds.connections);
    let service = routes::router(app.clone()).into_make_service_with_connect_info::<SocketAddr>();
    Ok(match tls {
        Some(tls) => {
            let server = axum_server::from_tcp_rustls(listener, tls)?;
            let server = server.map(|acceptor| acceptor.acceptor(door));
            tokio::spawn(tuned(server).handle(handle).serve(service))
        }
        None => {
            let server = axum_server::from_tcp(listener)?.acceptor(door);
            tokio::spawn(tuned(server).handle(handle).serve(service))
        }
    })
}

fn tuned<A>(mut server: axum_server::Server<SocketAddr, A>) -> axum_server::Server<SocketAddr, A> {
    let http = server.http_builder();
    http.http1().header_read_timeout(IDLE_TIME);
    http.http2()
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(Duration::from_secs(30));
    server.first_request_timeout(FIRST_REQUEST_TIME)
}
