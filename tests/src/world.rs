//! A store and the first device of its drive.

use crate::{device::Device, program::scratch, server::Server, skip::can_mount};
use std::path::{Path, PathBuf};

/// Everything lives in one temporary folder and goes with it.
#[derive(Debug)]
pub struct World {
    /// The first device; created, not mounted.
    pub a: Device,
    pub server: Server,
    pub recovery_key: String,
    dir: tempfile::TempDir,
}

impl World {
    /// `None` where nothing can be mounted; then `test` is noted as skipped.
    pub fn new(test: &str) -> Option<World> {
        can_mount(test).then(World::unmounted)
    }

    pub fn unmounted() -> World {
        let dir = tempfile::Builder::new().prefix("w").tempdir_in(scratch()).unwrap();
        let server = Server::start(&dir.path().join("s"));
        let a = Device::new(dir.path(), "a");
        let recovery_key = server.create_drive(a.home(), &server.url(), "a");
        World { a, server, recovery_key, dir }
    }

    /// One device, mounted.
    pub fn mounted(test: &str) -> Option<World> {
        let world = World::new(test)?;
        world.a.mount();
        Some(world)
    }

    /// Two devices, both mounted.
    pub fn pair(test: &str) -> Option<(World, Device)> {
        let world = World::mounted(test)?;
        let b = world.join("b");
        b.mount();
        Some((world, b))
    }

    /// One more device of the drive, not mounted.
    #[track_caller]
    pub fn join(&self, name: &str) -> Device {
        self.join_at(name, &self.server.url())
    }

    /// One more device, which reaches the store at another address.
    #[track_caller]
    pub fn join_at(&self, name: &str, url: &str) -> Device {
        let device = Device::new(self.dir(), name);
        device.join(&self.a, url);
        device
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir().join(below)
    }
}
