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

/// Folders that share one repository, a clone through the protocol, a sparse checkout, a bisection.
#[test]
fn git_worktrees() {
    if !have("apps::git_worktrees", &["git", "bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::git_worktrees") else { return };
    tool(
        &world.a.root(),
        &format!(
            "{QUIET}
            git init -q -b main repo && cd repo
            for i in $(seq 30); do
                mkdir -p d$((i % 5)); seq $i > d$((i % 5))/f$i; echo $i > count; git add . && git commit -qm $i
            done
            git worktree add -q ../tree -b side && git worktree add -q --detach ../old HEAD~10
            test $(cat ../old/count) = 20 && echo side > ../tree/side && git -C ../tree add side
            git -C ../tree commit -qm side && git merge -q --no-edit side && test $(cat side) = side
            git worktree move ../tree ../moved && test -z \"$(git -C ../moved status --porcelain)\"
            git worktree remove ../old && test ! -e ../old && git worktree prune
            test $(git worktree list | wc -l) = 2
            git bisect start HEAD~1 HEAD~25 > /dev/null
            git bisect run sh -c 'test $(cat count) -lt 17' > /dev/null
            test $(git show -s --format=%s refs/bisect/bad) = 17 && git bisect reset 2> /dev/null
            git clone -q file://$PWD ../cloned && git -C ../cloned fsck --strict --no-progress
            git clone -q --sparse --no-hardlinks . ../sparse && cd ../sparse && test ! -e d1
            git sparse-checkout set d1 && test $(ls d1 | wc -l) = 6 && git fsck --strict --no-progress
            git -C ../repo fsck --strict --no-progress"
        ),
    );
    let b = comes_back_everywhere(&world);
    // Worktrees find their repository by an absolute path, which another device has elsewhere.
    tool(
        &b.root(),
        &format!(
            "{QUIET}
            for tree in repo cloned sparse; do
                git -C $tree fsck --strict --no-progress && test -z \"$(git -C $tree status --porcelain)\"
            done"
        ),
    );
}
