//! What was: moments, folders of the past, what was done by whom, and devices.

use crate::client::Call;
use crate::native::Native;
use fs_core::{CloudError, NodeId, Page, RemoteNode, Rev, Timestamp};
use protocol::codec::{CBOR, decode, encode, hex};
use protocol::limits::{DEVICES_LISTED, OPS_PER_COMMIT, PAGE_COMMITS};
use protocol::wire;
use std::fmt::Write;

/// Nodes that one commit can touch: see `tree`.
const NODES_PER_COMMIT: usize = 4 * OPS_PER_COMMIT;
const NS_PER_MS: i64 = 1_000_000;

/// A point in the drive's history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// The last commit by then; 0: there was none yet.
    pub rev: Rev,
    /// When the store took that commit.
    pub stored: Timestamp,
}

/// Which activity is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ActivityQuery {
    /// By the store's clock, both ends included.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Only commits after this one: the `next` of the page before.
    pub after: Rev,
    /// Only what this device did, and only what happened to this node.
    pub device: Option<[u8; 16]>,
    pub node: Option<NodeId>,
}

/// A page of what was done, oldest first.
#[derive(Clone, PartialEq, Debug)]
pub struct Activity {
    pub entries: Vec<ActivityEntry>,
    /// More may follow this commit. `None`: this was all.
    pub next: Option<Rev>,
    /// What was done up to this commit is no longer known.
    pub log_from: Rev,
    pub head: Rev,
}

/// One commit, or what is of interest in it.
#[derive(Clone, PartialEq, Debug)]
pub struct ActivityEntry {
    pub rev: Rev,
    pub device: [u8; 16],
    /// What people call the device.
    pub label: String,
    pub stored: Timestamp,
    pub changes: Vec<NodeChange>,
}

/// A node before and after a commit.
#[derive(Clone, PartialEq, Debug)]
pub struct NodeChange {
    /// `None`: the commit created it, or its former state is no longer kept.
    pub before: Option<RemoteNode>,
    pub after: RemoteNode,
}

/// A device that has joined the drive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceInfo {
    pub id: [u8; 16],
    pub label: String,
    pub joined: Timestamp,
    pub revoked: Option<Timestamp>,
    /// Its last commit that the log still has.
    pub last: Option<Moment>,
    /// This device.
    pub own: bool,
}

impl Native {
    pub(crate) async fn moment(&self, time: Timestamp) -> Result<Moment, CloudError> {
        let path = format!("{}/at?time_ms={}", self.path, ms(time));
        let found = self.client.call(Call::get(path), decode::<wire::Moment>).await?;
        Ok(Moment { rev: Rev(found.rev), stored: timestamp(found.stored_ms) })
    }

    pub(crate) async fn children_at(
        &self,
        dir: NodeId,
        rev: Rev,
        after: Option<Vec<u8>>,
    ) -> Result<Page, CloudError> {
        let after = after.map(|after| format!("&after={}", hex(&after))).unwrap_or_default();
        let (path, dir_hex) = (&self.path, hex(&dir.0));
        let page =
            self.page(format!("{path}/nodes/{dir_hex}/children?rev={}{after}", rev.0)).await?;
        if page.nodes.iter().any(|node| node.parent != dir || !node.live) {
            return Err(self.corrupt("a folder's listing holds what was not in that folder"));
        }
        Ok(page)
    }

    pub(crate) async fn node_at(&self, id: NodeId, rev: Rev) -> Result<RemoteNode, CloudError> {
        let path = format!("{}/nodes/{}?rev={}", self.path, hex(&id.0), rev.0);
        let node = self.client.call(Call::get(path), decode::<wire::Node>).await?;
        if *node.id != id.0 {
            return Err(self.corrupt("another node came than was asked for"));
        }
        Ok(self.sealer.open_node(&node))
    }

    pub(crate) async fn activity(&self, asked: &ActivityQuery) -> Result<Activity, CloudError> {
        let mut path = format!("{}/activity?after={}", self.path, asked.after.0);
        // Writing to a string cannot fail.
        if let Some(since) = asked.since {
            let _ = write!(path, "&since_ms={}", ms(since));
        }
        if let Some(until) = asked.until {
            let _ = write!(path, "&until_ms={}", ms(until));
        }
        if let Some(device) = asked.device {
            let _ = write!(path, "&device={}", hex(&device));
        }
        if let Some(node) = asked.node {
            let _ = write!(path, "&node={}", hex(&node.0));
        }
        let found = self.client.call(Call::get(path), decode::<wire::Activity>).await?;
        if found.entries.len() > PAGE_COMMITS {
            return Err(self.corrupt("a page of activity is over its limits"));
        }
        let mut last = asked.after.0;
        let mut entries = Vec::with_capacity(found.entries.len());
        for entry in found.entries {
            if entry.rev <= last || entry.rev > found.head {
                return Err(self.corrupt("the activity is out of order"));
            }
            last = entry.rev;
            entries.push(self.open_entry(entry)?);
        }
        let next = found.next.map(Rev);
        if next.is_some_and(|next| next.0 < last || next <= asked.after) {
            return Err(self.corrupt("the activity goes in circles"));
        }
        let (log_from, head) = (Rev(found.log_from), Rev(found.head));
        Ok(Activity { entries, next, log_from, head })
    }

    fn open_entry(&self, entry: wire::ActivityEntry) -> Result<ActivityEntry, CloudError> {
        if entry.changes.len() > NODES_PER_COMMIT {
            return Err(self.corrupt("an entry of the activity is over its limits"));
        }
        let change = |change: &wire::NodeChange| NodeChange {
            before: change.before.as_ref().map(|node| self.sealer.open_node(node)),
            after: self.sealer.open_node(&change.after),
        };
        Ok(ActivityEntry {
            rev: Rev(entry.rev),
            device: *entry.device,
            label: entry.label,
            stored: timestamp(entry.stored_ms),
            changes: entry.changes.iter().map(change).collect(),
        })
    }

    pub(crate) async fn devices(&self) -> Result<Vec<DeviceInfo>, CloudError> {
        let call = Call::get(format!("{}/devices", self.path));
        let found = self.client.call(call, decode::<wire::Devices>).await?;
        if found.devices.len() > DEVICES_LISTED {
            return Err(self.corrupt("a list of devices is over its limit"));
        }
        let device = |entry: wire::DeviceEntry| DeviceInfo {
            id: *entry.id,
            label: entry.label,
            joined: timestamp(entry.joined_ms),
            revoked: entry.revoked_ms.map(timestamp),
            last: entry
                .last_rev
                .zip(entry.last_ms)
                .map(|(rev, ms)| Moment { rev: Rev(rev), stored: timestamp(ms) }),
            own: entry.own,
        };
        Ok(found.devices.into_iter().map(device).collect())
    }

    pub(crate) async fn revoke(&self, device: [u8; 16]) -> Result<(), CloudError> {
        let call = Call::delete(format!("{}/devices/{}", self.path, hex(&device)));
        self.client.bytes(call, CBOR).await.map(drop)
    }

    pub(crate) async fn purge(&self, nodes: &[NodeId]) -> Result<u64, CloudError> {
        let nodes = nodes.iter().map(|id| id.0.into()).collect();
        let call = Call::post(format!("{}/purge", self.path), encode(&wire::Purge { nodes }));
        Ok(self.client.call(call, decode::<wire::Purged>).await?.nodes)
    }
}

fn ms(time: Timestamp) -> i64 {
    time.0.div_euclid(NS_PER_MS).max(0)
}

fn timestamp(ms: u64) -> Timestamp {
    Timestamp(i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(NS_PER_MS))
}
