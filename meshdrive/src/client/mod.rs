//! Talks to the daemon of a mounted drive.

pub(crate) mod locate;

use crate::{
    daemon::lock,
    dirs::{Dirs, Label},
    failure::{Failure, Kind, Outcome},
    mounts, system,
};
use protocol::control::{
    CONTROL_PATH, DriveStatus, PathText, Refusal, RefusalCode, Reply, Request,
};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// How long a daemon may take to take the connection: it is on this machine.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long an answer that waits for nothing may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How long a new daemon may take to answer when the last one has ended, and how often that is looked at.
const SUCCESSOR_LIMIT: Duration = Duration::from_secs(30);
const SUCCESSOR_PAUSE: Duration = Duration::from_millis(20);

/// A connection to the daemon of one drive.
pub(crate) struct Control {
    http: reqwest::Client,
    label: Label,
    socket: PathBuf,
    mountpoint: Option<PathBuf>,
    /// Held while somebody starts a new daemon when this one ends.
    supervisor: PathBuf,
    /// Why that ended.
    given_up: PathBuf,
}

impl Control {
    /// Does not connect yet; the first question does.
    pub(crate) fn new(dirs: &Dirs, label: &Label) -> Outcome<Control> {
        let socket = dirs.socket(label);
        let http = system::client(reqwest::Client::builder(), &socket)
            .connect_timeout(CONNECT_LIMIT)
            .build()
            .map_err(|error| Failure::general(format!("cannot make a local client: {error}")))?;
        Ok(Control {
            http,
            label: label.clone(),
            socket,
            mountpoint: mounts::of(dirs, label)?,
            supervisor: dirs.successor_lock(label),
            given_up: dirs.given_up(label),
        })
    }

    pub(crate) fn label(&self) -> &Label {
        &self.label
    }

    pub(crate) async fn ask(&self, request: Request) -> Outcome<Reply> {
        let answer = self.send(&request).await?;
        if answer.status().is_success() {
            return answer.json().await.map_err(|error| self.unreadable(&error));
        }
        let refusal: Refusal = answer.json().await.map_err(|error| self.unreadable(&error))?;
        Err(from_refusal(refusal))
    }

    /// Sends it, to the next daemon if this one is just being replaced.
    async fn send(&self, request: &Request) -> Outcome<reqwest::Response> {
        let end = Instant::now() + SUCCESSOR_LIMIT;
        loop {
            let mut post = self.http.post(format!("http://meshdrive{CONTROL_PATH}")).json(request);
            if !waits(request) {
                post = post.timeout(ANSWER_LIMIT);
            }
            let error = match post.send().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let again = error.is_connect() || repeats(request) && !error.is_timeout();
            if !again || Instant::now() >= end || !lock::is_held(&self.supervisor)? {
                return Err(self.unreached(&error));
            }
            tokio::time::sleep(SUCCESSOR_PAUSE).await;
        }
    }

    pub(crate) async fn status(&self) -> Outcome<DriveStatus> {
        match self.ask(Request::Status).await? {
            Reply::Status(status) => Ok(*status),
            other => Err(self.unexpected(&other)),
        }
    }

    /// For a reply of the wrong kind: two versions of the program talk to each other.
    pub(crate) fn unexpected(&self, reply: &Reply) -> Failure {
        Failure::general(format!(
            "the daemon of {} gave an unexpected answer: {reply:?}",
            self.label
        ))
        .hint("unmount and mount the drive, so that the daemon is of the same version")
    }

    fn unreadable(&self, error: &reqwest::Error) -> Failure {
        Failure::general(format!("cannot read the answer of the daemon of {}: {error}", self.label))
            .hint("unmount and mount the drive, so that the daemon is of the same version")
    }

    fn unreached(&self, error: &reqwest::Error) -> Failure {
        if error.is_timeout() && !error.is_connect() {
            return Failure::general(format!("the daemon of {} does not answer", self.label))
                .hint("see its log, or run `meshdrive doctor`");
        }
        if error.is_connect() {
            return self.no_daemon();
        }
        Failure::general(format!(
            "lost the daemon of {} at {}: {error}",
            self.label,
            self.socket.display()
        ))
        .hint("see its log; mount the drive again if it is gone")
    }
}

impl Control {
    /// Nobody listens on the socket: nothing is mounted, or a crash left the mount.
    fn no_daemon(&self) -> Failure {
        let Some(at) = &self.mountpoint else {
            let failure = not_mounted(&self.label);
            return match std::fs::read_to_string(&self.given_up) {
                Ok(why) => failure.context(why),
                Err(_) => failure,
            };
        };
        let (label, at) = (&self.label, at.display());
        Failure::new(
            Kind::NotMounted,
            format!("the daemon of {label} is gone; its mount at {at} is dead"),
        )
        .hint(format!(
            "`meshdrive mount {label} {at}` recovers it with all unsent changes; \
             `fusermount3 -uz {at}` only removes it"
        ))
    }
}

pub(crate) fn not_mounted(label: &Label) -> Failure {
    Failure::new(Kind::NotMounted, format!("the drive {label} is not mounted"))
        .hint(format!("mount it with `meshdrive mount {label} DIRECTORY`"))
}

/// Requests that wait for the network or the kernel.
fn waits(request: &Request) -> bool {
    matches!(
        request,
        Request::Sync { .. }
            | Request::Unmount(_)
            | Request::Rename { .. }
            | Request::Untrash(_)
            | Request::Versions { .. }
            | Request::Trash
            | Request::Log(_)
            | Request::EmptyTrash { .. }
            | Request::Restore { .. }
            | Request::Conflicts
            | Request::Resolve { .. }
            | Request::MergeBase { .. }
            | Request::UndoHeld
            | Request::UndoDevice(_)
    )
}

/// Requests that may be asked of a second daemon when the first one ended over them.
fn repeats(request: &Request) -> bool {
    !matches!(
        request,
        Request::Unmount(_)
            | Request::Rename { .. }
            | Request::Untrash(_)
            | Request::Restore { .. }
            | Request::Resolve { .. }
            | Request::EmptyTrash { .. }
            | Request::UndoDevice(_)
            | Request::Restart { .. }
    )
}

fn from_refusal(refusal: Refusal) -> Failure {
    let kind = match refusal.code {
        RefusalCode::Failed | RefusalCode::NotFound => Kind::General,
        RefusalCode::Unsent => Kind::Unsent,
        RefusalCode::Offline => Kind::Offline,
        RefusalCode::Busy => Kind::Busy,
        RefusalCode::Invalid => Kind::Usage,
    };
    let failure = Failure::new(kind, refusal.message);
    match refusal.hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// The root of a drive.
pub(crate) fn root() -> PathText {
    PathText::Text(String::new())
}
