//! `cargo xtask up` and `cargo xtask down`: a store and a mounted drive to play with. All state is
//! in `.meshdrive-dev`, so that the next `up` finds the same drive again.

mod mounts;
mod store;

use crate::{packages, report::run, test::cargo};
use anyhow::{Context, Result, bail};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Name of the drive.
const DRIVE: &str = "demo";

/// Where everything is.
#[derive(Debug)]
struct Dev {
    /// Below the root of the work tree.
    folder: PathBuf,
    mountpoint: PathBuf,
    program: PathBuf,
}

impl Dev {
    fn new(root: &Path) -> Result<Dev> {
        let root = root.canonicalize().with_context(|| root.display().to_string())?;
        let metadata = cargo_metadata::MetadataCommand::new()
            .current_dir(&root)
            .no_deps()
            .exec()
            .context("running `cargo metadata`")?;
        Ok(Dev {
            folder: root.join(".meshdrive-dev"),
            mountpoint: root.join("Meshdrive"),
            program: metadata.target_directory.join("release/meshdrive").into(),
        })
    }

    /// The home of the one device: configuration, keys, cache, sockets.
    fn home(&self) -> PathBuf {
        self.folder.join("device")
    }

    fn meshdrive(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("MESHDRIVE_HOME", self.home());
        command
    }

    fn has_drive(&self) -> bool {
        self.home().join(format!("config/drives/{DRIVE}.credentials")).exists()
    }
}

/// Builds, starts the store, creates the drive, mounts it. Whatever is up already stays.
///
/// # Errors
/// Whatever went wrong, with what to do; what was started before stays up, for `down`.
pub(crate) fn up(root: &Path) -> Result<()> {
    packages::need_mounts()?;
    let dev = Dev::new(root)?;
    run(cargo(root).args(["build", "--release", "--package", "meshdrive"]))?;
    std::fs::create_dir_all(&dev.folder).with_context(|| dev.folder.display().to_string())?;

    let url = store::start(&dev)?;
    if !dev.has_drive() {
        let code = store::setup_code(&dev);
        let create = ["drive", "create", DRIVE, "--server", &url, "--setup-code-file"];
        run(dev.meshdrive().args(create).arg(code))?;
    }
    if mounts::is_mounted(&dev.mountpoint)? && !mounts::is_dead(&dev.mountpoint) {
        eprintln!("{} is mounted already", dev.mountpoint.display());
    } else {
        if !mounts::is_dead(&dev.mountpoint) {
            std::fs::create_dir_all(&dev.mountpoint)
                .with_context(|| dev.mountpoint.display().to_string())?;
        }
        run(dev.meshdrive().args(["mount", DRIVE]).arg(&dev.mountpoint))?;
    }
    eprint!("{}", what_next(&dev));
    Ok(())
}

fn what_next(dev: &Dev) -> String {
    let program = dev.program.display();
    let mut text = format!("\nThe drive is at {}. Try:\n", dev.mountpoint.display());
    for line in [
        "cp -r docs Meshdrive/ && ls -l Meshdrive/docs/adr".to_owned(),
        format!("export MESHDRIVE_HOME={}", dev.home().display()),
        format!("alias meshdrive={program}"),
        "meshdrive status              # is everything in the cloud?".to_owned(),
        "meshdrive pin Meshdrive/docs  # keep it on this device".to_owned(),
        "meshdrive evict Meshdrive     # free the space of everything else".to_owned(),
        "meshdrive --help".to_owned(),
        "cargo xtask down              # unmount and stop the store; the drive stays for next time"
            .to_owned(),
    ] {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

/// Unmounts the drive and stops the store.
///
/// # Errors
/// When the drive cannot be unmounted (then the store stays up: it may be needed to send what is
/// pending), or the store does not stop.
pub(crate) fn down(root: &Path) -> Result<()> {
    let dev = Dev::new(root)?;
    if mounts::is_dead(&dev.mountpoint) {
        // A crash left it: mounting again recovers what is unsent, so that it can be sent now.
        run(dev.meshdrive().args(["mount", DRIVE]).arg(&dev.mountpoint))?;
    }
    if mounts::is_mounted(&dev.mountpoint)? {
        let unmounted = run(dev.meshdrive().args(["unmount", DRIVE]));
        unmounted.context("the drive stays mounted and the store stays up")?;
        if mounts::is_mounted(&dev.mountpoint)? {
            bail!(
                "{0} is still mounted; if its daemon is dead: fusermount3 -u -z {0}",
                dev.mountpoint.display()
            );
        }
    }
    // Only an empty folder goes; anything else in it was put there while nothing was mounted.
    if std::fs::remove_dir(&dev.mountpoint).is_err() && dev.mountpoint.exists() {
        eprintln!("{} is not empty and stays", dev.mountpoint.display());
    }
    store::stop(&dev)?;
    eprintln!("down; the drive is kept in {} for the next `up`", dev.folder.display());
    Ok(())
}
