//! The answers to commands, on threads that may wait for the core.

use super::{
    callbacks::Asked,
    provider::{INFO_BYTES, Provider, code, content, is_shown, known},
};
use crate::{
    bytes::shown,
    commands::Token,
    decide::Shown,
    ledger::Hint,
    listing::Entry,
    path::Place,
    session::{SessionError, SessionId},
    version::{PlaceholderKind, content_of},
};
use fs_core::{FsError, HandleId, Ino};
use std::ffi::c_void;
use windows::{
    Win32::Storage::ProjectedFileSystem::PRJ_VIRTUALIZATION_INSTANCE_INFO,
    core::{HRESULT, PCWSTR},
};

/// Bytes that are handed to ProjFS at once; a multiple of every alignment that disks ask for.
const CHUNK_BYTES: u32 = 1 << 20;

pub(super) fn start_enumeration(
    provider: &Provider,
    id: SessionId,
    place: &Place,
) -> Result<(), HRESULT> {
    let dir = provider.tree.dir(place).map_err(code)?.ok_or(code(FsError::NotFound))?;
    let listing = provider.tree.listing(dir).map_err(code)?;
    provider.sessions.start(id, listing).map_err(|error| match error {
        SessionError::TooMany => code(FsError::Busy),
        SessionError::Unknown | SessionError::BufferTooSmall => code(FsError::Invalid),
    })
}

/// What is projected at a place.
pub(super) fn find(provider: &Provider, place: &Place) -> Result<Entry, HRESULT> {
    let entry = provider.tree.entry_to_show(place).map_err(code)?;
    entry.filter(is_shown).ok_or(code(FsError::NotFound))
}

pub(super) fn write_placeholder(provider: &Provider, place: &Place) -> Result<(), HRESULT> {
    let _making = provider.placing.begin(place);
    let entry = find(provider, place)?;
    // With the drive's own case, whatever the program wrote.
    let own = place.parent().unwrap_or_default().join(&entry.shown);
    // Before it is on the disk: if it is removed there at once, it is known what was.
    provider.ledger.learn(&own, &known(&entry)).map_err(|error| {
        tracing::error!(%error, "a placeholder could not be noted and is not made");
        code(FsError::Io)
    })?;
    let info = provider.placeholder_info(&entry);
    let call = provider.context.call().ok_or(code(FsError::Offline))?;
    let path = own.with_nul();
    // SAFETY: the context is open while `call` lives; path and info live across the call.
    let written = unsafe {
        (provider.api.write_placeholder)(
            call.raw,
            PCWSTR(path.as_ptr()),
            &raw const info,
            INFO_BYTES,
        )
    };
    written.ok().map_err(|error| {
        // It is not there, then, and what was noted of it goes.
        provider.look_at(&Hint::look(own));
        error.code()
    })
}

/// Serves exactly the version that the placeholder is of, or fails.
pub(super) fn write_data(
    provider: &Provider,
    asked: &Asked,
    token: &Token,
    (offset, length): (u64, u32),
) -> Result<(), HRESULT> {
    let version = match asked.content.as_ref().and_then(content_of) {
        Some(version) => version,
        // No version info: it was never a placeholder of this drive.
        None => content(&find(provider, &asked.place)?),
    };
    if version.kind != PlaceholderKind::File {
        return Err(code(FsError::IsDirectory));
    }
    let ino = version.shown.ino;
    current(provider, &version.shown, asked)?;
    let handle = provider.tree.open(ino, false).map_err(code)?;
    let written = Job { provider, asked, token, file: (ino, handle), size: version.shown.size }
        .write(offset, length);
    provider.tree.close(ino, handle);
    written?;
    // Nothing has changed while it was read.
    current(provider, &version.shown, asked)
}

/// Whether the core still has this version. If not, the placeholder is brought up to date, and the
/// program that reads is told to try again.
fn current(provider: &Provider, version: &Shown, asked: &Asked) -> Result<(), HRESULT> {
    let attr = provider.tree.attr(version.ino).map_err(code)?;
    if shown(&attr) == *version {
        return Ok(());
    }
    let place = provider.tree.place_of(version.ino).unwrap_or_else(|| asked.place.clone());
    provider.look_at(&Hint::look(place));
    Err(code(FsError::Busy))
}

struct Job<'a> {
    provider: &'a Provider,
    asked: &'a Asked,
    token: &'a Token,
    file: (Ino, HandleId),
    /// Bytes of the file.
    size: u64,
}

impl Job<'_> {
    /// At least the range, rounded to what the disk is aligned to.
    fn write(&self, offset: u64, length: u32) -> Result<(), HRESULT> {
        let alignment = self.alignment()?;
        let mut at = offset / alignment * alignment;
        let end =
            offset.saturating_add(u64::from(length)).next_multiple_of(alignment).min(self.size);
        let buffer = Buffer::new(self.provider, CHUNK_BYTES as usize)?;
        while at < end {
            if self.token.is_cancelled() {
                return Err(code(FsError::TimedOut));
            }
            let len = u32::try_from((end - at).min(u64::from(CHUNK_BYTES))).unwrap_or(CHUNK_BYTES);
            self.fill(&buffer, at, len)?;
            let call = self.provider.context.call().ok_or(code(FsError::Offline))?;
            // SAFETY: the context is open while `call` lives; the buffer holds `len` bytes that were
            // just written, and the stream id lives across the call.
            let written = unsafe {
                let stream = &raw const self.asked.stream;
                (self.provider.api.write_data)(call.raw, stream, buffer.bytes, at, len)
            };
            written.ok().map_err(|error| error.code())?;
            at += u64::from(len);
        }
        Ok(())
    }

    /// Reads `len` bytes at `at`; fewer are an error, never zeros.
    fn fill(&self, buffer: &Buffer<'_>, at: u64, len: u32) -> Result<(), HRESULT> {
        let mut done = 0;
        while done < len {
            let offset = at + u64::from(done);
            let part = self.provider.tree.read_at(self.file, offset, len - done).map_err(code)?;
            let count = u32::try_from(part.len()).unwrap_or(u32::MAX).min(len - done);
            if count == 0 {
                return Err(code(FsError::Corrupt));
            }
            // SAFETY: `done + count <= len <= CHUNK_BYTES`, which is what the buffer has; the part is
            // elsewhere in memory.
            unsafe {
                let to = buffer.bytes.cast::<u8>().add(done as usize);
                std::ptr::copy_nonoverlapping(part.as_ptr(), to, count as usize);
            }
            done += count;
        }
        Ok(())
    }

    fn alignment(&self) -> Result<u64, HRESULT> {
        let mut info = PRJ_VIRTUALIZATION_INSTANCE_INFO::default();
        let call = self.provider.context.call().ok_or(code(FsError::Offline))?;
        // SAFETY: the context is open while `call` lives; the struct lives across the call.
        let got = unsafe { (self.provider.api.instance_info)(call.raw, &raw mut info) };
        got.ok().map_err(|error| error.code())?;
        Ok(u64::from(info.WriteAlignment.max(1)))
    }
}

/// Memory that is aligned as the disk wants it.
struct Buffer<'a> {
    provider: &'a Provider,
    bytes: *mut c_void,
}

impl Buffer<'_> {
    fn new(provider: &Provider, len: usize) -> Result<Buffer<'_>, HRESULT> {
        let call = provider.context.call().ok_or(code(FsError::Offline))?;
        // SAFETY: the context is open while `call` lives.
        let bytes = unsafe { (provider.api.allocate)(call.raw, len) };
        if bytes.is_null() {
            return Err(code(FsError::NoSpace));
        }
        Ok(Buffer { provider, bytes })
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        // SAFETY: it came from the library's own allocation and is not used any more.
        unsafe { (self.provider.api.free)(self.bytes) };
    }
}
