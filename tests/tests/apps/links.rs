//! Programs that make hard links, and see them again everywhere.

use super::comes_back_everywhere;
use meshdrive_tests::{World, have, tool};

/// Archives and copies keep which names are one file.
#[test]
fn copies_with_hard_links() {
    if !have("apps::copies_with_hard_links", &["rsync", "tar", "cp", "bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::copies_with_hard_links") else { return };
    // Two names of one file, three of another, in different folders.
    let check = "
        same() { test $(stat -c %i $1) = $(stat -c %i $2); }
        check() { (cd $1 && same a d/b && same x y && same x d/e/z && ! same a x
            test $(stat -c %h a) = 2 && test $(stat -c %h y) = 3 && test \"$(cat d/b)\" = one && test \"$(cat d/e/z)\" = two); }
        ";
    tool(
        &world.a.root(),
        &format!(
            "{check}
            make() {{ mkdir -p $1/d/e && (cd $1 && echo one > a && ln a d/b && echo two > x && ln x y && ln x d/e/z); }}
            make ../../source && make made && check made
            rsync -aH ../../source/ synced/ && check synced
            rsync -aH synced/ ../../back/ && check ../../back
            test -z \"$(rsync -naHci --delete synced/ ../../back/)\"
            tar -C made -cf one.tar . && mkdir untarred && tar -C untarred -xf one.tar && check untarred
            cp -a made copied && check copied
            cp -al made linked && same made/a linked/a && test $(stat -c %h made/a) = 4
            echo more >> linked/x && test \"$(tail -1 made/d/e/z)\" = more && rm -r linked && echo two > made/x && check made
            sed -i s/one/1/ synced/a && ! same synced/a synced/d/b && test $(stat -c %h synced/d/b) = 1"
        ),
    );
    let b = comes_back_everywhere(&world);
    for device in [&world.a, &b] {
        tool(&device.root(), &format!("{check}\ncheck made && check untarred && check copied"));
    }
}

/// A clone of a repository in the same drive links its objects.
#[test]
fn git_clone_local() {
    if !have("apps::git_clone_local", &["git", "bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::git_clone_local") else { return };
    let quiet = "
        export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
        export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org";
    tool(
        &world.a.root(),
        &format!(
            "{quiet}
            git init -q -b main one && cd one
            for i in $(seq 60); do seq $i $((i + 99)) > f$i; done
            git add . && git commit -qm one
            git clone -q --local . ../two
            test $(find ../two/.git/objects -type f -links 2 | wc -l) -gt 60
            cd ../two && echo more >> f1 && git commit -qam two && git gc -q --prune=now
            for tree in one two; do git -C ../$tree fsck --strict --no-progress; done
            git -C ../one pull -q ../two main && test -z \"$(git -C ../one status --porcelain)\""
        ),
    );
    let b = comes_back_everywhere(&world);
    for device in [&world.a, &b] {
        tool(
            &device.root(),
            &format!(
                "{quiet}
                for tree in one two; do
                    git -C $tree fsck --strict --no-progress && test -z \"$(git -C $tree status --porcelain)\"
                done"
            ),
        );
    }
}
