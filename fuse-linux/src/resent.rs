//! Requests that come again because the daemon died before it had answered them. They may have been
//! carried out: what was asked for is then there already, and the answer is success.
//!
//! While one of these requests is under way, the kernel holds the lock of the directories it names, and
//! it has looked at the names first: it asks for a new name only where there was none, and for the
//! removal of a name only where there was one. So a name that is there (or gone) when the request comes
//! again is that request's own doing.

use crate::answer::{self, Answer, Refuse};
use crate::door::Door;
use crate::reattach::is_resent;
use fs_core::{Attr, CreateSpec, FsError, Ino, Kind, Name, Request as Ask, Response};
use fuser::{ReplyEmpty, ReplyEntry, Request};

/// As [`answer::done`]; for a request that came again, `moot` says that it was carried out before.
pub(crate) fn done(
    request: &Request,
    moot: FsError,
    reply: ReplyEmpty,
) -> impl FnOnce(Answer) + Send + use<> {
    let again = is_resent(request);
    move |answer| match answer {
        Err(error) if again && error == moot => reply.ok(),
        other => answer::done(reply)(other),
    }
}

/// The answer to making `name`: a node of the wanted kind that has the name already is the one.
pub(crate) fn make(
    request: &Request,
    door: &Door,
    (parent, name): (Ino, Name),
    spec: CreateSpec,
    reply: ReplyEntry,
) {
    let is_wanted = wanted(&spec);
    let make = Ask::Make { parent, name: name.clone(), spec };
    named(is_resent(request), door, make, ((parent, name), is_wanted), reply);
}

/// The answer to giving `node` a further name: when the name is its own already, it was done.
pub(crate) fn link(
    request: &Request,
    door: &Door,
    node: Ino,
    (parent, name): (Ino, Name),
    reply: ReplyEntry,
) {
    let link = Ask::Link { ino: node, parent, name: name.clone() };
    let is_wanted = move |attr: &Attr| attr.ino == node;
    named(is_resent(request), door, link, ((parent, name), is_wanted), reply);
}

/// Asks for a new name. If it came again and the name is there, what has it may be what is wanted.
fn named(
    again: bool,
    door: &Door,
    ask: Ask,
    ((parent, name), is_wanted): ((Ino, Name), impl Fn(&Attr) -> bool + Send + 'static),
    reply: ReplyEntry,
) {
    let next = door.clone();
    door.submit(ask, move |answer| match answer {
        Err(FsError::Exists) if again => {
            next.submit(Ask::Lookup { parent, name }, move |found| match found {
                Ok(Response::Entry(attr)) if is_wanted(&attr) => {
                    answer::entry(reply)(Ok(Response::Entry(attr)));
                }
                _ => reply.error(fuser::Errno::EEXIST),
            });
        }
        answer => answer::entry(reply)(answer),
    });
}

fn wanted(spec: &CreateSpec) -> impl Fn(&Attr) -> bool + Send + use<> {
    let (kind, target) = (spec.kind, spec.target.len() as u64);
    move |attr| attr.kind == kind && (kind != Kind::Symlink || attr.size == target)
}

/// The answer to a rename to `to`: when the old name is gone and the new one is there, it was done.
pub(crate) fn renamed(
    request: &Request,
    door: &Door,
    to: (Ino, Name),
    reply: ReplyEmpty,
) -> impl FnOnce(Answer) + Send + use<> {
    let again = is_resent(request).then(|| (door.clone(), to));
    move |answer| match (answer, again) {
        (Err(FsError::NotFound), Some((door, (parent, name)))) => {
            let back = door.clone();
            door.submit(Ask::Lookup { parent, name }, move |found| match found {
                Ok(Response::Entry(attr)) => {
                    // The kernel does not learn of this lookup.
                    let forget = Ask::Forget { ino: attr.ino, count: 1 };
                    back.submit(forget, answer::forgotten(attr.ino));
                    reply.ok();
                }
                _ => Refuse::error(reply, FsError::NotFound),
            });
        }
        (answer, _) => answer::done(reply)(answer),
    }
}

/// The answer to setting a new attribute: one that has the value already was set.
pub(crate) fn attribute_set(
    request: &Request,
    door: &Door,
    (ino, name, value): (Ino, Vec<u8>, Vec<u8>),
    reply: ReplyEmpty,
) -> impl FnOnce(Answer) + Send + use<> {
    let (again, uid) = (is_resent(request).then(|| door.clone()), request.uid());
    move |answer| match (answer, again) {
        (Err(FsError::Exists), Some(door)) => {
            door.submit(Ask::Getxattr { ino, name, uid }, move |found| match found {
                Ok(Response::Xattr(there)) if there == value => reply.ok(),
                _ => Refuse::error(reply, FsError::Exists),
            });
        }
        (answer, _) => answer::done(reply)(answer),
    }
}
