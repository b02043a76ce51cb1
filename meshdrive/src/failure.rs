//! Errors at the edge: what and where (the chain of causes), what to do next (the hint), and how a
//! script can tell (the exit code).

use anyhow::anyhow;
use fs_core::{CloudError, CloudErrorKind, FsError};
use std::fmt::Display;

/// What kind of failure it is decides the exit code. Documented in `meshdrive --help`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    General,
    Usage,
    Unsent,
    Offline,
    NotMounted,
    Busy,
}

impl Kind {
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Kind::General => 1,
            Kind::Usage => 2,
            Kind::Unsent => 3,
            Kind::Offline => 4,
            Kind::NotMounted => 5,
            Kind::Busy => 6,
        }
    }
}

/// An error on its way to the user.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) error: anyhow::Error,
    pub(crate) hint: Option<String>,
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Display) -> Failure {
        Failure { kind, error: anyhow!("{message}"), hint: None }
    }

    pub(crate) fn general(message: impl Display) -> Failure {
        Failure::new(Kind::General, message)
    }

    pub(crate) fn usage(message: impl Display) -> Failure {
        Failure::new(Kind::Usage, message)
    }

    pub(crate) fn hint(mut self, hint: impl Display) -> Failure {
        self.hint = Some(hint.to_string());
        self
    }

    /// A hint, unless a better one is there.
    #[cfg(unix)]
    pub(crate) fn hint_if_none(self, hint: impl Display) -> Failure {
        if self.hint.is_some() { self } else { self.hint(hint) }
    }

    /// Puts what was attempted before what went wrong.
    pub(crate) fn context(mut self, what: impl Display) -> Failure {
        self.error = self.error.context(what.to_string());
        self
    }

    /// The whole text for stderr: message, causes, hint.
    pub(crate) fn render(&self) -> String {
        let mut causes = self.error.chain();
        let mut text =
            format!("error: {}", causes.next().map(ToString::to_string).unwrap_or_default());
        for cause in causes {
            text.push_str(&format!("\n  caused by: {cause}"));
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\n  hint: {hint}"));
        }
        text
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        let full = error.downcast_ref::<std::io::Error>().is_some_and(is_full)
            || error.chain().any(|cause| cause.downcast_ref().is_some_and(is_full));
        let failure = Failure { kind: Kind::General, error, hint: None };
        if full { failure.hint("free some space on that disk, then run it again") } else { failure }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

impl From<CloudError> for Failure {
    fn from(error: CloudError) -> Failure {
        let kind = match error.kind {
            CloudErrorKind::Offline | CloudErrorKind::Retry => Kind::Offline,
            _ => Kind::General,
        };
        Failure::new(kind, &error.message)
    }
}

impl From<FsError> for Failure {
    fn from(error: FsError) -> Failure {
        let kind = match error {
            FsError::Offline | FsError::TimedOut => Kind::Offline,
            FsError::Busy => Kind::Busy,
            _ => Kind::General,
        };
        Failure::new(kind, error)
    }
}

/// Adds what was attempted (and where) to an error of any kind.
pub(crate) trait Attempt<T> {
    fn attempt(self, what: impl FnOnce() -> String) -> Outcome<T>;
}

impl<T, E: std::error::Error + Send + Sync + 'static> Attempt<T> for Result<T, E> {
    fn attempt(self, what: impl FnOnce() -> String) -> Outcome<T> {
        self.map_err(|error| Failure::from(anyhow::Error::new(error).context(what())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn render_shows_causes_and_hint() {
        let failure = Failure::new(Kind::Busy, "target is in use")
            .context("cannot unmount work at /mnt/work")
            .hint("close it");
        assert_eq!(
            failure.render(),
            "error: cannot unmount work at /mnt/work\n  caused by: target is in use\n  hint: close it"
        );
    }

    #[test]
    fn a_full_disk_says_what_to_do() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let failure = Err::<(), _>(full).attempt(|| "cannot write x".into()).unwrap_err();
        assert!(failure.render().contains("free some space"), "{}", failure.render());
    }

    #[test]
    fn exit_codes_are_distinct() {
        let kinds =
            [Kind::General, Kind::Usage, Kind::Unsent, Kind::Offline, Kind::NotMounted, Kind::Busy];
        let codes: std::collections::BTreeSet<u8> = kinds.iter().map(|k| k.exit_code()).collect();
        assert_eq!(codes.len(), kinds.len());
        assert!(!codes.contains(&0));
    }
}
