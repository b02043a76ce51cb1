//! ProjFS's library, looked for at run time: a program that links to it does not even start where the
//! optional feature is off.

use std::{ffi::c_void, path::Path};
use windows::{
    Win32::{
        Foundation::{FreeLibrary, HMODULE},
        Storage::ProjectedFileSystem::{
            PRJ_CALLBACK_DATA, PRJ_COMPLETE_COMMAND_EXTENDED_PARAMETERS,
            PRJ_DIR_ENTRY_BUFFER_HANDLE, PRJ_FILE_BASIC_INFO, PRJ_FILE_STATE,
            PRJ_NAMESPACE_VIRTUALIZATION_CONTEXT, PRJ_PLACEHOLDER_INFO,
            PRJ_PLACEHOLDER_VERSION_INFO, PRJ_STARTVIRTUALIZING_OPTIONS, PRJ_UPDATE_FAILURE_CAUSES,
            PRJ_UPDATE_TYPES, PRJ_VIRTUALIZATION_INSTANCE_INFO,
        },
        System::LibraryLoader::{
            GetProcAddress, LOAD_LIBRARY_FLAGS, LOAD_LIBRARY_SEARCH_SYSTEM32, LoadLibraryExW,
        },
    },
    core::{GUID, HRESULT, HSTRING, PCSTR, PCWSTR, s},
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

pub(crate) type Raw = PRJ_NAMESPACE_VIRTUALIZATION_CONTEXT;
pub(crate) type Data = *const PRJ_CALLBACK_DATA;

/// PRJ_CALLBACKS. The bindings declare BOOLEAN as `bool`, for which a byte other than 0 and 1 is
/// undefined behaviour; here it is a byte.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Callbacks {
    pub(crate) start_enumeration: unsafe extern "system" fn(Data, *const GUID) -> HRESULT,
    pub(crate) end_enumeration: unsafe extern "system" fn(Data, *const GUID) -> HRESULT,
    pub(crate) get_enumeration: unsafe extern "system" fn(
        Data,
        *const GUID,
        PCWSTR,
        PRJ_DIR_ENTRY_BUFFER_HANDLE,
    ) -> HRESULT,
    pub(crate) get_placeholder: unsafe extern "system" fn(Data) -> HRESULT,
    pub(crate) get_data: unsafe extern "system" fn(Data, u64, u32) -> HRESULT,
    pub(crate) query_name: unsafe extern "system" fn(Data) -> HRESULT,
    pub(crate) notification:
        unsafe extern "system" fn(Data, u8, i32, PCWSTR, *mut c_void) -> HRESULT,
    pub(crate) cancel: unsafe extern "system" fn(Data),
}

/// The functions that are used, as the library has them ("projectedfslib.h", Microsoft).
#[derive(Debug)]
pub struct Api {
    library: HMODULE,
    pub(crate) start: unsafe extern "system" fn(
        PCWSTR,
        *const Callbacks,
        *const c_void,
        *const PRJ_STARTVIRTUALIZING_OPTIONS,
        *mut Raw,
    ) -> HRESULT,
    pub(crate) stop: unsafe extern "system" fn(Raw),
    pub(crate) instance_info:
        unsafe extern "system" fn(Raw, *mut PRJ_VIRTUALIZATION_INSTANCE_INFO) -> HRESULT,
    pub(crate) mark_directory: unsafe extern "system" fn(
        PCWSTR,
        PCWSTR,
        *const PRJ_PLACEHOLDER_VERSION_INFO,
        *const GUID,
    ) -> HRESULT,
    pub(crate) complete: unsafe extern "system" fn(
        Raw,
        i32,
        HRESULT,
        *const PRJ_COMPLETE_COMMAND_EXTENDED_PARAMETERS,
    ) -> HRESULT,
    pub(crate) fill_entry: unsafe extern "system" fn(
        PCWSTR,
        *const PRJ_FILE_BASIC_INFO,
        PRJ_DIR_ENTRY_BUFFER_HANDLE,
    ) -> HRESULT,
    pub(crate) write_placeholder:
        unsafe extern "system" fn(Raw, PCWSTR, *const PRJ_PLACEHOLDER_INFO, u32) -> HRESULT,
    pub(crate) write_data:
        unsafe extern "system" fn(Raw, *const GUID, *const c_void, u64, u32) -> HRESULT,
    pub(crate) allocate: unsafe extern "system" fn(Raw, usize) -> *mut c_void,
    pub(crate) free: unsafe extern "system" fn(*const c_void),
    pub(crate) update: unsafe extern "system" fn(
        Raw,
        PCWSTR,
        *const PRJ_PLACEHOLDER_INFO,
        u32,
        PRJ_UPDATE_TYPES,
        *mut PRJ_UPDATE_FAILURE_CAUSES,
    ) -> HRESULT,
    pub(crate) delete: unsafe extern "system" fn(
        Raw,
        PCWSTR,
        PRJ_UPDATE_TYPES,
        *mut PRJ_UPDATE_FAILURE_CAUSES,
    ) -> HRESULT,
    pub(crate) state: unsafe extern "system" fn(PCWSTR, *mut PRJ_FILE_STATE) -> HRESULT,
}

// SAFETY: a loaded library and the addresses of its functions mean the same to every thread, and
// ProjFS's functions may be called from any.
unsafe impl Send for Api {}
// SAFETY: as above; nothing of it ever changes.
unsafe impl Sync for Api {}

impl Api {
    /// Loads Windows' own library, from the system folder only.
    ///
    /// # Errors
    /// `Missing`, whose text says how to turn the feature on.
    pub fn load() -> Result<Api, Missing> {
        Api::load_named(&HSTRING::from("ProjectedFSLib.dll"), LOAD_LIBRARY_SEARCH_SYSTEM32)
    }

    /// Loads another library with the same functions, for tests.
    ///
    /// # Errors
    /// `Missing`
    ///
    /// # Safety
    /// The library must keep the contract of ProjFS's: its functions are called.
    pub unsafe fn load_from(library: &Path) -> Result<Api, Missing> {
        Api::load_named(&HSTRING::from(library), LOAD_LIBRARY_FLAGS(0))
    }

    fn load_named(name: &HSTRING, flags: LOAD_LIBRARY_FLAGS) -> Result<Api, Missing> {
        let missing = |error: windows::core::Error| Missing(error.message());
        // SAFETY: `name` ends with a NUL. Which library it is and that its initialiser may run is up to
        // the callers: Windows' own, or one that its caller vouches for.
        let library = unsafe { LoadLibraryExW(name, None, flags) }.map_err(missing)?;
        Api::of(library).inspect_err(|_| {
            // SAFETY: the library was loaded above, and nothing of it is kept.
            let _ = unsafe { FreeLibrary(library) };
        })
    }

    fn of(library: HMODULE) -> Result<Api, Missing> {
        Ok(Api {
            library,
            start: find(library, s!("PrjStartVirtualizing"))?,
            stop: find(library, s!("PrjStopVirtualizing"))?,
            instance_info: find(library, s!("PrjGetVirtualizationInstanceInfo"))?,
            mark_directory: find(library, s!("PrjMarkDirectoryAsPlaceholder"))?,
            complete: find(library, s!("PrjCompleteCommand"))?,
            fill_entry: find(library, s!("PrjFillDirEntryBuffer"))?,
            write_placeholder: find(library, s!("PrjWritePlaceholderInfo"))?,
            write_data: find(library, s!("PrjWriteFileData"))?,
            allocate: find(library, s!("PrjAllocateAlignedBuffer"))?,
            free: find(library, s!("PrjFreeAlignedBuffer"))?,
            update: find(library, s!("PrjUpdateFileIfNeeded"))?,
            delete: find(library, s!("PrjDeleteFile"))?,
            state: find(library, s!("PrjGetOnDiskFileState"))?,
        })
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        // SAFETY: the library was loaded once for this value, and its functions are only reached
        // through it.
        let _ = unsafe { FreeLibrary(self.library) };
    }
}

/// The address of a function, as a pointer of the type that the caller's field has.
fn find<F: Copy>(library: HMODULE, name: PCSTR) -> Result<F, Missing> {
    const { assert!(size_of::<F>() == size_of::<usize>()) };
    // SAFETY: `library` is loaded and `name` ends with a NUL.
    let found = unsafe { GetProcAddress(library, name) };
    let Some(found) = found else {
        // SAFETY: every name here is a literal that ends with a NUL.
        let name = unsafe { name.to_string() }.unwrap_or_default();
        return Err(Missing(format!(
            "its library has no {name}; it is older than Windows 10 1809"
        )));
    };
    // SAFETY: both are pointers to functions of one size, and `F` is the type that Microsoft's header
    // gives for the function of that name.
    Ok(unsafe { std::mem::transmute_copy::<_, F>(&found) })
}
