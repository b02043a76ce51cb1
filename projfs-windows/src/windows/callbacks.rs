//! What ProjFS calls, from threads of its own. Nothing here waits: what needs the core is handed on and
//! completed later. No panic leaves a callback.

use super::{
    api::{Callbacks, Data},
    provider::{Provider, basic_info, code, is_shown},
    serve,
};
use crate::{
    hresult::{BUFFER_TOO_SMALL, OK, PENDING},
    ledger::Hint,
    path::Place,
    session::{Room, SessionError, SessionId},
};
use fs_core::FsError;
use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};
use windows::{
    Win32::Storage::ProjectedFileSystem::{
        PRJ_CALLBACK_DATA, PRJ_CB_DATA_FLAG_ENUM_RESTART_SCAN,
        PRJ_CB_DATA_FLAG_ENUM_RETURN_SINGLE_ENTRY, PRJ_DIR_ENTRY_BUFFER_HANDLE, PRJ_NOTIFICATION,
        PRJ_NOTIFICATION_FILE_HANDLE_CLOSED_FILE_DELETED,
        PRJ_NOTIFICATION_FILE_HANDLE_CLOSED_FILE_MODIFIED, PRJ_NOTIFICATION_FILE_OVERWRITTEN,
        PRJ_NOTIFICATION_FILE_PRE_CONVERT_TO_FULL, PRJ_NOTIFICATION_FILE_RENAMED,
        PRJ_NOTIFICATION_NEW_FILE_CREATED, PRJ_NOTIFICATION_PRE_DELETE,
        PRJ_NOTIFICATION_PRE_RENAME, PRJ_NOTIFICATION_PRE_SET_HARDLINK,
    },
    core::{GUID, HRESULT, PCWSTR},
};

pub(crate) static CALLBACKS: Callbacks = Callbacks {
    start_enumeration,
    end_enumeration,
    get_enumeration,
    get_placeholder,
    get_data,
    query_name,
    notification,
    cancel,
};

/// What of a callback's data is needed, copied: it is only there during the call.
pub(super) struct Asked {
    pub(super) command: i32,
    pub(super) place: Place,
    pub(super) stream: GUID,
    pub(super) content: Option<[u8; 128]>,
    flags: i32,
    process: u32,
}

/// # Safety
/// `data` must be what ProjFS has just called with.
unsafe fn enter(data: Data, run: impl FnOnce(&Arc<Provider>, Asked) -> HRESULT) -> HRESULT {
    let entered = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: ProjFS passes a valid struct for the length of the call.
        let data: &PRJ_CALLBACK_DATA = unsafe { &*data };
        // SAFETY: the instance context is the pointer that was passed at the start; its count was raised
        // for ProjFS and is lowered only after the stop, when no callback runs.
        let provider = unsafe {
            let own = data.InstanceContext.cast::<Provider>().cast_const();
            Arc::increment_strong_count(own);
            Arc::from_raw(own)
        };
        if provider.context.is_closed() {
            return code(FsError::Offline);
        }
        provider.context.offer(data.NamespaceVirtualizationContext);
        // SAFETY: version info is null or valid during the call.
        let version = unsafe { data.VersionInfo.as_ref() };
        let asked = Asked {
            command: data.CommandId,
            // SAFETY: the path is null or ends with a NUL, and is valid during the call.
            place: Place::new(&unsafe { text(data.FilePathName) }),
            stream: data.DataStreamId,
            content: version
                .filter(|version| version.ProviderID == provider.provider_id)
                .map(|version| version.ContentID),
            flags: data.Flags.0,
            process: data.TriggeringProcessId,
        };
        run(&provider, asked)
    }));
    entered.unwrap_or_else(|_| {
        tracing::error!("a callback panicked; the program that asked is told of an I/O error");
        code(FsError::Io)
    })
}

/// # Safety
/// `pointer` must be null or point to units that end with a NUL.
unsafe fn text(pointer: PCWSTR) -> Vec<u16> {
    if pointer.is_null() {
        return Vec::new();
    }
    // SAFETY: as the caller says.
    unsafe { pointer.as_wide() }.to_vec()
}

/// Hands a command on, to be completed by its work.
fn later(
    provider: &Arc<Provider>,
    command: i32,
    is_data: bool,
    work: impl FnOnce(&Provider, &crate::commands::Token) -> Result<(), HRESULT> + Send + 'static,
) -> HRESULT {
    let Some(token) = provider.commands.begin(command) else { return code(FsError::Busy) };
    let (own, given) = (Arc::clone(provider), token.clone());
    let crew = if is_data { &provider.data } else { &provider.names };
    let taken = crew.take(move || {
        let done = catch_unwind(AssertUnwindSafe(|| work(&own, &given)));
        let result = done.unwrap_or_else(|_| {
            tracing::error!("answering a command panicked");
            Err(code(FsError::Io))
        });
        own.complete(command, &given, result.err().unwrap_or(HRESULT(OK)));
    });
    if taken {
        return HRESULT(PENDING);
    }
    // Nobody has heard of it: answered here, unless it was completed meanwhile by a stop.
    if provider.commands.finish(command, &token) { code(FsError::Busy) } else { HRESULT(PENDING) }
}

/// # Safety
/// `id` must be valid during the call.
unsafe fn session(id: *const GUID) -> SessionId {
    // SAFETY: as the caller says.
    unsafe { *id }.to_u128().to_le_bytes()
}

unsafe extern "system" fn start_enumeration(data: Data, id: *const GUID) -> HRESULT {
    // SAFETY: ProjFS calls; the id is read during the call.
    unsafe {
        let id = session(id);
        enter(data, |provider, asked| {
            later(provider, asked.command, false, move |provider, _| {
                serve::start_enumeration(provider, id, &asked.place)
            })
        })
    }
}

unsafe extern "system" fn end_enumeration(data: Data, id: *const GUID) -> HRESULT {
    // SAFETY: ProjFS calls; the id is read during the call.
    unsafe {
        let id = session(id);
        enter(data, |provider, _| match provider.sessions.end(&id) {
            Ok(()) => HRESULT(OK),
            Err(_) => code(FsError::Invalid),
        })
    }
}

unsafe extern "system" fn get_enumeration(
    data: Data,
    id: *const GUID,
    expression: PCWSTR,
    buffer: PRJ_DIR_ENTRY_BUFFER_HANDLE,
) -> HRESULT {
    // SAFETY: ProjFS calls; id and expression are read during the call, and the buffer is filled
    // before it ends.
    unsafe {
        let id = session(id);
        let expression = text(expression);
        enter(data, |provider, asked| {
            let restart = asked.flags & PRJ_CB_DATA_FLAG_ENUM_RESTART_SCAN.0 != 0;
            let single = asked.flags & PRJ_CB_DATA_FLAG_ENUM_RETURN_SINGLE_ENTRY.0 != 0;
            let (mut taken, mut failed) = (false, None);
            let filled = provider.sessions.fill(&id, Some(&expression), restart, |entry| {
                if !is_shown(entry) {
                    return Room::Taken;
                }
                if single && taken {
                    return Room::Full;
                }
                let name: Vec<u16> = entry.shown.iter().copied().chain([0]).collect();
                let info = basic_info(entry);
                let put = (provider.api.fill_entry)(PCWSTR(name.as_ptr()), &raw const info, buffer);
                if put.is_ok() {
                    taken = true;
                    return Room::Taken;
                }
                if put.0 != BUFFER_TOO_SMALL {
                    failed = Some(put);
                }
                Room::Full
            });
            match (failed, filled) {
                (Some(failed), _) => failed,
                (None, Err(SessionError::BufferTooSmall)) if taken => HRESULT(OK),
                (None, Err(SessionError::BufferTooSmall)) => HRESULT(BUFFER_TOO_SMALL),
                (None, Err(_)) => code(FsError::Invalid),
                (None, Ok(())) => HRESULT(OK),
            }
        })
    }
}

unsafe extern "system" fn get_placeholder(data: Data) -> HRESULT {
    // SAFETY: ProjFS calls.
    unsafe {
        enter(data, |provider, asked| {
            later(provider, asked.command, false, move |provider, _| {
                serve::write_placeholder(provider, &asked.place)
            })
        })
    }
}

unsafe extern "system" fn get_data(data: Data, offset: u64, length: u32) -> HRESULT {
    // SAFETY: ProjFS calls.
    unsafe {
        enter(data, |provider, asked| {
            later(provider, asked.command, true, move |provider, token| {
                serve::write_data(provider, &asked, token, (offset, length))
            })
        })
    }
}

unsafe extern "system" fn query_name(data: Data) -> HRESULT {
    // SAFETY: ProjFS calls.
    unsafe {
        enter(data, |provider, asked| {
            later(provider, asked.command, false, move |provider, _| {
                serve::find(provider, &asked.place).map(drop)
            })
        })
    }
}

unsafe extern "system" fn notification(
    data: Data,
    _is_directory: u8,
    what: i32,
    destination: PCWSTR,
    _parameters: *mut c_void,
) -> HRESULT {
    // SAFETY: ProjFS calls; the destination is read during the call.
    unsafe {
        let destination = Place::new(&text(destination));
        enter(data, |provider, asked| {
            notified(provider, asked, PRJ_NOTIFICATION(what), destination)
        })
    }
}

fn notified(
    provider: &Provider,
    asked: Asked,
    what: PRJ_NOTIFICATION,
    destination: Place,
) -> HRESULT {
    if asked.process == std::process::id() {
        // What this program does to the disk follows from what it knows already. But a removal ends with
        // the last handle, which may be that of a file that is being handed to the core.
        let is_removal = what == PRJ_NOTIFICATION_FILE_HANDLE_CLOSED_FILE_DELETED;
        if !(is_removal && provider.disk.was_open(&asked.place)) {
            return HRESULT(OK);
        }
    }
    match what {
        // The drive could keep them apart, NTFS could not show them.
        PRJ_NOTIFICATION_PRE_SET_HARDLINK => return code(FsError::Denied),
        PRJ_NOTIFICATION_PRE_DELETE
        | PRJ_NOTIFICATION_PRE_RENAME
        | PRJ_NOTIFICATION_FILE_PRE_CONVERT_TO_FULL => {
            return if provider.read_only { code(FsError::ReadOnly) } else { HRESULT(OK) };
        }
        PRJ_NOTIFICATION_FILE_RENAMED => match (asked.place.is_root(), destination.is_root()) {
            // Moved in from elsewhere, or out.
            (true, false) => provider.look_at(&Hint::look(destination)),
            (false, true) => provider.look_at(&Hint { removed: true, ..Hint::look(asked.place) }),
            _ => provider.look_at(&Hint { target: Some(destination), ..Hint::look(asked.place) }),
        },
        PRJ_NOTIFICATION_NEW_FILE_CREATED
        | PRJ_NOTIFICATION_FILE_OVERWRITTEN
        | PRJ_NOTIFICATION_FILE_HANDLE_CLOSED_FILE_MODIFIED => {
            provider.look_at(&Hint::look(asked.place));
        }
        PRJ_NOTIFICATION_FILE_HANDLE_CLOSED_FILE_DELETED => {
            provider.look_at(&Hint { removed: true, ..Hint::look(asked.place) });
        }
        _ => {}
    }
    HRESULT(OK)
}

unsafe extern "system" fn cancel(data: Data) {
    // SAFETY: ProjFS calls.
    unsafe {
        let _ = enter(data, |provider, asked| {
            provider.commands.cancel(asked.command);
            HRESULT(OK)
        });
    }
}
