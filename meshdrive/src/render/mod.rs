//! How things look: sentences and tables for people, JSON for programs. Data goes to stdout, talk to
//! stderr.

pub(crate) mod progress;
pub(crate) mod sentence;
pub(crate) mod table;
pub(crate) mod text;

use crate::failure::{Attempt, Failure, Outcome};
use std::io::Write;

/// Prints a line of data.
///
/// A reader that went away (`| head`) ends the program quietly: that is what it asked for.
pub(crate) fn data(line: impl std::fmt::Display) -> Outcome {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.attempt(|| "cannot write to the standard output".into()),
    }
}

/// Prints a status message. A closed stderr is no reason to stop.
pub(crate) fn talk(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Prints a value as JSON, one line.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> Outcome {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::general(format!("cannot write the answer as JSON: {error}")))?;
    data(text)
}
