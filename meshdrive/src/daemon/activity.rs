//! What happened to a file, and the end of what is in the trash: asked of the cloud store directly.

use super::{
    desk::odd,
    drive::Drive,
    history::{Trash, cloud, failed},
};
use cloud::{ActivityQuery, NodeChange};
use fs_core::{Answer, Command, Kind, NodeId, RemoteNode, Rev};
use protocol::{
    codec::{hex, unhex},
    control::{LogEntry, LogQuery, PathText, Refusal, RefusalCode, Reply},
};

/// Entries that one answer lists; the newest are kept.
const ENTRIES: usize = 1_000;

pub(super) async fn log(drive: &Drive, query: &LogQuery) -> Result<Reply, Refusal> {
    let node = match query {
        LogQuery { path: Some(path), .. } => identify(drive, path).await?,
        LogQuery { path: None, id: Some(id) } => unhex(id).map(NodeId).ok_or_else(|| Refusal {
            code: RefusalCode::Invalid,
            message: format!("{id} is no id of a file"),
            hint: Some("an id has 32 lower-case hexadecimal digits".into()),
        })?,
        LogQuery { path: None, id: None } => return Ok(Reply::Log(Vec::new())),
    };
    let mut entries = Vec::new();
    let mut after = Rev(0);
    loop {
        let asked = ActivityQuery { after, node: Some(node), ..ActivityQuery::default() };
        let page = drive.cloud.activity(&asked).await.map_err(|error| cloud(&error))?;
        for entry in page.entries {
            let what = entry.changes.iter().flat_map(words).collect();
            let name = entry
                .changes
                .first()
                .map(|change| PathText::from_bytes(change.after.name.as_bytes().to_vec()));
            entries.push(LogEntry {
                rev: entry.rev.0,
                time_ns: entry.stored.0,
                device: entry.label,
                what,
                name,
            });
        }
        if entries.len() > ENTRIES {
            entries.drain(..entries.len() - ENTRIES);
        }
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    entries.reverse();
    Ok(Reply::Log(entries))
}

/// The node at a path, or the one that was removed from there last.
async fn identify(drive: &Drive, path: &PathText) -> Result<NodeId, Refusal> {
    let absent = match drive.command(path, Command::Identify).await {
        Ok(Answer::Identity { id, .. }) => return Ok(id),
        Ok(other) => return Err(odd(&other)),
        Err(refusal) => refusal,
    };
    if absent.code != RefusalCode::NotFound {
        return Err(absent);
    }
    let trash = Trash::load(drive).await?;
    trash.at(path.as_bytes()).ok_or(absent)
}

/// What a commit did to a node, in words.
fn words(change: &NodeChange) -> Vec<String> {
    let after = &change.after;
    let Some(before) = &change.before else {
        let what = match (after.kind, after.live) {
            (_, false) => "removed".into(),
            (Kind::Dir, true) => "folder created".into(),
            (Kind::File, true) => format!("created, {}", size(after)),
            (_, true) => "created".into(),
        };
        return vec![what];
    };
    let mut words = Vec::new();
    match (before.live, after.live) {
        (true, false) => return vec!["removed".into()],
        (false, true) => words.push("restored".into()),
        _ => {}
    }
    if before.content_rev != after.content_rev {
        words.push(format!("content changed, {}", size(after)));
    }
    if before.parent != after.parent {
        words.push("moved to another folder".into());
    }
    if before.name != after.name {
        let old = PathText::from_bytes(before.name.as_bytes().to_vec());
        let new = PathText::from_bytes(after.name.as_bytes().to_vec());
        let text = crate::render::text::path;
        words.push(format!("renamed from {} to {}", text(&old), text(&new)));
    }
    let attributes = before.attrs.mode != after.attrs.mode
        || (before.attrs.uid, before.attrs.gid) != (after.attrs.uid, after.attrs.gid)
        || before.attrs.xattrs != after.attrs.xattrs;
    if attributes {
        words.push("attributes changed".into());
    }
    if words.is_empty() {
        words.push("times changed".into());
    }
    words
}

fn size(node: &RemoteNode) -> String {
    crate::render::text::size(node.size)
}

/// Removes things in the trash for good, by their ids; without any, nothing.
pub(super) async fn empty(drive: &Drive, ids: &[String]) -> Result<Reply, Refusal> {
    let nodes: Option<Vec<NodeId>> = ids.iter().map(|id| unhex(id).map(NodeId)).collect();
    let nodes = nodes.ok_or_else(|| failed("an id in the list is none".into()))?;
    let mut gone = 0;
    for part in nodes.chunks(protocol::limits::OPS_PER_COMMIT) {
        gone += drive.cloud.purge(part).await.map_err(|error| cloud(&error))?;
    }
    tracing::info!(nodes = gone, first = nodes.first().map(|id| hex(&id.0)), "removed for good");
    Ok(Reply::Emptied { nodes: gone })
}
