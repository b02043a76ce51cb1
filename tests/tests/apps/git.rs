use super::comes_back_everywhere;
use meshdrive_tests::{World, have, tool};

/// Nothing of this machine's or user's settings.
const QUIET: &str = "
    export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_TERMINAL_PROMPT=0
    export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org
    export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
";

#[test]
fn git_works() {
    if !have("apps::git", &["git", "bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::git") else { return };
    tool(
        world.dir(),
        &format!(
            "{QUIET}
            git init -q -b main local && cd local
            for i in $(seq 300); do mkdir -p d$((i % 20)); seq $i $((i + 200)) > d$((i % 20))/f$i; done
            git add . && git commit -qm one
            for i in $(seq 1 7 300); do echo more >> d$((i % 20))/f$i; done
            git commit -qam two"
        ),
    );
    tool(
        &world.a.root(),
        &format!(
            "{QUIET}
            git clone -q --no-hardlinks ../../local repo && cd repo
            git checkout -qb work
            for i in $(seq 40); do echo $i > new$i; git add new$i; git commit -qm $i; done
            git mv new1 moved && git rm -q new2 && git commit -qm moved
            git stash list && echo dirty >> moved && git stash -q && git stash pop -q
            git checkout -q -- moved
            git checkout -q main && git merge -q --no-ff -m merged work
            git rebase -q HEAD~1 work && git checkout -q main
            git gc -q --prune=now && git fsck --strict --no-progress
            git repack -adq && git fsck --strict --no-progress
            test -z \"$(git status --porcelain)\"
            git init -q --bare ../bare.git && git push -q ../bare.git main
            git -C ../bare.git fsck --strict --no-progress"
        ),
    );
    comes_back_everywhere(&world);
    tool(
        &world.a.path("repo"),
        &format!(
            "{QUIET}
            git fsck --strict --no-progress
            test -z \"$(git status --porcelain)\"
            git clone -q --no-hardlinks . ../../out && cd ../../out && git fsck --strict --no-progress"
        ),
    );
}
