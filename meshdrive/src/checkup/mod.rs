//! What `doctor` looks at: each check is one finding with what to do about it.

pub(crate) mod drive;
#[cfg(unix)]
#[path = "fuse.rs"]
mod driver;
#[cfg(windows)]
#[path = "projfs.rs"]
mod driver;
pub(crate) mod system;

use serde::Serialize;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Grade {
    Ok,
    Warn,
    Fail,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) grade: Grade,
    pub(crate) what: String,
    pub(crate) found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

impl Finding {
    fn ok(what: impl Into<String>, found: impl Into<String>) -> Finding {
        Finding { grade: Grade::Ok, what: what.into(), found: found.into(), advice: None }
    }

    fn warn(
        what: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        let advice = Some(advice.into());
        Finding { grade: Grade::Warn, what: what.into(), found: found.into(), advice }
    }

    pub(crate) fn fail(
        what: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        Finding { grade: Grade::Fail, ..Finding::warn(what, found, advice) }
    }
}
