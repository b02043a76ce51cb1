//! What editors do when they save, a step at a time while other things go on; and people who decide
//! conflicts.

use super::{Asked, User, ask, child, name, payload, random_len};
use crate::device::Device;
use crate::random::Random;
use fs_core::{Command, HandleId, Ino, Keep, Name, OpenFlags, Owner, RenameFlags, Request, Ticket};

/// A save under way.
pub(crate) struct Save {
    dir: Ino,
    name: Name,
    /// The old file moves aside first; else the new one is moved over it.
    keeps_backup: bool,
    step: usize,
    asked: Ticket,
}

fn legal(text: &[u8]) -> Name {
    Name::new(text).expect("legal")
}

fn beside(name: &Name, end: &[u8]) -> Name {
    legal(&[name.as_bytes(), end].concat())
}

fn move_to(dir: Ino, from: &Name, to: &Name) -> Request {
    let flags = RenameFlags::default();
    Request::Rename { from: (dir, from.clone()), to: (dir, to.clone()), flags }
}

/// Says whether it did anything.
pub(super) fn act(device: &mut Device, user: &mut User, random: &mut Random, dir: Ino) -> bool {
    if user.save.is_some() && random.chance(40) {
        go_on(device, user, random);
    } else if random.chance(4) {
        begin(user, random, dir);
    } else if random.chance(3) {
        let Some((request, asked)) = resolve(device, random) else { return false };
        ask(device, user, request, asked);
    } else {
        return false;
    }
    true
}

fn begin(user: &mut User, random: &mut Random, dir: Ino) {
    let keeps_backup = random.chance(40);
    let save = Save { dir, name: name(random), keeps_backup, step: 0, asked: Ticket(0) };
    user.save = user.save.take().or(Some(save));
}

/// Goes on with the save, once its last step was answered.
fn go_on(device: &mut Device, user: &mut User, random: &mut Random) {
    let Some(mut save) = user.save.take() else { return };
    if user.asked.contains_key(&save.asked) {
        user.save = Some(save);
        return;
    }
    let (fresh, backup) = (beside(&save.name, b".new"), beside(&save.name, b"~"));
    let made = if save.keeps_backup { save.name.clone() } else { fresh };
    save.step += 1;
    let (request, asked) = match save.step {
        1 if save.keeps_backup => {
            (move_to(save.dir, &save.name, &backup), forget(device, user, (save.dir, &backup)))
        }
        1 => return go_on_with(device, user, random, save),
        2 => create(user, random, save.dir, made),
        3 => match open(device, user, save.dir, &made) {
            // Not before its bytes are written.
            Some(Err(())) => {
                save.step -= 1;
                user.save = Some(save);
                return;
            }
            Some(Ok((ino, handle))) => (Request::Release { ino, handle }, Asked::Other),
            None => return,
        },
        4 if save.keeps_backup => {
            let asked = forget(device, user, (save.dir, &backup));
            (Request::Unlink { parent: save.dir, name: backup }, asked)
        }
        4 => (move_to(save.dir, &made, &save.name), forget(device, user, (save.dir, &save.name))),
        _ => return,
    };
    save.asked = ask(device, user, request, asked);
    user.save = Some(save);
}

fn go_on_with(device: &mut Device, user: &mut User, random: &mut Random, save: Save) {
    user.save = Some(save);
    go_on(device, user, random);
}

fn create(user: &User, random: &mut Random, parent: Ino, name: Name) -> (Request, Asked) {
    let flags = OpenFlags { read: true, write: true, exclusive: true, ..OpenFlags::default() };
    let len = random_len(random);
    let data = Some(payload(user, random, len));
    let owner = Owner::default();
    (Request::Create { parent, name, mode: 0o644, owner, flags }, Asked::Create { data, flags })
}

/// The handle of the new file, taken from its user; `Err` while it is being written.
fn open(
    device: &Device,
    user: &mut User,
    dir: Ino,
    name: &Name,
) -> Option<Result<(Ino, HandleId), ()>> {
    let ino = child(device, dir, name)?;
    if user.busy.contains(&ino) {
        return Some(Err(()));
    }
    let handle = user.handles.remove(&ino)?;
    user.closed(handle);
    Some(Ok((ino, handle)))
}

/// What is at that place goes on purpose.
fn forget(device: &Device, user: &mut User, (dir, name): (Ino, &Name)) -> Asked {
    if let Some(ino) = child(device, dir, name) {
        user.forget_tokens(ino, 0, u64::MAX);
    }
    Asked::Remove
}

/// Somebody decides a conflict.
fn resolve(device: &Device, random: &mut Random) -> Option<(Request, Asked)> {
    let copies: Vec<Ino> = device
        .drive
        .nodes()
        .filter(|(row, _)| row.is_conflict_copy())
        .map(|(row, _)| row.ino)
        .collect();
    let path = path(device, *random.pick(&copies)?)?;
    let keep = [Keep::Copy, Keep::Kept, Keep::Both][random.below(3)];
    Some((Request::Control(Command::Resolve(path, keep)), Asked::Other))
}

fn path(device: &Device, ino: Ino) -> Option<Vec<Name>> {
    let mut names = Vec::new();
    let mut at = ino;
    while at != Ino::ROOT {
        let (row, _) = device.drive.nodes().find(|(row, _)| row.ino == at)?;
        names.push(row.name.clone());
        at = row.parent;
    }
    names.reverse();
    Some(names)
}
