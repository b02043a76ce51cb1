//! The drives of this device: known by the credentials that `drive create` and `drive join` saved.

use crate::{
    dirs::{Dirs, Label, private_dir},
    failure::{Attempt, Failure, Outcome},
    mounts, system,
};
use std::{fs, io::ErrorKind};

const EXTENSION: &str = ".credentials";

/// Labels of all drives, sorted.
pub(crate) fn known(dirs: &Dirs) -> Outcome<Vec<Label>> {
    let folder = dirs.drives_dir();
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.attempt(|| format!("cannot list {}", folder.display()))?,
    };
    let mut labels = Vec::new();
    for entry in entries {
        let name = entry.attempt(|| format!("cannot list {}", folder.display()))?.file_name();
        let label = name.to_str().and_then(|name| name.strip_suffix(EXTENSION)?.parse().ok());
        labels.extend(label);
    }
    labels.sort();
    Ok(labels)
}

pub(crate) fn is_known(dirs: &Dirs, label: &Label) -> bool {
    dirs.credentials(label).exists()
}

/// Drives whose daemon takes connections, and drives whose mount a crash left behind: whoever asks
/// one of those is told how to recover it.
pub(crate) fn mounted(dirs: &Dirs) -> Outcome<Vec<Label>> {
    let mounts = mounts::ours(dirs)?;
    let is_mounted =
        |label: &Label| mounts.iter().any(|(of, _)| of == label) || is_running(dirs, label);
    Ok(known(dirs)?.into_iter().filter(is_mounted).collect())
}

pub(crate) fn is_running(dirs: &Dirs, label: &Label) -> bool {
    system::is_listening(&dirs.socket(label))
}

/// Refuses a name that is taken, before anything is created in the cloud under it.
pub(crate) fn reserve(dirs: &Dirs, label: &Label) -> Outcome {
    private_dir(&dirs.drives_dir())?;
    if is_known(dirs, label) {
        return Err(Failure::usage(format!("there is a drive {label} on this device already"))
            .hint("choose another name; `meshdrive drive list` shows those in use"));
    }
    Ok(())
}

pub(crate) fn require(dirs: &Dirs, label: &Label) -> Outcome {
    if is_known(dirs, label) {
        return Ok(());
    }
    let known = known(dirs)?;
    let failure = Failure::usage(format!("there is no drive {label} on this device"));
    Err(if known.is_empty() {
        failure
            .hint("make one with `meshdrive drive create`, or join one with `meshdrive drive join`")
    } else {
        let names: Vec<&str> = known.iter().map(Label::as_str).collect();
        failure.hint(format!("known here: {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_credentials_count() {
        let home = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(Some(home.path())).unwrap();
        assert_eq!(known(&dirs).unwrap(), []);
        let work: Label = "work".parse().unwrap();
        reserve(&dirs, &work).unwrap();
        for name in ["work.credentials", "other.txt", ".credentials", "x.credentials.tmp"] {
            fs::write(dirs.drives_dir().join(name), b"").unwrap();
        }
        assert_eq!(known(&dirs).unwrap(), std::slice::from_ref(&work));
        assert!(reserve(&dirs, &work).is_err());
        let missing = require(&dirs, &"home".parse().unwrap()).unwrap_err();
        assert!(missing.render().contains("known here: work"), "{}", missing.render());
        assert!(!is_running(&dirs, &work));
    }
}
