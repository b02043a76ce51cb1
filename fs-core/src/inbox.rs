//! News from the cloud: the connection, the feed, listings. News is applied strictly in order, one
//! item at a time, and never while a commit of our own is on its way.

use crate::drive::Drive;
use crate::faults::Wake;
use crate::jobs::Work;
use crate::reconcile::Reconcile;
use crate::{
    Change, Cloud, CloudError, CloudErrorKind, DriveInfo, FsError, Ino, Known, Loaded, Local, Mono,
    NodeId, Page, RemoteCommit, RemoteNode, Rev,
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
    format,
    string::{String, ToString},
    vec::Vec,
};

/// Milliseconds between attempts to connect.
const RECONNECT_MS: u64 = 2_000;
/// The same while there is no link.
const RECONNECT_AWAY_MS: u64 = 30_000;
/// News held in memory; the feed is asked for more when it is worked off.
const NEWS_MAX: usize = 4;

/// One piece of news.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum News {
    Commit(RemoteCommit),
    /// A page of a directory, or of the snapshot (`None`).
    Page(Option<NodeId>, Page),
}

impl News {
    fn nodes(&self) -> &[RemoteNode] {
        match self {
            News::Commit(commit) => &commit.nodes,
            News::Page(_, page) => &page.nodes,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Inbox {
    /// The feed has been applied up to here.
    pub(crate) applied: Rev,
    /// The newest commit that the store has spoken of; unlike `head` never a guess.
    newest: Rev,
    pub(crate) head: Rev,
    pub(crate) epoch: u64,
    pub(crate) complete: bool,
    pub(crate) online: bool,
    /// The store can be reached; it is online when it has also said that it is the one that is known.
    link: bool,
    /// The last definite word of the store was that this device, or its drive, is not known there.
    pub(crate) refused: bool,
    pub(crate) info: Option<DriveInfo>,
    pub(crate) trouble: String,
    news: VecDeque<News>,
    loading: bool,
    loaded: bool,
    asking: bool,
    connecting: bool,
    /// Which attempt to connect counts.
    attempt: u32,
    frozen: bool,
    snapshotting: bool,
    /// Which run of pages of the whole tree counts.
    run: u32,
    next_try: Option<Mono>,
    listing: BTreeSet<NodeId>,
    /// Nodes whose removal was applied while a listing was on its way, with the rev of the removal.
    graves: BTreeMap<NodeId, Rev>,
    pub(crate) twins: crate::twins::Twins,
    /// Coming into step by the whole tree.
    pub(crate) reconcile: Option<Reconcile>,
}

impl Inbox {
    pub(crate) fn new(applied: Rev, epoch: u64, complete: bool) -> Inbox {
        Inbox {
            applied,
            newest: applied,
            head: applied,
            epoch,
            complete,
            online: false,
            link: false,
            refused: false,
            info: None,
            trouble: String::new(),
            news: VecDeque::new(),
            loading: false,
            loaded: false,
            asking: false,
            connecting: false,
            attempt: 0,
            frozen: false,
            snapshotting: false,
            run: 0,
            next_try: None,
            listing: BTreeSet::new(),
            graves: BTreeMap::new(),
            twins: crate::twins::Twins::default(),
            reconcile: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.news.is_empty() && !self.asking
    }

    /// Rows were loaded for the next piece of news: they must stay in memory until it is applied.
    pub(crate) fn holds_rows(&self) -> bool {
        self.loaded
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.info.is_some()
    }

    /// The cloud is known to be ahead of what is applied here.
    pub(crate) fn is_behind(&self) -> bool {
        self.head > self.applied
    }

    /// Nothing is sent: the store is not the one that was known, or it is not known yet what it lacks.
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen || self.reconcile.is_some()
    }

    pub(crate) fn freeze(&mut self, why: String) {
        self.frozen = true;
        self.trouble = why;
    }

    /// News of the log waits; what is queued of it came from another position.
    pub(crate) fn begin_reconcile(&mut self, reconcile: Reconcile) {
        if !reconcile.is_same_store() {
            self.graves.clear(); // their revs are of a past that is gone
        }
        self.news.clear();
        self.loaded = false;
        self.frozen = false;
        self.snapshotting = false;
        self.run += 1; // pages that are on their way belong to another one
        self.trouble = "catching up by the whole tree of the store".to_string();
        self.reconcile = Some(reconcile);
    }

    pub(crate) fn end_reconcile(&mut self) -> Option<Reconcile> {
        let done = self.reconcile.take()?;
        self.trouble.clear();
        (self.head, self.newest) = (Rev(0), Rev(0));
        Some(done)
    }

    /// Bytes that are clean here may be missing in the store, or out of reach for good.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.frozen || self.refused || self.is_restored()
    }

    /// The store was restored from a backup, and what it lacks is being found out.
    pub(crate) fn is_restored(&self) -> bool {
        self.reconcile.as_ref().is_some_and(|reconcile| !reconcile.is_same_store())
    }

    /// The number of a new run of pages; `None`: they are on their way already.
    pub(crate) fn begin_snapshot(&mut self) -> Option<u32> {
        if core::mem::replace(&mut self.snapshotting, true) {
            return None;
        }
        self.run += 1;
        Some(self.run)
    }

    /// More is to be done at the next event.
    pub(crate) fn go_on(&mut self, now: crate::Now) {
        self.next_try = Some(now.mono);
    }

    /// The tree, or what it says of this device, is not wholly known.
    fn wants_tree(&self) -> bool {
        let is_walking = self.reconcile.as_ref().is_some_and(Reconcile::is_walking);
        !self.frozen && !is_walking && (!self.complete || self.reconcile.is_some())
    }

    pub(crate) fn heard(&mut self, head: Rev) {
        self.head = self.head.max(head);
        self.newest = self.newest.max(head);
    }

    /// Something was refused: the feed must know why.
    pub(crate) fn refresh(&mut self) {
        self.head = self.head.max(Rev(self.applied.0 + 1));
    }

    pub(crate) fn retry_later(&mut self, now: crate::Now) {
        self.next_try = Some(now.mono.plus_millis(RECONNECT_MS));
    }

    pub(crate) fn next_try(&self) -> Option<Mono> {
        self.next_try
    }

    pub(crate) fn buried(&self, id: NodeId) -> Option<Rev> {
        self.graves.get(&id).copied()
    }

    pub(crate) fn bury(&mut self, id: NodeId, rev: Rev) {
        if self.snapshotting || !self.listing.is_empty() {
            self.graves.insert(id, rev);
        }
    }

    fn listing_ended(&mut self, dir: Option<NodeId>) {
        match dir {
            Some(dir) => {
                self.listing.remove(&dir);
            }
            None => self.snapshotting = false,
        }
        if !self.snapshotting && self.listing.is_empty() {
            self.graves.clear();
        }
    }
}

impl Drive {
    pub(crate) fn connect(&mut self) {
        if !self.inbox.connecting {
            self.inbox.connecting = true;
            self.inbox.attempt += 1;
            self.inbox.next_try = None;
            let known = Known { epoch: self.inbox.epoch, newest: self.inbox.newest };
            self.cloud(Work::Connect(self.inbox.attempt), Cloud::Connect(known));
        }
    }

    pub(crate) fn connected(&mut self, attempt: u32, result: Result<DriveInfo, CloudError>) {
        if attempt != self.inbox.attempt {
            return; // it was given up for a newer one
        }
        self.inbox.connecting = false;
        match result {
            Ok(info) => self.welcome(info),
            Err(error) => {
                self.inbox.online = false;
                self.turned_away(&error);
                // Without a link the next one is awaited: its news tells at once.
                let wait = if self.inbox.link { RECONNECT_MS } else { RECONNECT_AWAY_MS };
                let asked = error.retry_after.map_or(0, |asked| asked.0 / 1_000_000);
                self.inbox.next_try = Some(self.now.mono.plus_millis(wait.max(asked)));
            }
        }
    }

    fn welcome(&mut self, info: DriveInfo) {
        let fresh = self.inbox.applied == Rev(0) && self.inbox.epoch == 0;
        if fresh {
            self.inbox.epoch = info.epoch;
            self.inbox.applied = info.head;
            self.commit(Change::Cursor { rev: info.head, epoch: info.epoch });
        } else if info.epoch != self.inbox.epoch || info.head < self.inbox.applied {
            self.another_state(&info);
        }
        self.inbox.heard(info.head);
        self.inbox.info = Some(info);
        self.inbox.refused = false;
        self.inbox.link = true;
        self.come_online();
        self.want_tree();
    }

    fn want_tree(&mut self) {
        if self.inbox.wants_tree() {
            self.take_snapshot();
        }
    }

    pub(crate) fn head_moved(&mut self, head: Rev) {
        let went_back = head < self.inbox.applied && self.inbox.is_connected();
        self.inbox.heard(head);
        if !self.inbox.online {
            self.link_changed(Ok(()));
        } else if went_back && !self.inbox.is_frozen() {
            self.connect(); // it says what became of it
        }
    }

    /// What comes back may be another store than the one that was lost: it is asked first.
    pub(crate) fn link_changed(&mut self, up: Result<(), CloudError>) {
        self.inbox.link = up.is_ok();
        let was = self.inbox.online;
        if let Err(why) = &up
            && !self.inbox.is_frozen()
        {
            self.turned_away(why);
        }
        if up.is_ok() && !was {
            // An attempt from before may wait for long.
            self.inbox.connecting = false;
            self.connect();
        } else if up.is_err() && was {
            self.inbox.online = false;
            // Its answer says why, if it gives one: a device may have been sent away. One that was asked
            // for before the loss says nothing about now.
            self.inbox.connecting = false;
            self.connect();
        }
    }

    fn come_online(&mut self) {
        if !self.inbox.is_frozen() {
            self.inbox.trouble.clear();
        }
        if !core::mem::replace(&mut self.inbox.online, true) {
            self.uploads_online();
            self.retry_remote();
            self.pins.resume();
        }
    }

    /// Makes a directory's listing whole in memory.
    pub(crate) fn want_listing(&mut self, dir: Ino) -> Result<(), FsError> {
        let Some(inode) = self.tree.get(dir) else { return Err(FsError::Stale) };
        if !inode.loaded {
            self.load_dir(dir);
            return Ok(());
        }
        let id = inode.row.id;
        let known = self.is_listed(inode);
        if !known && self.inbox.online && self.inbox.listing.insert(id) {
            self.cloud(Work::Children { dir: id }, Cloud::Children { dir: id, after: None });
        }
        Ok(())
    }

    pub(crate) fn children_arrived(&mut self, dir: NodeId, result: Result<Page, CloudError>) {
        match result {
            Ok(page) => self.inbox.news.push_back(News::Page(Some(dir), page)),
            Err(error) => {
                self.inbox.listing_ended(Some(dir));
                let fs = match error.kind {
                    CloudErrorKind::Offline | CloudErrorKind::Retry => FsError::Offline,
                    CloudErrorKind::Denied => FsError::Denied,
                    _ => FsError::Io,
                };
                self.note(format!("listing {dir:?}: {}", error.message));
                if let Some(ino) = self.tree.by_id(dir).map(|inode| inode.row.ino) {
                    self.fail_waiting(Wake::Listing(ino), fs);
                }
            }
        }
    }

    pub(crate) fn snapshot_arrived(&mut self, run: u32, result: Result<Page, CloudError>) {
        match result {
            _ if run != self.inbox.run => {}
            Ok(page) => self.inbox.news.push_back(News::Page(None, page)),
            Err(error) => {
                self.inbox.listing_ended(None);
                self.note(format!("snapshot: {}", error.message));
                self.inbox.next_try = Some(self.now.mono.plus_millis(RECONNECT_MS));
            }
        }
    }

    pub(crate) fn changes_arrived(&mut self, result: Result<(Vec<RemoteCommit>, Rev), CloudError>) {
        self.inbox.asking = false;
        match result {
            _ if self.inbox.reconcile.is_some() => {}
            Ok((commits, head)) => {
                let nodes = commits.iter().map(|commit| commit.nodes.len()).sum();
                if let Some(last) = commits.last().map(|commit| commit.rev)
                    && self.is_long_log(last, commits.len(), nodes)
                {
                    self.inbox.heard(head);
                    return self.skip_log("much was changed while this device was away");
                }
                if commits.is_empty() {
                    // Nothing new after all (`refresh` only guessed).
                    self.inbox.head = head.max(self.inbox.applied);
                }
                self.inbox.heard(head);
                self.inbox.news.extend(commits.into_iter().map(News::Commit));
            }
            Err(error) if error.kind == CloudErrorKind::Gone => {
                self.skip_log(
                    "this device was away for longer than the log of the store goes back",
                );
            }
            Err(error) => {
                self.inbox.trouble = error.message.to_string();
                self.inbox.next_try = Some(self.now.mono.plus_millis(RECONNECT_MS));
            }
        }
    }

    /// Works off news and asks for more, as far as that is possible now.
    pub(crate) fn advance_inbox(&mut self) {
        if self.inbox.next_try.is_some_and(|at| at <= self.now.mono) {
            self.inbox.next_try = None;
            self.try_again();
        }
        if self.hydration.retry_at.is_some_and(|at| at <= self.now.mono) {
            self.retry_remote();
        }
        while !self.uploads.is_committing() && !self.inbox.frozen && !self.inbox.loading {
            let Some(news) = self.inbox.news.front().cloned() else { break };
            if !self.inbox.loaded && self.load_for(&news) {
                break;
            }
            self.weigh(news.nodes());
            self.adopt_saved(news.nodes());
            if self.compare_twins(news.nodes()) {
                break;
            }
            self.inbox.loaded = false;
            self.inbox.news.pop_front();
            self.apply_news(news);
            self.inbox.twins.clear();
        }
        self.advance_reconcile();
        let room = self.inbox.news.len() < NEWS_MAX;
        // While a commit is out the head is most likely our own: its outcome will tell.
        let idle =
            !self.inbox.asking && self.inbox.next_try.is_none() && !self.uploads.is_committing();
        if self.inbox.is_behind()
            && room
            && idle
            && self.inbox.online
            && !self.inbox.is_frozen()
            && !self.inbox.news.iter().any(|news| matches!(news, News::Commit(_)))
        {
            self.inbox.asking = true;
            self.cloud(Work::Changes, Cloud::Changes { since: self.inbox.applied });
        }
    }

    fn try_again(&mut self) {
        if !self.inbox.is_connected() || self.inbox.link && !self.inbox.online {
            self.connect();
        } else if self.inbox.online {
            self.want_tree();
        }
    }

    /// Starts loading the rows that a piece of news speaks of, if some may be in the local store
    /// only. Says whether it did.
    fn load_for(&mut self, news: &News) -> bool {
        let nodes = news.nodes();
        let mut ids: BTreeSet<NodeId> = nodes.iter().map(|node| node.id).collect();
        ids.extend(nodes.iter().map(|node| node.parent));
        // Hard links go with what they name.
        ids.extend(nodes.iter().filter_map(|node| node.link_target()));
        for id in ids.clone() {
            ids.extend(self.tree.links.shown(id).map(|(_, link)| link));
        }
        // Where nodes that were moved or removed here would go back to.
        for id in ids.clone() {
            ids.extend(self.homes(id));
        }
        ids.retain(|id| self.tree.by_id(*id).is_none());
        if ids.is_empty() {
            return false;
        }
        self.inbox.loading = true;
        self.tree.begin_load(None);
        self.local(Work::LoadInbox, Local::LoadIds(ids.into_iter().collect()));
        true
    }

    /// The directories in the cloud above a node that has no place here, as far as they are known.
    fn homes(&self, id: NodeId) -> Vec<NodeId> {
        let mut homes = Vec::new();
        let mut at = id;
        while let Some(inode) = self.tree.by_id(at) {
            let Some(origin) = &inode.row.origin else { break };
            if homes.contains(&origin.parent) {
                break;
            }
            homes.push(origin.parent);
            at = origin.parent;
        }
        homes
    }

    pub(crate) fn inbox_loaded(&mut self, rows: Result<Vec<Loaded>, FsError>) {
        self.inbox.loading = false;
        self.tree.end_load(None, false);
        match rows {
            Ok(rows) => {
                self.adopt_rows(rows);
                self.inbox.loaded = true;
            }
            Err(error) => self.freeze(&format!("the local index cannot be read: {error}")),
        }
    }

    fn apply_news(&mut self, news: News) {
        match news {
            News::Commit(commit) => {
                if commit.rev <= self.inbox.applied {
                    return;
                }
                self.merge_commit(&commit);
                self.advance_cursor(commit.rev);
                self.wake_targets(&commit.nodes);
            }
            News::Page(dir, page) => self.apply_page(dir, &page),
        }
    }

    fn apply_page(&mut self, dir: Option<NodeId>, page: &Page) {
        let is_old = page.rev < self.inbox.applied && self.inbox.reconcile.is_none();
        if dir.is_some() && is_old {
            // Older than what is known: the listing may name what has gone since. Ask anew.
            if let Some(id) = dir {
                self.cloud(Work::Children { dir: id }, Cloud::Children { dir: id, after: None });
            }
            return;
        }
        self.merge_listing(&page.nodes);
        if dir.is_none() {
            self.mark_seen(&page.nodes);
        }
        self.wake_targets(&page.nodes);
        match (dir, &page.next) {
            (None, Some(after)) => {
                let run = self.inbox.run;
                self.cloud(Work::Snapshot(run), Cloud::Snapshot { after: Some(after.clone()) });
            }
            (None, None) => {
                self.inbox.listing_ended(None);
                if self.inbox.reconcile.is_some() {
                    return self.begin_walk();
                }
                self.inbox.complete = true;
                self.commit(Change::Complete);
                self.wake_listings();
            }
            (Some(id), Some(after)) => {
                let after = Some(after.clone());
                self.cloud(Work::Children { dir: id }, Cloud::Children { dir: id, after });
            }
            (Some(id), None) => {
                self.inbox.listing_ended(Some(id));
                if let Some(inode) = self.tree.by_id(id) {
                    let mut row = inode.row.clone();
                    let ino = row.ino;
                    row.listed = true;
                    self.commit(Change::PutNode(Box::new(row)));
                    self.wake(Wake::Listing(ino));
                }
            }
        }
    }

    /// Every listing is whole now.
    pub(crate) fn wake_listings(&mut self) {
        for dir in self.faults.wanted_listings() {
            self.wake(Wake::Listing(dir));
        }
        for id in self.faults.wanted_targets() {
            self.wake(Wake::Target(id));
        }
        self.pins.resume();
    }

    /// Whoever waits for one of these nodes behind a hard link need not wait longer.
    fn wake_targets(&mut self, nodes: &[RemoteNode]) {
        for node in nodes {
            self.wake(Wake::Target(node.id));
        }
    }

    pub(crate) fn advance_cursor(&mut self, rev: Rev) {
        self.inbox.applied = rev;
        self.inbox.heard(rev);
        self.commit(Change::Cursor { rev, epoch: self.inbox.epoch });
        let passed = self.tree.tombstones().iter().copied();
        for ino in passed.collect::<Vec<_>>() {
            if let Some((id, rev)) =
                self.tree.get(ino).map(|inode| (inode.row.id, inode.row.meta_rev))
            {
                self.inbox.bury(id, rev); // a listing that is on its way may still show it
            }
            self.reap(ino);
        }
    }
}
