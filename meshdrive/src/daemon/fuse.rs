//! The drive as a FUSE mount.

use super::{Plan, convert};
use crate::{
    failure::{Failure, Kind, Outcome},
    mounts,
};
use engine::Port;
use fs_core::Name;
use fuse_linux::{Kept, MountConfig, Passthrough, registrar::HELPER};
pub(super) use fuse_linux::{Mount, MountError};
use protocol::control::{PathText, Refusal, RefusalCode};
use std::path::{Path, PathBuf};

/// Takes away what a crash left: a dead mount at the mountpoint, and the dead mount of this drive
/// elsewhere (we have its lock, so nobody serves it).
pub(super) fn recover(plan: &Plan) -> Outcome {
    fuse_linux::recover_dead_mount(&plan.mountpoint).map_err(mount_failure)?;
    if let Some(left) = mounts::of(&plan.dirs, &plan.label)? {
        fuse_linux::recover_dead_mount(&left).map_err(mount_failure)?;
    }
    Ok(())
}

/// Mounts the drive, or goes on with a mount that another daemon has served.
pub(super) fn mount(
    plan: &Plan,
    port: Port,
    _: &cache::DiskStore,
    kept: Option<Kept>,
) -> Outcome<Mount> {
    let config = mount_config(plan);
    let mount = match kept {
        Some(kept) => Mount::again(&config, port, kept),
        None => Mount::new(&config, port),
    };
    mount.map_err(mount_failure)
}

/// As the kernel will show it; a mountpoint that cannot be resolved is explained by the mount.
pub(super) fn shown(mountpoint: &Path) -> PathBuf {
    std::fs::canonicalize(mountpoint).unwrap_or(mountpoint.to_owned())
}

fn mount_config(plan: &Plan) -> MountConfig {
    MountConfig {
        mountpoint: plan.mountpoint.clone(),
        fs_name: mounts::source(&plan.label),
        allow_other: plan.config.mount.allow_other,
        read_only: plan.read_only,
        threads: usize::from(plan.config.mount.threads),
        passthrough: plan.config.mount.passthrough,
        passed: Some(plan.dirs.drive_state(&plan.label).join("passed")),
        helper: passthrough_helper(),
    }
}

/// The helper beside this program. Not looked for on the search path, which may lead through the mount.
fn passthrough_helper() -> Option<PathBuf> {
    let helper = std::env::current_exe().ok()?.parent()?.join(HELPER);
    helper.exists().then_some(helper)
}

fn mount_failure(error: MountError) -> Failure {
    let kind = match &error {
        MountError::Busy(_) | MountError::AlreadyMounted { .. } => Kind::Busy,
        MountError::Missing(_) | MountError::NotDirectory(_) | MountError::NotEmpty(_) => {
            Kind::Usage
        }
        _ => Kind::General,
    };
    Failure::new(kind, error)
}

/// Whether the kernel does the work on local files by itself, and if not, why.
pub(super) fn passthrough(mount: &Mount) -> (bool, String) {
    match mount.passthrough() {
        Passthrough::On => (true, String::new()),
        Passthrough::Off(why) => (false, why),
    }
}

/// Every change goes through the core: it knows of all of them.
pub(super) fn waiting(_mount: &Mount) -> u64 {
    0
}

/// As for [`waiting`].
pub(super) fn settle(_mount: &Mount) -> bool {
    true
}

/// All local bytes are the core's.
pub(super) fn evict(_mount: &Mount, _path: &PathText) -> u64 {
    0
}

/// Nothing outlives an unmount.
pub(super) fn forget(_mount: &Mount) {}

pub(super) fn components(_mount: &Mount, path: &PathText) -> Result<Vec<Name>, Refusal> {
    convert::components(path)
}

/// The kernel renames everything.
pub(super) fn rename(_mount: &Mount, _from: &PathText, _to: &PathText) -> Result<(), Refusal> {
    Err(Refusal {
        code: RefusalCode::Invalid,
        message: "any program can rename here".into(),
        hint: Some("use `mv`".into()),
    })
}

/// Nothing more is needed.
pub(super) fn serving(_plan: &Plan, _mount: &Mount) {}

/// What answers once the drive is there.
pub(super) fn answers_at(mount: &Mount) -> &Path {
    mount.path()
}
