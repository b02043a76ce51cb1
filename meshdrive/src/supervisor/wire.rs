//! The two ends of the pair of sockets between supervisor and daemon.

use crate::failure::{Attempt, Failure, Outcome};
use fuse_linux::{Kept, Offer};
use protocol::{
    control::PathText,
    keeper::{MESSAGE_BYTES, MountRecord},
};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    ffi::OsString,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
};

/// Sockets that keep message boundaries: one for the supervisor, one for its daemon.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends a message, and a descriptor with it.
pub(super) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    descriptor: Option<&OwnedFd>,
) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(|descriptor| [descriptor.as_fd()]);
    if let Some(descriptors) = &descriptors {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    loop {
        match sendmsg(&socket, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The next message, with the descriptor that came along; `None` when the other side is gone.
pub(super) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
    flags: RecvFlags,
) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    let mut text = vec![0; MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length = loop {
        let mut parts = [IoSliceMut::new(&mut text)];
        match recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC | flags) {
            Ok(message) => break message.bytes,
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => break 0,
            Err(error) => return Err(error.into()),
        }
    };
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&text[..length])?, descriptor)))
}

/// As it travels; the channel goes beside it.
pub(crate) fn record(kept: &Kept) -> MountRecord {
    MountRecord {
        path: PathText::from_bytes(kept.path.as_os_str().as_bytes().to_vec()),
        device: kept.device.clone(),
        minor: kept.offer.minor,
        flags: kept.offer.flags,
    }
}

pub(crate) fn kept(record: &MountRecord, channel: OwnedFd) -> Kept {
    Kept {
        channel,
        offer: Offer { minor: record.minor, flags: record.flags },
        path: OsString::from_vec(record.path.as_bytes().to_vec()).into(),
        device: record.device.clone(),
    }
}

/// The daemon's end of the socket: its standard input, which it then lets go of.
pub(crate) fn own_end() -> Outcome<OwnedFd> {
    let what = || "cannot hear from the supervisor".to_string();
    let socket = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3).attempt(what)?;
    let null = std::fs::File::open("/dev/null").attempt(|| "cannot open /dev/null".into())?;
    rustix::stdio::dup2_stdin(&null).attempt(what)?;
    Ok(socket)
}

/// The first message of the supervisor.
pub(crate) fn handover(socket: &OwnedFd) -> Outcome<(protocol::keeper::Handover, Option<OwnedFd>)> {
    let received = receive(socket, RecvFlags::empty());
    let received = received.attempt(|| "cannot hear from the supervisor".into())?;
    received.ok_or_else(|| Failure::general("the supervisor that started this daemon is gone"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::keeper::{Handover, Word};
    use std::io::{Read, Write};

    #[test]
    fn messages_and_descriptors_arrive() {
        let (ours, theirs) = pair().unwrap();
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"x").unwrap();
        drop(writer);
        let long = PathText::from_bytes(vec![0xff; 4096]);
        let mount = MountRecord { path: long, device: "0:44".into(), minor: 45, flags: 1 << 39 };
        let handover = Handover { life: 3, crashes: 2, mount: Some(mount) };
        send(&ours, &handover, Some(&reader.try_clone().unwrap().into())).unwrap();
        send(&ours, &Word::Serving, None).unwrap();
        drop(ours);
        let first = receive::<Handover>(&theirs, RecvFlags::empty()).unwrap().unwrap();
        assert_eq!(first.0, handover);
        let mut byte = String::new();
        std::fs::File::from(first.1.unwrap()).read_to_string(&mut byte).unwrap();
        assert_eq!(byte, "x");
        let second = receive::<Word>(&theirs, RecvFlags::empty()).unwrap().unwrap();
        assert!(matches!(second, (Word::Serving, None)));
        assert!(receive::<Word>(&theirs, RecvFlags::empty()).unwrap().is_none());
        let _ = reader.read(&mut [0]);
    }
}
