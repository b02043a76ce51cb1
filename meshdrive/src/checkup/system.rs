//! The machine: what drives are mounted with, directories, configuration, leftovers.

use super::{Finding, driver};
use crate::{
    config::Config,
    dirs::{Dirs, Label, private_dir},
    failure::Outcome,
    mounts,
    render::text,
    system,
};
use std::{fs, path::Path};

/// `floor`: bytes that stay free on the disk (`cache.floor`); below it nothing new is taken.
pub(crate) fn all(dirs: &Dirs, floor: u64) -> Vec<Finding> {
    let mut findings = driver::all();
    findings.extend(state(dirs, floor));
    findings.extend(mounts(dirs));
    findings
}

fn state(dirs: &Dirs, floor: u64) -> Vec<Finding> {
    let root = dirs.state_root();
    let what = format!("state directory {}", root.display());
    if let Err(failure) = private_dir(root).and_then(|()| probe(root)) {
        let advice =
            failure.hint.unwrap_or_else(|| "make it writable, or set MESHDRIVE_HOME".into());
        return vec![Finding::fail(what, failure.error.to_string(), advice)];
    }
    let free = match system::disk_free(root) {
        Ok(free) => free,
        Err(failure) => {
            return vec![Finding::warn(what, failure.error.to_string(), "look at the disk")];
        }
    };
    let found = format!("writable, {} free", text::size(free));
    vec![match too_full(free, floor) {
        Some(advice) => Finding::fail(what, found, advice),
        None => Finding::ok(what, found),
    }]
}

/// What to do when a drive finds no room on its disk.
pub(crate) fn too_full(free: u64, floor: u64) -> Option<String> {
    (free < floor).then(|| {
        format!(
            "less than {} are free (cache.floor), so nothing new is kept here and writes fail: free \
             some space, or lower --cache-floor",
            text::size(floor)
        )
    })
}

/// Writes and removes a file.
fn probe(dir: &Path) -> Outcome {
    let file = dir.join(".doctor");
    crate::dirs::write_private(&file, b"can this be written?")?;
    let _ = fs::remove_file(file);
    Ok(())
}

/// Mounts whose daemon has died.
fn mounts(dirs: &Dirs) -> Vec<Finding> {
    let mounts = match mounts::ours(dirs) {
        Ok(mounts) => mounts,
        Err(failure) => {
            return vec![Finding::warn("mounts", failure.error.to_string(), "is /proc mounted?")];
        }
    };
    mounts.iter().map(|(label, path)| mount(label, path)).collect()
}

fn mount(label: &Label, path: &Path) -> Finding {
    let what = format!("mount of {label} at {}", path.display());
    if mounts::is_dead(path) {
        let advice = format!(
            "`meshdrive mount {label} {0}` recovers it; `fusermount3 -uz {0}` removes it",
            path.display()
        );
        return Finding::fail(what, "is dead: its daemon is gone", advice);
    }
    match fs::symlink_metadata(path) {
        Err(error) => Finding::warn(what, error.to_string(), "is it a mount of another user?"),
        Ok(_) => Finding::ok(what, "answers"),
    }
}

/// The configuration, or the defaults and what is wrong.
pub(crate) fn config(loaded: Outcome<Config>) -> (Config, Finding) {
    match loaded {
        Ok(config) => (config, Finding::ok("configuration", "is valid")),
        Err(failure) => {
            let advice = failure.hint.clone().unwrap_or_else(|| "correct it".into());
            let finding = Finding::fail("configuration", failure.error.to_string(), advice);
            (Config::default(), finding)
        }
    }
}
