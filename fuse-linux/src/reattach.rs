//! Serving a mount that an earlier process has served, over the channel that a supervisor kept.
//!
//! What the kernel does (linux/fuse.h, and fs/fuse of Linux 6.9 and later): as long as the channel is
//! open somewhere, a mount outlives its daemon and callers only wait. Requests that nobody has read
//! stay in the queue; those that the dead daemon had read come again when they are asked for, marked
//! by the highest bit of their number.

use fuser::{Config, InitFlags, KernelConfig, Session, SessionACL};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// Operation number of FUSE_INIT (linux/fuse.h).
const INIT: u32 = 26;
/// Major version of the protocol; it has been 7 since 2006.
const MAJOR: u32 = 7;
/// Bytes of a request's header and of FUSE_INIT's argument.
const HEADER: usize = 40;
const INIT_ARGUMENT: usize = 64;
/// What the kernel offers as read-ahead in bytes; what the session makes of it reaches nobody.
const READ_AHEAD: u32 = 128 << 10;
/// Bytes of the header of what the daemon sends.
const OUT_HEADER: usize = 16;
/// Notifications (linux/fuse.h, `enum fuse_notify_code`): send again what was read and not answered
/// (Linux 6.9), and doubt every name (6.16).
const RESEND: i32 = 7;
const INC_EPOCH: i32 = 8;
/// Marks a request that is sent again (FUSE_UNIQUE_RESEND).
const RESENT: u64 = 1 << 63;

/// What the kernel offered when the mount was made. A later daemon makes the same choices from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offer {
    /// Minor version of its protocol.
    pub minor: u32,
    /// FUSE_INIT flags.
    pub flags: u64,
}

impl Offer {
    /// Whether requests in flight at a crash would come again. Without that their callers would wait
    /// for ever, and a mount must not outlive its daemon.
    #[must_use]
    pub fn can_resend(&self) -> bool {
        InitFlags::from_bits_retain(self.flags).contains(InitFlags::FUSE_HAS_RESEND)
    }
}

/// Where the session's `init` leaves what it saw.
pub(crate) type Seen = Arc<Mutex<Offer>>;

pub(crate) fn note(seen: &Seen, config: &KernelConfig) {
    let mut offer = seen.lock().unwrap_or_else(PoisonError::into_inner);
    offer.minor = config.kernel_abi().1;
    offer.flags = config.capabilities().bits();
}

/// Whether a request was read before by a daemon that then died: it may have been carried out.
pub(crate) fn is_resent(request: &fuser::Request) -> bool {
    u64::from(request.unique()) & RESENT != 0
}

/// A session on the kept `channel`.
///
/// fuser insists on a FUSE_INIT, which the kernel sends only once. It gets a copy of the first one
/// from a socket, whose place the channel then takes.
pub(crate) fn session<F: fuser::Filesystem>(
    filesystem: F,
    channel: &OwnedFd,
    offer: &Offer,
    (acl, config): (SessionACL, Config),
) -> io::Result<Session<F>> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    send(&ours, &init_message(offer), SendFlags::NOSIGNAL)?;
    let session = Session::from_fd(filesystem, theirs, acl, config)?;
    replace(session.as_fd(), channel.as_fd())?;
    Ok(session)
}

/// `struct fuse_in_header`, then `struct fuse_init_in`.
fn init_message(offer: &Offer) -> Vec<u8> {
    let flags = offer.flags | InitFlags::FUSE_INIT_EXT.bits();
    let (low, high) = (flags as u32, (flags >> 32) as u32);
    let mut message = Vec::with_capacity(HEADER + INIT_ARGUMENT);
    let len = (HEADER + INIT_ARGUMENT) as u32;
    for word in [len, INIT, 1, 0] {
        message.extend(word.to_ne_bytes());
    }
    message.resize(HEADER, 0);
    for word in [MAJOR, offer.minor, READ_AHEAD, low, high] {
        message.extend(word.to_ne_bytes());
    }
    message.resize(HEADER + INIT_ARGUMENT, 0);
    message
}

/// Makes the number of `place` stand for `file`.
fn replace(place: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: plain numbers. The owner of `place` goes on to own what its number stands for, and
    // closes that once; the session does not run yet, so nobody else uses the number meanwhile.
    let done = unsafe { libc::dup3(file.as_raw_fd(), place.as_raw_fd(), libc::O_CLOEXEC) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Asks for the requests that were read and never answered.
pub(crate) fn resend(channel: &OwnedFd) -> io::Result<()> {
    notify(channel, RESEND)
}

/// Makes the kernel look up every name again: the dead daemon may have known of changes that it had
/// no time to tell. Older kernels cannot; there a name may be old for as long as it may be cached.
pub(crate) fn doubt_names(channel: &OwnedFd) -> io::Result<()> {
    notify(channel, INC_EPOCH)
}

/// `struct fuse_out_header`: a notification has number 0 and its code in place of the error.
fn notify(channel: &OwnedFd, code: i32) -> io::Result<()> {
    let mut message = [0; OUT_HEADER];
    message[..4].copy_from_slice(&(OUT_HEADER as u32).to_ne_bytes());
    message[4..8].copy_from_slice(&code.to_ne_bytes());
    rustix::io::write(channel, &message)?;
    Ok(())
}
