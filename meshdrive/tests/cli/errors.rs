//! Every error says what, where and what to do next, and has the exit code of its kind.

use super::Home;
use std::{fs, os::unix::fs::PermissionsExt};

const USAGE: i32 = 2;
const OFFLINE: i32 = 4;
const NOT_MOUNTED: i32 = 5;

/// A port where nobody listens: discard (RFC 863), which no test machine serves.
const NOBODY: &str = "http://127.0.0.1:9";

#[test]
fn a_drive_that_is_not_there() {
    let home = Home::new();
    home.run(&["mount", "work", "m"]).expect(USAGE, &["no drive work", "drive create"]);
    home.run(&["drive", "invite", "work"]).expect(USAGE, &["no drive work"]);
    home.run(&["mount", "a/b", "m"]).expect(USAGE, &["a drive's name has"]);
}

#[test]
fn nothing_is_mounted() {
    let home = Home::new();
    for args in [
        &["status"][..],
        &["sync"],
        &["unmount"],
        &["pins"],
        &["status", "/"],
        &["pin", "x"],
        &["restore", "--trash"],
    ] {
        home.run(args).expect(NOT_MOUNTED, &["error:", "hint:"]);
    }
    let all = home.run(&["status", "--json"]);
    assert_eq!((all.code, all.out.as_str()), (0, "[]\n"));
}

#[test]
fn a_store_that_does_not_answer() {
    let home = Home::new();
    let create = ["drive", "create", "work", "--server", NOBODY, "--setup-code", "X"];
    home.run(&create).expect(OFFLINE, &["error: cannot create a drive", NOBODY]);
    let code = "00000-00000-00000-00000-00000";
    let join = home.run(&["drive", "join", "work", "--server", NOBODY, "--code", code]);
    assert!(join.code != 0 && join.err.starts_with("error: "), "{}", join.err);
    home.run(&["drive", "list", "--json"]).expect(0, &["[]"]);
}

#[test]
fn a_code_is_read_from_stdin_and_may_not_be_empty() {
    let home = Home::new();
    let create = ["drive", "create", "work", "--server", NOBODY];
    home.run(&create).expect(USAGE, &["no code was given"]);
}

#[test]
fn credentials_that_others_can_read_are_refused() {
    let home = Home::new();
    fs::create_dir_all(home.join("config/drives")).unwrap();
    let file = home.join("config/drives/work.credentials");
    fs::write(&file, "damaged").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    home.run(&["drive", "invite", "work"]).expect(1, &["work.credentials", "chmod 600"]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    home.run(&["drive", "invite", "work"]).expect(1, &["work.credentials", "damaged"]);
    home.run(&["doctor", "work"]).expect(1, &["FAIL  work: credentials", "join the drive again"]);
    fs::create_dir(home.join("m")).unwrap();
    home.run(&["mount", "work", "m"]).expect(1, &["cannot use the drive work", "damaged"]);
    home.run(&["status", "work"]).expect(NOT_MOUNTED, &["work is not mounted"]);
}

#[test]
fn doctor_as_json_has_a_grade_for_each_finding() {
    let home = Home::new();
    let doctor = home.run(&["doctor", "--json"]);
    let findings: Vec<serde_json::Value> = serde_json::from_str(&doctor.out).unwrap();
    assert!(findings.len() >= 5, "{}", doctor.out);
    for finding in &findings {
        let grade = finding["grade"].as_str().unwrap();
        assert!(["ok", "warn", "fail"].contains(&grade), "{finding}");
        assert!(finding["what"].is_string() && finding["found"].is_string(), "{finding}");
        assert_eq!(grade == "ok", finding["advice"].is_null(), "{finding}");
    }
}

#[test]
fn a_home_that_cannot_be_written_is_named() {
    let home = Home::new();
    fs::write(home.join("file"), b"").unwrap();
    let output = home.command().env("MESHDRIVE_HOME", home.join("file")).arg("doctor").output();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("FAIL  state directory") && text.contains("MESHDRIVE_HOME"), "{text}");
}
