//! What a program said.

use std::{
    path::Path,
    process::{Command, Output},
};

/// Exit code and words of a program that has ended.
#[derive(Clone, Debug)]
pub struct Answer {
    /// -1 when a signal ended it.
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Answer {
    pub fn of(output: &Output) -> Answer {
        Answer {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }

    /// Fails with everything that was said.
    #[track_caller]
    pub fn expect(&self, code: i32, words: &[&str]) -> &Answer {
        let all = self.all();
        assert_eq!(self.code, code, "{all}");
        for word in words {
            assert!(all.contains(word), "`{word}` is missing in:\n{all}");
        }
        self
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.all()))
    }
}

/// Runs a shell script in `dir`; its first failing command ends it and fails the test.
#[track_caller]
pub fn tool(dir: &Path, script: &str) -> Answer {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(dir)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let answer = Answer::of(&output);
    assert_eq!(answer.code, 0, "in {}:\n{script}\nsaid:\n{}", dir.display(), answer.all());
    answer
}
