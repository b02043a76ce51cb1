//! A disk that loses its power.

use meshdrive_tests::{have, is_mounted, skip, tool};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// An ext4, mounted at `d` in a folder, that can be cut off from its disk: what was not synced is gone.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) root: PathBuf,
}

impl Disk {
    /// `None`, noted as skipped, where there is none to be had.
    pub(crate) fn new(test: &str, dir: &Path) -> Option<Disk> {
        if !have(test, &["bash", "mkfs.ext4", "mount", "umount", "xfs_io"]) {
            return None;
        }
        let disk = Disk { root: dir.join("d") };
        fs::create_dir(&disk.root).unwrap();
        tool(dir, "truncate -s 256M disk && mkfs.ext4 -q disk");
        let is_there = disk.run("mount -o loop,noatime disk d");
        if !is_there {
            skip(test, "no loop device can be mounted here");
        }
        is_there.then_some(disk)
    }

    /// Nothing more reaches the disk.
    pub(crate) fn cut_off(&self) {
        tool(&self.root, "xfs_io -x -c shutdown .");
    }

    /// As after the next start of the machine. Nobody may use it.
    pub(crate) fn come_back(&self) {
        let script = "umount d; e2fsck -fp disk >&2 || [ $? = 1 ]; mount -o loop disk d";
        tool(self.root.parent().unwrap(), script);
    }

    fn run(&self, script: &str) -> bool {
        let mut shell = Command::new("bash");
        let shell = shell.args(["-c", script]).current_dir(self.root.parent().unwrap());
        shell.output().unwrap().status.success()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        while is_mounted(&self.root) && self.run("umount d || umount -l d") {}
    }
}
