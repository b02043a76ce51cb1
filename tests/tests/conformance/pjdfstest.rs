//! `pjdfstest`: what POSIX says of system calls on files.

use crate::suite;
use meshdrive_tests::{TIDY, UserPlace, World, copy_program, is_root, skip, tool};
use std::{fs, path::Path, process::Command};

/// What may fail, with a reason: `root NAME: reason` or `user NAME: reason` a line.
const EXPECTED: &str = include_str!("expected.txt");
/// Tests that pass on a local disk with the same settings, as root and as an ordinary user. The rest is
/// skipped: it needs another kernel, remounting read-only, or root.
const ROOT_PASSES: usize = 384;
const USER_PASSES: usize = 254;
/// The features of a local Linux file system; two users that every Debian has.
const SETTINGS: &str = "
    [features]
    posix_fallocate = {}
    rename_ctime = {}
    utime_now = {}
    utimensat = {}
    [settings]
    # Seconds between two changes whose times must differ.
    naptime = 0.01
    allow_remount = false
    [dummy_auth]
    entries = [[\"nobody\", \"nogroup\"], [\"daemon\", \"daemon\"]]
";

#[derive(Debug, Default)]
struct Verdict {
    passed: usize,
    skipped: usize,
    failed: Vec<String>,
}

#[test]
fn root_mount() {
    let test = "conformance::root_mount";
    if !is_root() {
        return skip(test, "only root can act as other users");
    }
    let Some(program) = suite(test, "pjdfstest") else { return };
    let Some(world) = World::mounted(test) else { return };
    let (here, other) = (world.a.path("here"), world.path("other"));
    fs::create_dir(&here).unwrap();
    fs::create_dir(&other).unwrap();
    fs::write(world.path("settings"), SETTINGS).unwrap();
    let output = Command::new(program)
        .arg("-c")
        .arg(world.path("settings"))
        .arg("-p")
        .arg(here)
        .arg("-s")
        .arg(other)
        .output()
        .unwrap();
    judge("root", &String::from_utf8_lossy(&output.stdout), ROOT_PASSES);
}

#[test]
fn mount_of_an_ordinary_user() {
    let test = "conformance::mount_of_an_ordinary_user";
    let Some(program) = suite(test, "pjdfstest") else { return };
    let Some(place) = UserPlace::new(test) else { return };
    copy_program(program, place.path("pjdfstest"));
    fs::write(place.path("settings"), SETTINGS).unwrap();
    let dir = place.path("").display().to_string();
    let script = format!(
        "{TIDY}
        $M drive create work --server $URL --device a > key
        $M mount work m > mounted
        mkdir m/here other
        {dir}pjdfstest -c {dir}settings -p m/here -s other 2> words || true
        $M sync && $M unmount work > unmounted"
    );
    judge("user", &tool(Path::new("/"), &place.script(&script)).out, USER_PASSES);
}

#[track_caller]
fn judge(who: &str, said: &str, least: usize) {
    let verdict = read(said);
    let expected = expected(who);
    println!(
        "pjdfstest, {who}: {} passed, {} failed, {} skipped",
        verdict.passed,
        verdict.failed.len(),
        verdict.skipped
    );
    let known = |name: &&String| expected.contains(&name.as_str());
    let unknown: Vec<&String> = verdict.failed.iter().filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "failed: {unknown:#?}\n{said}");
    let cured = expected.iter().filter(|name| !verdict.failed.iter().any(|failed| failed == *name));
    let cured: Vec<_> = cured.collect();
    assert!(cured.is_empty(), "these pass now: take them out of expected.txt: {cured:#?}");
    let passed = verdict.passed + expected.len();
    assert!(passed >= least, "only {passed} ran and passed:\n{said}");
}

/// One line a test: its name and what became of it.
fn read(said: &str) -> Verdict {
    let mut verdict = Verdict::default();
    for line in said.lines().filter(|line| !line.starts_with(char::is_whitespace)) {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [_, "ok"] => verdict.passed += 1,
            [_, "skipped"] => verdict.skipped += 1,
            [name, "FAILED"] => verdict.failed.push(name.into()),
            _ => {}
        }
    }
    verdict
}

fn expected(who: &str) -> Vec<&'static str> {
    let of =
        |line: &'static str| line.strip_prefix(who)?.trim().split_once(": ").map(|(name, _)| name);
    EXPECTED.lines().filter(|line| !line.starts_with('#')).filter_map(of).collect()
}

#[test]
fn lines_are_read() {
    let said =
        "a::b   ok\nc::d::e   skipped\n\trequires root\nf  FAILED\n\tassertion\nSummary: 1 failed";
    let verdict = read(said);
    assert_eq!((verdict.passed, verdict.skipped, verdict.failed), (1, 1, vec!["f".to_string()]));
}
