//! Ours: the first device writes; for each way to the store there is a device of its own.

use super::contender::{Contender, Way, Ways};
use crate::bench::{Bench, device::Device, output, server::Server};
use anyhow::{Context, Result};
use std::{collections::HashMap, path::PathBuf, time::Duration};

pub(super) struct Meshdrive<'a> {
    first: Device<'a>,
    others: HashMap<&'static str, Device<'a>>,
    now: Way,
    is_mounted: bool,
    ways: Ways,
    _server: Server,
}

impl<'a> Meshdrive<'a> {
    pub(super) fn new(bench: &'a Bench) -> Result<Meshdrive<'a>> {
        let server = Server::start(bench, "drive")?;
        let first = Device::create(bench, "drive/a", &server)?;
        let ways = Ways::to(&server.address)?;
        let mut others = HashMap::new();
        for (name, way) in [("counted", Way::Counted), ("slow", Way::Slow)] {
            let place = format!("drive/{name}");
            others.insert(name, first.invite(&place, ways.url(way))?);
        }
        let now = Way::Direct;
        Ok(Meshdrive { first, others, now, is_mounted: false, ways, _server: server })
    }

    fn device(&self) -> &Device<'a> {
        let name = match self.now {
            Way::Direct => return &self.first,
            Way::Counted => "counted",
            Way::Slow => "slow",
        };
        self.others.get(name).unwrap_or(&self.first)
    }
}

impl Contender for Meshdrive<'_> {
    fn name(&self) -> &str {
        "Meshdrive"
    }

    fn root(&self) -> PathBuf {
        self.device().mountpoint.clone()
    }

    /// Unmounting frees what is local. The tree is known, as it is on any device that was here
    /// before; one that has just joined still fetches it.
    fn mount(&mut self, way: Way) -> Result<()> {
        if self.is_mounted {
            self.device().unmount()?;
        }
        self.now = way;
        self.is_mounted = true;
        self.device().mount_whole()
    }

    fn settle(&mut self, patience: Duration) -> Result<()> {
        let timeout = format!("{}s", patience.as_secs().max(1));
        let mut sync = self.device().meshdrive();
        output(sync.args(["sync", "bench", "--timeout", &timeout])).map(drop)
    }

    fn traffic(&self) -> (u64, u64) {
        self.ways.traffic(self.now)
    }

    fn end(&mut self) {
        if self.is_mounted {
            let _ = self.device().unmount().context("unmounting");
            self.is_mounted = false;
        }
    }
}
