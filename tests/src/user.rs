//! An ordinary user, who mounts through `fusermount3`.

use crate::{
    copy_program, program,
    server::Server,
    skip::{can_mount, have, skip},
};
use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    process::Command,
};

/// A user without rights on any machine (nobody of Debian), when the tests run as root.
const USER: u32 = 65_534;

const HELPER: &str = "meshdrive-passthrough";

/// A folder that the user may enter, with the program in it, a store, and a home of the user's own.
#[derive(Debug)]
pub struct UserPlace {
    server: Server,
    dir: tempfile::TempDir,
}

impl UserPlace {
    /// `None`, noted as skipped, where it cannot be tried.
    pub fn new(test: &str) -> Option<UserPlace> {
        let needs: &[&str] = if is_root() {
            &["fusermount3", "unshare", "setpriv", "mknod", "bash"]
        } else {
            &["fusermount3", "bash"]
        };
        if !can_mount(test) || !have(test, needs) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        copy_program(program(), dir.path().join("meshdrive"));
        let home = dir.path().join("home");
        fs::create_dir_all(home.join("m")).unwrap();
        let server = Server::start(&dir.path().join("s"));
        let place = UserPlace { server, dir };
        if is_root() {
            let probe = place.script("exec 3<>/dev/fuse && echo usable");
            if !script_says(&probe, "usable") {
                skip(test, "no private mount namespace in which a user may open /dev/fuse");
                return None;
            }
        }
        Some(place)
    }

    /// Puts the program that hands files to the kernel beside the user's, as an administrator would.
    pub fn install_helper(&self) {
        let helper = self.path(HELPER);
        copy_program(program().with_file_name(HELPER), &helper);
        // Last: a change of owner takes the bit away.
        std::os::unix::fs::chown(&helper, Some(0), Some(0)).unwrap();
        fs::set_permissions(&helper, Permissions::from_mode(0o4755)).unwrap();
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// What runs `script` as the user, in the user's home: `$M` is the program, `$URL` the store. As
    /// root: in a mount namespace of its own, where `/dev/fuse` is open to everybody, as it is on an
    /// ordinary system; everything mounted there goes with it.
    pub fn script(&self, script: &str) -> String {
        let dir = self.path("").display().to_string();
        let code = self.server.setup_code();
        let url = self.server.url();
        let file = self.path("script");
        let text = format!(
            "set -euo pipefail\ncd {dir}home\nexport HOME={dir}home MESHDRIVE_HOME={dir}home \
             MESHDRIVE_SETUP_CODE={code} URL={url} LC_ALL=C\nM={dir}meshdrive\n{script}\n"
        );
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
        if !is_root() {
            return format!("bash {}", file.display());
        }
        format!(
            "chown -R {USER}:{USER} {dir}home
            unshare --mount --propagation private bash -euc '
                mkdir -p {dir}dev && mount -t tmpfs -o mode=755 tmpfs {dir}dev
                mknod -m 666 {dir}dev/fuse c 10 229 && mount --bind {dir}dev/fuse /dev/fuse
                exec setpriv --reuid {USER} --regid {USER} --clear-groups --inh-caps=-all bash {}'",
            file.display()
        )
    }
}

/// The start of a script that mounts: ends the daemon by its number and takes its mount down, whatever
/// happens before.
pub const TIDY: &str = "
    pid() { ($M status work --json || true) | sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'; }
    tidy() {
        kill -9 $(pid) 2>/dev/null || true
        fusermount3 -uz m 2>/dev/null || true
    }
    trap tidy EXIT
";

/// Whether the tests run as root.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn script_says(script: &str, word: &str) -> bool {
    let output = Command::new("bash").args(["-c", script]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains(word)
}
