mod cold;
mod listing;
mod parts;
mod runs;
mod stores;
mod trouble;

use crate::clock::Clock;
use crate::hall::{Hall, Rooms};
use crate::{Driver, Engine, EngineConfig, Port};
use cache::LocalStore;
use fs_core::{
    Drive, FsError, HandleId, Ino, Limits, Name, OpenFlags, Owner, Request, Response, Stale,
};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use stores::{MemoryCloud, MemoryLocal};
use tokio::runtime::{Builder, Runtime};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A drive with its device and its cloud.
struct World {
    local: Arc<MemoryLocal>,
    cloud: Arc<MemoryCloud>,
    limits: Limits,
    runtime: Runtime,
}

impl World {
    fn new() -> World {
        World {
            local: Arc::default(),
            cloud: Arc::default(),
            limits: Limits { settle_ms: 5, ..Limits::default() },
            runtime: Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
        }
    }

    fn start(&self) -> Engine {
        let (local, cloud) = (Arc::clone(&self.local), Arc::clone(&self.cloud));
        let runtime = self.runtime.handle().clone();
        Engine::start(EngineConfig {
            limits: self.limits,
            local,
            cloud,
            seed: 7,
            device: "test".into(),
            runtime,
        })
        .unwrap()
    }

    /// The same without its threads.
    fn hall(&self) -> Arc<Hall> {
        let (local, cloud) = (Arc::clone(&self.local), Arc::clone(&self.cloud));
        let (recovered, clock) = (local.recover().unwrap(), Clock::start());
        let last_seq = recovered.last_seq;
        let drive = Drive::recover(recovered, self.limits, 7, clock.now());
        let runtime = self.runtime.handle().clone();
        Hall::new(drive, last_seq, Rooms { local, cloud, runtime, clock })
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<Stale>>);

impl Driver for Told {
    fn invalidate(&self, stale: Stale) {
        self.0.lock().unwrap().push(stale);
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

fn create_request(text: &str) -> Request {
    create_request_in(Ino::ROOT, text)
}

fn create_request_in(parent: Ino, text: &str) -> Request {
    let flags = OpenFlags { read: true, write: true, ..OpenFlags::default() };
    let (owner, mode) = (Owner { uid: 1, gid: 1, umask: 0 }, 0o644);
    Request::Create { parent, name: name(text), mode, owner, flags }
}

fn create(port: &Port, text: &str) -> (Ino, HandleId) {
    create_in(port, Ino::ROOT, text)
}

fn create_in(port: &Port, parent: Ino, text: &str) -> (Ino, HandleId) {
    match port.call(create_request_in(parent, text)) {
        Ok(Response::Created { attr, handle, .. }) => (attr.ino, handle),
        other => panic!("create: {other:?}"),
    }
}

fn write(port: &Port, (ino, handle): (Ino, HandleId), offset: u64, data: &[u8]) {
    let data = bytes::Bytes::copy_from_slice(data);
    let len = data.len() as u32;
    let answer = port.call(Request::Write { ino, handle, offset, data, strip: false });
    assert_eq!(answer, Ok(Response::Written(len)));
}

fn close(port: &Port, (ino, handle): (Ino, HandleId)) {
    assert_eq!(port.call(Request::Flush { ino, handle }), Ok(Response::Done));
    assert_eq!(port.call(Request::Release { ino, handle }), Ok(Response::Done));
}

fn save(port: &Port, text: &str, data: &[u8]) -> Ino {
    save_in(port, Ino::ROOT, text, data)
}

fn save_in(port: &Port, parent: Ino, text: &str, data: &[u8]) -> Ino {
    let file = create_in(port, parent, text);
    write(port, file, 0, data);
    close(port, file);
    file.0
}

fn lookup(port: &Port, text: &str) -> Result<Ino, FsError> {
    lookup_in(port, Ino::ROOT, text)
}

fn lookup_in(port: &Port, parent: Ino, text: &str) -> Result<Ino, FsError> {
    match port.call(Request::Lookup { parent, name: name(text) }) {
        Ok(Response::Entry(attr)) => Ok(attr.ino),
        Err(error) => Err(error),
        other => panic!("lookup: {other:?}"),
    }
}

fn read(port: &Port, ino: Ino, len: u32) -> Result<Vec<u8>, FsError> {
    let flags = OpenFlags { read: true, ..OpenFlags::default() };
    let handle = match port.call(Request::Open { ino, flags })? {
        Response::Opened { handle, .. } => handle,
        other => panic!("open: {other:?}"),
    };
    let answer = port.call(Request::Read { ino, handle, offset: 0, len });
    close(port, (ino, handle));
    match answer? {
        Response::Data(bytes) => Ok(bytes.to_vec()),
        other => panic!("read: {other:?}"),
    }
}
