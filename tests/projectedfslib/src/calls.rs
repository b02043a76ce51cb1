//! Calling a provider as the kernel does.

use crate::{
    command::{COMMANDS, Pending},
    item::Version,
};
use std::{
    collections::BTreeMap,
    ffi::c_void,
    sync::{Condvar, Mutex, PoisonError},
};
use windows::{
    Win32::Storage::ProjectedFileSystem::{
        PRJ_CALLBACK_DATA, PRJ_CALLBACK_DATA_FLAGS, PRJ_CALLBACKS, PRJ_DIR_ENTRY_BUFFER_HANDLE,
        PRJ_NAMESPACE_VIRTUALIZATION_CONTEXT, PRJ_NOTIFICATION, PRJ_PLACEHOLDER_VERSION_INFO,
    },
    core::{GUID, PCWSTR},
};

/// The id of the process that tests act as: no process has one that is not a multiple of 4.
const PROGRAM: u32 = 4_243;

pub(crate) const OK: i32 = 0;
pub(crate) const fn win32(code: u32) -> i32 {
    (0x8007_0000_u32 | code).cast_signed()
}
pub(crate) const PENDING: i32 = win32(997);
/// The provider has stopped: "the provider is temporarily unavailable"
pub(crate) const GONE: i32 = win32(362);

/// Calls into providers that are under way, by context; `None`: no call may begin any more.
static CALLS: Mutex<BTreeMap<usize, Option<usize>>> = Mutex::new(BTreeMap::new());
static CALLS_END: Condvar = Condvar::new();

/// One call; `None` when the provider has stopped.
struct Entered(usize);

impl Entered {
    fn begin(context: usize) -> Option<Entered> {
        let mut calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
        let running = calls.entry(context).or_insert(Some(0)).as_mut()?;
        *running += 1;
        Some(Entered(context))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Some(running)) = calls.get_mut(&self.0) {
            *running -= 1;
        }
        CALLS_END.notify_all();
    }
}

/// Lets no call begin and waits for those under way.
pub(crate) fn close(context: usize) {
    let mut calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    while calls.get(&context).is_some_and(|running| running.is_some_and(|running| running > 0)) {
        calls = CALLS_END.wait(calls).unwrap_or_else(PoisonError::into_inner);
    }
    calls.insert(context, None);
}

static VIOLATIONS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes that the contract was broken.
pub(crate) fn violation(what: &str) {
    VIOLATIONS.lock().unwrap_or_else(PoisonError::into_inner).push(what.to_owned());
}

pub(crate) fn violations() -> Vec<String> {
    std::mem::take(&mut *VIOLATIONS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A provider that has started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Provider {
    pub(crate) context: usize,
    pub(crate) instance: usize,
    pub(crate) callbacks: Table,
    /// What it wants to be told.
    pub(crate) mask: u32,
}

/// The provider's functions; a copy, as it may free its own.
#[derive(Clone, Copy)]
pub(crate) struct Table(pub(crate) PRJ_CALLBACKS);

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Table")
    }
}

pub(crate) struct Ask<'a> {
    pub(crate) place: &'a [u16],
    pub(crate) version: Option<&'a Version>,
    pub(crate) flags: i32,
    pub(crate) stream: u128,
    /// Who caused it.
    pub(crate) process: u32,
}

impl<'a> Ask<'a> {
    pub(crate) fn of(place: &'a [u16]) -> Ask<'a> {
        Ask { place, version: None, flags: 0, stream: 0, process: PROGRAM }
    }
}

type Call<'a> = &'a mut dyn FnMut(*const PRJ_CALLBACK_DATA) -> i32;

impl Provider {
    /// Gives a command and waits for its end: its result and what was done for it.
    pub(crate) fn command(
        &self,
        ask: &Ask<'_>,
        pending: Pending,
        call: Call<'_>,
    ) -> (i32, Pending) {
        let id = COMMANDS.begin(pending);
        let answer = self.call(id, ask, call);
        if answer == PENDING {
            let pending = COMMANDS.wait(id);
            return (pending.result.unwrap_or(win32(1460)), pending);
        }
        let pending = COMMANDS.end(id);
        if pending.result.is_some() {
            violation("a command was completed and answered");
        }
        (answer, pending)
    }

    /// Gives a command and takes it back at once.
    pub(crate) fn command_cancelled(&self, ask: &Ask<'_>, pending: Pending, call: Call<'_>) {
        let id = COMMANDS.begin(pending);
        if self.call(id, ask, call) != PENDING {
            COMMANDS.end(id);
            return;
        }
        COMMANDS.cancel(id);
        if let Some(cancel) = self.callbacks.0.CancelCommandCallback {
            self.call(id, ask, &mut |data| {
                // SAFETY: the data is valid during the call.
                unsafe { cancel(data) };
                OK
            });
        }
    }

    /// One call. What it is given is gone when it returns, and full of rubbish.
    fn call(&self, id: i32, ask: &Ask<'_>, call: Call<'_>) -> i32 {
        let mut path: Vec<u16> = ask.place.iter().copied().chain([0]).collect();
        let mut program: Vec<u16> = "program.exe\0".encode_utf16().collect();
        let mut version = PRJ_PLACEHOLDER_VERSION_INFO::default();
        if let Some((provider, content)) = ask.version {
            version.ProviderID = *provider;
            version.ContentID = *content;
        }
        let mut data = PRJ_CALLBACK_DATA {
            Size: size_of::<PRJ_CALLBACK_DATA>() as u32,
            Flags: PRJ_CALLBACK_DATA_FLAGS(ask.flags),
            NamespaceVirtualizationContext: PRJ_NAMESPACE_VIRTUALIZATION_CONTEXT(
                self.context as *mut c_void,
            ),
            CommandId: id,
            FileId: GUID::zeroed(),
            DataStreamId: GUID::from_u128(ask.stream),
            FilePathName: PCWSTR(path.as_ptr()),
            VersionInfo: if ask.version.is_some() {
                &raw mut version
            } else {
                std::ptr::null_mut()
            },
            TriggeringProcessId: ask.process,
            TriggeringProcessImageFileName: PCWSTR(program.as_ptr()),
            InstanceContext: self.instance as *mut c_void,
        };
        let Some(_entered) = Entered::begin(self.context) else { return GONE };
        let answer = call(&raw const data);
        path.fill(0xdead);
        program.fill(0xdead);
        version.ContentID.fill(0xdd);
        data.InstanceContext = std::ptr::null_mut();
        std::hint::black_box((&path, &program, &version, &data));
        answer
    }

    /// Tells of something; the answer counts only for what may be refused.
    pub(crate) fn notify(
        &self,
        what: PRJ_NOTIFICATION,
        place: &[u16],
        dir: bool,
        destination: &[u16],
    ) -> i32 {
        self.tell(what, &Ask::of(place), dir, destination)
    }

    pub(crate) fn tell(
        &self,
        what: PRJ_NOTIFICATION,
        ask: &Ask<'_>,
        dir: bool,
        destination: &[u16],
    ) -> i32 {
        if self.mask & what.0.cast_unsigned() == 0 {
            return OK;
        }
        let Some(notify) = self.callbacks.0.NotificationCallback else { return OK };
        let destination: Vec<u16> = destination.iter().copied().chain([0]).collect();
        let mut call = |data: *const PRJ_CALLBACK_DATA| {
            // SAFETY: all that is given is valid during the call.
            unsafe { notify(data, dir, what, PCWSTR(destination.as_ptr()), std::ptr::null_mut()) }.0
        };
        self.command(ask, Pending::default(), &mut call).0
    }

    pub(crate) fn start_listing(&self, place: &[u16], id: &GUID) -> i32 {
        let Some(start) = self.callbacks.0.StartDirectoryEnumerationCallback else { return OK };
        let mut call = |data: *const PRJ_CALLBACK_DATA| {
            // SAFETY: all that is given is valid during the call.
            unsafe { start(data, id) }.0
        };
        self.command(&Ask::of(place), Pending::default(), &mut call).0
    }

    pub(crate) fn end_listing(&self, place: &[u16], id: &GUID) {
        let Some(end) = self.callbacks.0.EndDirectoryEnumerationCallback else { return };
        let mut call = |data: *const PRJ_CALLBACK_DATA| {
            // SAFETY: all that is given is valid during the call.
            unsafe { end(data, id) }.0
        };
        if self.command(&Ask::of(place), Pending::default(), &mut call).0 != OK {
            violation("EndDirectoryEnumeration: did not succeed");
        }
    }

    pub(crate) fn get_listing(
        &self,
        place: &[u16],
        (id, flags): (&GUID, i32),
        pattern: Option<&[u16]>,
        buffer: PRJ_DIR_ENTRY_BUFFER_HANDLE,
    ) -> i32 {
        let Some(get) = self.callbacks.0.GetDirectoryEnumerationCallback else { return OK };
        let text: Option<Vec<u16>> =
            pattern.map(|pattern| pattern.iter().copied().chain([0]).collect());
        let expression = text.as_ref().map_or(PCWSTR::null(), |text| PCWSTR(text.as_ptr()));
        let mut call = |data: *const PRJ_CALLBACK_DATA| {
            // SAFETY: all that is given is valid during the call.
            unsafe { get(data, id, expression, buffer) }.0
        };
        let pending = Pending { enumeration: true, ..Pending::default() };
        self.command(&Ask { flags, ..Ask::of(place) }, pending, &mut call).0
    }
}
