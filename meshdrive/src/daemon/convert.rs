//! Between the core's types and those of the control socket: translation only.

use fs_core::FsError;
#[cfg(any(unix, test))]
use fs_core::Name;
use protocol::control::{
    DriveStatus, FileReport, FileState, PathReport, PathText, Refusal, RefusalCode,
};

/// The components of a path below the mount.
#[cfg(any(unix, test))]
pub(super) fn components(path: &PathText) -> Result<Vec<Name>, Refusal> {
    path.as_bytes()
        .split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty())
        .map(|part| Name::new(part).map_err(|error| refusal(path, error)))
        .collect()
}

pub(super) fn file(status: fs_core::FileStatus) -> FileReport {
    let (state, here_bytes, attention) = match status.state {
        fs_core::FileState::Cloud => (FileState::Cloud, None, None),
        fs_core::FileState::Partial { here } => (FileState::Partial, Some(here), None),
        fs_core::FileState::Local => (FileState::Local, None, None),
        fs_core::FileState::Pinned => (FileState::Pinned, None, None),
        fs_core::FileState::Pending => (FileState::Pending, None, None),
        fs_core::FileState::LocalOnly => (FileState::LocalOnly, None, None),
        fs_core::FileState::Uploading => (FileState::Uploading, None, None),
        fs_core::FileState::Attention(why) => (FileState::Attention, None, Some(why)),
    };
    FileReport {
        path: PathText::from_bytes(status.path),
        size: status.size,
        dir: status.dir,
        state,
        here_bytes,
        attention,
        pinned: status.pinned,
    }
}

pub(super) fn path(status: fs_core::PathStatus) -> PathReport {
    PathReport { file: file(status.file), pending_below: status.pending_below }
}

/// The numbers; who and where is filled in by the desk.
pub(super) fn status(status: &fs_core::Status) -> DriveStatus {
    DriveStatus {
        online: status.online,
        trouble: status.trouble.clone(),
        refused: status.refused,
        paused: status.paused,
        applied_rev: status.applied.0,
        head_rev: status.head.0,
        complete: status.complete,
        unsure: status.unsure,
        pending_nodes: status.pending_nodes,
        pending_bytes: status.pending_bytes,
        local_only_nodes: status.local_only_nodes,
        local_only_bytes: status.local_only_bytes,
        ignore_trouble: status.ignore_trouble.clone(),
        sending_nodes: status.sending_nodes,
        oldest_pending_ms: status.oldest_pending_ms,
        attention: status.attention,
        cached_bytes: status.cached_bytes,
        dirty_bytes: status.dirty_bytes,
        pinned_bytes: status.pinned_bytes,
        quota_bytes: status.quota_bytes,
        pin_missing_bytes: status.pin_missing_bytes,
        fetching: status.fetching,
        open_handles: status.open_handles,
        conflicts: status.conflicts,
        held_removals: status.held_removals,
        held_rewrites: status.held_rewrites,
        ..DriveStatus::default()
    }
}

/// What to say when the core refuses something about `path`.
pub(super) fn refusal(path: &PathText, error: FsError) -> Refusal {
    let code = match error {
        FsError::NotFound => RefusalCode::NotFound,
        FsError::Offline | FsError::TimedOut => RefusalCode::Offline,
        FsError::Busy => RefusalCode::Busy,
        FsError::Invalid | FsError::NameTooLong | FsError::IsDirectory | FsError::NotDirectory => {
            RefusalCode::Invalid
        }
        _ => RefusalCode::Failed,
    };
    let hint = match error {
        FsError::NotFound => {
            Some("look for it with `ls`; for something removed: `meshdrive restore --trash`")
        }
        FsError::Offline | FsError::TimedOut => Some("try again when the store can be reached"),
        FsError::NoSpace => Some("free some space on the disk of the state directory"),
        FsError::Io => Some("the drive has failed; see its log, then mount it again"),
        _ => None,
    };
    Refusal {
        code,
        message: format!("{}: {error}", crate::render::text::path(path)),
        hint: hint.map(str::to_string),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_components() {
        let text = |text: &str| components(&PathText::Text(text.into()));
        assert_eq!(text("").unwrap(), []);
        assert_eq!(text("a//b/").unwrap().len(), 2);
        assert_eq!(text("a/../b").unwrap_err().code, RefusalCode::Invalid);
        assert_eq!(text(&"x".repeat(300)).unwrap_err().code, RefusalCode::Invalid);
        assert!(text("a\0b").is_err());
    }
}
