//! Whether this Windows has ProjFS. The library is looked for at run time: a program that links to
//! it does not even start where the optional feature is off.

use windows::Win32::{
    Foundation::FreeLibrary,
    System::LibraryLoader::{LOAD_LIBRARY_SEARCH_SYSTEM32, LoadLibraryExW},
};

/// ProjFS is not there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "Windows' Projected File System is not available ({0}). It is an optional feature of Windows 10 \
     1809 and later. In a PowerShell run as administrator:\n  \
     Enable-WindowsOptionalFeature -Online -FeatureName Client-ProjFS -NoRestart\n\
     then restart Windows if it asks for it"
)]
pub struct Missing(String);

/// Checks that the ProjFS library can be loaded from the system folder.
///
/// # Errors
/// `Missing`, whose text says how to turn the feature on.
pub fn check() -> Result<(), Missing> {
    let name = windows::core::w!("ProjectedFSLib.dll");
    // SAFETY: `name` is a literal that ends with a NUL. Only the system folder is searched, so no
    // other library of that name can be loaded, and its initialiser is Windows' own.
    let library = unsafe { LoadLibraryExW(name, None, LOAD_LIBRARY_SEARCH_SYSTEM32) };
    let library = library.map_err(|error| Missing(error.message()))?;
    // SAFETY: `library` came from the call above, is released once, and nothing of it is in use.
    let released = unsafe { FreeLibrary(library) };
    released.map_err(|error| Missing(error.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_yes_or_the_command() {
        if let Err(missing) = check() {
            assert!(missing.to_string().contains("Client-ProjFS"), "{missing}");
        }
    }
}
