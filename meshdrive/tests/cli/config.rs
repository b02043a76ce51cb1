use super::Home;
use std::fs;

fn with_config(text: &str) -> Home {
    let home = Home::new();
    fs::create_dir_all(home.join("config")).unwrap();
    fs::write(home.join("config/config.toml"), text).unwrap();
    home
}

/// The configuration is read before anything is started.
const SERVE: [&str; 4] = ["serve", "--data", "data", "--listen=127.0.0.1:0"];

#[test]
fn an_unknown_key_is_an_error_with_its_line() {
    let home = with_config("[cache]\nsize = \"1 GiB\"\nsise = \"2 GiB\"\n");
    home.run(&SERVE).expect(2, &["config.toml:3:", "sise", "hint:"]);
    assert!(!home.join("data").exists(), "nothing was started");
}

#[test]
fn doctor_says_what_is_wrong_with_the_configuration() {
    let home = with_config("[log]\nformat = \"xml\"\n");
    home.run(&["doctor"]).expect(1, &["FAIL  configuration", "config.toml:2:"]);
}

#[test]
fn a_named_file_must_be_there_and_wins() {
    let home = with_config("[broken\n");
    home.run(&["--config", "none.toml", "serve", "--data", "d"]).expect(2, &["none.toml"]);
    fs::write(home.join("good.toml"), "").unwrap();
    let doctor = home.run(&["--config", "good.toml", "doctor"]);
    doctor.expect(doctor.code, &["ok    configuration: is valid"]);
}

#[test]
fn a_wrong_filter_of_the_log_is_explained() {
    let home = with_config("[log]\nlevel = \"a=b=c\"\n");
    home.run(&SERVE).expect(2, &["log.level", "hint:"]);
}
