//! `serve`, and drives on it as far as they go without a mount.

use super::{Home, store::Store};
use std::{fs, os::unix::fs::PermissionsExt};

#[test]
fn a_drive_is_created_joined_and_listed() {
    let home = Home::new();
    let mut store = Store::start(&home);
    let file = home.join("store/setup-code");
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), store.code);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let url = store.url.clone();
    let wrong = ["drive", "create", "work", "--server", &url, "--setup-code", "WRONG"];
    home.run(&wrong).expect(1, &["error: cannot create a drive"]);
    home.run(&["drive", "list", "--json"]).expect(0, &["[]"]);

    let create = ["drive", "create", "work", "--server", &url, "--setup-code-file"];
    let created = home.run(&[&create[..], &["store/setup-code"]].concat());
    created.expect(0, &["Created work"]);
    let recovery = created.out.trim().to_string();
    assert!(
        recovery.len() > 30 && !created.err.contains(&recovery),
        "the key is data: stdout only"
    );
    let credentials = home.join("config/drives/work.credentials");
    assert_eq!(fs::metadata(&credentials).unwrap().permissions().mode() & 0o777, 0o600);

    let used = store.code.clone();
    store.hear();
    assert_ne!(store.code, used, "a code works once");
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), store.code);
    let taken = ["drive", "create", "work", "--server", &url, "--setup-code", &store.code];
    home.run(&taken).expect(2, &["there is a drive work on this device already"]);

    let invited = home.run(&["drive", "invite", "work", "--json"]);
    invited.expect(0, &["valid_secs"]);
    let invited: serde_json::Value = serde_json::from_str(&invited.out).unwrap();
    let other = Home::new();
    let code = invited["code"].as_str().unwrap();
    let join = ["drive", "join", "home", "--server", &url, "--device", "second", "--code", code];
    other.run(&join).expect(0, &["Joined home"]);
    other.run(&["drive", "list"]).expect(0, &["home", &url]);
    let third = Home::new();
    third.run(&join).expect(1, &["error: cannot join"]);
    let rescue = ["drive", "join", "home", "--server", &url, "--code", &recovery];
    third.run(&rescue).expect(0, &["Joined home"]);

    home.run(&["doctor", "work"]).expect(
        home.run(&["doctor", "work"]).code,
        &["ok    work: credentials", "ok    work: store", "ok    work: clock", "knows this device"],
    );
    assert_eq!(store.signal(rustix::process::Signal::TERM), 0);
    assert!(!file.exists(), "the code is gone with the process");
    home.run(&["doctor", "work"]).expect(1, &["FAIL  work: store", "does not answer"]);
}

#[test]
fn only_this_machine_is_served_without_tls_and_one_store_a_directory() {
    let home = Home::new();
    let open = ["serve", "--data", "store", "--listen", "0.0.0.0:0"];
    home.run(&open).expect(2, &["error: cannot open the store", "TLS"]);
    let mut store = Store::start(&home);
    let again = ["serve", "--data", "store", "--listen", "127.0.0.1:0"];
    home.run(&again).expect(6, &["another store is running"]);
    assert_eq!(store.signal(rustix::process::Signal::INT), 0);
}
