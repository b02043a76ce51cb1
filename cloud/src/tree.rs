//! The tree: listings, the log, versions and trash, opened and checked.

use crate::client::Call;
use crate::native::Native;
use fs_core::{
    CloudError, CloudErrorKind, DriveInfo, Known, NodeId, Page, RemoteCommit, RemoteNode,
    RequestId, Rev, Timestamp, Version,
};
use protocol::codec::{decode, hex};
use protocol::limits::{
    OPS_PER_COMMIT, PAGE_COMMIT_NODES, PAGE_COMMITS, PAGE_NODES, TRASH_NODES, VERSIONS_LISTED,
};
use protocol::wire;

/// Nodes that one commit can touch: of each op the node, who had the name, and two parents.
const NODES_PER_COMMIT: usize = 4 * OPS_PER_COMMIT;

impl Native {
    pub(crate) async fn connect(&self) -> Result<DriveInfo, CloudError> {
        self.describe(self.path.clone()).await
    }

    pub(crate) async fn connect_again(&self, known: Known) -> Result<DriveInfo, CloudError> {
        let asked = format!("{}?epoch={}&known={}", self.path, known.epoch, known.newest.0);
        let fresh = known.epoch == 0;
        self.describe(if fresh { self.path.clone() } else { asked }).await
    }

    async fn describe(&self, path: String) -> Result<DriveInfo, CloudError> {
        let drive = self.client.call(Call::get(path), decode::<wire::Drive>).await?;
        if *drive.drive != self.sealer.drive {
            return Err(self.corrupt("the server answered for another drive"));
        }
        let before = self.epoch.swap(drive.epoch, std::sync::atomic::Ordering::Relaxed);
        if before != 0 && before != drive.epoch {
            // Revs are given anew, and chunks may be gone.
            self.bodies.clear();
            self.known.clear();
        }
        Ok(DriveInfo {
            epoch: drive.epoch,
            head: Rev(drive.head),
            used_bytes: drive.used_bytes,
            quota_bytes: drive.quota_bytes,
            common: drive.common.map(Rev),
        })
    }

    pub(crate) async fn snapshot(&self, after: Option<Vec<u8>>) -> Result<Page, CloudError> {
        let path = format!("{}/snapshot{}", self.path, after_query(after));
        self.page(path).await
    }

    pub(crate) async fn children(
        &self,
        dir: NodeId,
        after: Option<Vec<u8>>,
    ) -> Result<Page, CloudError> {
        let path = format!("{}/nodes/{}/children{}", self.path, hex(&dir.0), after_query(after));
        let page = self.page(path).await?;
        if page.nodes.iter().any(|node| node.parent != dir || !node.live) {
            return Err(self.corrupt("a folder's listing holds what is not in that folder"));
        }
        Ok(page)
    }

    pub(crate) async fn page(&self, path: String) -> Result<Page, CloudError> {
        let page = self.client.call(Call::get(path), decode::<wire::Page>).await?;
        let nodes = self.open_nodes(&page.nodes, PAGE_NODES)?;
        if nodes.is_empty() && page.next.is_some() {
            return Err(self.corrupt("a listing has an empty page and yet more to come"));
        }
        let next = page.next.map(|next| next.into_vec());
        Ok(Page { nodes, rev: Rev(page.rev), next })
    }

    pub(crate) async fn changes(&self, since: Rev) -> Result<(Vec<RemoteCommit>, Rev), CloudError> {
        let call = Call::get(format!("{}/changes?since={}", self.path, since.0));
        let page = self.client.call(call, decode::<wire::Changes>).await?;
        let nodes: usize = page.commits.iter().map(|commit| commit.nodes.len()).sum();
        if page.commits.len() > PAGE_COMMITS
            || (page.commits.len() > 1 && nodes > PAGE_COMMIT_NODES)
        {
            return Err(self.corrupt("a page of the log is over its limits"));
        }
        let mut last = since.0;
        let mut commits = Vec::with_capacity(page.commits.len());
        for entry in page.commits {
            if entry.rev <= last || entry.rev > page.head {
                return Err(self.corrupt("the log is out of order"));
            }
            last = entry.rev;
            let nodes = self.open_nodes(&entry.nodes, NODES_PER_COMMIT)?;
            commits.push(RemoteCommit {
                rev: Rev(entry.rev),
                request: RequestId(*entry.request),
                nodes,
            });
        }
        if commits.is_empty() && page.head > since.0 {
            return Err(self.corrupt("the log says that there is more and gives nothing"));
        }
        Ok((commits, Rev(page.head)))
    }

    pub(crate) async fn versions(&self, id: NodeId) -> Result<Vec<Version>, CloudError> {
        let call = Call::get(format!("{}/nodes/{}/versions", self.path, hex(&id.0)));
        let found = self.client.call(call, decode::<wire::Versions>).await?;
        if found.versions.len() > VERSIONS_LISTED {
            return Err(self.corrupt("a list of versions is over its limit"));
        }
        let mut versions = Vec::with_capacity(found.versions.len());
        for entry in found.versions {
            let head = match self.sealer.open_head(id, &entry.head) {
                Ok(head) => head,
                Err(refused) => {
                    let rev = entry.rev;
                    tracing::warn!(node = ?id, rev, "a version is left out of its list: {refused}");
                    continue;
                }
            };
            versions.push(Version {
                rev: Rev(entry.rev),
                size: head.size,
                mtime: Timestamp(head.mtime),
                stored: timestamp(entry.stored_ms),
                device: entry.device,
            });
        }
        Ok(versions)
    }

    pub(crate) async fn trash(&self) -> Result<Vec<RemoteNode>, CloudError> {
        let call = Call::get(format!("{}/trash", self.path));
        let page = self.client.call(call, decode::<wire::Page>).await?;
        self.open_nodes(&page.nodes, TRASH_NODES)
    }

    pub(crate) fn open_nodes(
        &self,
        nodes: &[wire::Node],
        most: usize,
    ) -> Result<Vec<RemoteNode>, CloudError> {
        if nodes.len() > most {
            return Err(self.corrupt("a list of nodes is over its limit"));
        }
        Ok(nodes.iter().map(|node| self.sealer.open_node(node)).collect())
    }

    /// An answer that no honest server gives.
    pub(crate) fn corrupt(&self, why: &str) -> CloudError {
        let drive = hex(&self.sealer.drive);
        let text = format!("drive {drive}: {why}; the server may be damaged: see its log");
        CloudError::new(CloudErrorKind::Corrupt, text)
    }
}

fn after_query(after: Option<Vec<u8>>) -> String {
    after.map(|after| format!("?after={}", hex(&after))).unwrap_or_default()
}

fn timestamp(ms: u64) -> Timestamp {
    Timestamp(i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000_000))
}
