//! News of this machine's network, from the kernel (rtnetlink(7)).

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv,
        socket_with,
    },
};
use std::{io, os::fd::OwnedFd};

/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE
/// (linux/rtnetlink.h).
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// Hears of links, addresses and routes that come and go.
pub(crate) struct Network(OwnedFd);

impl Network {
    /// # Errors
    /// Where the kernel tells this process nothing (some sandboxes).
    pub(crate) fn listen() -> io::Result<Network> {
        // Protocol 0 of this family: NETLINK_ROUTE.
        let socket =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(Network(socket))
    }

    /// Waits on this thread until something changes.
    ///
    /// # Errors
    /// When nothing will be heard any more.
    pub(crate) fn changed(&self) -> io::Result<()> {
        loop {
            // Nothing of a message is looked at: it is enough that it came. Too much to hear all of it
            // is news as well.
            match recv(&self.0, &mut [0; 64], RecvFlags::TRUNC) {
                Ok(_) | Err(Errno::NOBUFS) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes what has come meanwhile, without waiting.
    ///
    /// # Errors
    /// As for [`Network::changed`].
    pub(crate) fn skip(&self) -> io::Result<()> {
        loop {
            match recv(&self.0, &mut [0; 64], RecvFlags::TRUNC | RecvFlags::DONTWAIT) {
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{process::Command, sync::mpsc, thread, time::Duration};

    /// A second address of the loopback comes and goes; only root may do that.
    #[test]
    fn an_address_that_comes_is_heard_of() {
        let network = Network::listen().unwrap();
        let (hears, heard) = mpsc::channel();
        thread::spawn(move || hears.send(network.changed()));
        let ip = |verb: &str| {
            let arguments = ["address", verb, "127.83.41.7/32", "dev", "lo"];
            Command::new("ip").args(arguments).output().is_ok_and(|output| output.status.success())
        };
        if !ip("add") {
            let test = "system::unix::network::an_address_that_comes_is_heard_of";
            let line = format!("SKIPPED {test}: `ip address add` is not allowed or not there\n");
            // Not by `eprintln`: of a test that passes nobody sees that.
            return io::Write::write_all(&mut io::stderr(), line.as_bytes()).unwrap();
        }
        let heard = heard.recv_timeout(Duration::from_secs(20));
        assert!(ip("del"));
        heard.unwrap().unwrap();
    }
}
