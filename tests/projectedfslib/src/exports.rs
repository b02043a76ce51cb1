//! The functions of the library, by the names and types of Microsoft's header.

use crate::{
    app::{Buffer, MODEL},
    buffers::{self, ALIGNMENT},
    calls::{OK, Provider, Table, close, violation, win32},
    command::COMMANDS,
    instance::{self, SEPARATOR, join, lock, root_of_context, split},
    item::{Item, State},
    order,
};
use std::{
    ffi::{OsString, c_void},
    fs::File,
    os::windows::{ffi::OsStringExt, fs::FileExt},
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};
use windows::{
    Win32::Storage::ProjectedFileSystem::{
        PRJ_CALLBACKS, PRJ_COMPLETE_COMMAND_EXTENDED_PARAMETERS,
        PRJ_COMPLETE_COMMAND_TYPE_ENUMERATION, PRJ_DIR_ENTRY_BUFFER_HANDLE, PRJ_FILE_BASIC_INFO,
        PRJ_FILE_STATE, PRJ_NAMESPACE_VIRTUALIZATION_CONTEXT as Context, PRJ_PLACEHOLDER_INFO,
        PRJ_PLACEHOLDER_VERSION_INFO, PRJ_STARTVIRTUALIZING_OPTIONS, PRJ_UPDATE_FAILURE_CAUSES,
        PRJ_UPDATE_TYPES, PRJ_VIRTUALIZATION_INSTANCE_INFO,
    },
    core::{GUID, HRESULT, PCWSTR},
};

/// The smallest PRJ_PLACEHOLDER_INFO that is taken.
const INFO_BYTES: u32 = 344;
/// FILE_OPENED, NEW_FILE_CREATED, FILE_OVERWRITTEN: without mappings.
const DEFAULT_MASK: u32 = 2 | 4 | 8;
const NOT_FOUND: i32 = win32(2);
const INVALID: i32 = win32(87);
const INSUFFICIENT_BUFFER: i32 = win32(122);
const OFFSET_ALIGNMENT: i32 = win32(327);
/// ERROR_FILE_SYSTEM_VIRTUALIZATION_INVALID_OPERATION
const INVALID_OPERATION: i32 = win32(369);
const ALREADY_A_ROOT: i32 = win32(4395);
/// ERROR_SHARING_VIOLATION
const IN_USE: i32 = win32(32);
const ALLOW_DIRTY_METADATA: i32 = 1;
const ALLOW_DIRTY_DATA: i32 = 2;
const ALLOW_TOMBSTONE: i32 = 4;

static NEXT_CONTEXT: AtomicUsize = AtomicUsize::new(0x1000);

#[unsafe(no_mangle)]
extern "Rust" fn projfs_model_app() -> &'static dyn crate::App {
    &MODEL
}

/// # Safety
/// The pointer must be null or point to units that end with a NUL.
unsafe fn units(text: PCWSTR) -> Vec<u16> {
    // SAFETY: as the caller says.
    if text.is_null() { Vec::new() } else { unsafe { text.as_wide() }.to_vec() }
}

/// # Safety
/// As for `units`.
unsafe fn path(text: PCWSTR) -> PathBuf {
    // SAFETY: as the caller says.
    PathBuf::from(OsString::from_wide(&unsafe { units(text) }))
}

fn living(context: Context, function: &str) -> Option<std::sync::Arc<instance::Root>> {
    let root = root_of_context(context.0 as usize);
    if root.is_none() {
        violation(&format!("{function}: called with a context that is not open"));
    }
    root
}

#[unsafe(no_mangle)]
unsafe extern "system" fn PrjMarkDirectoryAsPlaceholder(
    root: PCWSTR,
    target: PCWSTR,
    _version: *const PRJ_PLACEHOLDER_VERSION_INFO,
    id: *const GUID,
) -> HRESULT {
    // SAFETY: the caller passes texts that end with a NUL, and an id.
    let (root, target, id) = unsafe { (path(root), units(target), (*id).to_u128()) };
    if target.is_empty() {
        return HRESULT(if instance::add(&root, id) { OK } else { ALREADY_A_ROOT });
    }
    let Some(root) = instance::root(&root) else { return HRESULT(INVALID) };
    if root.guid != id {
        violation("PrjMarkDirectoryAsPlaceholder: another id than the root's");
        return HRESULT(INVALID);
    }
    let mut tree = lock(&root.state);
    match tree.get_mut(&target) {
        Some(item) if item.dir && item.state == State::Full => {
            item.state = State::Placeholder;
            HRESULT(OK)
        }
        Some(item) if item.dir => HRESULT(ALREADY_A_ROOT),
        _ => HRESULT(NOT_FOUND),
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn PrjStartVirtualizing(
    root: PCWSTR,
    callbacks: *const PRJ_CALLBACKS,
    instance: *const c_void,
    options: *const PRJ_STARTVIRTUALIZING_OPTIONS,
    context: *mut Context,
) -> HRESULT {
    // SAFETY: the caller passes valid pointers; options may be null.
    let (root, callbacks, options) = unsafe { (path(root), *callbacks, options.as_ref()) };
    let Some(root) = instance::root(&root) else {
        violation("PrjStartVirtualizing: the root was never marked");
        return HRESULT(INVALID);
    };
    if callbacks.StartDirectoryEnumerationCallback.is_none()
        || callbacks.EndDirectoryEnumerationCallback.is_none()
        || callbacks.GetDirectoryEnumerationCallback.is_none()
        || callbacks.GetPlaceholderInfoCallback.is_none()
        || callbacks.GetFileDataCallback.is_none()
    {
        return HRESULT(INVALID);
    }
    let mask = match options {
        Some(options) if options.NotificationMappingsCount > 0 => {
            let count = options.NotificationMappingsCount as usize;
            // SAFETY: the caller says so many mappings are there.
            let mappings =
                unsafe { std::slice::from_raw_parts(options.NotificationMappings, count) };
            mappings.iter().fold(0, |all, one| all | one.NotificationBitMask.0)
        }
        _ => DEFAULT_MASK,
    };
    let number = NEXT_CONTEXT.fetch_add(0x10, Ordering::Relaxed);
    let mut tree = lock(&root.state);
    if tree.provider.is_some() {
        return HRESULT(win32(170));
    }
    let (own, callbacks) = (instance as usize, Table(callbacks));
    tree.provider = Some(Provider { context: number, instance: own, callbacks, mask });
    // SAFETY: the caller passes a place for it.
    unsafe { *context = Context(number as *mut c_void) };
    HRESULT(OK)
}

#[unsafe(no_mangle)]
unsafe extern "system" fn PrjStopVirtualizing(context: Context) {
    if let Some(root) = living(context, "PrjStopVirtualizing") {
        close(context.0 as usize);
        lock(&root.state).provider = None;
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn PrjGetVirtualizationInstanceInfo(
    context: Context,
    info: *mut PRJ_VIRTUALIZATION_INSTANCE_INFO,
) -> HRESULT {
    let Some(root) = living(context, "PrjGetVirtualizationInstanceInfo") else {
        return HRESULT(INVALID);
    };
    let alignment = u32::try_from(ALIGNMENT).unwrap_or(1);
    let told = PRJ_VIRTUALIZATION_INSTANCE_INFO {
        InstanceID: GUID::from_u128(root.guid),
        WriteAlignment: alignment,
    };
    // SAFETY: the caller passes a place for it.
    unsafe { *info = told };
    HRESULT(OK)
}

#[unsafe(no_mangle)]
unsafe extern "system" fn PrjCompleteCommand(
    context: Context,
    id: i32,
    result: HRESULT,
    extended: *const PRJ_COMPLETE_COMMAND_EXTENDED_PARAMETERS,
) -> HRESULT {
    if living(context, "PrjCompleteCommand").is_none() {
        return HRESULT(INVALID);
    }
    // SAFETY: null or valid.
    let extended = unsafe { extended.as_ref() };
    let listing = extended
        .is_some_and(|extended| extended.CommandType == PRJ_COMPLETE_COMMAND_TYPE_ENUMERATION);
    HRESULT(if COMMANDS.complete(id, result.0, listing) { OK } else { NOT_FOUND })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn PrjFillDirEntryBuffer(
    name: PCWSTR,
    info: *const PRJ_FILE_BASIC_INFO,
    buffer: PRJ_DIR_ENTRY_BUFFER_HANDLE,
) -> HRESULT {
    // SAFETY: the caller passes a name and an info, and the handle that it was given in this call.
    let (name, info, buffer) =
        unsafe { (units(name), info.as_ref(), buffer.0.cast::<Buffer>().as_mut()) };
    let (Some(info), Some(buffer)) = (info, buffer) else { return HRESULT(INVALID) };
    HRESULT(if buffer.take(&name, info) { OK } else { INSUFFICIENT_BUFFER })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn PrjWritePlaceholderInfo(
    context: Context,
    destination: PCWSTR,
    info: *const PRJ_PLACEHOLDER_INFO,
    size: u32,
) -> HRESULT {
    // SAFETY: the caller passes a path and an info.
    let (place, info) = unsafe { (units(destination), info.as_ref()) };
    let Some(root) = living(context, "PrjWritePlaceholderInfo") else { return HRESULT(INVALID) };
    let Some(info) = info else { return HRESULT(INVALID) };
    if size < INFO_BYTES {
        violation("PrjWritePlaceholderInfo: the info is too small");
        return HRESULT(INSUFFICIENT_BUFFER);
    }
    let (parent, name) = split(&place);
    let mut tree = lock(&root.state);
    if !tree.is_projected(parent) {
        violation("PrjWritePlaceholderInfo: in a folder that is no placeholder");
        return HRESULT(win32(3));
    }
    let asked = COMMANDS.any(
        |pending| {
            pending.placeholder.is_none() && order::key(&pending.target) == order::key(&place)
        },
        |pending| pending.placeholder = Some(place.clone()),
    );
    if asked.is_none() {
        violation("PrjWritePlaceholderInfo: nobody asked for this path");
        return HRESULT(INVALID);
    }
    if tree.get(&place).is_some() {
        return HRESULT(OK);
    }
    let basic = &info.FileBasicInfo;
    let made = if basic.IsDirectory {
        std::fs::create_dir(root.disk(&place))
    } else {
        let size = u64::try_from(basic.FileSize).unwrap_or(0);
        File::create(root.disk(&place)).and_then(|file| file.set_len(size))
    };
    if made.is_err() {
        return HRESULT(win32(5));
    }
    let item = Item {
        state: State::Placeholder,
        version: Some((info.VersionInfo.ProviderID, info.VersionInfo.ContentID)),
        size: u64::try_from(basic.FileSize).unwrap_or(0),
        ..Item::full(name, &place, basic.IsDirectory)
    };
    tree.put(&place, item);
    HRESULT(OK)
}

#[unsafe(no_mangle)]
unsafe extern "system" fn PrjWriteFileData(
    context: Context,
    stream: *const GUID,
    buffer: *const c_void,
    offset: u64,
    length: u32,
) -> HRESULT {
    // SAFETY: the caller passes an id.
    let stream = unsafe { *stream }.to_u128();
    let Some(root) = living(context, "PrjWriteFileData") else { return HRESULT(INVALID) };
    let found = COMMANDS.any(
        |pending| pending.stream == Some(stream),
        |pending| (pending.target.clone(), pending.size),
    );
    // It may have been cancelled a moment ago.
    let Some((place, size)) = found else { return HRESULT(NOT_FOUND) };
    let end = offset + u64::from(length);
    if !buffers::holds(buffer as usize, length as usize) {
        violation("PrjWriteFileData: not from an aligned buffer");
        return HRESULT(INVALID);
    }
    if !offset.is_multiple_of(ALIGNMENT) || (!end.is_multiple_of(ALIGNMENT) && end != size) {
        violation("PrjWriteFileData: not aligned");
        return HRESULT(OFFSET_ALIGNMENT);
    }
    if end > size {
        violation("PrjWriteFileData: beyond the end of the file");
        return HRESULT(INVALID);
    }
    // SAFETY: the buffer is allocated with at least this length.
    let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), length as usize) };
    let written = File::options().write(true).open(root.disk(&place)).and_then(|file| {
        let mut done = 0;
        while done < bytes.len() {
            done += file.seek_write(&bytes[done..], offset + done as u64)?;
        }
        Ok(())
    });
    if written.is_err() {
        return HRESULT(win32(29));
    }
    COMMANDS.any(
        |pending| pending.stream == Some(stream),
        |pending| pending.written.push((offset, end)),
    );
    HRESULT(OK)
}

#[unsafe(no_mangle)]
unsafe extern "system" fn PrjAllocateAlignedBuffer(context: Context, size: usize) -> *mut c_void {
    if living(context, "PrjAllocateAlignedBuffer").is_none() {
        return std::ptr::null_mut();
    }
    buffers::allocate(size).cast()
}

#[unsafe(no_mangle)]
unsafe extern "system" fn PrjFreeAlignedBuffer(buffer: *const c_void) {
    buffers::free(buffer.cast());
}

#[unsafe(no_mangle)]
unsafe extern "system" fn PrjUpdateFileIfNeeded(
    context: Context,
    destination: PCWSTR,
    info: *const PRJ_PLACEHOLDER_INFO,
    size: u32,
    flags: PRJ_UPDATE_TYPES,
    cause: *mut PRJ_UPDATE_FAILURE_CAUSES,
) -> HRESULT {
    // SAFETY: the caller passes a path, an info and a place for the cause.
    let (place, info) = unsafe { (units(destination), &*info) };
    let Some(root) = living(context, "PrjUpdateFileIfNeeded") else { return HRESULT(INVALID) };
    if size < INFO_BYTES {
        violation("PrjUpdateFileIfNeeded: the info is too small");
        return HRESULT(INSUFFICIENT_BUFFER);
    }
    let disk = root.disk(&place);
    let mut tree = lock(&root.state);
    let Some(item) = tree.get_mut(&place) else { return HRESULT(NOT_FOUND) };
    let version = (info.VersionInfo.ProviderID, info.VersionInfo.ContentID);
    if item.version == Some(version) && item.state.is_placeholder() {
        return HRESULT(OK);
    }
    if let Some((result, why)) = refused(item, flags) {
        // SAFETY: as above.
        unsafe { set_cause(cause, why) };
        return HRESULT(result);
    }
    item.state = State::Placeholder;
    item.version = Some(version);
    item.made_as = place.clone();
    item.size = u64::try_from(info.FileBasicInfo.FileSize).unwrap_or(0);
    if !item.dir {
        let emptied = File::create(disk).and_then(|file| file.set_len(item.size));
        return HRESULT(if emptied.is_ok() { OK } else { win32(5) });
    }
    HRESULT(OK)
}

#[unsafe(no_mangle)]
unsafe extern "system" fn PrjDeleteFile(
    context: Context,
    destination: PCWSTR,
    flags: PRJ_UPDATE_TYPES,
    cause: *mut PRJ_UPDATE_FAILURE_CAUSES,
) -> HRESULT {
    // SAFETY: the caller passes a path and a place for the cause.
    let place = unsafe { units(destination) };
    let Some(root) = living(context, "PrjDeleteFile") else { return HRESULT(INVALID) };
    let mut tree = lock(&root.state);
    let Some(item) = tree.get(&place) else { return HRESULT(NOT_FOUND) };
    if let Some((result, why)) = refused(item, flags) {
        // SAFETY: as above.
        unsafe { set_cause(cause, why) };
        return HRESULT(result);
    }
    let dir = item.dir && item.state != State::Tombstone;
    let children = tree.children(&place);
    if dir && children.iter().any(|(_, child)| child.state != State::Tombstone) {
        return HRESULT(win32(145));
    }
    for (at, child) in children {
        // Only the marks of what was removed in it.
        let _ = root.unlink(&join(&place, &child.name), false);
        tree.items.remove(&at);
    }
    let alone = if dir { Ok(()) } else { root.have_alone(&place) };
    if let Err(error) = alone.and_then(|()| root.unlink(&place, dir)) {
        if error.kind() == std::io::ErrorKind::NotFound {
            violation("PrjDeleteFile: the disk has lost what was there");
        }
        return HRESULT(error.raw_os_error().map_or(IN_USE, |code| win32(code.cast_unsigned())));
    }
    tree.items.remove(&order::key(&place));
    HRESULT(OK)
}

/// Why a provider may not take something off the disk.
fn refused(item: &Item, flags: PRJ_UPDATE_TYPES) -> Option<(i32, i32)> {
    let lacks = |flag: i32| flags.0 & flag == 0;
    match item.state {
        _ if item.held > 0 => Some((IN_USE, 0)),
        State::Tombstone if lacks(ALLOW_TOMBSTONE) => Some((INVALID_OPERATION, ALLOW_TOMBSTONE)),
        State::Full if !item.dir && lacks(ALLOW_DIRTY_DATA) => {
            Some((INVALID_OPERATION, ALLOW_DIRTY_DATA))
        }
        State::Dirty if lacks(ALLOW_DIRTY_METADATA) => {
            Some((INVALID_OPERATION, ALLOW_DIRTY_METADATA))
        }
        _ => None,
    }
}

/// # Safety
/// The pointer must be null or valid.
unsafe fn set_cause(cause: *mut PRJ_UPDATE_FAILURE_CAUSES, why: i32) {
    if !cause.is_null() {
        // SAFETY: as the caller says.
        unsafe { *cause = PRJ_UPDATE_FAILURE_CAUSES(why) };
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn PrjGetOnDiskFileState(
    destination: PCWSTR,
    state: *mut PRJ_FILE_STATE,
) -> HRESULT {
    // SAFETY: the caller passes a path and a place for the state.
    let path = unsafe { path(destination) };
    let Some((root, place)) = instance::root_above(&path) else { return HRESULT(INVALID) };
    let tree = lock(&root.state);
    let Some(item) = tree.get(&place) else { return HRESULT(NOT_FOUND) };
    // SAFETY: as above.
    unsafe { *state = PRJ_FILE_STATE(item.state.bits()) };
    HRESULT(OK)
}

#[unsafe(no_mangle)]
unsafe extern "system" fn PrjFileNameCompare(left: PCWSTR, right: PCWSTR) -> i32 {
    // SAFETY: the caller passes texts that end with a NUL.
    let (left, right) = unsafe { (units(left), units(right)) };
    order::compare(&left, &right) as i32
}

#[unsafe(no_mangle)]
unsafe extern "system" fn PrjFileNameMatch(name: PCWSTR, pattern: PCWSTR) -> u8 {
    // SAFETY: the caller passes texts that end with a NUL.
    let (name, pattern) = unsafe { (units(name), units(pattern)) };
    u8::from(order::matches(&name, &pattern))
}

#[unsafe(no_mangle)]
unsafe extern "system" fn PrjDoesNameContainWildCards(name: PCWSTR) -> u8 {
    // SAFETY: the caller passes a text that ends with a NUL.
    u8::from(order::has_wildcards(&unsafe { units(name) }))
}

/// Whether a name could stand in a listing.
pub(crate) fn is_name(name: &[u16]) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.contains(&SEPARATOR)
}
