//! Tells the kernel what to forget.

use crate::answer;
use crate::backing::Backings;
use engine::{Driver, Port};
use fs_core::{Ino, Request, Stale};
use fuser::{INodeNo, Notifier};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// Sends invalidations into one mount. The engine calls it from a thread of its own, because the
/// kernel may hold an invalidation back until a read or a lookup in flight is answered.
pub(crate) struct Kernel {
    notifier: Notifier,
    /// Set when an earlier daemon has served this mount: what the kernel has of its time is not counted
    /// here, so it is noted when the kernel turns out not to have a node any more.
    port: Option<Port>,
    backings: Arc<Backings>,
}

impl Kernel {
    pub(crate) fn new(notifier: Notifier, port: Option<Port>, backings: Arc<Backings>) -> Kernel {
        Kernel { notifier, port, backings }
    }

    /// The kernel does not know this node.
    fn unknown(&self, ino: Ino) {
        if let Some(port) = &self.port {
            port.submit(Request::Forget { ino, count: u64::MAX }, answer::forgotten(ino));
        }
    }
}

impl Driver for Kernel {
    fn invalidate(&self, stale: Stale) {
        let sent = match &stale {
            Stale::Entry { parent, name } => {
                self.notifier.inval_entry(INodeNo(parent.0), OsStr::from_bytes(name.as_bytes()))
            }
            // From offset 0 with length 0: all pages, and the attributes.
            Stale::Data(ino) => self.notifier.inval_inode(INodeNo(ino.0), 0, 0),
            // A negative offset: the attributes only, and no wait for reads in flight.
            Stale::Attrs(ino) => self.notifier.inval_inode(INodeNo(ino.0), -1, 0),
            Stale::Backing(ino) => return self.backings.forget(*ino),
        };
        match sent {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => match stale {
                Stale::Data(ino) | Stale::Attrs(ino) => self.unknown(ino),
                Stale::Entry { .. } | Stale::Backing(_) => {}
            },
            // Unmounted: there is no kernel cache any more.
            Err(error) if gone(&error) => {}
            Err(error) => tracing::warn!(?stale, %error, "the kernel did not take an invalidation"),
        }
    }
}

fn gone(error: &io::Error) -> bool {
    let codes = [libc::ENODEV, libc::ENOTCONN, libc::EBADF, libc::EPERM];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}
