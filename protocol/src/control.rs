//! The control socket of a running drive: one JSON request, one JSON reply, as HTTP/1.1 over a Unix
//! socket (`POST /v1/control`; `GET /v1/status` for people with curl).

use serde::{Deserialize, Serialize};

/// The path that takes a [`Request`] and answers with a [`Reply`] or, with status 409, a [`Refusal`].
pub const CONTROL_PATH: &str = "/v1/control";
/// `GET`: the reply to [`Request::Status`].
pub const STATUS_PATH: &str = "/v1/status";
/// Bytes of a request body. The longest path (4,096 bytes) as JSON numbers stays far below.
pub const REQUEST_BYTES: usize = 64 << 10;

/// A path below the mount, components joined by `/`; empty = the root. Text when it is UTF-8, else
/// its bytes: no name is ever bent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PathText {
    Text(String),
    Bytes(Vec<u8>),
}

impl PathText {
    pub fn from_bytes(bytes: Vec<u8>) -> PathText {
        String::from_utf8(bytes)
            .map_or_else(|error| PathText::Bytes(error.into_bytes()), PathText::Text)
    }

    pub fn as_bytes(&self) -> &[u8] {
        match self {
            PathText::Text(text) => text.as_bytes(),
            PathText::Bytes(bytes) => bytes,
        }
    }
}

/// What the command line asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    Status,
    /// The numbers in the text format of OpenMetrics.
    Metrics,
    Path {
        path: PathText,
    },
    Pin {
        path: PathText,
        on: bool,
    },
    Pins,
    Evict {
        path: PathText,
    },
    /// Answered when everything changed below `path` before this request is durable in the cloud.
    Sync {
        path: PathText,
    },
    /// The unsent files and folders, oldest first, at most 1,000.
    Pending,
    Pause {
        on: bool,
    },
    Versions {
        path: PathText,
    },
    /// Make version `rev` of a file its current content.
    Restore {
        path: PathText,
        rev: u64,
    },
    /// The trash, newest first, at most 1,000.
    Trash,
    Untrash(Untrash),
    /// The open conflicts of all devices.
    Conflicts,
    /// End the conflict whose copy, or whose only copy's file, is at `path`.
    Resolve {
        path: PathText,
        keep: Keep,
    },
    /// Send what is held.
    Approve,
    /// Take back what is held.
    UndoHeld,
    /// Take back what a device has changed.
    UndoDevice(UndoDevice),
    /// What a three-way merge of that conflict needs.
    MergeBase {
        path: PathText,
    },
    /// Remove these of the trash for good, by [`TrashItem::id`].
    EmptyTrash {
        ids: Vec<String>,
    },
    /// What happened to a file or folder, newest first, at most 1,000 entries.
    Log(LogQuery),
    /// Rename a file or folder. Only where programs cannot: on Windows, for folders that are projected.
    Rename {
        from: PathText,
        to: PathText,
    },
    Unmount(Unmount),
    /// Start a new daemon for the mount; answered before this one ends.
    Restart {
        /// Only when the program on the disk is another one than the daemon's.
        if_changed: bool,
    },
}

/// Bring something back from the trash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Untrash {
    /// As [`TrashItem::id`].
    pub id: String,
    /// Where to; `None`: where it was.
    pub to: Option<PathText>,
    /// A folder comes back without what was removed from it.
    pub only: bool,
}

/// Whose log: at a path, or with an id (32 hexadecimal digits).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogQuery {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogEntry {
    pub rev: u64,
    /// Nanoseconds since 1970, by the store's clock.
    pub time_ns: i64,
    pub device: String,
    /// In words.
    pub what: Vec<String>,
    /// The name that it had afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PathText>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unmount {
    /// Leave the local bytes of the drive on the disk.
    pub keep_cache: bool,
    /// Go although something is unsent: it stays on the disk and is sent by the next mount.
    pub keep_pending: bool,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "is", content = "value", rename_all = "snake_case")]
pub enum Reply {
    Done,
    Metrics {
        text: String,
    },
    Status(Box<DriveStatus>),
    Path(PathReport),
    Files(Vec<FileReport>),
    Freed {
        bytes: u64,
    },
    Versions(Vec<VersionReport>),
    Trash(Vec<TrashItem>),
    Restored(Vec<PathText>),
    Conflicts(Vec<ConflictReport>),
    MergeBase(MergeBase),
    Counted {
        changes: u64,
    },
    Undone(UndoReport),
    Emptied {
        nodes: u64,
    },
    Log(Vec<LogEntry>),
    Unmounted(Unmounted),
    /// A new daemon is being started.
    Restarting,
    /// The program on the disk is the daemon's own: nothing was done.
    Unchanged,
}

/// Why a request was not done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    pub code: RefusalCode,
    /// What and where.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    Failed,
    NotFound,
    Unsent,
    Offline,
    Busy,
    Invalid,
}

/// A drive and its numbers, all true at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DriveStatus {
    pub drive: String,
    pub mountpoint: String,
    pub pid: u32,
    pub version: String,
    /// The one sentence.
    pub sentence: String,
    /// Nothing on this device is missing in the cloud.
    pub all_in_cloud: bool,
    pub online: bool,
    /// Seconds since the store was last reached, while offline.
    pub offline_secs: Option<u64>,
    pub trouble: String,
    /// The store was reached, and does not know this device or its drive, or no longer; `trouble` says how.
    #[serde(default)]
    pub refused: bool,
    pub paused: bool,
    pub applied_rev: u64,
    pub head_rev: u64,
    /// The whole tree is known here.
    pub complete: bool,
    /// It is not known what the store has; `trouble` says why.
    #[serde(default)]
    pub unsure: bool,
    pub pending_nodes: u64,
    /// `pending_nodes` by kind, where it is known.
    pub pending_files: Option<u64>,
    pub pending_folders: Option<u64>,
    pub pending_bytes: u64,
    /// What `.meshignore` keeps on this device, not counted as pending; why that cannot be read.
    #[serde(default)]
    pub local_only_nodes: u64,
    #[serde(default)]
    pub local_only_bytes: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ignore_trouble: String,
    pub sending_nodes: u64,
    pub oldest_pending_ms: u64,
    /// Seconds until everything is sent, measured; `None`: nothing to send, or not known.
    #[serde(default)]
    pub left_secs: Option<u64>,
    /// The device could be lost now, and nothing with it but what `.meshignore` keeps here.
    #[serde(default)]
    pub safe_to_switch_off: bool,
    pub attention: u64,
    pub cached_bytes: u64,
    pub dirty_bytes: u64,
    pub pinned_bytes: u64,
    pub quota_bytes: u64,
    pub pin_missing_bytes: u64,
    pub fetching: u64,
    pub open_handles: u64,
    pub conflicts: u64,
    /// Removals and rewrites that wait for `approve` or `undo`: too many at once.
    #[serde(default)]
    pub held_removals: u64,
    #[serde(default)]
    pub held_rewrites: u64,
    /// The kernel reads and writes whole local files by itself; `passthrough_off`: why not.
    #[serde(default)]
    pub passthrough: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub passthrough_off: String,
    /// Seconds since this daemon started to serve.
    #[serde(default)]
    pub uptime_secs: u64,
    /// The process that starts a new daemon when this one ends; `None`: nobody does.
    #[serde(default)]
    pub supervisor: Option<u32>,
    /// Daemons of this mount that have crashed, and that made room for a new one.
    #[serde(default)]
    pub crashes: u32,
    #[serde(default)]
    pub restarts: u32,
}

/// The state of one file or folder.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileReport {
    pub path: PathText,
    pub size: u64,
    pub dir: bool,
    pub state: FileState,
    /// Bytes that are here, for `partial`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub here_bytes: Option<u64>,
    /// Why it cannot be sent and what to do, for `attention`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<String>,
    pub pinned: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    Cloud,
    Partial,
    Local,
    Pinned,
    Pending,
    /// `.meshignore` keeps it on this device.
    LocalOnly,
    Uploading,
    Attention,
}

/// A file or folder, and how much below it is unsent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PathReport {
    #[serde(flatten)]
    pub file: FileReport,
    pub pending_below: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VersionReport {
    pub rev: u64,
    pub size: u64,
    /// Nanoseconds since 1970: when the content was changed, and when the store took it.
    pub modified_ns: i64,
    pub stored_ns: i64,
    pub device: String,
    /// This is what the file holds now.
    pub current: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrashItem {
    /// The node's id: 32 hexadecimal digits.
    pub id: String,
    /// Where it was, as far as that place is still known.
    pub path: PathText,
    pub dir: bool,
    pub size: u64,
    pub modified_ns: i64,
    /// The rev of its removal.
    pub removed_rev: u64,
}

/// What to take back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UndoDevice {
    /// Its name, or its id (32 hexadecimal digits).
    pub device: String,
    /// Nanoseconds since 1970, by the store's clock.
    pub since_ns: i64,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What an undo did, or would do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct UndoReport {
    pub dry_run: bool,
    /// Nodes that came back from the trash, went into it, were moved or renamed back or got their
    /// attributes back, and files that got their former content.
    pub restored: u64,
    pub removed: u64,
    pub moved: u64,
    pub contents: u64,
    /// Names of those nodes, at most 1,000.
    pub names: Vec<PathText>,
    /// The commits that did it.
    pub revs: Vec<u64>,
    /// What could not be taken back, and why.
    pub failed: Vec<String>,
}

/// Which side of a conflict stays under the file's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// This device's; on a device that made neither, what has the name.
    Mine,
    Theirs,
    Both,
}

/// A conflict that was settled by keeping both, and that nobody has decided yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConflictReport {
    /// What the device that came second had, as a file of its own.
    pub copy: ConflictSide,
    /// What has the name; `None`: nothing any more.
    pub file: Option<ConflictSide>,
    /// The version that both started from, where the store could be asked for it.
    pub base: Option<VersionReport>,
    /// Its number; 0: there was none.
    pub base_rev: u64,
    /// When the conflict was found, in nanoseconds since 1970, and by which device.
    pub found_ns: i64,
    pub device: String,
    /// Whether `copy` is this device's ("mine"); else `file` is.
    pub copy_is_mine: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConflictSide {
    pub path: PathText,
    pub dir: bool,
    pub size: u64,
    pub modified_ns: i64,
    /// Its version in the store; 0: none yet.
    pub rev: u64,
    /// Who made that version, where the store could be asked.
    pub device: Option<String>,
    pub stored_ns: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MergeBase {
    pub copy: PathText,
    pub file: PathText,
    /// The text that both started from.
    pub base: String,
}

/// What an unmount did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unmounted {
    /// Local bytes that were dropped.
    pub freed_bytes: u64,
    /// Changes that stay on the disk, to be sent by the next mount.
    pub kept_pending: u64,
}
