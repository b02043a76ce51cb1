//! A drive letter for the root: a name in this logon session, which ends with it.

use std::{
    fmt, io,
    os::windows::ffi::OsStrExt,
    path::{Path, PathBuf},
    str::FromStr,
};
use windows::{
    Win32::{
        Foundation::{ERROR_FILE_NOT_FOUND, ERROR_INSUFFICIENT_BUFFER},
        Storage::FileSystem::{
            DDD_EXACT_MATCH_ON_REMOVE, DDD_RAW_TARGET_PATH, DDD_REMOVE_DEFINITION,
            DEFINE_DOS_DEVICE_FLAGS, DefineDosDeviceW, QueryDosDeviceW,
        },
    },
    core::PCWSTR,
};

/// What stands before a path in the names that Windows keeps ("DefineDosDeviceW", Microsoft).
const PREFIX: &str = r"\??\";
/// Units of the longest name that is asked for: a path and the prefix.
const TARGET_UNITS: usize = 32 << 10;

/// A letter from A to Z.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Letter(char);

impl FromStr for Letter {
    type Err = String;

    /// `X:`, in either case, with or without a `\` at the end.
    fn from_str(text: &str) -> Result<Letter, String> {
        let mut characters = text.strip_suffix('\\').unwrap_or(text).chars();
        match (characters.next(), characters.next(), characters.next()) {
            (Some(letter), Some(':'), None) if letter.is_ascii_alphabetic() => {
                Ok(Letter(letter.to_ascii_uppercase()))
            }
            _ => Err(format!("`{text}` is no drive letter like X:")),
        }
    }
}

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.0)
    }
}

impl Letter {
    /// What the letter stands for, as Windows keeps it; `None` when it is free.
    ///
    /// # Errors
    /// When Windows does not say.
    pub fn target(self) -> io::Result<Option<String>> {
        let name = wide(&self.to_string());
        let mut target = vec![0; TARGET_UNITS];
        // SAFETY: the name ends with a NUL, and with the buffer it lives across the call.
        let len = unsafe { QueryDosDeviceW(PCWSTR(name.as_ptr()), Some(&mut target)) } as usize;
        if len == 0 {
            let error = windows::core::Error::from_thread();
            if error.code() == ERROR_FILE_NOT_FOUND.to_hresult() {
                return Ok(None);
            }
            // Longer than every path: somebody else's.
            if error.code() == ERROR_INSUFFICIENT_BUFFER.to_hresult() {
                return Ok(Some(String::new()));
            }
            return Err(error.into());
        }
        // The first of several names, each with a NUL at its end, is the one that counts.
        let first = target[..len].split(|&unit| unit == 0).next().unwrap_or_default();
        Ok(Some(String::from_utf16_lossy(first)))
    }

    /// Where it leads, if that is a folder.
    ///
    /// # Errors
    /// When Windows does not say.
    pub fn folder(self) -> io::Result<Option<PathBuf>> {
        let target = self.target()?;
        Ok(target.and_then(|target| target.strip_prefix(PREFIX).map(PathBuf::from)))
    }
}

/// A letter that leads to a folder for as long as this lives.
#[derive(Debug)]
pub struct Lettered {
    letter: Letter,
    target: Vec<u16>,
}

impl Lettered {
    /// Gives `folder` the letter. One that leads there already, from before a crash, is taken over.
    ///
    /// # Errors
    /// `AlreadyExists` when it stands for something else; what Windows says otherwise.
    pub fn new(letter: Letter, folder: &Path) -> io::Result<Lettered> {
        let mut target: Vec<u16> = PREFIX.encode_utf16().collect();
        target.extend(folder.as_os_str().encode_wide());
        let wanted = String::from_utf16_lossy(&target);
        target.push(0);
        match letter.target()? {
            Some(there) if there.eq_ignore_ascii_case(&wanted) => {}
            Some(_) => {
                let why = format!("the drive letter {letter} is in use");
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
            }
            None => define(letter, &target, DEFINE_DOS_DEVICE_FLAGS(0))?,
        }
        Ok(Lettered { letter, target })
    }

    #[must_use]
    pub fn letter(&self) -> Letter {
        self.letter
    }
}

impl Drop for Lettered {
    fn drop(&mut self) {
        let flags = DDD_REMOVE_DEFINITION | DDD_EXACT_MATCH_ON_REMOVE;
        if let Err(error) = define(self.letter, &self.target, flags) {
            tracing::warn!(letter = %self.letter, %error, "the drive letter stays until the logoff");
        }
    }
}

fn define(letter: Letter, target: &[u16], flags: DEFINE_DOS_DEVICE_FLAGS) -> io::Result<()> {
    let name = wide(&letter.to_string());
    // SAFETY: both texts end with a NUL and live across the call.
    let defined = unsafe {
        DefineDosDeviceW(
            flags | DDD_RAW_TARGET_PATH,
            PCWSTR(name.as_ptr()),
            PCWSTR(target.as_ptr()),
        )
    };
    Ok(defined?)
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_recognised() {
        for text in ["x:", "X:", "x:\\"] {
            assert_eq!(text.parse::<Letter>().unwrap().to_string(), "X:", "{text}");
        }
        for text in ["", "x", ":", "xy:", "1:", "x:\\a", "é:"] {
            assert!(text.parse::<Letter>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_letter_leads_to_its_folder_while_it_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        let letter: Letter = "q:".parse().unwrap();
        assert_eq!(letter.target().unwrap(), None);
        let held = Lettered::new(letter, &one).unwrap();
        assert_eq!(letter.folder().unwrap().as_deref(), Some(one.as_path()));
        let taken = Lettered::new(letter, &other).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        drop(held);
        assert_eq!(letter.target().unwrap(), None);
    }

    #[test]
    fn a_letter_that_a_crash_left_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let letter: Letter = "r:".parse().unwrap();
        std::mem::forget(Lettered::new(letter, folder.path()).unwrap());
        drop(Lettered::new(letter, folder.path()).unwrap());
        assert_eq!(letter.target().unwrap(), None);
    }
}
