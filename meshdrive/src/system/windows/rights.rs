//! Who may use what this program makes: the user who runs it, and for folders the system itself.

use std::{fmt, io, path::Path};
use windows::{
    Win32::{
        Foundation::{CloseHandle, HANDLE, HLOCAL, LocalFree},
        Security::{
            Authorization::{
                ConvertSecurityDescriptorToStringSecurityDescriptorW, ConvertSidToStringSidW,
                ConvertStringSecurityDescriptorToSecurityDescriptorW, GetNamedSecurityInfoW,
                SDDL_REVISION_1, SE_FILE_OBJECT,
            },
            DACL_SECURITY_INFORMATION, GetTokenInformation, PSECURITY_DESCRIPTOR,
            SECURITY_ATTRIBUTES, TOKEN_QUERY, TOKEN_USER, TokenUser,
        },
        Storage::FileSystem::CreateDirectoryW,
        System::Threading::{GetCurrentProcess, OpenProcessToken},
    },
    core::{HSTRING, PWSTR},
};

/// Bytes of a TOKEN_USER with the longest SID there is (68), rounded up.
const USER_WORDS: usize = 16;
/// Who may read everything anyway: the system and its administrators.
const SYSTEM: [&str; 2] = ["SY", "BA"];

/// A security descriptor that lets only this user in.
pub(super) struct OwnerOnly(PSECURITY_DESCRIPTOR);

// SAFETY: nothing changes a descriptor after it was made; it is only freed, once.
unsafe impl Send for OwnerOnly {}
// SAFETY: as above.
unsafe impl Sync for OwnerOnly {}

impl fmt::Debug for OwnerOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnerOnly")
    }
}

impl OwnerOnly {
    /// # Errors
    /// When Windows does not say who runs this.
    pub(super) fn new() -> io::Result<OwnerOnly> {
        OwnerOnly::of(&format!("D:P(A;;GA;;;{})", user()?))
    }

    /// For a folder and what comes into it.
    fn for_folder() -> io::Result<OwnerOnly> {
        OwnerOnly::of(&format!("D:P(A;OICI;FA;;;{})(A;OICI;FA;;;SY)", user()?))
    }

    fn of(text: &str) -> io::Result<OwnerOnly> {
        let mut made = PSECURITY_DESCRIPTOR::default();
        // SAFETY: the text ends with a NUL, and with the pointer it lives across the call.
        unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                &HSTRING::from(text),
                SDDL_REVISION_1,
                &raw mut made,
                None,
            )
        }?;
        Ok(OwnerOnly(made))
    }

    /// Good for as long as this lives.
    pub(super) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: self.0.0,
            bInheritHandle: false.into(),
        }
    }
}

impl Drop for OwnerOnly {
    fn drop(&mut self) {
        // SAFETY: it came from an allocation of the system that is to be freed like this, once.
        let _ = unsafe { LocalFree(Some(HLOCAL(self.0.0))) };
    }
}

pub(super) fn create_dir(dir: &Path) -> io::Result<()> {
    let rights = OwnerOnly::for_folder()?;
    let attributes = rights.attributes();
    // SAFETY: the path ends with a NUL; it and the attributes live across the call.
    Ok(unsafe { CreateDirectoryW(&HSTRING::from(dir), Some(&raw const attributes)) }?)
}

/// Whether anybody but this user, the system and its administrators is given any right to a file.
pub(super) fn is_open_to_others(path: &Path) -> io::Result<bool> {
    let mut found = PSECURITY_DESCRIPTOR::default();
    // SAFETY: the path ends with a NUL, and with the pointer it lives across the call.
    let asked = unsafe {
        GetNamedSecurityInfoW(
            &HSTRING::from(path),
            SE_FILE_OBJECT,
            DACL_SECURITY_INFORMATION,
            None,
            None,
            None,
            None,
            &raw mut found,
        )
    };
    asked.ok()?;
    let found = OwnerOnly(found);
    let mut text = PWSTR::null();
    // SAFETY: the descriptor and the pointer live across the call.
    unsafe {
        ConvertSecurityDescriptorToStringSecurityDescriptorW(
            found.0,
            SDDL_REVISION_1,
            DACL_SECURITY_INFORMATION,
            &raw mut text,
            None,
        )
    }?;
    let text = taken(text);
    let user = user()?;
    Ok(grants(&text).any(|who| who != user && !SYSTEM.contains(&who)))
}

/// Who is allowed anything, of an access list as text.
fn grants(text: &str) -> impl Iterator<Item = &str> {
    let entries = text.split('(').skip(1).filter_map(|entry| entry.split(')').next());
    entries.filter(|entry| entry.starts_with('A')).filter_map(|entry| entry.split(';').nth(5))
}

/// The SID of who runs this, as text.
fn user() -> io::Result<String> {
    let mut token = HANDLE::default();
    // SAFETY: the pointer lives across the call; the process is this one.
    unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token) }?;
    let mut words = [0_u64; USER_WORDS];
    let mut len = 0;
    // SAFETY: the token was opened above; the buffer is aligned for the struct, and as large as is said.
    let got = unsafe {
        let buffer = Some(words.as_mut_ptr().cast());
        GetTokenInformation(token, TokenUser, buffer, size_of_val(&words) as u32, &raw mut len)
    };
    // SAFETY: the token was opened above and is not used any more.
    let _ = unsafe { CloseHandle(token) };
    got?;
    let mut text = PWSTR::null();
    // SAFETY: the call above has filled the buffer with the struct and the SID that it points to.
    unsafe {
        ConvertSidToStringSidW((*words.as_ptr().cast::<TOKEN_USER>()).User.Sid, &raw mut text)
    }?;
    Ok(taken(text))
}

/// A text of the system, which is freed.
fn taken(text: PWSTR) -> String {
    // SAFETY: the caller has it from a call that gives a text with a NUL.
    let copied = unsafe { text.to_string() }.unwrap_or_default();
    // SAFETY: it came from an allocation of the system that is to be freed like this, and is not used
    // any more.
    let _ = unsafe { LocalFree(Some(HLOCAL(text.0.cast()))) };
    copied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_granted_something_is_read_from_an_access_list() {
        let text = "D:PAI(A;OICI;FA;;;S-1-5-21-1)(D;;FA;;;WD)(A;ID;FR;;;BU)";
        assert_eq!(grants(text).collect::<Vec<_>>(), ["S-1-5-21-1", "BU"]);
    }

    #[test]
    fn a_private_folder_and_what_is_in_it_is_the_users() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("private");
        create_dir(&dir).unwrap();
        std::fs::write(dir.join("file"), b"secret").unwrap();
        assert!(user().unwrap().starts_with("S-1-"));
        assert!(!is_open_to_others(&dir).unwrap());
        assert_eq!(std::fs::read(dir.join("file")).unwrap(), b"secret");
    }
}
