//! Gives the store again what it has lost and what is here.
//!
//! Nothing of this passes through the core: the bytes prove by themselves that they are the lost ones, and
//! nothing that anybody sees changes. Bytes that are evicted or written over meanwhile are not the lost
//! ones any more, and are not sent.

use crate::feed::stoppable;
use crate::hall::Hall;
use crate::jobs::Phase;
use crate::port::Port;
use cloud::{ContentSource, Damage, Held};
use fs_core::{Answer, CloudError, Command, Ino, NodeId, Request, Response, Rev};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often the store is asked while it stays connected, and the least time between two looks.
const EVERY: Duration = Duration::from_secs(3_600);
const LEAST_GAP: Duration = Duration::from_secs(10);
/// How long a device waits at most before it sends a whole version anew.
const LAST_TURN: Duration = Duration::from_secs(5);

/// The thread that does it: whenever the store comes back, when somebody asks for everything to be sent, and
/// once an hour.
pub(crate) fn run(hall: &Arc<Hall>) {
    while hall.jobs.phase() == Phase::Running && !hall.failed() {
        let bell = async { tokio::time::timeout(EVERY, hall.mend.notified()).await.is_ok() };
        if stoppable(hall, bell).is_none() {
            return;
        }
        match stoppable(hall, look(hall)) {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::debug!(%error, "cannot give the store what it lacks"),
        }
        if stoppable(hall, async { tokio::time::sleep(LEAST_GAP).await }).is_none() {
            return;
        }
    }
}

async fn look(hall: &Arc<Hall>) -> Result<(), CloudError> {
    if !may_send(hall).await {
        return Ok(());
    }
    let mut left = Vec::new();
    for damage in hall.cloud.damage().await? {
        let Some(held) = held(hall, &damage).await else { continue };
        let source: Arc<dyn ContentSource> = Arc::new(Source(Arc::clone(hall)));
        let (node, rev) = (damage.content.id, damage.content.rev);
        match hall.cloud.mend(&damage, &held, source).await {
            Ok(count) => {
                let of = damage.chunks.len();
                tracing::warn!(?node, rev = rev.0, of, count, "sent again what the store had lost");
                if count < of as u64 {
                    left.push((node, rev));
                }
            }
            Err(error) => {
                tracing::info!(%error, ?node, "what the store has lost is not sent again")
            }
        }
    }
    if !left.is_empty() {
        tokio::time::sleep(turn()).await;
        for (node, rev) in left {
            anew(hall, node, rev).await;
        }
    }
    Ok(())
}

/// Of a file that was changed in places, the store may have lost parts that nobody has any more; what the
/// file holds now is here all the same. As a new version it does not need them.
async fn anew(hall: &Arc<Hall>, node: NodeId, rev: Rev) {
    let ask = Request::Control(Command::SendAgain(node, rev));
    let answer = Port::new(Arc::clone(hall)).ask(ask).await;
    if matches!(answer, Ok(Response::Answer(Answer::Counted(1)))) {
        tracing::warn!(
            ?node,
            rev = rev.0,
            "a version that the store has lost is sent as a new one"
        );
    }
}

/// Devices that have the same file and hear of it together do not do it together.
fn turn() -> Duration {
    let spread = u64::try_from(LAST_TURN.as_millis()).unwrap_or(u64::MAX);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(u64::from(now.subsec_nanos()) % spread)
}

/// This device's bytes. Nobody watches how far this is.
struct Source(Arc<Hall>);

impl ContentSource for Source {
    fn read_at(&self, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
        self.0.local.read_into(ino, offset, buffer).map_err(|error| error.to_string())
    }
}

/// Not while sending is paused, nor while it is not known which store this is.
async fn may_send(hall: &Arc<Hall>) -> bool {
    let status = Port::new(Arc::clone(hall)).ask(Request::Control(Command::Status)).await;
    matches!(status, Ok(Response::Answer(Answer::Status(status)))
        if status.online && !status.paused && !status.unsure)
}

/// The clean bytes of that version that are here.
async fn held(hall: &Arc<Hall>, damage: &Damage) -> Option<Held> {
    let (room, content) = (Arc::clone(hall), damage.content);
    let rows = tokio::task::spawn_blocking(move || room.local.load_ids(&[content.id])).await;
    let loaded = rows.ok()?.ok()?.into_iter().find(|loaded| loaded.node.id == content.id)?;
    let row = loaded.content.filter(|_| loaded.node.content_rev == content.rev)?;
    let is_version = (row.base_id, row.base_rev) == (content.id, content.rev);
    (is_version && !row.valid.is_empty()).then_some(Held { ino: row.ino, here: row.valid })
}
