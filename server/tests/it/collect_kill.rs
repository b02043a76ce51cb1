//! `kill -9` while collections run all the time, with no grace: what was acknowledged stays whole.

use crate::{
    client::*,
    collect_random::{Random, Wanted, check},
    kill::Process,
};
use protocol::{codec, wire::*};
use serde_bytes::ByteArray;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

const DIR: &str = "MESHDRIVE_TEST_COLLECT_DIR";
/// Times that the store is killed.
const KILLS: u64 = 8;

/// Not a test of its own: the process that gets killed.
#[test]
fn collecting_child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut config = config(dir.as_ref());
        keep_nothing(&mut config);
        let server = server::Server::start(config).await.unwrap();
        println!("\nopen {} {}", server.local_addr(), server.setup_code());
        // Until the kill; but not for ever if the parent is gone.
        let collect = async {
            loop {
                server.collect(false).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(120), collect).await;
    });
}

type Done = Arc<Mutex<Vec<Wanted>>>;

/// Makes files until the connection breaks.
async fn work(device: Device, seed: u64, done: Done) {
    let mut random = Random(seed);
    for round in 0.. {
        let wanted = Wanted::random(&mut random);
        if make(&device, &wanted, &format!("{seed} {round}"), &mut random).await.is_err() {
            return;
        }
        done.lock().unwrap().push(wanted);
    }
}

async fn make(
    device: &Device,
    wanted: &Wanted,
    name: &str,
    random: &mut Random,
) -> Result<(), reqwest::Error> {
    let id = fresh();
    loop {
        let op = create(id, ROOT, name, 0, Some(wanted.content()));
        let commit = Commit { request: ByteArray::new(fresh()), groups: vec![vec![op]] };
        let request = device.request(reqwest::Method::POST, "/commit");
        let response = request.body(codec::encode(&commit)).send().await?;
        let (status, body) = (response.status(), response.bytes().await?);
        if status == 503 {
            continue;
        }
        assert_eq!(status, 200);
        let reply: CommitReply = codec::decode(&body).unwrap();
        match &reply.outcomes[..] {
            [Outcome::Done { .. }] => return Ok(()),
            [Outcome::ChunksMissing { chunks }] => {
                let missing: Vec<[u8; 32]> = chunks.iter().map(|id| **id).collect();
                let pack = wanted.pack(&missing, random.below(u64::MAX >> 33) << 20);
                let name = codec::hex(blake3::hash(&pack).as_bytes());
                let request = device.request(reqwest::Method::PUT, &format!("/packs/{name}"));
                request.body(pack).send().await?;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_in_collections_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let start = || Process::start("collect_kill::collecting_child", (DIR, dir.path()));
    let mut process = start();
    let member: Membership =
        post(&http(), &process.base, "/v1/drives", &create_drive(&process.code)).await.ok();
    let done = Done::default();
    for round in 0..KILLS {
        let device = Device::new(&process.base, http(), &member);
        let lanes: Vec<_> = (0..3)
            .map(|lane| tokio::spawn(work(device.clone(), 1 + lane + 10 * round, done.clone())))
            .collect();
        let before = done.lock().unwrap().len();
        let enough = async {
            while done.lock().unwrap().len() < before + 15 + 7 * round as usize {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), enough).await.expect("files are made");
        drop(process);
        for lane in lanes {
            lane.await.unwrap();
        }
        process = start();
        let device = Device::new(&process.base, http(), &member);
        let made = done.lock().unwrap().clone();
        for wanted in &made {
            check(&device, wanted).await;
        }
    }
    drop(process);
    let kept = server::Maintenance::open(dir.path(), server::Keep::default()).unwrap();
    let scrub = kept.scrub().await.unwrap();
    assert!(scrub.database.is_empty(), "{scrub:?}");
    assert!(scrub.drives[0].bad_packs.is_empty() && scrub.drives[0].bad_files == 0, "{scrub:?}");
    kept.close();
}
