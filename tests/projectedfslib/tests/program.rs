//! The program itself, under Wine, with the model in the place of Windows' library. What other programs do
//! to a projected folder cannot be shown here: the model has no kernel.
#![cfg(windows)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, and so do its helpers"
)]

use projfs_windows::windows::Letter;
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// The program, the address of the store, and the file with the code that creates a drive.
const PROGRAM: &str = "MESHDRIVE_PROGRAM";
const STORE: &str = "MESHDRIVE_STORE";
const SETUP_CODE: &str = "MESHDRIVE_SETUP_CODE";
/// Where the program looks for Windows' library. Wine has none of its own.
const SYSTEM: &str = r"C:\windows\system32\ProjectedFSLib.dll";

struct Home(TempDir);

impl Home {
    fn new() -> Home {
        let model = std::env::current_exe().unwrap().with_file_name("projectedfslib.dll");
        fs::copy(model, SYSTEM).unwrap();
        Home(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("home")
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command =
            Command::new(std::env::var_os(PROGRAM).expect("run `cargo xtask windows`"));
        command.arg("--home").arg(self.path()).args(words);
        // The program has a variable of this name too.
        command.env_remove(SETUP_CODE).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// What a command that must succeed has said, both streams.
    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let text = said(&output);
        assert!(output.status.success(), "{words:?}: {}\n{text}\n{}", output.status, self.log());
        text
    }

    /// The same of one that must fail with an exit code.
    #[track_caller]
    fn fails(&self, words: &[&str], code: i32) -> String {
        let output = self.run(words);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
        text
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path().join("state").join("work").join("meshdrive.log"))
            .unwrap_or_default()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Of a failed test: a daemon must not stay behind.
        let _ = self.run(&["unmount", "work", "--keep-pending"]);
    }
}

fn said(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    texts.concat()
}

/// Whether something is run at logon that names this home.
fn is_mounted_at_logon(home: &Home) -> bool {
    let key = r"HKCU\Software\Microsoft\Windows\CurrentVersion\Run";
    let asked = Command::new("reg").args(["query", key]).output().unwrap();
    String::from_utf8_lossy(&asked.stdout).contains(home.path().to_str().unwrap())
}

#[test]
fn a_drive_is_mounted_at_a_letter_and_unmounted() {
    let home = Home::new();
    let letter: Letter = "V:".parse().unwrap();
    let (store, code) = (std::env::var(STORE).unwrap(), std::env::var(SETUP_CODE).unwrap());
    home.ok(&["drive", "create", "work", "--server", &store, "--setup-code-file", &code]);
    home.fails(&["status", "work"], 5);

    let mounted = home.ok(&["mount", "work", "v:"]);
    assert!(mounted.contains(r"Mounted work at V:\."), "{mounted}");
    let root = home.path().join("state").join("work").join("root");
    assert_eq!(letter.folder().unwrap(), Some(root.clone()));
    assert!(root.is_dir());
    assert!(is_mounted_at_logon(&home));
    let status = home.ok(&["status", "work"]);
    assert!(status.contains("verything is in the cloud"), "{status}");
    home.fails(&["mount", "work", "U:"], 6);
    home.ok(&["pin", r"V:\"]);
    let pinned = home.ok(&["pins", r"V:\", "--json"]);
    assert!(pinned.contains("\"path\""), "{pinned}");
    let moved = home.fails(&["mv", r"V:\nothing", r"V:\other"], 1);
    assert!(moved.contains("nothing is not there"), "{moved}");
    let elsewhere = home.fails(&["sync", r"C:\windows"], 5);
    assert!(elsewhere.contains("not in a mounted drive"), "{elsewhere}");
    home.ok(&["sync", root.to_str().unwrap()]);
    // It also finds that files can be read by others: Wine gives them no rights of their folder. And Wine
    // does not open the letter.
    let doctor = said(&home.run(&["doctor", "work"]));
    assert!(doctor.contains("Projected File System: is there"), "{doctor}");
    assert!(doctor.contains("daemon: Everything is in the cloud"), "{doctor}");

    let unmounted = home.ok(&["unmount", "work"]);
    assert!(unmounted.contains("everything is in the cloud"), "{unmounted}");
    assert_eq!(letter.target().unwrap(), None);
    assert!(!is_mounted_at_logon(&home));
    home.fails(&["status", "work"], 5);

    // At a folder, and by the path of that.
    let folder = home.0.path().join("drive");
    home.ok(&["mount", "work", folder.to_str().unwrap()]);
    assert!(folder.is_dir());
    home.ok(&["unmount", folder.to_str().unwrap()]);
    assert!(home.log().contains("Mounted work at"), "{}", home.log());
}

#[test]
fn a_letter_in_use_is_refused() {
    let home = Home::new();
    let (store, code) = (std::env::var(STORE).unwrap(), std::env::var(SETUP_CODE).unwrap());
    home.ok(&["drive", "create", "work", "--server", &store, "--setup-code-file", &code]);
    let refused = home.fails(&["mount", "work", "C:"], 6);
    assert!(refused.contains("C: is in use"), "{refused}");
    home.fails(&["status", "work"], 5);
    assert!(!is_mounted_at_logon(&home));
}
