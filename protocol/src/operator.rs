//! What a store answers its operator, as JSON.

use serde::{Deserialize, Serialize};

/// Paths that a running store serves to its operator, each a `POST` with a bearer token.
pub const COLLECT_PATH: &str = "/operator/v1/collect";
pub const DRY_RUN_PATH: &str = "/operator/v1/collect/dry-run";
pub const SCRUB_PATH: &str = "/operator/v1/scrub";

/// Where a running store listens for its operator; the file `operator.json` (mode 0600) in its data
/// directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Door {
    pub url: String,
    pub token: String,
}

/// How many of something, and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Sum {
    pub count: u64,
    pub bytes: u64,
}

impl Sum {
    pub fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What one collection did, or would do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Collection {
    /// Nothing was changed; this is what a collection would do now.
    pub dry_run: bool,
    pub took_ms: u64,
    pub drives: Vec<DriveCollection>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DriveCollection {
    /// Lower-case hex.
    pub drive: String,
    pub label: String,
    /// Bytes of packs and bodies of the drive after it.
    pub used_bytes: u64,
    /// Versions that were replaced long enough ago.
    pub versions: Sum,
    /// Files and folders that were in the trash long enough.
    pub trash: Sum,
    /// Chunks that nothing names: found now, waiting for the second look, named again after all,
    /// and given up.
    pub condemned: Sum,
    pub waiting: Sum,
    pub revived: Sum,
    pub deleted: Sum,
    /// Packs without any chunk: found now, waiting, and removed from the disk.
    pub held: Sum,
    pub holding: Sum,
    pub dropped: Sum,
    /// Packs of which little was used, and the bytes of them that live on in new packs.
    pub repacked: Sum,
    pub moved_bytes: u64,
    /// Files among the packs that the database does not know.
    pub strays: Sum,
    /// Why less was done than could be.
    pub held_back: Vec<String>,
    /// What went (or would go) and why, the first of them.
    pub items: Vec<Item>,
}

/// Items that one report of a drive lists.
pub const ITEMS: usize = 1_000;

/// One thing that goes, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Item {
    pub what: String,
    pub why: String,
    pub bytes: u64,
}

/// What one scrub found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Scrub {
    pub took_ms: u64,
    /// Packs that were read back.
    pub packs: Sum,
    /// Why the database is not sound; empty: it is.
    pub database: Vec<String>,
    pub drives: Vec<DriveScrub>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DriveScrub {
    pub drive: String,
    pub label: String,
    /// Packs that are not what was stored; their chunks count as missing until a device sends them
    /// again. The files stay where they are: parts of them may still be good.
    pub bad_packs: Vec<BadPack>,
    /// Packs that were bad and are good again.
    pub healed: u64,
    /// Versions that need a chunk which is missing or lies in a bad pack, the first of them.
    pub files: Vec<BadFile>,
    /// How many versions that are in all.
    pub bad_files: u64,
    /// Files among the packs that the database does not know.
    pub strays: Sum,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BadPack {
    pub pack: String,
    pub bytes: u64,
    pub why: String,
    /// Chunks in use that lie in it.
    pub chunks: u64,
}

/// A version that cannot be read whole. The store knows nodes by id only: names are sealed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BadFile {
    pub node: String,
    pub rev: u64,
    pub current: bool,
    pub chunks: u64,
}
