//! What the operator of a store may ask: of a running store over a door of its own, which only who can
//! read the data directory can open, or of a data directory that nobody uses.

use crate::{
    app::App,
    config::Keep,
    db::Db,
    ids,
    packs::Packs,
    problem::Problem,
    start::{StartError, lock_dir},
    upkeep::Upkeep,
};
use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header::AUTHORIZATION},
    middleware::{self, Next},
    response::{IntoResponse, Json, Response},
    routing::post,
};
use protocol::{
    codec::hex,
    operator::{COLLECT_PATH, Collection, DRY_RUN_PATH, Door, SCRUB_PATH, Scrub},
};
use std::{
    fs::{self, File},
    io::{self, Write},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::net::TcpListener;

/// Name of the file in the data directory that tells where the door is.
pub const DOOR_FILE: &str = "operator.json";

struct Desk {
    app: Arc<App>,
    token: String,
}

/// Opens the door of a running store, and leaves the file that tells where it is.
pub(crate) async fn open(app: &Arc<App>) -> io::Result<PathBuf> {
    let token = ids::random::<32>().map_err(|error| io::Error::other(error.to_string()))?;
    let token = hex(&token);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let door = Door { url: format!("http://{}", listener.local_addr()?), token: token.clone() };
    let file = app.config.data_dir.join(DOOR_FILE);
    write_private(&file, &serde_json::to_vec(&door)?)?;
    let desk = Arc::new(Desk { app: app.clone(), token });
    let router = Router::new()
        .route(COLLECT_PATH, post(collect))
        .route(DRY_RUN_PATH, post(dry_run))
        .route(SCRUB_PATH, post(scrub))
        .layer(middleware::from_fn_with_state(desk.clone(), check))
        .with_state(desk);
    let mut stopping = app.stopping.subscribe();
    tokio::spawn(async move {
        let serving = axum::serve(listener, router);
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => {}
            _ = serving.into_future() => {}
        }
    });
    Ok(file)
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // What is left of a store that was killed may have another mode.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(bytes)
}

/// Compares hashes, so that the time it takes tells nothing.
async fn check(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Bearer "));
    let good = blake3::hash(desk.token.as_bytes());
    match token {
        Some(token) if blake3::hash(token.as_bytes()) == good => next.run(request).await,
        _ => (StatusCode::UNAUTHORIZED, "this is the door of the store's operator").into_response(),
    }
}

fn answer<T: serde::Serialize>(result: Result<T, Problem>) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(problem) => {
            (problem.status, MaintenanceError::from(problem).to_string()).into_response()
        }
    }
}

/// A task of its own: what was begun is done also if the operator goes away.
async fn collected(desk: Arc<Desk>, dry_run: bool) -> Response {
    let work = tokio::spawn(async move { desk.app.collect(dry_run).await });
    answer(work.await.unwrap_or_else(|error| Err(Problem::internal("a collection", &error))))
}

async fn collect(State(desk): State<Arc<Desk>>) -> Response {
    collected(desk, false).await
}

async fn dry_run(State(desk): State<Arc<Desk>>) -> Response {
    collected(desk, true).await
}

async fn scrub(State(desk): State<Arc<Desk>>) -> Response {
    let work = tokio::spawn(async move { desk.app.scrub().await });
    answer(work.await.unwrap_or_else(|error| Err(Problem::internal("a scrub", &error))))
}

/// The data directory of a store that is not running.
pub struct Maintenance {
    upkeep: Upkeep,
    db: Arc<Db>,
    lock: File,
}

impl std::fmt::Debug for Maintenance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maintenance").finish_non_exhaustive()
    }
}

/// Why a collection or a scrub ended early.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct MaintenanceError(String);

impl Maintenance {
    /// # Errors
    /// `InUse`: the store is running; ask it by its door.
    pub fn open(dir: &Path, keep: Keep) -> Result<Maintenance, StartError> {
        let lock = lock_dir(dir)?;
        let failed = |source| StartError::DataDir { dir: dir.to_owned(), source };
        let packs = Arc::new(Packs::open(dir).map_err(failed)?);
        let db = Arc::new(Db::open(dir)?);
        let upkeep = Upkeep::new(db.clone(), packs, keep);
        Ok(Maintenance { upkeep, db, lock })
    }

    /// # Errors
    /// The database or the disk fails.
    pub async fn collect(&self, dry_run: bool) -> Result<Collection, MaintenanceError> {
        self.upkeep.collect(dry_run).await.map_err(Into::into)
    }

    /// # Errors
    /// The database or the disk fails.
    pub async fn scrub(&self) -> Result<Scrub, MaintenanceError> {
        self.upkeep.scrub().await.map_err(Into::into)
    }

    /// Closes the database. Blocks until that is done.
    pub fn close(self) {
        self.db.close();
        let _ = self.lock.unlock();
    }
}

impl From<Problem> for MaintenanceError {
    fn from(problem: Problem) -> MaintenanceError {
        MaintenanceError(problem.cause.unwrap_or(problem.detail))
    }
}
