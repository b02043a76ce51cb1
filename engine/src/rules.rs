//! Reads `.meshignore` in the root for the core. Its lines are patterns as in `.gitignore`.

use crate::feed::stoppable;
use crate::hall::Hall;
use crate::port::Port;
use fs_core::{
    Event, FsError, Ino, Kind, Matcher, Name, OpenFlags, RULES_NAME, Request, Response, Rules,
};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::sync::Arc;
use std::time::Duration;
#[cfg(unix)]
use std::{ffi::OsStr, path::Path};

/// Bytes that the file may have; rules are read by people.
const LARGEST: u64 = 1 << 20;
/// Between two attempts to read what cannot be read, unless it changes or the store comes back before.
const AGAIN: Duration = Duration::from_secs(60);

/// Answers the core whenever it asks for the rules, until the engine stops.
pub(crate) fn run(hall: &Arc<Hall>) {
    let mut bell = hall.rules.subscribe();
    let mut answered = 0;
    loop {
        let asked = *bell.borrow_and_update();
        let mut patience = None;
        if asked != answered {
            let Some(rules) = stoppable(hall, read(Port::new(Arc::clone(hall)))) else { return };
            match &rules {
                Ok(_) => answered = asked,
                Err(_) => patience = Some(AGAIN),
            }
            hall.deliver(Event::Rules(asked, rules));
        }
        let rung = async {
            let changed = bell.changed();
            match patience {
                // Time is up: that is as good as a ring.
                Some(patience) => tokio::time::timeout(patience, changed).await.unwrap_or(Ok(())),
                None => changed.await,
            }
        };
        if !matches!(stoppable(hall, rung), Some(Ok(()))) {
            return;
        }
    }
}

/// The rules as the file has them now; without a file there are none.
async fn read(port: Port) -> Result<Rules, String> {
    let text = match text(&port).await {
        Ok(text) => text,
        Err(error) => {
            return Err(format!(
                "{RULES_NAME} cannot be read ({error}): nothing is sent until it is known what is \
                 to stay on this device"
            ));
        }
    };
    let text = text.ok_or(format!(
        "{RULES_NAME} has more than {LARGEST} bytes: nothing is sent until it is made smaller"
    ))?;
    Ok(compile(&text))
}

/// The text of the file; `None` if it is too large.
async fn text(port: &Port) -> Result<Option<Vec<u8>>, FsError> {
    let name = Name::new(RULES_NAME.as_bytes()).map_err(|_| FsError::Invalid)?;
    let attr = match port.ask(Request::Lookup { parent: Ino::ROOT, name }).await {
        Ok(Response::Entry(attr)) => attr,
        Err(FsError::NotFound) => return Ok(Some(Vec::new())),
        Ok(_) => return Err(FsError::Io),
        Err(error) => return Err(error),
    };
    let ino = attr.ino;
    let text = match attr.kind {
        Kind::File if attr.size > LARGEST => Ok(None),
        Kind::File => contents(port, ino, attr.size).await.map(Some),
        _ => Ok(Some(Vec::new())),
    };
    let _ = port.ask(Request::Forget { ino, count: 1 }).await;
    text
}

async fn contents(port: &Port, ino: Ino, size: u64) -> Result<Vec<u8>, FsError> {
    let flags = OpenFlags { read: true, ..OpenFlags::default() };
    let Response::Opened { handle, .. } = port.ask(Request::Open { ino, flags }).await? else {
        return Err(FsError::Io);
    };
    let len = u32::try_from(size).unwrap_or(u32::MAX);
    let data = port.ask(Request::Read { ino, handle, offset: 0, len }).await;
    let _ = port.ask(Request::Release { ino, handle }).await;
    match data? {
        Response::Data(data) => Ok(data.to_vec()),
        _ => Err(FsError::Io),
    }
}

/// A line that is not a pattern is left out, and told.
fn compile(text: &[u8]) -> Rules {
    let text = String::from_utf8_lossy(text);
    let mut builder = GitignoreBuilder::new(".");
    let mut complaint = String::new();
    for (number, line) in text.lines().enumerate() {
        if let Err(error) = builder.add_line(None, line)
            && complaint.is_empty()
        {
            complaint =
                format!("line {} of {RULES_NAME} is left out, put it right: {error}", number + 1);
        }
    }
    match builder.build() {
        Ok(patterns) if patterns.is_empty() && complaint.is_empty() => Rules::default(),
        Ok(patterns) => Rules::new(Patterns(patterns), complaint),
        Err(error) => {
            let complaint = format!("{RULES_NAME} is left out, put it right: {error}");
            Rules::new(Patterns(Gitignore::empty()), complaint)
        }
    }
}

struct Patterns(Gitignore);

impl Matcher for Patterns {
    fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        let path = as_path(path);
        // Names that other systems allow can look like the start of a volume here.
        !path.has_root() && self.0.matched_path_or_any_parents(path, is_dir).is_ignore()
    }
}

#[cfg(unix)]
fn as_path(bytes: &[u8]) -> &Path {
    Path::new(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
}

#[cfg(not(unix))]
fn as_path(bytes: &[u8]) -> std::path::PathBuf {
    String::from_utf8_lossy(bytes).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_gitignore() {
        let rules = compile(b"# builds\ntarget/\n*.o\n/top\n!keep.o\nlogs/**/old\n");
        let kept = |path: &str, is_dir| rules.matches(path.as_bytes(), is_dir);
        assert!(kept("target", true) && kept("a/target", true) && kept("a/target/b/c", false));
        assert!(!kept("target", false), "a file is no folder");
        assert!(kept("a/b.o", false) && !kept("a/keep.o", false) && !kept("a/b.c", false));
        assert!(kept("top", false) && !kept("a/top", false));
        assert!(kept("logs/1/2/old", false));
        assert_eq!(rules.complaint(), "");
    }

    #[test]
    fn a_line_that_is_no_pattern_is_left_out_and_told() {
        let rules = compile(b"good\n[z-a]\n");
        assert!(rules.matches(b"good", false));
        assert!(rules.complaint().starts_with("line 2 of .meshignore"), "{}", rules.complaint());
    }

    #[test]
    fn no_name_makes_it_panic() {
        let rules = compile(b"*.o\n");
        for name in [&b"\xff\xfe.o"[..], b"c:\\x", b"\\", b"..o", b" "] {
            let _ = rules.matches(name, false);
        }
    }
}
