//! A mounted drive as the daemon holds it.

use super::{driver::Mount, keeper::Keeper, pace::Pace};
use crate::dirs::Label;
use cache::LocalStore;
use cloud::{CloudStore, NativeStore, Throttled};
use engine::{Engine, Port};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use tokio::sync::Notify;

pub(crate) struct Drive {
    pub(crate) label: Label,
    pub(crate) mountpoint: PathBuf,
    pub(crate) port: Port,
    pub(crate) engine: Engine,
    pub(crate) mount: Mount,
    pub(crate) local: Arc<dyn LocalStore>,
    pub(crate) cloud: Arc<dyn CloudStore>,
    /// Parts of `cloud`.
    pub(crate) native: Arc<NativeStore>,
    pub(crate) throttled: Arc<Throttled>,
    pub(crate) link: Link,
    pub(crate) pace: Pace,
    /// One unmount at a time.
    pub(crate) unmounting: tokio::sync::Mutex<()>,
    /// Rung when an unmount was asked for and done.
    pub(crate) quit: Notify,
    pub(crate) keeper: Keeper,
    /// Rung when a new daemon shall take over.
    pub(crate) again: Notify,
}

/// Since when the store is out of reach.
#[derive(Default)]
pub(crate) struct Link(Mutex<Option<Instant>>);

impl Link {
    /// Notes what was seen; seconds offline, if it is.
    pub(crate) fn seen(&self, online: bool) -> Option<u64> {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if online {
            *since = None;
            return None;
        }
        Some(since.get_or_insert_with(Instant::now).elapsed().as_secs())
    }
}
