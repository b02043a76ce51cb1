//! The drive as a deterministic value: tree, handles, hydration, pending intent, uploads, merge.
//!
//! Two doors: [`Drive::handle`] lets events in, [`Drive::poll`] lets effects out. Time and the
//! random seed are arguments. There is no I/O, clock, thread, async, serde, errno or logging here,
//! and `no_std` makes that a compile error instead of a rule.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

mod attention;
mod attr;
mod brake;
mod change;
mod conflict;
mod control;
mod done;
mod drive;
mod effect;
mod error;
mod event;
mod faults;
mod handles;
mod held;
mod hydration;
mod ident;
mod ids;
mod ignore;
mod inbox;
mod jobs;
mod links;
mod merge;
mod name;
mod node;
mod ops;
mod outcome;
mod passing;
mod passthrough;
mod pins;
mod place;
mod plan;
mod ranges;
mod reconcile;
mod remote;
mod request;
mod resend;
mod settle;
mod siblings;
mod time;
mod tree;
mod twins;
mod uploads;

pub use attr::{Attr, Attrs, Kind, SetAttrs, SetTime, Xattrs};
pub use change::{Change, Flight, FlightItem, Hold};
pub use control::{
    Answer, Command, FileState, FileStatus, HeldItem, Keep, OpenConflict, Path, PathStatus, Side,
    Status,
};
pub use drive::Drive;
pub use effect::{Cloud, Effect, Local, Stale};
pub use error::FsError;
pub use event::{Event, Limits, Measure, Outcome, Recovered};
pub use ids::{HandleId, Ino, Job, NodeId, RequestId, Rev, Seq, Ticket};
pub use ignore::{Matcher, RULES_NAME, Rules};
pub use name::{NAME_MAX, Name};
pub use node::{ContentRow, Loaded, NodeRow, Origin, Pending};
pub use ranges::{Range, Ranges};
pub use remote::{
    CloudError, CloudErrorKind, ContentRef, Draft, DriveInfo, Group, GroupOutcome, Known, Op, Page,
    RemoteCommit, RemoteNode, StageBase, StageItem, Version,
};
pub use request::{
    CreateSpec, DirEntry, OpenFlags, Owner, RenameFlags, Request, Response, StatFs, Via,
};
pub use time::{Mono, Now, Timestamp};
