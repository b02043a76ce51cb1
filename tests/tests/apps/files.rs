use super::comes_back_everywhere;
use meshdrive_tests::{World, content, have, tool};
use std::fs;

/// A tree of a few hundred files of many sizes, outside the drive, at `source`.
fn source(world: &World) {
    for (at, size) in
        [0, 1, 100, 4_095, 4_096, 4_097, 65_536, 200_000, 3_000_000].iter().enumerate()
    {
        let folder = world.path(&format!("source/d{at}/e"));
        fs::create_dir_all(&folder).unwrap();
        for copy in 0..20_u64.min(40_000_000 / (size + 1)) {
            let seed = at as u64 * 100 + copy;
            fs::write(folder.join(format!("f{copy}")), content(seed, *size as usize)).unwrap();
        }
    }
    tool(
        &world.path("source"),
        "ln -s d1/e/f0 link; ln -s nowhere dangling; chmod 640 d2/e/f1; chmod 4711 d3/e/f1",
    );
}

#[test]
fn tar_and_rsync() {
    if !have("apps::tar_and_rsync", &["tar", "rsync", "bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::tar_and_rsync") else { return };
    source(&world);
    tool(
        &world.a.root(),
        "tar -C ../../source -cf one.tar . && mkdir untarred && tar -C untarred -xpf one.tar
        tar -C untarred -czf two.tgz . && mkdir again && tar -C again -xzpf two.tgz
        diff -r --no-dereference ../../source untarred && diff -r --no-dereference ../../source again
        rsync -a ../../source/ synced/ && test -z \"$(rsync -nca --delete -i ../../source/ synced/)\"
        echo changed > ../../source/d1/e/f0; rm ../../source/d2/e/f2; mv ../../source/d4 ../../source/d4b
        rsync -a --delete ../../source/ synced/ && test -z \"$(rsync -nca --delete -i ../../source/ synced/)\"
        rsync -a --inplace --no-whole-file --delete ../../source/ again/
        test -z \"$(rsync -nca --delete -i ../../source/ again/)\"
        rsync -a synced/ ../../back/ && test -z \"$(rsync -nca --delete -i ../../source/ ../../back/)\"",
    );
    comes_back_everywhere(&world);
    tool(&world.a.root(), "test -z \"$(rsync -nca --delete -i ../../source/ synced/)\"");
}

#[test]
fn copies_moves_and_finds() {
    if !have("apps::copies_moves_and_finds", &["bash", "find"]) {
        return;
    }
    let Some(world) = World::mounted("apps::copies_moves_and_finds") else { return };
    source(&world);
    tool(
        &world.a.root(),
        "cp -a --reflink=auto ../../source copy && diff -r --no-dereference ../../source copy
        cp --reflink=auto copy/d8/e/f0 whole && cmp whole copy/d8/e/f0
        mv copy/d8 moved && test -e moved/e/f0 && test ! -e copy/d8
        mv moved ../../outside && cmp ../../outside/e/f0 whole && mv ../../outside copy/d8
        diff -r --no-dereference ../../source copy
        cp -a copy copy2 && find copy2 -type f -delete && test -z \"$(find copy2 -type f)\"
        rm -rf copy2 && test ! -e copy2
        dd if=/dev/zero of=holes bs=1 count=1 seek=10000000 status=none
        test $(stat -c %s holes) = 10000001
        truncate -s 5000000 holes && truncate -s 6000000 holes && cp --sparse=always holes holes2 && cmp holes holes2
        install -m 750 whole installed && test $(stat -c %a installed) = 750
        split -b 100000 whole part. && cat part.* | cmp - whole
        sed -i 's/a/b/' ../../source/d1/e/f0; sort -o sorted <(seq 1000 -1 1) && test $(head -1 sorted) = 1",
    );
    comes_back_everywhere(&world);
}

const MAPPED: &str = r#"
import mmap, os, sys
name = "mapped"
size = 3 * 1024 * 1024 + 123
with open(name, "wb") as f:
    f.truncate(size)
with open(name, "r+b") as f:
    m = mmap.mmap(f.fileno(), size)
    for at in range(0, size, 4096 * 7):
        m[at] = at % 251
    m[-1] = 77
    m.flush()
    # What was stored through the map is read through a descriptor, and the other way round.
    with open(name, "rb", buffering=0) as g:
        for at in range(0, size, 4096 * 7):
            g.seek(at)
            assert g.read(1)[0] == at % 251, at
    f.seek(5000)
    f.write(b"through the descriptor")
    f.flush()
    assert m[5000:5022] == b"through the descriptor"
    m.close()
with open(name, "rb") as f:
    m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
    assert m[5000:5007] == b"through" and m[-1] == 77
    m.close()
# A private map changes nothing.
with open(name, "r+b") as f:
    m = mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE)
    m[0] = 99
    m.close()
assert open(name, "rb").read(1) != b"\x63"
# A map outlives its descriptor.
fd = os.open(name, os.O_RDWR)
m = mmap.mmap(fd, 0)
os.close(fd)
m[1] = 55
m.close()
assert open(name, "rb").read(2)[1] == 55
"#;

const PYTHON: &str = r#"
import os, shutil, tempfile, json, zipfile, pathlib, fcntl
root = pathlib.Path("py")
root.mkdir()
for i in range(200):
    (root / f"{i}.json").write_text(json.dumps({"n": i, "text": "x" * i}))
assert sum(json.loads(p.read_text())["n"] for p in root.glob("*.json")) == 19900
with zipfile.ZipFile("a.zip", "w", zipfile.ZIP_DEFLATED) as z:
    for p in sorted(root.iterdir()):
        z.write(p)
with zipfile.ZipFile("a.zip") as z:
    assert z.testzip() is None
    z.extractall("unzipped")
with tempfile.NamedTemporaryFile(dir=".", delete=False) as t:
    t.write(b"temporary")
os.replace(t.name, "replaced")
assert open("replaced", "rb").read() == b"temporary"
with tempfile.TemporaryFile(dir=".") as t:
    t.write(b"nameless" * 10000)
    t.seek(0)
    assert len(t.read()) == 80000
shutil.copytree("py", "py2", copy_function=shutil.copy2)
shutil.move("py2", "py3")
shutil.rmtree("unzipped")
with open("locked", "w") as f:
    fcntl.flock(f, fcntl.LOCK_EX)
    g = open("locked")
    try:
        fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise SystemExit("two exclusive locks")
    except BlockingIOError:
        pass
os.setxattr("locked", "user.note", b"value")
assert os.getxattr("locked", "user.note") == b"value" and "user.note" in os.listxattr("locked")
os.utime("locked", ns=(-5_000_000_001, -7_000_000_003))
assert os.stat("locked").st_mtime_ns == -7_000_000_003
fd = os.open(".", os.O_RDONLY)
os.fsync(fd)
os.close(fd)
"#;

#[test]
fn python_programs_and_maps() {
    if !have("apps::python_programs_and_maps", &["python3"]) {
        return;
    }
    let Some(world) = World::mounted("apps::python_programs_and_maps") else { return };
    for (name, script) in [("mapped.py", MAPPED), ("program.py", PYTHON)] {
        fs::write(world.path(name), script).unwrap();
        tool(&world.a.root(), &format!("python3 ../../{name}"));
    }
    comes_back_everywhere(&world);
}

/// A program that maps a file for reading sees what another one writes into its map.
#[test]
fn maps_of_two_processes() {
    if !have("apps::maps_of_two_processes", &["python3", "bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::maps_of_two_processes") else { return };
    tool(
        &world.a.root(),
        r#"head -c 1000000 /dev/zero > shared
        python3 - <<'PY' &
import mmap, time
f = open("shared", "r+b")
m = mmap.mmap(f.fileno(), 0)
end = time.time() + 60
while m[500000] != 1:
    assert time.time() < end
m[900000] = 2
m.flush()
PY
        other=$!
        python3 - <<'PY'
import mmap, time
f = open("shared", "r+b")
m = mmap.mmap(f.fileno(), 0)
m[500000] = 1
end = time.time() + 60
while m[900000] != 2:
    assert time.time() < end
PY
        wait $other"#,
    );
    comes_back_everywhere(&world);
}

/// Two processes append lines to one log: none is lost, none is torn.
#[test]
fn append_logs() {
    if !have("apps::append_logs", &["bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::append_logs") else { return };
    tool(
        &world.a.root(),
        "log() { for i in $(seq 500); do echo \"$1 line $i of the log\" >> log; done; }
        log a & first=$!
        log b
        wait $first
        exec 3>> held; for i in $(seq 500); do echo \"c line $i of the log\" >&3; done; exec 3>&-
        test $(wc -l < log) = 1000 && test $(grep -c '^[ab] line [0-9]* of the log$' log) = 1000
        for who in a b; do diff <(grep ^$who log) <(for i in $(seq 500); do echo \"$who line $i of the log\"; done); done
        test $(grep -c '^c line [0-9]* of the log$' held) = 500",
    );
    comes_back_everywhere(&world);
}
