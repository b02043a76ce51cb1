//! A small client, and the making of commits, for the tests.

use protocol::{
    PROTOCOL_HEADER, PROTOCOL_VERSION, codec, operator::DriveCollection, pack::*, wire::*,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use serde_bytes::{ByteArray, ByteBuf};
use server::{Server, ServerConfig};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

pub(crate) type Raw = [u8; 16];
pub(crate) const ROOT: Raw = [0; 16];

/// A client that does not follow anything or use a proxy.
pub(crate) fn http() -> reqwest::Client {
    // Err means that another test has installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

pub(crate) fn config(dir: &Path) -> ServerConfig {
    let mut config = ServerConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), dir.to_owned());
    // Tests ask as fast as they can.
    config.rates.requests_per_second = 1_000_000;
    config.rates.request_burst = 1_000_000;
    config
}

/// Everything goes as soon as it may.
pub(crate) fn keep_nothing(config: &mut ServerConfig) {
    let none = std::time::Duration::ZERO;
    config.keep = server::Keep {
        all: none,
        hourly: none,
        daily: none,
        trash: none,
        lease: none,
        condemned: none,
        held: none,
        repack_after: none,
        repack_percent: 90,
        ..server::Keep::default()
    };
}

/// Lets a stopped store grow older.
pub(crate) fn pass(dir: &Path, time: std::time::Duration) {
    let db = rusqlite::Connection::open(dir.join("store.db")).unwrap();
    db.execute("UPDATE store SET age = age + ?", [time.as_millis() as i64]).unwrap();
}

/// A store with its data in a temporary folder.
pub(crate) struct Store {
    pub(crate) server: Server,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) base: String,
    pub(crate) http: reqwest::Client,
}

impl Store {
    pub(crate) async fn new() -> Store {
        Store::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut ServerConfig)) -> Store {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        change(&mut config);
        let server = Server::start(config).await.unwrap();
        let base = format!("http://{}", server.local_addr());
        Store { server, dir, base, http: http() }
    }

    pub(crate) async fn restart(self) -> Store {
        self.restart_with(|_| {}, |_| {}).await
    }

    /// Stops it, lets `offline` look at its folder, and starts it again.
    pub(crate) async fn restart_with(
        self,
        change: impl FnOnce(&mut ServerConfig),
        offline: impl FnOnce(&Path),
    ) -> Store {
        self.server.stop().await;
        offline(self.dir.path());
        let mut config = config(self.dir.path());
        change(&mut config);
        let server = Server::start(config).await.unwrap();
        let base = format!("http://{}", server.local_addr());
        Store { server, dir: self.dir, base, http: http() }
    }

    /// What a collection does with the first drive.
    pub(crate) async fn collect(&self) -> DriveCollection {
        self.server.collect(false).await.unwrap().drives.remove(0)
    }

    pub(crate) async fn device(&self) -> Device {
        let ask = create_drive(&self.server.setup_code());
        let member: Membership = post(&self.http, &self.base, "/v1/drives", &ask).await.ok();
        Device::new(&self.base, self.http.clone(), &member)
    }
}

pub(crate) fn create_drive(code: &str) -> CreateDrive {
    CreateDrive {
        setup_code: code.to_owned(),
        drive: ByteArray::new(fresh()),
        label: "photos".to_owned(),
        device: "laptop".to_owned(),
        params: ByteBuf::from(&b"params"[..]),
        recovery: Invite {
            lookup: ByteArray::new(fresh()),
            sealed_key: ByteBuf::from(&b"recovery key"[..]),
        },
    }
}

/// An id that no other call has made.
pub(crate) fn fresh() -> Raw {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = [7; 16];
    id[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    id[8..12].copy_from_slice(&std::process::id().to_be_bytes());
    id
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Answer {
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, body: response.bytes().await.unwrap().to_vec() }
    }

    #[track_caller]
    pub(crate) fn ok<T: DeserializeOwned>(self) -> T {
        if !self.status.is_success() {
            panic!("{}: {:?}", self.status, codec::decode::<Problem>(&self.body));
        }
        codec::decode(&self.body).unwrap()
    }

    /// The code of a refusal.
    #[track_caller]
    pub(crate) fn problem(&self) -> (u16, String) {
        assert!(!self.status.is_success(), "{} is a success", self.status);
        let problem: Problem = codec::decode(&self.body).unwrap();
        assert!(!problem.detail.is_empty());
        (self.status.as_u16(), problem.code)
    }
}

pub(crate) async fn post<T: Serialize>(
    http: &reqwest::Client,
    base: &str,
    path: &str,
    body: &T,
) -> Answer {
    let request = http.post(format!("{base}{path}")).header(PROTOCOL_HEADER, PROTOCOL_VERSION);
    Answer::of(request.body(codec::encode(body)).send().await.unwrap()).await
}

#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) http: reqwest::Client,
    pub(crate) base: String,
    pub(crate) drive: Raw,
    pub(crate) id: Raw,
    pub(crate) token: String,
}

impl Device {
    pub(crate) fn new(base: &str, http: reqwest::Client, member: &Membership) -> Device {
        Device {
            http,
            base: base.to_owned(),
            drive: *member.drive,
            id: *member.device,
            token: member.token.clone(),
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/v1/drives/{}{path}", self.base, codec::hex(&self.drive));
        self.http
            .request(method, url)
            .header(PROTOCOL_HEADER, PROTOCOL_VERSION)
            .bearer_auth(&self.token)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub(crate) async fn post<T: Serialize>(&self, path: &str, body: &T) -> Answer {
        let request = self.request(Method::POST, path).body(codec::encode(body));
        Answer::of(request.send().await.unwrap()).await
    }

    pub(crate) async fn try_commit(&self, groups: Vec<Vec<Op>>) -> Answer {
        self.post("/commit", &Commit { request: ByteArray::new(fresh()), groups }).await
    }

    pub(crate) async fn commit(&self, groups: Vec<Vec<Op>>) -> CommitReply {
        self.try_commit(groups).await.ok()
    }

    /// Commits one group that must be taken.
    #[track_caller]
    pub(crate) fn done(&self, group: Vec<Op>) -> impl Future<Output = u64> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            let reply = self.commit(vec![group]).await;
            match &reply.outcomes[..] {
                [Outcome::Done { rev }] => *rev,
                other => panic!("{caller}: {other:?}"),
            }
        }
    }

    pub(crate) async fn changes(&self, since: u64) -> Changes {
        self.get(&format!("/changes?since={since}")).await.ok()
    }

    pub(crate) async fn snapshot(&self, limit: usize) -> (Vec<Node>, u64) {
        let (mut nodes, mut first) = (Vec::new(), None);
        let mut after = String::new();
        loop {
            let page: Page = self.get(&format!("/snapshot?limit={limit}{after}")).await.ok();
            assert!(page.nodes.len() <= limit);
            nodes.extend(page.nodes);
            first.get_or_insert(page.rev);
            match page.next {
                Some(next) => after = format!("&after={}", codec::hex(&next)),
                None => return (nodes, first.unwrap()),
            }
        }
    }

    pub(crate) async fn head(&self) -> u64 {
        self.get("").await.ok::<Drive>().head
    }

    pub(crate) async fn put_pack(&self, bytes: Vec<u8>) -> Answer {
        let id = codec::hex(blake3::hash(&bytes).as_bytes());
        let request = self.request(Method::PUT, &format!("/packs/{id}")).body(bytes);
        Answer::of(request.send().await.unwrap()).await
    }
}

/// A name key that is the same for the same name, and a sealed name that is just the name.
pub(crate) fn key(name: &str) -> Id {
    let mut key = [0; 16];
    key.copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..16]);
    ByteArray::new(key)
}

pub(crate) fn bytes(text: &str) -> ByteBuf {
    ByteBuf::from(text.as_bytes())
}

pub(crate) fn content(text: &str) -> Content {
    Content { head: bytes("head"), body: bytes(text), refs: Vec::new() }
}

pub(crate) fn create(id: Raw, parent: Raw, name: &str, kind: u8, content: Option<Content>) -> Op {
    Op::Create {
        id: ByteArray::new(id),
        parent: ByteArray::new(parent),
        name_key: key(name),
        name: bytes(name),
        kind,
        meta: bytes("meta"),
        content,
    }
}

pub(crate) fn file(id: Raw, parent: Raw, name: &str) -> Op {
    create(id, parent, name, 0, Some(content(name)))
}

pub(crate) fn dir(id: Raw, parent: Raw, name: &str) -> Op {
    create(id, parent, name, 1, None)
}

pub(crate) fn set_content(id: Raw, base: u64, text: &str) -> Op {
    Op::SetContent { id: ByteArray::new(id), base, content: content(text) }
}

pub(crate) fn set_meta(id: Raw, base: u64) -> Op {
    Op::SetMeta { id: ByteArray::new(id), base, meta: bytes("new meta") }
}

pub(crate) fn move_to(id: Raw, base: u64, parent: Raw, name: &str) -> Op {
    Op::Move {
        id: ByteArray::new(id),
        base,
        parent: ByteArray::new(parent),
        name_key: key(name),
        name: bytes(name),
        meta: bytes("moved meta"),
    }
}

pub(crate) fn trash(id: Raw, meta: u64, content: u64) -> Op {
    Op::Trash { id: ByteArray::new(id), meta, content }
}

pub(crate) fn restore(id: Raw, base: u64, parent: Raw, name: &str) -> Op {
    Op::Restore {
        id: ByteArray::new(id),
        base,
        parent: ByteArray::new(parent),
        name_key: key(name),
        name: bytes(name),
        meta: bytes("restored meta"),
    }
}

/// A stored chunk of `segments` segments, all filled with `fill`; its id is its hash.
pub(crate) fn chunk(segments: usize, len: usize, fill: u8) -> ([u8; 32], Vec<u8>) {
    let plain_len = ((segments - 1) * (64 << 10) + 1) as u32;
    let segment = Segment { stored_len: len as u32, compressed: true };
    let head =
        ChunkHead { suite: 1, plain_len, salt: [fill; 16], segments: vec![segment; segments] };
    let mut out = Vec::new();
    head.encode(&mut out);
    for index in 0..segments {
        out.extend(std::iter::repeat_n(fill.wrapping_add(index as u8), len));
    }
    (*blake3::hash(&out).as_bytes(), out)
}

pub(crate) fn pack_of(chunks: &[([u8; 32], Vec<u8>)]) -> Vec<u8> {
    let mut writer = PackWriter::default();
    for (id, bytes) in chunks {
        assert!(writer.fits(bytes.len(), 0));
        writer.push(*id, bytes, Vec::new());
    }
    writer.finish()
}

/// A content that names chunks.
pub(crate) fn naming(chunks: &[[u8; 32]]) -> Content {
    Content { refs: chunks.iter().map(|id| ByteArray::new(*id)).collect(), ..content("body") }
}

/// A chunk of random-looking bytes that only `seed` decides.
pub(crate) fn chunk_of(seed: u64, len: usize) -> ([u8; 32], Vec<u8>) {
    let head = ChunkHead {
        suite: 1,
        plain_len: len as u32,
        salt: [seed as u8; 16],
        segments: vec![Segment { stored_len: len as u32, compressed: false }],
    };
    let mut bytes = Vec::new();
    head.encode(&mut bytes);
    let mut fill = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).finalize_xof().fill(&mut fill);
    bytes.extend(fill);
    (*blake3::hash(&bytes).as_bytes(), bytes)
}

impl Device {
    /// Reads whole chunks back, each as the store has it.
    pub(crate) async fn read_chunks(&self, ids: &[[u8; 32]]) -> Vec<(FrameStatus, Vec<u8>)> {
        let piece = |id: &[u8; 32]| Piece { chunk: ByteArray::new(*id), first: 0, count: 0 };
        let ask = ReadPieces { pieces: ids.iter().map(piece).collect() };
        let answer = self.post("/chunks/read", &ask).await;
        let frames = frames(&answer.body).into_iter();
        frames.map(|(status, head, body)| (status, [head, body].concat())).collect()
    }
}

/// The frames of an answer to `chunks/read`: status, head, body.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<(FrameStatus, Vec<u8>, Vec<u8>)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (start, rest) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>().unwrap();
        let header = FrameHeader::decode(start).unwrap();
        let (head, rest) = rest.split_at(header.head_len as usize);
        let (body, rest) = rest.split_at(header.body_len as usize);
        frames.push((header.status, head.to_vec(), body.to_vec()));
        bytes = rest;
    }
    frames
}
