//! The supervisor as its daemon sees it.

use crate::{
    failure::{Attempt, Failure, Outcome},
    supervisor,
};
use fuse_linux::{Kept, Mount};
use protocol::keeper::{Handover, Word};
use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::process::Command;

/// How long a program may take to say its version.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// Who starts a new daemon when this one ends, if anybody does.
pub(crate) struct Keeper {
    socket: Option<OwnedFd>,
    /// The supervisor; the process that cares for orphans once it has died.
    parent: u32,
    handover: Handover,
    since: Instant,
    program: Program,
}

/// What one daemon gets of the mount that another has served.
pub(crate) struct Start {
    pub(crate) keeper: Keeper,
    pub(crate) kept: Option<Kept>,
}

impl Start {
    /// Hears from the supervisor what there is, if one has started this daemon.
    pub(crate) fn hear(supervised: bool) -> Outcome<Start> {
        let program = Program::own()?;
        let (parent, since) = (parent(), Instant::now());
        if !supervised {
            let (socket, handover) = (None, Handover::default());
            return Ok(Start {
                keeper: Keeper { socket, parent, handover, since, program },
                kept: None,
            });
        }
        let socket = supervisor::own_end()?;
        let (handover, channel) = supervisor::handover(&socket)?;
        let kept = match (&handover.mount, channel) {
            (Some(record), Some(channel)) => Some(supervisor::kept(record, channel)),
            (None, _) => None,
            (Some(_), None) => {
                return Err(Failure::general("the supervisor gave a mount without its channel"));
            }
        };
        let keeper = Keeper { socket: Some(socket), parent, handover, since, program };
        Ok(Start { keeper, kept })
    }
}

impl Keeper {
    /// How many daemons have served the mount before this one.
    pub(crate) fn life(&self) -> u32 {
        self.handover.life
    }

    pub(crate) fn crashes(&self) -> u32 {
        self.handover.crashes
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.since.elapsed()
    }

    /// The process that would start a new daemon.
    pub(crate) fn supervisor(&self) -> Option<u32> {
        (self.socket.is_some() && parent() == self.parent).then_some(self.parent)
    }

    /// Gives the supervisor what it needs to keep the mount, so that it outlives this daemon.
    pub(crate) fn keep(&mut self, mount: &Mount) -> Outcome {
        let Some(socket) = &self.socket else { return Ok(()) };
        match mount.keep().attempt(|| "cannot keep the mount".into())? {
            Some(kept) => {
                let word = Word::Keep(supervisor::record(&kept));
                supervisor::tell(socket, &word, Some(&kept.channel))
                    .attempt(|| "cannot hand the mount to the supervisor".into())
            }
            None => {
                tracing::warn!(
                    "this kernel (before 6.9) cannot keep the mount when its daemon ends"
                );
                self.socket = None;
                Ok(())
            }
        }
    }

    /// Tells the supervisor that the drive answers.
    pub(crate) fn serving(&self) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = supervisor::tell(socket, &Word::Serving, None) {
            tracing::warn!(%error, "the supervisor is gone; nobody will start a new daemon");
        }
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }
}

fn parent() -> u32 {
    rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs())
}

/// The program that this daemon runs, and what lies at its place now.
pub(crate) struct Program {
    path: PathBuf,
    own: (u64, u64),
}

impl Program {
    fn own() -> Outcome<Program> {
        let what = || "cannot find this program".to_string();
        let path = std::env::current_exe().attempt(what)?;
        // The file that runs, whatever its name stands for by now.
        let meta = fs::metadata("/proc/self/exe").attempt(what)?;
        Ok(Program { path, own: (meta.dev(), meta.ino()) })
    }

    /// Whether another file has taken its place.
    pub(crate) fn is_replaced(&self) -> io::Result<bool> {
        let meta = fs::metadata(&self.path)?;
        Ok((meta.dev(), meta.ino()) != self.own)
    }

    /// Whether what lies there now runs at all. A daemon must not end for one that would not start.
    pub(crate) async fn try_out(&self) -> Result<(), String> {
        let mut command = Command::new(&self.path);
        let run = command.arg("--version").stdin(std::process::Stdio::null()).kill_on_drop(true);
        let path = self.path.display();
        match tokio::time::timeout(VERSION_LIMIT, run.output()).await {
            Err(_) => Err(format!("{path} does not answer to --version")),
            Ok(Err(error)) => Err(format!("cannot run {path}: {error}")),
            Ok(Ok(output)) if !output.status.success() => {
                Err(format!("{path} --version fails: {}", output.status))
            }
            Ok(Ok(_)) => Ok(()),
        }
    }
}
