use meshdrive_tests::{Line, Proxy, World, have, tool};

/// What the two tests search: 300 files of text in 30 folders, some with a word of their own, one of
/// 5 MB.
const FILES: &str = "
    for i in $(seq 300); do
        mkdir -p text/d$((i % 30)); seq $i 7 $((i * 40)) > text/d$((i % 30))/f$i
    done
    for i in $(seq 5 50 300); do echo \"a needle of $i\" >> text/d$((i % 30))/f$i; done
    head -c 5000000 /dev/urandom > text/d1/large.bin
    ln -s d1 text/link; echo needle > text/.hidden; printf 'd9/\\n' > text/.gitignore
";

/// ripgrep (many threads, maps files) finds in content that is not here yet what it finds on a disk.
#[test]
fn ripgrep() {
    if !have("apps::ripgrep", &["rg", "bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::ripgrep") else { return };
    tool(world.dir(), FILES);
    tool(&world.a.root(), "cp -a ../../text .");
    let searches = "
        search() { (cd $1 && rg --sort path \"${@:2}\"; true) }
        for how in '-c needle' '--no-ignore --hidden -n needle' '--mmap -l ^1[0-9]+8$' '-uu -c 77' '--no-mmap -j8 --files'; do
            diff <(search ../../text $how) <(search text $how)
        done
        test $(rg -uu needle text | wc -l) = 7";
    let b = world.join("b");
    world.a.sync();
    b.mount(); // only now: the tree that it then knows is the one that was sent
    b.knows_the_tree();
    tool(&b.root(), searches);
    tool(&world.a.root(), searches);
    world.a.unmount();
    world.a.mount();
    tool(&world.a.root(), searches);
}

/// Looking at names, sizes and times fetches no content, whatever the size of the files.
#[test]
fn find_by_size_fetches_nothing() {
    let test = "apps::find_by_size_fetches_nothing";
    if !have(test, &["find", "du", "bash"]) {
        return;
    }
    let Some(world) = World::mounted(test) else { return };
    tool(world.dir(), FILES);
    tool(&world.a.root(), "cp -a ../../text .");
    world.a.sync();
    let proxy = Proxy::start(world.server.address(), Line::FAST);
    let b = world.join_at("b", &proxy.url());
    b.mount();
    b.knows_the_tree();
    let before = proxy.traffic().down;
    tool(
        &b.root(),
        "look() { (cd $1 && find . -type f -size $2 -printf '%p %s %m %T@\\n' | sort); }
        for size in +1M -2k 1k +4k 0 -100M; do diff <(look ../../text $size) <(look text $size); done
        test $(find text -size +4M) = text/d1/large.bin
        test $(find text -newer ../../text/.gitignore | wc -l) = 0
        list() { (cd $1 && ls -lRAn --time-style=full-iso | grep -E '^-|:$' | tr -s ' '); }
        diff <(list ../../text) <(list text)
        test $(du -sb --apparent-size text | cut -f1) -gt 5000000",
    );
    let fetched = proxy.traffic().down - before;
    assert!(fetched < 100_000, "{fetched} bytes were fetched");
    assert_eq!(b.figure("cached_bytes"), 0);
}
