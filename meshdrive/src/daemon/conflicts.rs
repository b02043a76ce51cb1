//! Open conflicts: the core knows what they are, the cloud store who made which version.

use super::{
    desk::{drive_refusal, odd},
    drive::Drive,
    history,
};
use fs_core::{
    Answer, Command, ContentRef, Keep as Side, NodeId, OpenConflict, Range, Rev, Version,
};
use protocol::control::{
    ConflictReport, ConflictSide, Keep, MergeBase, PathText, Refusal, RefusalCode, Reply,
    VersionReport,
};
use std::time::Duration;

/// Conflicts whose versions are looked up for one list: each is a request.
const LOOKED_UP: usize = 200;
/// How long the two sides may take to reach the store before they are decided.
const SEND_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of a text that is merged.
const MERGED_BYTES: u64 = 8 << 20;

async fn open(drive: &Drive) -> Result<Vec<OpenConflict>, Refusal> {
    let answer = drive.core(Command::Conflicts).await;
    match answer.map_err(|error| drive_refusal(drive, error))? {
        Answer::Conflicts(open) => Ok(open),
        other => Err(odd(&other)),
    }
}

pub(super) async fn list(drive: &Drive) -> Result<Reply, Refusal> {
    let mut reports = Vec::new();
    let mut asks = LOOKED_UP;
    for conflict in open(drive).await? {
        let mut of_file = Vec::new();
        let mut of_copy = Vec::new();
        if asks > 0 {
            asks -= 1;
            // Without the store the list is still true, only shorter.
            let found =
                tokio::join!(versions(drive, conflict.of), versions(drive, conflict.copy.id));
            let reachable = found.0.is_some() && found.1.is_some();
            (of_file, of_copy) = (found.0.unwrap_or_default(), found.1.unwrap_or_default());
            if !reachable {
                asks = 0;
            }
        }
        reports.push(report(conflict, &of_file, &of_copy));
    }
    Ok(Reply::Conflicts(reports))
}

/// `None`: the store cannot be reached.
async fn versions(drive: &Drive, id: NodeId) -> Option<Vec<Version>> {
    if id == NodeId::ROOT {
        return Some(Vec::new());
    }
    match drive.cloud.versions(id).await {
        Ok(versions) => Some(versions),
        Err(error) if error.kind == fs_core::CloudErrorKind::Gone => Some(Vec::new()),
        Err(_) => None,
    }
}

fn report(conflict: OpenConflict, of_file: &[Version], of_copy: &[Version]) -> ConflictReport {
    let base =
        of_file.iter().find(|version| version.rev == conflict.base && conflict.base != Rev(0));
    ConflictReport {
        copy: side(conflict.copy, of_copy),
        file: conflict.kept.map(|kept| side(kept, of_file)),
        base: base.map(|version| VersionReport {
            rev: version.rev.0,
            size: version.size,
            modified_ns: version.mtime.0,
            stored_ns: version.stored.0,
            current: false,
            device: version.device.clone(),
        }),
        base_rev: conflict.base.0,
        found_ns: conflict.at.0,
        device: conflict.device,
        copy_is_mine: conflict.is_ours,
    }
}

fn side(side: fs_core::Side, versions: &[Version]) -> ConflictSide {
    let version = versions.iter().find(|version| version.rev == side.rev);
    ConflictSide {
        path: PathText::from_bytes(side.path),
        dir: side.dir,
        size: side.size,
        modified_ns: side.mtime.0,
        rev: side.rev.0,
        device: version.map(|version| version.device.clone()),
        stored_ns: version.map(|version| version.stored.0),
    }
}

/// The conflict that a path names: its copy, or the file if that has only one copy.
async fn find(drive: &Drive, path: &PathText) -> Result<OpenConflict, Refusal> {
    let wanted = path.as_bytes();
    let mut open = open(drive).await?;
    if let Some(at) = open.iter().position(|conflict| conflict.copy.path == wanted) {
        return Ok(open.swap_remove(at));
    }
    open.retain(|conflict| conflict.kept.as_ref().is_some_and(|kept| kept.path == wanted));
    let shown = crate::render::text::path(path);
    let (message, hint) = match open.len() {
        1 => return Ok(open.remove(0)),
        0 => (
            format!("{shown} has no conflict to decide"),
            "`meshdrive conflicts` lists those that there are",
        ),
        copies => (
            format!("{shown} has {copies} conflict copies"),
            "name one of the copies; `meshdrive conflicts` lists them",
        ),
    };
    let (code, hint) = (RefusalCode::NotFound, Some(hint.into()));
    Err(Refusal { code, message, hint })
}

pub(super) async fn resolve(drive: &Drive, path: &PathText, keep: Keep) -> Result<Reply, Refusal> {
    let conflict = find(drive, path).await?;
    let keep = match (keep, conflict.is_ours) {
        (Keep::Both, _) => Side::Both,
        (Keep::Mine, true) | (Keep::Theirs, false) => Side::Copy,
        (Keep::Mine, false) | (Keep::Theirs, true) => Side::Kept,
    };
    let copy = PathText::from_bytes(conflict.copy.path.clone());
    if keep != Side::Both {
        send(drive, &conflict).await?;
    }
    drive.command(&copy, |path| Command::Resolve(path, keep)).await.map_err(in_use)?;
    Ok(Reply::Done)
}

fn in_use(mut refusal: Refusal) -> Refusal {
    if refusal.code == RefusalCode::Busy {
        refusal.hint = Some("close the programs that have either file open, then try again".into());
    }
    refusal
}

/// What gives way must be in the store first, so that it can be brought back.
async fn send(drive: &Drive, conflict: &OpenConflict) -> Result<(), Refusal> {
    let sides = [Some(&conflict.copy), conflict.kept.as_ref()];
    for side in sides.into_iter().flatten().filter(|side| !side.is_sent) {
        let path = PathText::from_bytes(side.path.clone());
        let sent = tokio::time::timeout(SEND_LIMIT, drive.command(&path, Command::Sync)).await;
        match sent {
            Ok(sent) => drop(sent?),
            Err(_) => {
                return Err(Refusal {
                    code: RefusalCode::Unsent,
                    message: format!(
                        "{} is not yet in the cloud",
                        crate::render::text::path(&path)
                    ),
                    hint: Some(
                        "what gives way must be there first, so that nothing is lost: try again \
                         when `meshdrive status` says that it is sent, or keep both"
                            .into(),
                    ),
                });
            }
        }
    }
    Ok(())
}

/// Sends both sides, and fetches the text that they started from.
pub(super) async fn merge_base(drive: &Drive, path: &PathText) -> Result<Reply, Refusal> {
    let conflict = find(drive, path).await?;
    let shown = crate::render::text::path(&PathText::from_bytes(conflict.copy.path.clone()));
    let impossible = |why: &str| Refusal {
        code: RefusalCode::Invalid,
        message: format!("{shown} cannot be merged: {why}"),
        hint: Some("decide with --keep mine, theirs or both".into()),
    };
    let Some(kept) = conflict.kept.as_ref().filter(|kept| !kept.dir && !conflict.copy.dir) else {
        return Err(impossible("there are not two files"));
    };
    if conflict.base == Rev(0) {
        return Err(impossible("the two have no common version"));
    }
    send(drive, &conflict).await?;
    let versions =
        drive.cloud.versions(conflict.of).await.map_err(|error| history::cloud(&error))?;
    let version = versions.iter().find(|version| version.rev == conflict.base);
    let Some(version) = version else {
        return Err(impossible("their common version is not kept any more"));
    };
    let largest = version.size.max(kept.size).max(conflict.copy.size);
    if largest > MERGED_BYTES {
        return Err(impossible("it is too large"));
    }
    let bytes =
        fetch(drive, ContentRef { id: conflict.of, rev: conflict.base }, version.size).await?;
    let base = String::from_utf8(bytes).map_err(|_| impossible("it is not text"))?;
    Ok(Reply::MergeBase(MergeBase {
        copy: PathText::from_bytes(conflict.copy.path.clone()),
        file: PathText::from_bytes(kept.path.clone()),
        base,
    }))
}

async fn fetch(drive: &Drive, content: ContentRef, size: u64) -> Result<Vec<u8>, Refusal> {
    let (parts, arrived) = std::sync::mpsc::channel();
    let mut sink = move |offset: u64, part| drop(parts.send((offset, part)));
    if size > 0 {
        let fetched = drive.cloud.fetch(content, Range::new(0, size), &mut sink).await;
        fetched.map_err(|error| history::cloud(&error))?;
    }
    drop(sink);
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    for (offset, part) in std::iter::from_fn(|| arrived.recv().ok()) {
        let part: bytes::Bytes = part;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let count = part.len().min(bytes.len() - start);
        bytes[start..start + count].copy_from_slice(&part[..count]);
    }
    Ok(bytes)
}
