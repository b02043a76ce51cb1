//! Reads `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount, as far as it matters here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    /// Device number as `major:minor`.
    pub(crate) device: String,
    pub(crate) path: PathBuf,
    pub(crate) fs_type: String,
}

/// The mount on top at `path` (an absolute path without links), if there is one.
pub(crate) fn at(path: &Path) -> io::Result<Option<Entry>> {
    let table = fs::read("/proc/self/mountinfo")?;
    Ok(topmost(&table, path))
}

/// Later lines lie above earlier ones.
pub(crate) fn topmost(table: &[u8], path: &Path) -> Option<Entry> {
    table.split(|&byte| byte == b'\n').filter_map(parse).rfind(|entry| entry.path == path)
}

/// `36 35 98:0 /root /mount/point options optional... - type source super-options`
fn parse(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = text(fields.nth(2)?);
    let path = PathBuf::from(OsString::from_vec(unescape(fields.nth(1)?)));
    let fs_type = text(fields.skip_while(|&field| field != b"-").nth(1)?);
    Some(Entry { device, path, fs_type })
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).into_owned()
}

/// Space, tab, newline and backslash are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        match (byte, after.get(..3).and_then(octal)) {
            (b'\\', Some(code)) => {
                plain.push(code);
                rest = &after[3..];
            }
            _ => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

fn octal(digits: &[u8]) -> Option<u8> {
    let value = digits.iter().try_fold(0_u32, |value, digit| {
        matches!(digit, b'0'..=b'7').then(|| value * 8 + u32::from(digit - b'0'))
    })?;
    u8::try_from(value).ok()
}
