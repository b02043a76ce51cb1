//! The daemon is killed, restarted and upgraded while programs work in the drive. They see a pause and
//! never an error, and what they made is whole.

// A failed step of a test is a failed test.
#![allow(clippy::unwrap_used)]

use meshdrive_tests::{
    Answer, Device, Random, World, children, copy_program, gone, is_mounted, tree, wait_until,
};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Crashes in each test of work under way; `MESHDRIVE_KILLS` sets another number.
const KILLS: u64 = 20;
const SEED: u64 = 0x51AB;
/// Milliseconds that a daemon lives before it is killed, at least and at most. Above the supervisor's
/// limit of short lives, as these daemons are well.
const LIFE_MS: (u64, u64) = (550, 800);

fn kills() -> u64 {
    let set = std::env::var("MESHDRIVE_KILLS").ok();
    set.map_or(KILLS, |count| count.parse().unwrap())
}

/// Runs `work` (which goes on until it is told that the last kill was made) while the daemon is killed.
fn through_kills<T: Send>(device: &Device, work: impl FnOnce(&AtomicBool) -> T + Send) -> T {
    let enough = AtomicBool::new(false);
    let mut random = Random::new(SEED);
    thread::scope(|scope| {
        let worker = scope.spawn(|| work(&enough));
        for kill in 0..kills() {
            wait_until("a daemon serves", || lives(device) == kill);
            let life = LIFE_MS.0 + random.below(LIFE_MS.1 - LIFE_MS.0);
            thread::sleep(Duration::from_millis(life));
            device.crash();
        }
        enough.store(true, Ordering::Relaxed);
        let result = worker.join().unwrap();
        assert_eq!(device.status()["crashes"].as_u64(), Some(kills()));
        result
    })
}

/// How many daemons have taken over so far.
fn lives(device: &Device) -> u64 {
    device.log().matches(" again.").count() as u64
}

/// The longest time that one step took, in microseconds.
#[derive(Default)]
struct Longest(AtomicU64);

impl Longest {
    fn time<T>(&self, step: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = step();
        let took = u64::try_from(start.elapsed().as_micros()).unwrap();
        self.0.fetch_max(took, Ordering::Relaxed);
        result
    }

    fn say(&self, what: &str) {
        let millis = self.0.load(Ordering::Relaxed) as f64 / 1_000.0;
        println!("{what}: the longest step took {millis:.1} ms");
    }
}

fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(random.number().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn reads_go_on() {
    let Some(world) = World::mounted("supervisor::reads_go_on") else { return };
    let a = &world.a;
    let contents: Vec<Vec<u8>> = (0..40).map(|file| bytes(file, 200_000)).collect();
    fs::create_dir(a.path("d")).unwrap();
    for (file, content) in contents.iter().enumerate() {
        fs::write(a.path(format!("d/{file}")), content).unwrap();
    }
    a.sync();
    let longest = Longest::default();
    let rounds = through_kills(a, |enough| {
        let mut rounds = 0_u64;
        while !enough.load(Ordering::Relaxed) {
            let names = longest.time(|| fs::read_dir(a.path("d")).unwrap().count());
            assert_eq!(names, contents.len());
            for (file, content) in contents.iter().enumerate() {
                let path = a.path(format!("d/{file}"));
                let found = longest.time(|| fs::read(&path).unwrap());
                assert!(found == *content, "{}: other bytes", path.display());
                // Not from the page cache: the daemon has to answer.
                let _ = rustix::fs::fadvise(
                    File::open(&path).unwrap(),
                    0,
                    None,
                    rustix::fs::Advice::DontNeed,
                );
            }
            rounds += 1;
        }
        rounds
    });
    assert!(rounds > 0);
    longest.say("reads");
}

#[test]
fn writes_with_fsync_go_on() {
    let Some(world) = World::mounted("supervisor::writes_with_fsync_go_on") else { return };
    let a = &world.a;
    let longest = Longest::default();
    let (mut model, file) = (vec![0_u8; 1 << 20], a.path("f"));
    fs::write(&file, &model).unwrap();
    let (model, made) = through_kills(a, |enough| {
        let mut random = Random::new(SEED);
        let mut made = 0_u64;
        let open = File::options().read(true).write(true).open(&file).unwrap();
        while !enough.load(Ordering::Relaxed) {
            let length = 1 + random.below(20_000) as usize;
            let at = random.below((model.len() - length) as u64);
            let content = bytes(random.number(), length);
            longest.time(|| open.write_all_at(&content, at).unwrap());
            longest.time(|| open.sync_all().unwrap());
            model[at as usize..at as usize + length].copy_from_slice(&content);
            // And a file of its own, made, renamed and removed.
            let (new, old) = (a.path(format!("n{made}")), a.path("o"));
            longest.time(|| fs::write(&new, &content).unwrap());
            longest.time(|| fs::rename(&new, &old).unwrap());
            assert!(fs::read(&old).unwrap() == content);
            longest.time(|| fs::create_dir(a.path(format!("d{made}"))).unwrap());
            longest.time(|| fs::remove_dir(a.path(format!("d{made}"))).unwrap());
            let link = a.path("l");
            longest.time(|| fs::hard_link(&old, &link).unwrap());
            longest.time(|| fs::remove_file(&old).unwrap());
            assert!(fs::read(&link).unwrap() == content);
            longest.time(|| fs::remove_file(&link).unwrap());
            made += 1;
        }
        (model, made)
    });
    assert!(made > 0);
    assert!(fs::read(&file).unwrap() == model, "the file has other bytes");
    longest.say("writes");
    a.sync();
    let b = world.join("b");
    b.mount();
    b.knows_the_tree();
    assert!(fs::read(b.path("f")).unwrap() == model, "another device has other bytes");
    assert_eq!(fs::read_dir(b.root()).unwrap().count(), 1, "names that were removed");
}

/// Appends land once each, although those in flight at a crash come again.
#[test]
fn appends_land_once() {
    let Some(world) = World::mounted("supervisor::appends_land_once") else { return };
    let a = &world.a;
    let file = a.path("log");
    let lines = through_kills(a, |enough| {
        let mut open = File::options().append(true).create(true).open(&file).unwrap();
        let mut lines = 0_u64;
        while !enough.load(Ordering::Relaxed) {
            open.write_all(format!("{lines:07}\n").as_bytes()).unwrap();
            lines += 1;
        }
        lines
    });
    let text = fs::read_to_string(&file).unwrap();
    let expected: String = (0..lines).map(|line| format!("{line:07}\n")).collect();
    assert!(text == expected, "{} bytes instead of {}", text.len(), expected.len());
}

/// Runs a script in the drive again and again while the daemon is killed, then compares with what the
/// same script makes on the local disk.
#[track_caller]
fn script_goes_on(test: &str, tools: &[&str], prepare: &str, script: &str) {
    let missing = tools.iter().find(|tool| which(tool).is_none());
    if let Some(tool) = missing {
        println!("SKIPPED {test}: there is no {tool} here");
        return;
    }
    let Some(world) = World::mounted(test) else { return };
    let a = &world.a;
    let local = world.path("local");
    fs::create_dir(&local).unwrap();
    run(&local, prepare, &local);
    let longest = Longest::default();
    let rounds = through_kills(a, |enough| {
        let mut rounds = 0;
        while !enough.load(Ordering::Relaxed) {
            let place = a.path(format!("r{rounds}"));
            fs::create_dir(&place).unwrap();
            longest.time(|| run(&place, script, &local));
            rounds += 1;
        }
        rounds
    });
    assert!(rounds > 0);
    let reference = world.path("reference");
    fs::create_dir(&reference).unwrap();
    run(&reference, script, &local);
    for round in 0..rounds {
        let place = a.path(format!("r{round}"));
        assert_eq!(contents(&place), contents(&reference), "round {round}");
    }
    println!("{test}: {rounds} rounds");
    longest.say(test);
}

/// Names and contents below a folder, without what differs from run to run by its nature.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(folder).unwrap().to_path_buf();
            if meta.is_dir() {
                folders.push(path);
                found.push((name, Vec::new()));
            } else if meta.is_file() && !name.components().any(|part| part.as_os_str() == ".git") {
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn which(tool: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(tool))
        .find(|path| path.exists())
}

#[track_caller]
fn run(place: &Path, script: &str, local: &Path) {
    let mut command = Command::new("bash");
    command.args(["-euc", script]).current_dir(place).stdin(Stdio::null());
    command.env("LOCAL", local).env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", local);
    command.env("GIT_AUTHOR_DATE", "2024-01-01T00:00:00Z");
    command.env("GIT_COMMITTER_DATE", "2024-01-01T00:00:00Z");
    let output = command.output().unwrap();
    let answer = Answer::of(&output);
    assert_eq!(answer.code, 0, "{}", answer.all());
    let complaints = String::from_utf8_lossy(&output.stderr).to_string();
    for word in ["not connected", "Input/output error", "aborted", "Stale file"] {
        assert!(!complaints.contains(word), "{complaints}");
    }
}

/// Makes a C project of 60 files in `$LOCAL/src`.
const C_PROJECT: &str = r#"
    mkdir src && cd src
    for i in $(seq 60); do
        printf '#include "all.h"\nint f%d(int x) { for (int i = 0; i < %d; i++) x = x * 31 + i; return x; }\n' $i $i > f$i.c
        echo "int f$i(int);" >> all.h
    done
    { echo '#include <stdio.h>'; echo '#include "all.h"'; echo 'int main(void) { int x = 1;'
      for i in $(seq 60); do echo "x = f$i(x);"; done
      echo 'printf("%d\n", x); return 0; }'; } > main.c
    printf 'OBJECTS := $(patsubst %%.c,%%.o,$(wildcard *.c))\nprogram: $(OBJECTS)\n\tcc -o $@ $^\n%%.o: %%.c all.h\n\tcc -O1 -c -o $@ $<\n' > Makefile
"#;

#[test]
fn a_build_goes_on() {
    let script = "cp -r $LOCAL/src . && cd src && make -s -j2 program && ./program > said";
    script_goes_on("supervisor::a_build_goes_on", &["make", "cc"], C_PROJECT, script);
}

#[test]
fn a_clone_and_a_checkout_go_on() {
    let prepare = r#"
        git init -q -b main repo && cd repo
        git config user.email a@example.org && git config user.name A
        for i in $(seq 300); do mkdir -p d$((i % 20)); seq $((i * 20)) > d$((i % 20))/f$i; done
        git add . && git commit -qm one && git checkout -qb other
        for i in $(seq 1 2 300); do echo more >> d$((i % 20))/f$i; done
        git rm -q -r -f d7 && git commit -qam two && git checkout -q main
    "#;
    let script = r#"
        git clone -q "$LOCAL/repo" c && cd c
        git checkout -q other && git checkout -q main && git checkout -q other
        git fsck --no-progress 2>&1 | { ! grep -v '^notice'; }
        test -z "$(git status --porcelain)"
    "#;
    script_goes_on("supervisor::a_clone_and_a_checkout_go_on", &["git"], prepare, script);
}

#[test]
fn an_extraction_and_a_removal_go_on() {
    let prepare = r#"
        mkdir t && for i in $(seq 400); do mkdir -p t/d$((i % 30)); seq $((i * 30)) > t/d$((i % 30))/f$i; done
        ln -s d1 t/link && tar cf t.tar t
    "#;
    let script = r#"
        tar xf "$LOCAL/t.tar" && diff -r t "$LOCAL/t"
        cp -a t u && diff -r t u && rm -r u && test ! -e u
    "#;
    script_goes_on("supervisor::an_extraction_and_a_removal_go_on", &["tar"], prepare, script);
}

#[test]
fn a_big_copy_goes_on() {
    let prepare = "head -c 150000000 /dev/urandom > big";
    let script = "cp $LOCAL/big . && cmp big $LOCAL/big && rm big";
    script_goes_on("supervisor::a_big_copy_goes_on", &["cmp"], prepare, script);
}

/// Entries of the listing that is being read: more than one reading takes in (32 KiB).
const LISTED: usize = 3_000;

/// What programs hold across the end of a daemon, whichever way it ends.
#[test]
fn what_is_open_stays_open() {
    let Some(world) = World::mounted("supervisor::what_is_open_stays_open") else { return };
    let a = &world.a;
    let content = bytes(1, 300_000);
    fs::create_dir(a.path("many")).unwrap();
    (0..LISTED).for_each(|name| fs::write(a.path(format!("many/{name}")), b"").unwrap());
    for (round, end) in ["crash", "restart", "crash"].into_iter().enumerate() {
        let (cached, removed) = (a.path(format!("cached{round}")), a.path("removed"));
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(true);
        let mut files = [&cached, &removed].map(|path| options.open(path).unwrap());
        files.iter_mut().for_each(|file| file.write_all(&content).unwrap());
        fs::remove_file(&removed).unwrap();
        let lock = File::create(a.path("lock")).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        let mut listing = fs::read_dir(a.path("many")).unwrap();
        let mut listed: Vec<_> = listing.by_ref().take(7).map(|e| e.unwrap().file_name()).collect();
        let inode = fs::metadata(&cached).unwrap().ino();

        match end {
            "crash" => a.crash(),
            _ => drop(a.run(&["restart", "work"]).expect(0, &["has a new daemon"])),
        }

        files.iter_mut().for_each(|file| works_on(file, &content, end));
        assert_eq!(files[1].metadata().unwrap().nlink(), 0);
        assert_eq!(fs::metadata(&cached).unwrap().ino(), inode, "{end}: another inode number");
        assert_eq!(&fs::read(&cached).unwrap()[1_000..1_003], b"new");
        let other = File::open(a.path("lock")).unwrap();
        let taken = flock(&other, FlockOperation::NonBlockingLockExclusive);
        assert!(taken.is_err(), "{end}: the lock is lost");
        drop(lock);
        // A program that another test is just starting may hold what this process has open for a moment.
        wait_until("the lock is free", || {
            flock(&other, FlockOperation::NonBlockingLockExclusive).is_ok()
        });
        listed.extend(listing.map(|entry| entry.unwrap().file_name()));
        listed.sort();
        listed.dedup();
        assert_eq!(listed.len(), LISTED, "{end}: a listing that was being read");
    }
    // What was removed while open is gone once it is closed: nothing of it is left on the disk.
    assert!(!a.path("removed").exists());
    a.sync();
    let used = || a.content_use();
    wait_until("the bytes of removed files are gone", || used() < 4 * 300_000);
    assert_eq!(a.status()["crashes"].as_u64(), Some(2));
    assert_eq!(a.status()["restarts"].as_u64(), Some(1));
}

/// An open file that has `content` can be read, written and cut.
#[track_caller]
fn works_on(file: &mut File, content: &[u8], end: &str) {
    let mut found = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut found).unwrap();
    assert!(found == content, "{end}: an open file has other bytes");
    file.write_all_at(b"new", 1_000).unwrap();
    file.sync_all().unwrap();
    file.set_len(200_000).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 200_000);
    let mut part = [0; 6];
    file.read_exact_at(&mut part, 998).unwrap();
    assert_eq!(part[..], [&content[998..1_000], b"new", &content[1_003..1_004]].concat());
}

/// `restart` again and again under a build, and an `upgrade` to a program that was replaced.
#[test]
fn restarts_and_an_upgrade_under_a_build() {
    let test = "supervisor::restarts_and_an_upgrade_under_a_build";
    let Some(world) = World::new(test) else { return };
    if which("make").is_none() || which("cc").is_none() {
        return println!("SKIPPED {test}: there is no make or cc here");
    }
    // A copy of the program that can be replaced.
    let program = world.path("meshdrive");
    copy_program(meshdrive_tests::program(), &program);
    let own = |args: &[&str]| {
        let mut command = world.a.command();
        let mut copy = Command::new(&program);
        copy.args(args).env_clear().envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
        copy.current_dir(world.a.home()).stdin(Stdio::null());
        let _ = command.stdin(Stdio::null());
        Answer::of(&copy.output().unwrap())
    };
    own(&["mount", "work", "m"]).expect(0, &["Mounted work"]);
    world.a.adopt();
    let a = &world.a;
    let local = world.path("local");
    fs::create_dir(&local).unwrap();
    run(&local, C_PROJECT, &local);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let script = "cp -r $LOCAL/src . && cd src && make -s -j2 program && ./program";
            run(&a.root(), script, &local);
            done.store(true, Ordering::Relaxed);
        });
        let mut rounds = 0;
        while rounds < 5 || !done.load(Ordering::Relaxed) {
            own(&["restart"]).expect(0, &["work has a new daemon"]);
            rounds += 1;
            assert!(!worker.is_finished() || done.load(Ordering::Relaxed), "the build failed");
        }
        println!("{rounds} restarts");
        worker.join().unwrap();
    });
    own(&["upgrade"]).expect(0, &["runs the installed program already"]);
    // Not a program: the daemon goes on.
    let aside = world.path("aside");
    fs::rename(&program, &aside).unwrap();
    fs::write(&program, b"not a program").unwrap();
    let pid = a.status()["pid"].clone();
    Answer::of(&a.command().args(["upgrade"]).output().unwrap())
        .expect(1, &["goes on", "cannot run"]);
    assert_eq!(a.status()["pid"], pid);
    fs::remove_file(&program).unwrap();
    copy_program(&aside, &program);
    own(&["upgrade"]).expect(0, &["goes on with version"]);
    assert_ne!(a.status()["pid"], pid);
    own(&["upgrade"]).expect(0, &["runs the installed program already"]);
    assert_eq!(a.status()["crashes"].as_u64(), Some(0));
    own(&["unmount"]).expect(0, &["everything is in the cloud"]);
}

#[test]
fn a_daemon_that_cannot_live_is_given_up() {
    let Some(world) = World::mounted("supervisor::a_daemon_that_cannot_live_is_given_up") else {
        return;
    };
    let a = &world.a;
    fs::write(a.path("f"), b"x").unwrap();
    a.sync();
    // From now on no daemon can start: what it opens first cannot be opened.
    let credentials = a.home().join("config/drives/work.credentials");
    let aside = world.path("aside");
    fs::rename(&credentials, &aside).unwrap();
    let supervisor = a.supervisor();
    a.crash();
    // Whoever asks now waits, and is told in the end.
    let error = fs::read(a.path("f")).map(|_| ()).unwrap_err();
    println!("a program that waited: {error}");
    wait_until("the supervisor has ended", || gone(supervisor));
    assert!(!is_mounted(&a.root()), "the mount is left behind");
    assert!(a.log().contains("the drive work was given up"), "{}", a.log());
    fs::rename(&aside, &credentials).unwrap();
    a.run(&["status", "work"]).expect(5, &["was given up", "6 times in a row", "mount it with"]);
    a.mount();
    assert_eq!(fs::read(a.path("f")).unwrap(), b"x");
    a.unmount();
}

#[test]
fn an_unmount_after_crashes_leaves_nothing() {
    let Some(world) = World::mounted("supervisor::an_unmount_after_crashes_leaves_nothing") else {
        return;
    };
    let a = &world.a;
    for name in ["one", "two"] {
        fs::write(a.path(name), name).unwrap();
        a.crash();
        assert_eq!(fs::read_to_string(a.path(name)).unwrap(), name);
        thread::sleep(Duration::from_millis(LIFE_MS.0));
    }
    a.sync();
    let before = tree(&a.root());
    let (supervisor, daemons) = (a.supervisor(), children(a.supervisor()));
    assert_eq!(daemons.len(), 1);
    a.run(&["status", "work", "--verbose"])
        .expect(0, &["after 2 crashes", "supervised by process"]);
    a.unmount();
    assert!(gone(supervisor) && daemons.into_iter().all(gone), "a process is left");
    assert!(!is_mounted(&a.root()));
    assert!(!a.home().join("run/work.sock").exists());
    a.mount();
    assert_eq!(tree(&a.root()), before);
    assert_eq!(a.status()["crashes"].as_u64(), Some(0), "of an earlier mount");
}

/// SIGTERM of the supervisor, as of the daemon, stops in order.
#[test]
fn a_supervisor_that_is_told_to_stop_unmounts() {
    let Some(world) = World::mounted("supervisor::a_supervisor_that_is_told_to_stop_unmounts")
    else {
        return;
    };
    let a = &world.a;
    fs::write(a.path("f"), b"x").unwrap();
    let supervisor = a.supervisor();
    let pid = rustix::process::Pid::from_raw(supervisor).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    wait_until("it has ended", || gone(supervisor));
    assert!(!is_mounted(&a.root()));
    a.mount();
    assert_eq!(fs::read(a.path("f")).unwrap(), b"x");
}
