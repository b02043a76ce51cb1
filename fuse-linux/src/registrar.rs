//! A small program with one privilege, for daemons that have none: the kernel takes backing files only
//! from who has CAP_SYS_ADMIN (fs/fuse/backing.c, `fuse_backing_open`). The daemon starts it, gives it
//! the channel of its mount, and then one open file a time. Both ends of that talk are here; the
//! program is `meshdrive-passthrough`.
//!
//! A question is one byte, a number of four (little-endian) and perhaps a descriptor; its answer is a
//! number of four: an id from 1 on, 0 for "done", or a negative errno.

mod serve;
mod talk;

pub(crate) use serve::give_back;
pub use serve::serve;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use talk::{Ask, ask};

/// The program's name; it is installed beside the daemon's program.
pub const HELPER: &str = "meshdrive-passthrough";

/// A running helper; it ends when this is dropped, or the daemon does.
pub(crate) struct Registrar {
    socket: Mutex<OwnedFd>,
    child: Child,
}

impl Registrar {
    /// Starts the helper for the mount behind `channel`.
    ///
    /// # Errors
    /// It is not installed, or has not the privilege (`PermissionDenied`).
    pub(crate) fn start(program: &Path, channel: &OwnedFd) -> io::Result<Registrar> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let mut command = Command::new(program);
        command.current_dir("/").stdin(theirs).stdout(Stdio::null());
        let helper = Registrar { child: command.spawn()?, socket: Mutex::new(ours) };
        helper.ask(Ask::Channel, 0, Some(channel)).map(|_| helper)
    }

    /// The kernel's number for an open file.
    pub(crate) fn register(&self, file: &File) -> io::Result<u32> {
        self.ask(Ask::Register, 0, Some(file))
    }

    /// Ends the kernel's use of a number.
    pub(crate) fn give_back(&self, id: u32) -> io::Result<()> {
        self.ask(Ask::GiveBack, id, None::<&File>).map(drop)
    }

    fn ask(&self, ask_for: Ask, id: u32, descriptor: Option<&impl AsFd>) -> io::Result<u32> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        ask(&*socket, ask_for, id, descriptor.map(AsFd::as_fd))
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        // A closed socket is how it is told; this end goes right after, so shut it down first.
        let socket = self.socket.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}
