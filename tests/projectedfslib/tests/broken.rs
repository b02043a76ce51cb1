//! Providers that break the contract, one rule each: every one is caught, and the same provider without
//! its fault is not.
#![cfg(windows)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, and so do its helpers"
)]

use projectedfslib::{APP, App, GetApp, Scan};
use std::{
    ffi::c_void,
    fs::{self, File},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};
use windows::{
    Win32::{
        Foundation::HMODULE,
        Storage::ProjectedFileSystem::{
            PRJ_CALLBACK_DATA, PRJ_CALLBACKS, PRJ_CB_DATA_FLAG_ENUM_RESTART_SCAN,
            PRJ_COMPLETE_COMMAND_EXTENDED_PARAMETERS, PRJ_DIR_ENTRY_BUFFER_HANDLE,
            PRJ_FILE_BASIC_INFO, PRJ_NAMESPACE_VIRTUALIZATION_CONTEXT as Context,
            PRJ_PLACEHOLDER_INFO, PRJ_PLACEHOLDER_VERSION_INFO, PRJ_STARTVIRTUALIZING_OPTIONS,
            PRJ_UPDATE_ALLOW_DIRTY_DATA, PRJ_UPDATE_ALLOW_TOMBSTONE, PRJ_UPDATE_FAILURE_CAUSES,
            PRJ_UPDATE_TYPES,
        },
        System::LibraryLoader::{GetProcAddress, LoadLibraryW},
    },
    core::{GUID, HRESULT, HSTRING, PCSTR, PCWSTR},
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    Unsorted,
    NameTwice,
    PatternIgnored,
    RestartIgnored,
    DataMissing,
    NotAligned,
    OwnBuffer,
    BeyondTheEnd,
    CompletedTwice,
    CompletedAndAnswered,
    NoSuchCommand,
    NoPlaceholder,
    SmallInfo,
    OtherPath,
    AfterTheStop,
    OtherId,
}

const OK: HRESULT = HRESULT(0);
const PENDING: HRESULT = HRESULT(0x8007_03e5_u32.cast_signed());
const NOT_FOUND: HRESULT = HRESULT(0x8007_0002_u32.cast_signed());
const IN_USE: HRESULT = HRESULT(0x8007_0020_u32.cast_signed());
const NAMES: [&str; 4] = ["a.txt", "B.txt", "c.log", "d.log"];
/// Bytes of each file: not a multiple of any sector.
const SIZE: u64 = 10_001;

/// One provider at a time, and how far its listing has got.
static STATE: Mutex<(Fault, usize)> = Mutex::new((Fault::None, 0));
static ALONE: Mutex<()> = Mutex::new(());

fn state() -> MutexGuard<'static, (Fault, usize)> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn has(fault: Fault) -> bool {
    state().0 == fault
}

fn library() -> HMODULE {
    let path = std::env::current_exe().unwrap().with_file_name("projectedfslib.dll");
    // SAFETY: the library was built with this test; its initialiser is the standard one.
    unsafe { LoadLibraryW(&HSTRING::from(path.as_path())) }.unwrap()
}

/// A function of the library, with the type that the caller gives it.
fn function<F: Copy>(name: &str) -> F {
    let name = format!("{name}\0");
    // SAFETY: the name ends with a NUL.
    let found = unsafe { GetProcAddress(library(), PCSTR(name.as_ptr())) }.unwrap();
    // SAFETY: every caller names the type of the function in Microsoft's header.
    unsafe { std::mem::transmute_copy(&found) }
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

unsafe extern "system" fn start(_: *const PRJ_CALLBACK_DATA, _: *const GUID) -> HRESULT {
    state().1 = 0;
    OK
}

unsafe extern "system" fn end(_: *const PRJ_CALLBACK_DATA, _: *const GUID) -> HRESULT {
    OK
}

unsafe extern "system" fn list(
    data: *const PRJ_CALLBACK_DATA,
    _: *const GUID,
    expression: PCWSTR,
    buffer: PRJ_DIR_ENTRY_BUFFER_HANDLE,
) -> HRESULT {
    type Fill = unsafe extern "system" fn(
        PCWSTR,
        *const PRJ_FILE_BASIC_INFO,
        PRJ_DIR_ENTRY_BUFFER_HANDLE,
    ) -> HRESULT;
    let fill: Fill = function("PrjFillDirEntryBuffer");
    // SAFETY: the data is valid during the call, and the expression null or ends with a NUL.
    let (flags, logs) = unsafe {
        let logs = !expression.is_null() && expression.to_string().unwrap() == "*.log";
        ((*data).Flags.0, logs)
    };
    let restart = flags & PRJ_CB_DATA_FLAG_ENUM_RESTART_SCAN.0 != 0;
    if restart && !has(Fault::RestartIgnored) {
        state().1 = 0;
    }
    let mut names = NAMES.to_vec();
    if logs && !has(Fault::PatternIgnored) {
        names.retain(|name| name.ends_with(".log"));
    }
    if has(Fault::Unsorted) {
        // As bytes are sorted.
        names.sort_unstable();
    }
    if has(Fault::NameTwice) {
        names.insert(1, "A.TXT");
    }
    loop {
        let at = state().1;
        let Some(name) = names.get(at) else { return OK };
        let info = PRJ_FILE_BASIC_INFO { FileSize: SIZE as i64, ..Default::default() };
        // SAFETY: name and info live across the call; the buffer is the one that was given.
        if unsafe { fill(PCWSTR(wide(name).as_ptr()), &raw const info, buffer) } != OK {
            return OK;
        }
        state().1 += 1;
    }
}

unsafe extern "system" fn placeholder(data: *const PRJ_CALLBACK_DATA) -> HRESULT {
    type Write =
        unsafe extern "system" fn(Context, PCWSTR, *const PRJ_PLACEHOLDER_INFO, u32) -> HRESULT;
    // SAFETY: the data is valid during the call.
    let data = unsafe { &*data };
    // SAFETY: the path ends with a NUL.
    let path = unsafe { data.FilePathName.to_string() }.unwrap();
    if !NAMES.contains(&path.as_str()) {
        return NOT_FOUND;
    }
    if has(Fault::NoPlaceholder) {
        return OK;
    }
    let path = if has(Fault::OtherPath) { "d.log".to_owned() } else { path };
    let mut info = PRJ_PLACEHOLDER_INFO::default();
    info.FileBasicInfo.FileSize = SIZE as i64;
    let size = if has(Fault::SmallInfo) { 336 } else { size_of::<PRJ_PLACEHOLDER_INFO>() as u32 };
    let write: Write = function("PrjWritePlaceholderInfo");
    let context = data.NamespaceVirtualizationContext;
    // SAFETY: path and info live across the call.
    unsafe { write(context, PCWSTR(wide(&path).as_ptr()), &raw const info, size) }
}

unsafe extern "system" fn data(data: *const PRJ_CALLBACK_DATA, _: u64, _: u32) -> HRESULT {
    // SAFETY: the data is valid during the call.
    let data = unsafe { &*data };
    let (context, id, stream) =
        (data.NamespaceVirtualizationContext, data.CommandId, data.DataStreamId);
    if has(Fault::CompletedAndAnswered) {
        supply(context, &stream);
        complete(context, id);
        return OK;
    }
    let context = context.0 as usize;
    std::thread::spawn(move || {
        let context = Context(context as *mut c_void);
        supply(context, &stream);
        if has(Fault::NoSuchCommand) {
            complete(context, id + 1_000);
        }
        complete(context, id);
        if has(Fault::CompletedTwice) {
            complete(context, id);
        }
    });
    PENDING
}

fn complete(context: Context, id: i32) {
    type Complete = unsafe extern "system" fn(
        Context,
        i32,
        HRESULT,
        *const PRJ_COMPLETE_COMMAND_EXTENDED_PARAMETERS,
    ) -> HRESULT;
    let complete: Complete = function("PrjCompleteCommand");
    // SAFETY: no parameters.
    let _ = unsafe { complete(context, id, OK, std::ptr::null()) };
}

fn supply(context: Context, stream: &GUID) {
    type Allocate = unsafe extern "system" fn(Context, usize) -> *mut c_void;
    type Free = unsafe extern "system" fn(*const c_void);
    type Write =
        unsafe extern "system" fn(Context, *const GUID, *const c_void, u64, u32) -> HRESULT;
    let (allocate, free): (Allocate, Free) =
        (function("PrjAllocateAlignedBuffer"), function("PrjFreeAlignedBuffer"));
    let write: Write = function("PrjWriteFileData");
    let own = vec![7_u8; 3 * SIZE as usize];
    // SAFETY: the buffer is larger than all that is written from it, and is freed after.
    unsafe {
        let buffer = allocate(context, 3 * SIZE as usize);
        let from = if has(Fault::OwnBuffer) { own.as_ptr().cast() } else { buffer.cast_const() };
        let parts: &[(u64, u64)] = match state().0 {
            Fault::DataMissing => &[(0, 4_096)],
            Fault::NotAligned => &[(0, 5_000), (5_000, SIZE)],
            Fault::BeyondTheEnd => &[(0, SIZE), (8_192, 12_288)],
            _ => &[(0, 8_192), (8_192, SIZE)],
        };
        for (start, end) in parts {
            let _ = write(context, stream, from, *start, (end - start) as u32);
        }
        free(buffer);
    }
}

/// Runs a provider with one fault through all that a program does; gives the violations.
fn run(fault: Fault) -> Vec<String> {
    with(fault, |app, root, _| {
        use_it(app, root);
        if fault == Fault::OtherId {
            app.make_dir(root, "made").unwrap();
            mark(root, Some("made"), 2);
        }
    })
}

/// Runs a provider with one fault, and `work` beside it; gives the violations.
fn with(fault: Fault, work: impl FnOnce(&dyn App, &Path, Context)) -> Vec<String> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    *state() = (fault, 0);
    let get: GetApp = function(APP);
    let app = get();
    app.violations();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let context = begin(&root);
    work(app, &root, context);
    let stop: unsafe extern "system" fn(Context) = function("PrjStopVirtualizing");
    // SAFETY: it was started and is stopped once.
    unsafe { stop(context) };
    if fault == Fault::AfterTheStop {
        complete(context, 1);
    }
    app.violations()
}

fn use_it(app: &dyn App, root: &Path) {
    let scans = [
        Scan::default(),
        Scan { room: 2, restart: true, ..Scan::default() },
        Scan { pattern: Some("*.log"), ..Scan::default() },
    ];
    for scan in scans {
        let _ = app.list(root, "", scan);
    }
    let _ = app.read(root, "a.txt", 0, usize::MAX);
    // Late words of the provider.
    std::thread::sleep(std::time::Duration::from_millis(50));
}

/// Takes whatever is at a place off the disk.
fn take_off(context: Context, place: &str) -> HRESULT {
    type Delete = unsafe extern "system" fn(
        Context,
        PCWSTR,
        PRJ_UPDATE_TYPES,
        *mut PRJ_UPDATE_FAILURE_CAUSES,
    ) -> HRESULT;
    let delete: Delete = function("PrjDeleteFile");
    let allow = PRJ_UPDATE_ALLOW_DIRTY_DATA | PRJ_UPDATE_ALLOW_TOMBSTONE;
    // SAFETY: the path lives across the call; nobody asks for the cause.
    unsafe { delete(context, PCWSTR(wide(place).as_ptr()), allow, std::ptr::null_mut()) }
}

fn mark(root: &Path, target: Option<&str>, id: u128) {
    type Mark = unsafe extern "system" fn(
        PCWSTR,
        PCWSTR,
        *const PRJ_PLACEHOLDER_VERSION_INFO,
        *const GUID,
    ) -> HRESULT;
    let mark: Mark = function("PrjMarkDirectoryAsPlaceholder");
    let (root, target) = (HSTRING::from(root), target.map(wide));
    let target = target.as_ref().map_or(PCWSTR::null(), |target| PCWSTR(target.as_ptr()));
    let id = GUID::from_u128(id);
    // SAFETY: all of it lives across the call.
    let _ = unsafe { mark(PCWSTR(root.as_ptr()), target, std::ptr::null(), &raw const id) };
}

fn begin(root: &Path) -> Context {
    type Start = unsafe extern "system" fn(
        PCWSTR,
        *const PRJ_CALLBACKS,
        *const c_void,
        *const PRJ_STARTVIRTUALIZING_OPTIONS,
        *mut Context,
    ) -> HRESULT;
    mark(root, None, 1);
    let callbacks = PRJ_CALLBACKS {
        StartDirectoryEnumerationCallback: Some(start),
        EndDirectoryEnumerationCallback: Some(end),
        GetDirectoryEnumerationCallback: Some(list),
        GetPlaceholderInfoCallback: Some(placeholder),
        GetFileDataCallback: Some(data),
        ..Default::default()
    };
    let mut context = Context::default();
    let begin: Start = function("PrjStartVirtualizing");
    let root = HSTRING::from(root);
    let (path, options) = (PCWSTR(root.as_ptr()), std::ptr::null());
    // SAFETY: all of it lives across the call.
    let started =
        unsafe { begin(path, &raw const callbacks, std::ptr::null(), options, &raw mut context) };
    assert_eq!(started, OK);
    context
}

#[test]
fn a_sound_provider_is_let_be() {
    assert_eq!(run(Fault::None), Vec::<String>::new());
}

#[test]
fn every_broken_provider_is_caught() {
    let expected = [
        (Fault::Unsorted, "not in order"),
        (Fault::NameTwice, "a name twice"),
        (Fault::PatternIgnored, "does not match"),
        (Fault::RestartIgnored, "RESTART_SCAN"),
        (Fault::DataMissing, "without all the bytes"),
        (Fault::NotAligned, "not aligned"),
        (Fault::OwnBuffer, "aligned buffer"),
        (Fault::BeyondTheEnd, "beyond the end"),
        (Fault::CompletedTwice, "completed twice"),
        (Fault::CompletedAndAnswered, "completed and answered"),
        (Fault::NoSuchCommand, "no such command"),
        (Fault::NoPlaceholder, "without a placeholder"),
        (Fault::SmallInfo, "too small"),
        (Fault::OtherPath, "nobody asked"),
        (Fault::AfterTheStop, "not open"),
        (Fault::OtherId, "another id"),
    ];
    for (fault, what) in expected {
        let found = run(fault);
        assert!(found.iter().any(|text| text.contains(what)), "{fault:?}: {found:?}");
    }
}

/// Windows frees a removed name at once. Wine keeps it until the last handle is closed, and would then
/// take with it what has been put there meanwhile: the mark, or what is new.
#[test]
fn a_name_that_is_removed_while_it_is_read_is_free_at_once() {
    let violations = with(Fault::None, |app, root, context| {
        app.write(root, "new", 0, b"1", true).unwrap();
        let reader = File::open(root.join("new")).unwrap();
        app.delete(root, "new").unwrap();
        drop(reader);
        assert_eq!(take_off(context, "new"), OK);

        app.write(root, "new", 0, b"2", true).unwrap();
        let reader = File::open(root.join("new")).unwrap();
        app.delete(root, "new").unwrap();
        app.write(root, "new", 0, b"3", true).unwrap();
        drop(reader);
        assert_eq!(fs::read(root.join("new")).unwrap(), b"3");
    });
    assert_eq!(violations, Vec::<String>::new());
}

#[test]
fn a_provider_takes_nothing_off_the_disk_that_is_read() {
    let violations = with(Fault::None, |app, root, context| {
        app.read(root, "a.txt", 0, 1).unwrap();
        let reader = File::open(root.join("a.txt")).unwrap();
        assert_eq!(take_off(context, "a.txt"), IN_USE);
        assert_eq!(app.state(root, "a.txt"), "hydrated");
        drop(reader);
        assert_eq!(take_off(context, "a.txt"), OK);
        assert!(!fs::exists(root.join("a.txt")).unwrap());
    });
    assert_eq!(violations, Vec::<String>::new());
}
