//! `kill -9` in the middle of commits loses nothing that was acknowledged.

use crate::client::*;
use protocol::{codec, wire::*};
use serde_bytes::ByteArray;
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

const DIR: &str = "MESHDRIVE_TEST_STORE_DIR";

/// Not a test of its own: the process that gets killed.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = server::Server::start(config(dir.as_ref())).await.unwrap();
        println!("\nopen {} {}", server.local_addr(), server.setup_code());
        // Until the kill; but not for ever if the parent is gone.
        tokio::time::sleep(Duration::from_secs(120)).await;
    });
}

/// A store in a process of its own.
pub(crate) struct Process {
    child: Child,
    pub(crate) base: String,
    pub(crate) code: String,
}

impl Process {
    /// Runs a test of this program as the store; `dir` is its environment variable and the store's folder.
    pub(crate) fn start(test: &str, dir: (&str, &std::path::Path)) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(dir.0, dir.1)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.map_while(Result::ok).find(|line| line.starts_with("open "));
        let line = line.expect("the child says where it listens");
        let mut words = line.split(' ').skip(1).map(str::to_owned);
        let base = format!("http://{}", words.next().unwrap());
        Process { child, base, code: words.next().unwrap() }
    }

    fn kill(&mut self) {
        // SIGKILL on Unix.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the store has acknowledged: requests with their replies, and packs.
#[derive(Default)]
struct Acknowledged {
    commits: Vec<(Commit, Vec<u8>)>,
    packs: Vec<Vec<u8>>,
}

/// Sends commits and packs until the connection breaks.
async fn work(device: Device, lane: usize, log: Arc<Mutex<Acknowledged>>) {
    for round in 0.. {
        let name = format!("{lane}-{round}");
        let commit = Commit {
            request: ByteArray::new(fresh()),
            groups: (0..5)
                .map(|index| vec![file(fresh(), ROOT, &format!("{name}-{index}"))])
                .collect(),
        };
        let request = device.request(reqwest::Method::POST, "/commit");
        let Ok(response) = request.body(codec::encode(&commit)).send().await else { return };
        assert_eq!(response.status(), 200);
        let Ok(reply) = response.bytes().await else { return };
        log.lock().unwrap().commits.push((commit, reply.to_vec()));
        if round % 4 == 0 {
            let mut chunk = chunk(2, 20_000, round as u8);
            chunk.0 = *blake3::hash(name.as_bytes()).as_bytes();
            let pack = pack_of(&[chunk]);
            let id = codec::hex(blake3::hash(&pack).as_bytes());
            let request = device.request(reqwest::Method::PUT, &format!("/packs/{id}"));
            let Ok(response) = request.body(pack.clone()).send().await else { return };
            assert_eq!(response.status(), 201);
            log.lock().unwrap().packs.push(pack);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start("kill::child", (DIR, dir.path()));
    let ask = create_drive(&process.code);
    let member: Membership = post(&http(), &process.base, "/v1/drives", &ask).await.ok();
    let log = Arc::new(Mutex::new(Acknowledged::default()));
    for round in 0..5 {
        let device = Device::new(&process.base, http(), &member);
        let lanes: Vec<_> = (0..4)
            .map(|lane| tokio::spawn(work(device.clone(), lane + 10 * round, log.clone())))
            .collect();
        let before = log.lock().unwrap().commits.len();
        let enough = async {
            while log.lock().unwrap().commits.len() < before + 20 + 13 * round {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), enough).await.expect("commits are made");
        process.kill();
        for lane in lanes {
            lane.await.unwrap();
        }
        process = Process::start("kill::child", (DIR, dir.path()));
        check(&Device::new(&process.base, http(), &member), &log).await;
    }
}

async fn check(device: &Device, log: &Mutex<Acknowledged>) {
    let (commits, packs) = {
        let log = log.lock().unwrap();
        (log.commits.clone(), log.packs.clone())
    };
    let head = device.head().await;
    for (commit, reply) in &commits {
        let again = device.post("/commit", commit).await;
        assert_eq!(&again.body, reply);
    }
    assert_eq!(device.head().await, head);
    let (nodes, _) = device.snapshot(5_000).await;
    let ids: std::collections::HashSet<Raw> = nodes.iter().map(|node| *node.id).collect();
    for op in commits.iter().flat_map(|(commit, _)| commit.groups.iter().flatten()) {
        let Op::Create { id, .. } = op else { unreachable!() };
        assert!(ids.contains(&**id));
    }
    for pack in packs {
        let id = codec::hex(blake3::hash(&pack).as_bytes());
        let answer = device.get(&format!("/packs/{id}")).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body == pack);
    }
}
