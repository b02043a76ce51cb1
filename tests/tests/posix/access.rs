//! Who may do what: access control lists, umask, groups, sticky folders, set-id bits.

use meshdrive_tests::{World, have, is_root, skip, tool};

/// Runs a shell script in the drive; `as_user UID:GID[:GROUP] command..` runs a command as another.
fn script(test: &str, programs: &[&str], text: &str) {
    if !is_root() {
        return skip(test, "only root can act as other users");
    }
    if !have(test, programs) || !have(test, &["setpriv", "getfacl", "setfacl"]) {
        return;
    }
    let Some(world) = World::mounted(test) else { return };
    let helper = "as_user() {
        IFS=: read -r user group more <<< \"$1\"; shift
        groups=--clear-groups; test -z \"$more\" || groups=--groups=$more
        setpriv --reuid $user --regid $group $groups \"$@\"
    }
    refused() { if \"$@\" 2>/dev/null; then echo \"went well: $*\" >&2; return 1; fi; }
    chmod 755 .
    ";
    tool(&world.a.root(), &format!("{helper}{text}"));
    world.a.sync();
    world.a.unmount();
    world.a.mount();
}

#[test]
fn a_list_decides() {
    script(
        "posix::a_list_decides",
        &[],
        "echo text > f && chmod 600 f
        refused as_user 1000:1000 cat f
        setfacl -m u:1000:r f
        test \"$(as_user 1000:1000 cat f)\" = text
        refused as_user 1000:1000 tee f < /dev/null
        refused as_user 1001:1001 cat f
        setfacl -m g:2000:rw f
        as_user 1001:1001:2000 tee f <<< more > /dev/null
        test \"$(stat -c %a f)\" = 660
        setfacl -b f
        refused as_user 1000:1000 cat f
        test -z \"$(getfacl -nsc f)\"",
    );
}

#[test]
fn a_chmod_changes_the_mask() {
    script(
        "posix::a_chmod_changes_the_mask",
        &[],
        "echo text > f && chmod 640 f
        setfacl -m u:1000:rw f
        test \"$(stat -c %a f)\" = 660
        chmod 640 f
        getfacl -nc f | grep '^mask::r--' > /dev/null
        getfacl -nc f | grep '^user:1000:rw-.*#effective:r--' > /dev/null
        getfacl -nc f | grep '^group::r--' > /dev/null
        test \"$(as_user 1000:1000 cat f)\" = text
        refused as_user 1000:1000 tee f < /dev/null
        chmod 600 f
        refused as_user 1000:1000 cat f",
    );
}

#[test]
fn a_folder_hands_its_list_down() {
    script(
        "posix::a_folder_hands_its_list_down",
        &[],
        "mkdir d && setfacl -d -m u:1000:rwx,g::rx,o::- d
        umask 077
        echo text > d/f && mkdir d/e && echo deep > d/e/f && ln -s f d/l
        test \"$(stat -c %a d/f)\" = 660
        getfacl -nc d/f | grep '^user:1000:rwx.*#effective:rw-' > /dev/null
        getfacl -nc d/e | grep '^default:user:1000:rwx' > /dev/null
        test \"$(as_user 1000:1000 cat d/e/f)\" = deep
        refused as_user 1001:1001 cat d/f
        umask 022 && echo text > plain && test \"$(stat -c %a plain)\" = 644
        setfacl -k d && umask 027 && touch d/g && test \"$(stat -c %a d/g)\" = 640",
    );
}

#[test]
fn lists_are_copied_and_kept() {
    script(
        "posix::lists_are_copied_and_kept",
        &[],
        "echo text > f && setfacl -m u:1000:r,m::rw f
        cp -a f g && test \"$(getfacl -nc f)\" = \"$(getfacl -nc g)\"
        mv g h && test \"$(getfacl -nc f)\" = \"$(getfacl -nc h)\"
        getfacl f > saved && setfacl -b f && setfacl --restore=saved
        test \"$(getfacl -nc f)\" = \"$(getfacl -nc h)\"
        ls -l f | grep '^-rw-rw-r--+' > /dev/null",
    );
}

#[test]
fn sticky_folders_and_groups() {
    script(
        "posix::sticky_folders_and_groups",
        &[],
        "mkdir t && chmod 1777 t
        as_user 1000:1000 touch t/mine
        refused as_user 1001:1001 rm -f t/mine
        refused as_user 1001:1001 mv t/mine t/other
        as_user 1000:1000 rm t/mine
        mkdir g && chgrp 2000 g && chmod 2770 g
        refused as_user 1000:1000 touch g/f
        as_user 1000:1000:2000 touch g/f
        test \"$(stat -c %g g/f)\" = 2000
        as_user 1000:1000:2000 mkdir g/d && test \"$(stat -c '%g %a' g/d)\" = '2000 2755'",
    );
}

#[test]
fn set_id_bits_go_with_a_write_and_a_chown() {
    script(
        "posix::set_id_bits_go_with_a_write_and_a_chown",
        &[],
        "touch f && chown 1000:1000 f
        chmod 6755 f && as_user 1000:1000 tee -a f <<< x > /dev/null
        test \"$(stat -c %a f)\" = 755
        chmod 6755 f && as_user 1000:1000 truncate -s 1 f && test \"$(stat -c %a f)\" = 755
        chmod 6755 f && echo root >> f && test \"$(stat -c %a f)\" = 6755
        chown 1001 f && test \"$(stat -c %a f)\" = 755
        as_user 1001:1001 chmod 2755 f && test \"$(stat -c %a f)\" = 755
        refused as_user 1001:1001 chown 1000 f",
    );
}
