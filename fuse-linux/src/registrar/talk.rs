//! Questions and answers between a daemon and its helper.

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const QUESTION_BYTES: usize = 5;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Ask {
    /// First of all: the channel of the mount comes along.
    Channel = b'c',
    /// An open file comes along.
    Register = b'r',
    GiveBack = b'g',
}

impl Ask {
    fn of(byte: u8) -> Option<Ask> {
        [Ask::Channel, Ask::Register, Ask::GiveBack].into_iter().find(|ask| *ask as u8 == byte)
    }
}

pub(super) struct Question {
    pub(super) ask: Ask,
    pub(super) id: u32,
    pub(super) descriptor: Option<OwnedFd>,
}

/// Asks, and waits for the answer.
pub(super) fn ask(
    socket: impl AsFd,
    ask: Ask,
    id: u32,
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<u32> {
    let mut question = [ask as u8; QUESTION_BYTES];
    question[1..].copy_from_slice(&id.to_le_bytes());
    send(&socket, &question, descriptor)?;
    let mut answer = [0; 4];
    let (length, _) = receive(&socket, &mut answer)?;
    if length != answer.len() {
        return Err(io::Error::from_raw_os_error(libc::EPIPE));
    }
    let answer = i32::from_le_bytes(answer);
    u32::try_from(answer).map_err(|_| io::Error::from_raw_os_error(answer.saturating_neg()))
}

/// The next question; `None` when the daemon is gone.
pub(super) fn hear(socket: impl AsFd) -> io::Result<Option<Question>> {
    let mut question = [0; QUESTION_BYTES];
    let (length, descriptor) = receive(&socket, &mut question)?;
    if length == 0 {
        return Ok(None);
    }
    let [byte, id @ ..] = question;
    let known = Ask::of(byte).filter(|_| length == QUESTION_BYTES);
    let ask = known.ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some(Question { ask, id: u32::from_le_bytes(id), descriptor }))
}

pub(super) fn answer(socket: impl AsFd, result: io::Result<u32>) -> io::Result<()> {
    let refused = |error: io::Error| -error.raw_os_error().unwrap_or(libc::EINVAL);
    let number = result.map_or_else(refused, |id| i32::try_from(id).unwrap_or(-libc::EOVERFLOW));
    send(socket, &number.to_le_bytes(), None)
}

fn send(socket: impl AsFd, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(|descriptor| [descriptor]);
    if let Some(descriptors) = &descriptors {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let parts = [IoSlice::new(bytes)];
    while let Err(error) = sendmsg(&socket, &parts, &mut control, SendFlags::NOSIGNAL) {
        if error != Errno::INTR {
            return Err(error.into());
        }
    }
    Ok(())
}

fn receive(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length = loop {
        let mut parts = [IoSliceMut::new(bytes)];
        match recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
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
    Ok((length, descriptor))
}
