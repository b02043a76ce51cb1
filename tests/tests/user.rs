//! An ordinary user: mounting through `fusermount3`, and what that user is told when it cannot be.

// A failed step of a test is a failed test.
#![allow(clippy::unwrap_used)]

use meshdrive_tests::{Server, can_mount, have, program, skip, tool};
use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A user without rights on any machine (nobody of Debian), when the tests run as root.
const USER: u32 = 65_534;

/// A folder that the user may enter, with the program in it, a store, and a home of the user's own.
struct Place {
    server: Server,
    dir: tempfile::TempDir,
}

impl Place {
    /// `None`, noted as skipped, where it cannot be tried.
    fn new(test: &str) -> Option<Place> {
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
        fs::copy(program(), dir.path().join("meshdrive")).unwrap();
        let home = dir.path().join("home");
        fs::create_dir_all(home.join("m")).unwrap();
        let server = Server::start(&dir.path().join("s"));
        let place = Place { server, dir };
        if is_root() {
            let probe = place.script("exec 3<>/dev/fuse && echo usable");
            if !tool_says(&probe, "usable") {
                skip(test, "no private mount namespace in which a user may open /dev/fuse");
                return None;
            }
        }
        Some(place)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// What runs `script` as the user. As root: in a mount namespace of its own, where `/dev/fuse` is
    /// open to everybody, as it is on an ordinary system; everything mounted there goes with it.
    fn script(&self, script: &str) -> String {
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

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn tool_says(script: &str, word: &str) -> bool {
    let output = std::process::Command::new("bash").args(["-c", script]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains(word)
}

/// Ends the daemon by its number and takes its mount down, whatever happens before.
const TIDY: &str = "
    pid() { $M status work --json | sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'; }
    tidy() {
        kill -9 $(pid) 2>/dev/null || true
        fusermount3 -uz m 2>/dev/null || true
    }
    trap tidy EXIT
";

#[test]
fn an_ordinary_user_mounts() {
    let Some(place) = Place::new("user::an_ordinary_user_mounts") else { return };
    let said = tool(
        Path::new("/"),
        &place.script(&format!(
            "{TIDY}
            $M drive create work --server $URL --device a > key
            $M mount work m
            mkdir m/d && head -c 3000000 /dev/urandom > m/d/f && echo hello > m/d/g
            chmod 700 m/d/g && ln -s g m/d/l && mv m/d/f m/f && cp -a m/d m/e && rm -r m/d
            test $(stat -c %u m/e/g) = $(id -u) && test $(stat -c %a m/e/g) = 700
            sum=$(sha256sum < m/f)
            $M sync && $M unmount work
            $M mount work m && test \"$(sha256sum < m/f)\" = \"$sum\" && test $(cat m/e/l) = hello
            dead=$(pid); kill -9 $dead; while test -e /proc/$dead/exe; do :; done
            $M mount work m && test \"$(sha256sum < m/f)\" = \"$sum\"
            $M doctor work || true
            $M unmount work && test -z \"$(ls m)\" && echo all went well"
        )),
    );
    assert!(said.out.contains("all went well"), "{}", said.all());
    assert!(!said.out.contains("FAIL"), "{}", said.out);
}

#[test]
fn without_fusermount3_the_user_is_told() {
    let test = "user::without_fusermount3_the_user_is_told";
    let Some(place) = Place::new(test) else { return };
    let said = tool(
        Path::new("/"),
        &place.script(
            "$M drive create work --server $URL --device a > key
            mkdir bin; for name in cat ls; do ln -s $(command -v $name) bin/; done
            ! PATH=$PWD/bin $M mount work m",
        ),
    );
    assert!(
        said.err.contains("fusermount3") && said.err.contains("install the package fuse3"),
        "{}",
        said.all()
    );
}

#[test]
fn a_closed_device_is_named() {
    let test = "user::a_closed_device_is_named";
    if !is_root() {
        return skip(test, "only root can close /dev/fuse");
    }
    let Some(place) = Place::new(test) else { return };
    let open = place.script(
        "$M drive create work --server $URL --device a > key
        ! $M mount work m",
    );
    let closed = open.replace("mknod -m 666", "mknod -m 600");
    let said = tool(Path::new("/"), &closed);
    assert!(
        said.err.contains("/dev/fuse: permission denied; ask the administrator"),
        "{}",
        said.all()
    );
}
