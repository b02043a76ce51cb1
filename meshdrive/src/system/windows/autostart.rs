//! Mounts at logon: one value a drive under the user's `Run` key, which Windows runs as commands.

use std::{ffi::OsStr, io, os::windows::ffi::OsStrExt};
use windows::{
    Win32::{
        Foundation::ERROR_FILE_NOT_FOUND,
        System::Registry::{HKEY_CURRENT_USER, REG_SZ, RegDeleteKeyValueW, RegSetKeyValueW},
    },
    core::{HSTRING, PCWSTR, w},
};

const KEY: PCWSTR = w!(r"Software\Microsoft\Windows\CurrentVersion\Run");

/// # Errors
/// What Windows says.
pub(crate) fn set(name: &str, words: &[&OsStr]) -> io::Result<()> {
    let line = line(words);
    let bytes = u32::try_from(size_of_val(line.as_slice())).map_err(io::Error::other)?;
    // SAFETY: all texts end with a NUL and live across the call; the length is that of the data.
    let set = unsafe {
        let data = Some(line.as_ptr().cast());
        RegSetKeyValueW(HKEY_CURRENT_USER, KEY, &HSTRING::from(name), REG_SZ.0, data, bytes)
    };
    Ok(set.ok()?)
}

/// # Errors
/// What Windows says; that there is none is fine.
pub(crate) fn clear(name: &str) -> io::Result<()> {
    // SAFETY: both texts end with a NUL and live across the call.
    let cleared = unsafe { RegDeleteKeyValueW(HKEY_CURRENT_USER, KEY, &HSTRING::from(name)) };
    if cleared == ERROR_FILE_NOT_FOUND { Ok(()) } else { Ok(cleared.ok()?) }
}

/// A command line that programs take apart into these words again, with a NUL at the end ("Parsing C
/// command-line arguments", Microsoft).
fn line(words: &[&OsStr]) -> Vec<u16> {
    let (quote, backslash) = (u16::from(b'"'), u16::from(b'\\'));
    let mut line = Vec::new();
    for word in words {
        if !line.is_empty() {
            line.push(u16::from(b' '));
        }
        line.push(quote);
        let mut slashes = 0;
        for unit in word.encode_wide() {
            if unit == quote {
                // Those before it are doubled, and one stands for itself.
                line.extend(std::iter::repeat_n(backslash, slashes + 1));
            }
            slashes = if unit == backslash { slashes + 1 } else { 0 };
            line.push(unit);
        }
        line.extend(std::iter::repeat_n(backslash, slashes));
        line.push(quote);
    }
    line.push(0);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_programs_take_them_apart() {
        let text = |words: &[&str]| {
            let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
            String::from_utf16(&line(&words)).unwrap()
        };
        assert_eq!(text(&["a b.exe", "mount"]), "\"a b.exe\" \"mount\"\0");
        assert_eq!(text(&["c:\\x\\", "y"]), "\"c:\\x\\\\\" \"y\"\0");
        assert_eq!(text(&["say \"\\\"hi"]), "\"say \\\"\\\\\\\"hi\"\0");
    }

    #[test]
    fn a_value_is_set_and_cleared() {
        let name = format!("meshdrive test {}", std::process::id());
        set(&name, &[OsStr::new("a")]).unwrap();
        clear(&name).unwrap();
        clear(&name).unwrap();
    }
}
