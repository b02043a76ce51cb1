//! The answers to what was asked, and whether they are right.

use super::{Asked, User, ask, put_unseen, write_at};
use crate::device::Device;
use fs_core::{Attr, FsError, HandleId, Ino, OpenFlags, Pending, Response, Ticket, Via};

/// Whether the node is in the tree, as far as memory tells (files with local bytes always are).
pub(super) fn is_placed(device: &Device, ino: Ino) -> bool {
    device.drive.nodes().any(|(row, _)| row.ino == ino && row.parent != Ino::NONE)
}

/// Takes in the answers and judges them.
pub(crate) fn listen(device: &mut Device, user: &mut User) -> Result<(), String> {
    while let Some(stale) = device.stale.pop_front() {
        if let fs_core::Stale::Data(ino) = stale {
            user.shadow.remove(&ino);
        }
    }
    while let Some((ticket, result)) = device.replies.pop_front() {
        let asked = user.asked.remove(&ticket).ok_or("a ticket answered twice")?;
        judge(device, user, (ticket, asked), result)?;
    }
    user.broken.take().map_or(Ok(()), Err)
}

/// What was read must be what this user wrote, as far as that is known.
pub(super) fn judge_read(
    device: &Device,
    user: &User,
    (ino, offset, len): (Ino, u64, u64),
    result: Result<Response, FsError>,
) -> Result<(), String> {
    let (Ok(Response::Data(bytes)), Some(shadow)) = (result, user.shadow.get(&ino)) else {
        return Ok(());
    };
    let start = (offset as usize).min(shadow.len());
    let end = (start + len as usize).min(shadow.len());
    if bytes == shadow[start..end] {
        return Ok(());
    }
    let (number, ino) = (device.number, ino.0);
    Err(format!("device {number}: inode {ino} read {start}..{end}: not what was written"))
}

/// Reads of a file that is not changed here must all be of one version.
fn remember_read(
    device: &Device,
    user: &mut User,
    (ino, handle, offset, len): (Ino, HandleId, u64, u64),
    result: &Result<Response, FsError>,
) {
    let Some(history) = user.reading.get_mut(&handle) else { return };
    let local = Pending::CREATE.with(Pending::CONTENT);
    history.mixed |= device.drive.nodes().any(|(row, content)| {
        let changed = row.pending.has(local)
            || content.is_some_and(|content| content.blind || !content.dirty.is_empty());
        row.ino == ino && changed
    });
    if let Ok(Response::Data(bytes)) = result {
        history.reads.push((offset, len, bytes.clone()));
    }
}

/// The copy has what this user knows of the source.
fn judge_copy(
    user: &mut User,
    (from, from_offset): (Ino, u64),
    (to, to_offset): (Ino, u64),
    len: u64,
    result: &Result<Response, FsError>,
) {
    user.busy.remove(&from);
    user.busy.remove(&to);
    let Ok(Response::Written(count)) = result else {
        user.shadow.remove(&to);
        return;
    };
    assert!(u64::from(*count) <= len, "more copied than asked for");
    let start = from_offset as usize;
    let known =
        user.shadow.get(&from).and_then(|shadow| shadow.get(start..start + *count as usize));
    match known.map(<[u8]>::to_vec) {
        Some(bytes) if !bytes.is_empty() => user.write_shadow(to, to_offset as usize, &bytes),
        Some(_) => {}
        None => {
            user.shadow.remove(&to);
        }
    }
}

/// A new file, with its first bytes.
fn created(
    device: &mut Device,
    user: &mut User,
    (data, flags): (Option<Vec<u8>>, OpenFlags),
    (attr, handle, via): (Attr, HandleId, Via),
) {
    let ino = attr.ino;
    // An open that came later may have been answered first.
    let busy = user.busy.contains(&ino) || user.handles.contains_key(&ino);
    user.opened(ino, handle, flags, via);
    // Somebody may have given it a length meanwhile.
    if busy || attr.size > 0 {
        user.shadow.remove(&ino);
    } else {
        user.shadow.insert(ino, Vec::new());
    }
    if let Some(data) = data.clone().filter(|_| via != Via::Core && !busy) {
        put_unseen(device, user, ino, (0, data));
    } else if let Some(data) = data.filter(|_| via == Via::Core) {
        let (request, asked) = write_at(user, ino, handle, 0, data);
        ask(device, user, request, asked);
    }
}

fn judge(
    device: &mut Device,
    user: &mut User,
    (ticket, asked): (Ticket, Asked),
    result: Result<Response, FsError>,
) -> Result<(), String> {
    match (asked, result) {
        (Asked::Create { data, flags }, Ok(Response::Created { attr, handle, via })) => {
            created(device, user, (data, flags), (attr, handle, via));
        }
        (Asked::Open { flags }, result) => {
            if let Some(ino) = user.opening.remove(&ticket) {
                user.busy.remove(&ino);
                if let Ok(Response::Opened { handle, via, .. }) = result {
                    user.opened(ino, handle, flags, via);
                    if flags.truncate {
                        user.shadow.insert(ino, Vec::new());
                    }
                } else if flags.truncate {
                    user.shadow.remove(&ino);
                }
            }
        }
        (Asked::Write { ino, offset, token, data }, result) => {
            user.busy.remove(&ino);
            if result.is_ok() {
                if is_placed(device, ino) {
                    user.tokens.entry(ino).or_default().push((offset, token));
                }
                user.write_shadow(ino, offset as usize, &data);
            } else {
                user.shadow.remove(&ino);
            }
        }
        (Asked::Truncate { ino, size }, result) => {
            user.busy.remove(&ino);
            match (result, user.shadow.get_mut(&ino)) {
                (Ok(_), Some(shadow)) => shadow.resize(size as usize, 0),
                _ => {
                    user.shadow.remove(&ino);
                }
            }
        }
        (Asked::Copy { from, to, len }, result) => judge_copy(user, from, to, len, &result),
        (Asked::Read { ino, handle, offset, len }, result) => {
            user.busy.remove(&ino);
            remember_read(device, user, (ino, handle, offset, len), &result);
            judge_read(device, user, (ino, offset, len), result)?;
        }
        (Asked::Barrier(promised), Ok(_)) => user.promised.push(promised),
        (Asked::Remove, _) => {
            // What was removed here on purpose need not be kept.
            let mut tokens = std::mem::take(&mut user.tokens);
            tokens.retain(|ino, _| is_placed(device, *ino));
            user.tokens = tokens;
        }
        _ => {}
    }
    Ok(())
}
