use super::Home;

#[test]
fn help_documents_exit_codes_and_places() {
    let home = Home::new();
    let help = home.run(&["--help"]);
    help.expect(0, &["Exit codes:", "3  changes are not yet in the cloud", "NAME.sock"]);
    assert_eq!(help.err, "");
}

#[test]
fn every_command_has_help_and_a_wrong_one_is_usage() {
    let home = Home::new();
    for verb in [
        "serve",
        "drive",
        "mount",
        "unmount",
        "status",
        "sync",
        "pause",
        "resume",
        "pin",
        "unpin",
        "pins",
        "evict",
        "versions",
        "restore",
        "doctor",
        "export",
        "completions",
        "man",
    ] {
        home.run(&[verb, "--help"]).expect(0, &["Usage: meshdrive "]);
    }
    home.run(&["mout"]).expect(2, &["mout"]);
    home.run(&["mount"]).expect(2, &["DRIVE"]);
}

#[test]
fn secrets_of_the_environment_do_not_show_in_help() {
    let home = Home::new();
    for verb in ["create", "join"] {
        let output = home
            .command()
            .args(["drive", verb, "--help"])
            .env("MESHDRIVE_SETUP_CODE", "S3CRET-CODE")
            .env("MESHDRIVE_JOIN_CODE", "S3CRET-CODE")
            .output()
            .unwrap();
        assert!(!String::from_utf8_lossy(&output.stdout).contains("S3CRET"));
    }
}

#[test]
fn completions_and_manual_pages_name_the_commands() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        home.run(&["completions", shell]).expect(0, &["unmount", "doctor"]);
    }
    home.run(&["man", "pages"]).expect(0, &["Wrote the manual pages"]);
    for page in ["meshdrive.1", "meshdrive-mount.1", "meshdrive-drive-create.1"] {
        let text = std::fs::read_to_string(home.join("pages").join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}");
    }
}
