//! `mount` returns when its daemon answers: the daemon's stdout is a pipe on which it says, once, that
//! it is ready or why it is not.

use crate::{
    failure::{Attempt, Failure, Kind, Outcome},
    system,
};
use serde::{Deserialize, Serialize};
use std::{
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
};

/// Bytes of the message; errors with all their causes stay far below.
const MESSAGE_BYTES: u64 = 64 << 10;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Message {
    Ready { text: String },
    Failed { kind: Kind, causes: Vec<String>, hint: Option<String> },
}

/// Where the daemon reports.
pub(crate) enum Ready {
    /// To the `mount` that started it.
    Pipe,
    /// To whoever reads the terminal or the service's log.
    Terminal,
}

impl Ready {
    /// Says that the drive answers. Afterwards stdout is closed: nobody listens any more.
    pub(crate) fn tell(&self, text: &str) -> Outcome {
        match self {
            Ready::Terminal => {
                crate::render::talk(text);
                Ok(())
            }
            Ready::Pipe => {
                send(&Message::Ready { text: text.into() });
                system::let_go_of_stdout()
            }
        }
    }

    /// Hands a failure over to the starting `mount`, or back to the caller to show.
    pub(crate) fn fail(&self, failure: Failure) -> Failure {
        if matches!(self, Ready::Pipe) {
            send(&Message::Failed {
                kind: failure.kind,
                causes: failure.error.chain().map(ToString::to_string).collect(),
                hint: failure.hint.clone(),
            });
        }
        failure
    }
}

/// A starter that has gone away is no reason for the drive to stop.
fn send(message: &Message) {
    if let Ok(line) = serde_json::to_string(message) {
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}

/// Starts `command` as a daemon with stderr going to `log`, and waits until it is ready.
pub(crate) fn start(command: &mut Command, log: &Path) -> Outcome<String> {
    let stderr = system::private_file()
        .create(true)
        .append(true)
        .open(log)
        .attempt(|| format!("cannot open the log {}", log.display()))?;
    let (mut reader, writer) = std::io::pipe().attempt(|| "cannot make a pipe".into())?;
    system::outlive(command);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::from(writer))
        .stderr(Stdio::from(stderr))
        .spawn()
        .attempt(|| "cannot start the daemon".into())?;
    // The pipe's end must be in the daemon only, else its death would go unnoticed.
    command.stdout(Stdio::null());
    let mut text = String::new();
    let mut line = std::io::BufReader::new((&mut reader).take(MESSAGE_BYTES));
    std::io::BufRead::read_line(&mut line, &mut text)
        .attempt(|| "cannot hear from the daemon".into())?;
    match serde_json::from_str(&text) {
        Ok(Message::Ready { text }) => Ok(text),
        Ok(Message::Failed { kind, causes, hint }) => Err(failed(kind, causes, hint)),
        Err(_) => Err(died(child, log)),
    }
}

fn failed(kind: Kind, causes: Vec<String>, hint: Option<String>) -> Failure {
    let mut causes = causes.into_iter().rev();
    let first = Failure::new(kind, causes.next().unwrap_or_default());
    let failure = causes.fold(first, |failure, cause| failure.context(cause));
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn died(mut child: std::process::Child, log: &Path) -> Failure {
    let how = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    Failure::general(format!("the daemon ended before the drive was there: {how}"))
        .hint(format!("see its log {}", log.display()))
}
