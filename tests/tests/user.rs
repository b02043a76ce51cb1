//! An ordinary user: mounting through `fusermount3`, and what that user is told when it cannot be.

// A failed step of a test is a failed test.
#![allow(clippy::unwrap_used)]

use meshdrive_tests::{TIDY, UserPlace, is_root, skip, tool};
use std::path::Path;

#[test]
fn an_ordinary_user_mounts() {
    let Some(place) = UserPlace::new("user::an_ordinary_user_mounts") else { return };
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
    let Some(place) = UserPlace::new(test) else { return };
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
    let Some(place) = UserPlace::new(test) else { return };
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

/// The helper is root's and has its set-user-id bit: the user's own daemon has no rights, and yet the
/// kernel reads and writes large files of the drive by itself.
#[test]
fn a_helper_brings_passthrough_to_an_ordinary_user() {
    let test = "user::a_helper_brings_passthrough_to_an_ordinary_user";
    if !is_root() {
        return skip(test, "only root can install a program with rights");
    }
    let Some(place) = UserPlace::new(test) else { return };
    let alone = tool(Path::new("/"), &large_files(&place, ""));
    assert!(alone.out.contains("all went well"), "{}", alone.all());
    if !alone.out.contains("may hand files to the kernel") {
        return skip(test, "the kernel hands no files over here");
    }
    let Some(place) = UserPlace::new(test) else { return };
    place.install_helper();
    // The helper runs as the user, and a daemon that follows another one has a helper of its own.
    let more = "
        helper() { pgrep -u $(id -u) -f ^$(dirname $M)/meshdrive-passthrough; }
        first=$(helper) && dead=$(pid) && exec 5< m/f && kill -9 $dead
        while test -e /proc/$dead/exe; do :; done
        cmp src m/f && cmp src - <&5 && cp src m/h && cmp src m/h && exec 5<&-
        test \"$(helper)\" != \"$first\"
        says_passthrough";
    let helped = tool(Path::new("/"), &large_files(&place, more));
    assert!(helped.out.contains("all went well"), "{}", helped.all());
    assert_eq!(helped.out.matches("\"passthrough\":true").count(), 2, "{}", helped.all());
}

/// Writes and reads large files, says whether by passthrough, does `more`, and reads them after a
/// mount anew.
fn large_files(place: &UserPlace, more: &str) -> String {
    place.script(&format!(
        "{TIDY}
        $M drive create work --server $URL --device a > key
        $M mount work m
        head -c 3000000 /dev/urandom > src && cp src m/f && sync m/f && cp src m/g
        cmp src m/f && cmp src m/g && printf new | dd of=m/g conv=notrunc status=none
        test \"$(head -c 3 m/g)\" = new
        says_passthrough() {{ ($M status work --json || true) | tr , '\\n' | grep '\"passthrough'; }}
        says_passthrough
        {more}
        $M sync && $M unmount work
        $M mount work m && cmp src m/f && test \"$(head -c 3 m/g)\" = new
        $M unmount work && echo all went well"
    ))
}
