//! While changes are on their way to the store, and systemd runs this machine, it is asked not to shut
//! down: `systemd-inhibit` holds that for as long as its child lives, which ends with this daemon.

use std::{
    ffi::OsString,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const PROGRAM: &str = "systemd-inhibit";
/// There exactly while systemd is the init of this machine (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// What is sent within this time is not worth a child.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(crate) struct Inhibitor {
    /// `None`: nobody to ask.
    program: Option<OsString>,
    held: Option<Child>,
    since: Option<Instant>,
}

impl Inhibitor {
    /// `wanted`: as configured.
    pub(crate) fn new(wanted: bool) -> Inhibitor {
        let runs = wanted && Path::new(BOOTED).is_dir();
        Inhibitor { program: runs.then(|| PROGRAM.into()), held: None, since: None }
    }

    /// `sending`: unsent changes are on their way (offline they are not, and nobody could wait).
    pub(crate) fn see(&mut self, drive: &str, sending: bool, now: Instant) {
        if !sending {
            self.since = None;
            self.release();
            return;
        }
        let since = *self.since.get_or_insert(now);
        let died = self.held.as_mut().is_some_and(|held| !matches!(held.try_wait(), Ok(None)));
        if died {
            // It cannot be held here (no logind, not allowed): not tried again.
            (self.program, self.held) = (None, None);
        }
        if self.held.is_none() && now.duration_since(since) >= PATIENCE {
            self.hold(drive);
        }
    }

    fn hold(&mut self, drive: &str) {
        let Some(program) = &self.program else { return };
        let started = Command::new(program)
            .args(["--what=shutdown", "--mode=block", "--who=Meshdrive"])
            .arg(format!("--why=changes of {drive} are on their way to the cloud"))
            // It reads until the pipe ends: with us at the latest.
            .arg("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(child) => self.held = Some(child),
            Err(error) => {
                tracing::debug!(%error, "a shutdown cannot be held back");
                self.program = None;
            }
        }
    }

    fn release(&mut self) {
        if let Some(mut held) = self.held.take() {
            drop(held.stdin.take());
            // It ends by itself; only one that does not is ended.
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(1));
                let _ = held.kill();
                let _ = held.wait();
            });
        }
    }
}

impl Drop for Inhibitor {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    /// A stand-in that notes when it began and when its input ended.
    fn stand_in(folder: &Path) -> Inhibitor {
        let (program, log) = (folder.join("inhibit"), folder.join("log"));
        let script = format!(
            "#!/bin/sh\necho \"began $1\" >> '{0}'\ncat\necho ended >> '{0}'\n",
            log.display()
        );
        // Written by another process: a descriptor of ours that is open for writing may be inherited by
        // what another test starts meanwhile (ETXTBSY).
        let written = Command::new("/bin/sh")
            .args(["-c", "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", &script])
            .arg(&program)
            .status();
        assert!(written.unwrap().success());
        Inhibitor { program: Some(program.into()), held: None, since: None }
    }

    fn wait_for(log: &Path, text: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while std::fs::read_to_string(log).unwrap_or_default() != text {
            assert!(Instant::now() < end, "{:?}", std::fs::read_to_string(log));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn it_is_held_while_changes_are_on_their_way() {
        let folder = tempfile::tempdir().unwrap();
        let (mut inhibitor, start) = (stand_in(folder.path()), Instant::now());
        let log = folder.path().join("log");
        inhibitor.see("d", true, start);
        assert!(inhibitor.held.is_none(), "not for what is done at once");
        inhibitor.see("d", true, start + PATIENCE);
        wait_for(&log, "began --what=shutdown\n");
        inhibitor.see("d", true, start + 2 * PATIENCE);
        inhibitor.see("d", false, start + 3 * PATIENCE);
        wait_for(&log, "began --what=shutdown\nended\n");
    }

    #[test]
    fn where_it_cannot_be_held_it_is_not_tried_again() {
        let (program, start) = (Some("/nonexistent/inhibit".into()), Instant::now());
        let mut inhibitor = Inhibitor { program, held: None, since: None };
        inhibitor.see("d", true, start);
        inhibitor.see("d", true, start + PATIENCE);
        assert!(inhibitor.program.is_none() && inhibitor.held.is_none());
    }
}
