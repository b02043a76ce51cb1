//! What stays on this device: nodes that the rules in `.meshignore` match, as long as the cloud has never
//! had them. They are pending, like all that is unsent, but nobody waits for them and they are not due.
//!
//! Nothing is sent while it is not known what the rules are: what was sent by mistake cannot be called back.

use crate::drive::Drive;
use crate::tree::Inode;
use crate::{Change, Effect, Ino, Kind, Pending, Range};
use alloc::{string::String, sync::Arc, vec::Vec};
use core::fmt;

/// The name of the file in the root that has the rules.
pub const RULES_NAME: &str = ".meshignore";
/// Milliseconds until something is sent that the rules matched before: an editor may just be emptying the
/// file that has them, to write it anew.
const RELEASE_MS: u64 = 5_000;
/// Pending intent that the rules can hold back.
const NEW: Pending = Pending::CREATE.with(Pending::RESTORE);

/// How rules match; whoever reads the file decides.
pub trait Matcher: Send + Sync {
    /// Whether the node at `path` below the root (components joined by `/`) or a folder above it stays here.
    fn matches(&self, path: &[u8], is_dir: bool) -> bool;
}

/// The rules of `.meshignore`. By default nothing matches.
#[derive(Clone, Default)]
pub struct Rules {
    matcher: Option<Arc<dyn Matcher>>,
    /// What is wrong with a part of them, which is left out; empty when all is well.
    complaint: String,
}

impl Rules {
    #[must_use]
    pub fn new(matcher: impl Matcher + 'static, complaint: String) -> Rules {
        Rules { matcher: Some(Arc::new(matcher)), complaint }
    }

    /// Whether the node at `path`, as for [`Matcher::matches`], stays here.
    #[must_use]
    pub fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        self.matcher.as_ref().is_some_and(|matcher| matcher.matches(path, is_dir))
    }

    /// What is wrong with them, for people.
    #[must_use]
    pub fn complaint(&self) -> &str {
        &self.complaint
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.matcher.is_some() { "Rules(some)" } else { "Rules(none)" })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Ignore {
    rules: Rules,
    /// How often the rules were asked for; only the answer to the last time counts.
    asked: u64,
    /// That answer is not here.
    is_waiting: bool,
    /// Why the rules, or some of them, cannot be read; empty when all is well.
    pub(crate) trouble: String,
}

impl Drive {
    /// Asks for the rules, and sends nothing before they are known.
    pub fn await_rules(&mut self) {
        self.ask_for_rules();
        self.flush();
    }

    fn ask_for_rules(&mut self) {
        self.ignore.asked += 1;
        self.ignore.is_waiting = true;
        self.staged.push(Effect::ReadRules(self.ignore.asked));
    }

    pub(crate) fn knows_rules(&self) -> bool {
        !self.ignore.is_waiting
    }

    /// Whether a change, before or after it is applied, is one of the file that has the rules.
    pub(crate) fn is_of_rules(&self, change: &Change) -> bool {
        let is_rules = |parent, name: &[u8]| parent == Ino::ROOT && name == RULES_NAME.as_bytes();
        let is_file = |ino| {
            let row = self.tree.get(ino).map(|inode| &inode.row);
            row.is_some_and(|row| is_rules(row.parent, row.name.as_bytes()))
        };
        match change {
            Change::PutNode(row) => is_rules(row.parent, row.name.as_bytes()) || is_file(row.ino),
            Change::Wrote { ino, .. } | Change::DropNode(ino) => is_file(*ino),
            _ => false,
        }
    }

    /// The file that has the rules is another one. Whoever never asked for rules has none.
    pub(crate) fn rules_changed(&mut self) {
        if self.ignore.asked > 0 {
            self.ask_for_rules();
        }
    }

    pub(crate) fn rules_read(&mut self, asked: u64, rules: Result<Rules, String>) {
        if asked != self.ignore.asked {
            return;
        }
        match rules {
            Err(why) => self.ignore.trouble = why,
            Ok(rules) => {
                self.ignore.trouble.clone_from(&rules.complaint);
                self.ignore.is_waiting = false;
                self.ignore.rules = rules;
                self.reconsider(Ino::ROOT);
            }
        }
    }

    /// Looks anew at what is pending below a folder: it has another path, or the rules are others.
    pub(crate) fn reconsider(&mut self, dir: Ino) {
        let has_rules = self.ignore.rules.matcher.is_some() || !self.uploads.kept.is_empty();
        if !has_rules || !self.tree.get(dir).is_some_and(Inode::is_dir) {
            return;
        }
        let is_new = |ino: &&Ino| {
            let inode = self.tree.get(**ino);
            inode.is_some_and(|inode| inode.row.pending.has(NEW)) && self.tree.is_below(**ino, dir)
        };
        let new: Vec<Ino> = self.tree.pending().iter().filter(is_new).copied().collect();
        for ino in new {
            if !self.keep_if_ignored(ino) && self.uploads.kept.contains(&ino) {
                let at = self.now.mono.plus_millis(RELEASE_MS);
                self.uploads.schedule(ino, at, self.now.mono, false);
            }
        }
    }

    /// Takes a node out of what is due if it stays here. Says whether it does.
    pub(crate) fn keep_if_ignored(&mut self, ino: Ino) -> bool {
        if !self.stays_here(ino) {
            return false;
        }
        let content = self.tree.get(ino).and_then(|inode| inode.content.as_deref());
        if content.is_some_and(|content| content.base_rev.0 != 0) {
            self.make_dirty(ino); // the store forgets old versions one day: the bytes here must be all
        }
        self.settled(ino);
        self.uploads.kept.insert(ino);
        true
    }

    /// What a hard link names is sent with it, wherever its own name is.
    pub(crate) fn want_target(&mut self, link: Ino) {
        let target = self.tree.get(link).and_then(|inode| inode.row.link_target());
        let target = target.and_then(|id| self.tree.by_id(id)).map(|inode| inode.row.ino);
        if let Some(ino) = target.filter(|ino| self.uploads.kept.contains(ino)) {
            self.touch(ino);
        }
    }

    fn stays_here(&self, ino: Ino) -> bool {
        let rules = &self.ignore.rules;
        let Some(inode) = self.tree.get(ino) else { return false };
        let pending = inode.row.pending;
        let is_new = pending.has(NEW) && inode.row.parent != Ino::NONE;
        if rules.matcher.is_none() || !is_new || self.uploads.is_sending(ino) {
            return false;
        }
        if pending.has(Pending::RESTORE) {
            return self.is_left_over(inode);
        }
        let path = self.tree.path(ino);
        path != RULES_NAME.as_bytes()
            && !self.is_wanted(inode)
            && rules.matches(&path, inode.is_dir())
    }

    /// A folder that the cloud has in its trash, and that is here only for what stays here.
    fn is_left_over(&self, inode: &Inode) -> bool {
        let mut children = inode.children.values();
        inode.is_dir()
            && inode.loaded
            && !inode.children.is_empty()
            && children.all(|ino| self.stays_here(*ino))
    }

    /// Whether the cloud must have a new node whatever its name: it takes the place of one that the cloud
    /// has, it has a name elsewhere that is sent, or bytes of it are nowhere but in the cloud.
    fn is_wanted(&self, inode: &Inode) -> bool {
        let row = &inode.row;
        let dir = self.tree.get(row.parent).map(|dir| dir.row.id);
        let replaces = dir.is_some_and(|dir| self.tree.moved_from(dir, &row.name).is_some());
        let is_sent = |link: Ino| !self.stays_here(link);
        let is_linked =
            row.kind != Kind::Link && self.tree.links.shown(row.id).any(|(link, _)| is_sent(link));
        let is_partial = inode.content.as_deref().is_some_and(|content| {
            let absent = || !inode.absent(Range::new(0, row.size)).is_empty();
            content.base_rev.0 != 0 && (content.blind || absent())
        });
        replaces || is_linked || is_partial
    }
}
