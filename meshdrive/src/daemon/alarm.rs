//! Tells a person what needs one: runs the program of `notify.command` when a conflict appears, when
//! changes are held, and when something cannot be sent.

use protocol::control::DriveStatus;
use std::{process::Stdio, time::Duration};
use tokio::{process::Command, task::JoinHandle};

/// How long that program may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What there is to tell.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Event {
    name: &'static str,
    text: String,
}

/// What was told last.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    command: Vec<String>,
    known: Option<[u64; 3]>,
    running: Option<JoinHandle<()>>,
}

impl Alarm {
    /// `command`: a program and its arguments; empty: nobody is told.
    pub(crate) fn new(command: &[String]) -> Alarm {
        Alarm { command: command.to_vec(), ..Alarm::default() }
    }

    /// Tells what is new since the last look. What was there at the start is not new.
    pub(crate) fn see(&mut self, status: &DriveStatus) {
        let held = status.held_removals + status.held_rewrites;
        let now = [status.conflicts, held, status.attention];
        let Some(before) = self.known.replace(now) else { return };
        let events = events(status, before, now);
        let (Some((program, arguments)), false) = (self.command.split_first(), events.is_empty())
        else {
            return;
        };
        let mut commands = Vec::new();
        for event in events {
            let mut command = Command::new(program);
            command
                .args(arguments)
                .arg(&event.text)
                .env("MESHDRIVE_EVENT", event.name)
                .env("MESHDRIVE_DRIVE", &status.drive)
                .env("MESHDRIVE_TEXT", &event.text)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true);
            commands.push(command);
        }
        let before = self.running.take();
        self.running = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await; // one after the other
            }
            for command in &mut commands {
                run(command).await;
            }
        }));
    }
}

async fn run(command: &mut Command) {
    match tokio::time::timeout(LIMIT, command.status()).await {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => tracing::warn!(%status, "the program of `notify.command` failed"),
        Ok(Err(error)) => tracing::warn!(%error, "cannot run the program of `notify.command`"),
        Err(_) => tracing::warn!("the program of `notify.command` took too long and was ended"),
    }
}

fn events(status: &DriveStatus, before: [u64; 3], now: [u64; 3]) -> Vec<Event> {
    let texts: [(&str, String); 3] = [
        ("conflict", format!("{}: a conflict to decide (`meshdrive conflicts`)", status.drive)),
        (
            "held",
            format!("{}: much was changed at once and is held (`meshdrive status`)", status.drive),
        ),
        (
            "attention",
            format!("{}: something cannot be sent (`meshdrive status --pending`)", status.drive),
        ),
    ];
    let grew = before.iter().zip(now).map(|(before, now)| now > *before);
    let new = texts.into_iter().zip(grew).filter(|(_, grew)| *grew);
    new.map(|((name, text), _)| Event { name, text }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(conflicts: u64, held: u64, attention: u64) -> DriveStatus {
        let drive = "d".to_owned();
        DriveStatus { drive, conflicts, held_removals: held, attention, ..DriveStatus::default() }
    }

    #[cfg(unix)] // by a shell
    #[tokio::test]
    async fn what_is_new_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let script =
            format!("echo \"$MESHDRIVE_EVENT $MESHDRIVE_DRIVE $1\" >> '{}'", log.display());
        let command = ["/bin/sh", "-c", &script, "hook"].map(str::to_owned);
        let mut alarm = Alarm::new(&command);
        alarm.see(&status(3, 0, 0));
        alarm.see(&status(3, 0, 0));
        assert!(alarm.running.is_none(), "what was there at the start is not new");
        alarm.see(&status(4, 0, 1));
        alarm.see(&status(4, 7, 0));
        alarm.see(&status(0, 7, 0));
        alarm.running.take().unwrap().await.unwrap();
        let said = std::fs::read_to_string(&log).unwrap();
        let words: Vec<&str> = said.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(words, ["conflict", "attention", "held"]);
        assert!(said.lines().all(|line| line.contains(" d d: ")), "{said}");
    }

    #[tokio::test]
    async fn without_a_program_nothing_happens() {
        let mut alarm = Alarm::new(&[]);
        alarm.see(&status(0, 0, 0));
        alarm.see(&status(1, 1, 1));
        assert!(alarm.running.is_none());
    }
}
