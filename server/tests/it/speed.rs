//! How fast it is on this machine. Prints figures and asserts none:
//! `MESHDRIVE_FIGURES=1 cargo test -p server --release -- --nocapture speed`

use crate::client::*;
use protocol::wire::*;
use serde_bytes::ByteArray;
use std::time::{Duration, Instant};

fn rate(bytes: usize, took: Duration) -> String {
    format!("{:.2} GB/s", bytes as f64 / took.as_secs_f64() / 1e9)
}

/// The middle of what `rounds` rounds took.
async fn median(rounds: usize, mut work: impl AsyncFnMut(usize)) -> Duration {
    let mut times = Vec::new();
    for round in 0..rounds {
        let began = Instant::now();
        work(round).await;
        times.push(began.elapsed());
    }
    times.sort();
    times[rounds / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures() {
    if std::env::var_os("MESHDRIVE_FIGURES").is_none() {
        return; // figures are asked for, not checked
    }
    let store = Store::new().await;
    let device = store.device().await;
    let took = median(100, async |round| {
        device.done(vec![file(fresh(), ROOT, &format!("single{round}"))]).await;
    });
    println!("commit of one create: {:?}", took.await);
    let mut dirs = Vec::new();
    for round in 0..100 {
        let id = fresh();
        dirs.push(id);
        device.done(vec![dir(id, ROOT, &format!("d{round}"))]).await;
    }
    let took = median(40, async |round| {
        let groups = (0..1_000)
            .map(|i| vec![file(fresh(), dirs[(i / 10) % 100], &format!("{round}-{i}"))])
            .collect();
        device.commit(groups).await;
    });
    println!("commit of 1,000 creates: {:?}", took.await);
    let began = Instant::now();
    let lanes: Vec<_> = (0..16)
        .map(|lane| {
            let device = device.clone();
            tokio::spawn(async move {
                for round in 0..50 {
                    device.done(vec![file(fresh(), ROOT, &format!("{lane}x{round}"))]).await;
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
    println!("16 lanes of single creates: {:.0}/s", 800.0 / began.elapsed().as_secs_f64());
    let began = Instant::now();
    let (nodes, _) = device.snapshot(5_000).await;
    println!("snapshot of {} nodes in all, with decoding: {:?}", nodes.len(), began.elapsed());
    let took = median(20, async |_| {
        assert_eq!(device.get("/snapshot").await.status, 200);
    });
    println!("a page of 5,000 nodes: {:?}", took.await);
    let took = median(20, async |_| {
        assert_eq!(device.get("/changes?since=220").await.status, 200);
    });
    println!("a page of 5 commits of 1,000: {:?}", took.await);
    bytes_through(&device).await;
}

async fn bytes_through(device: &Device) {
    let mut packs = Vec::new();
    for round in 0..16 {
        let chunks: Vec<_> = (0..15)
            .map(|fill| {
                let (_, bytes) = chunk(16, 65_000, fill + round);
                (*blake3::hash(&[fill, round]).as_bytes(), bytes)
            })
            .collect();
        packs.push((pack_of(&chunks), chunks));
    }
    let size: usize = packs.iter().map(|pack| pack.0.len()).sum();
    let began = Instant::now();
    for (pack, _) in &packs {
        assert_eq!(device.put_pack(pack.clone()).await.status, 201);
    }
    println!("packs in: {}", rate(size, began.elapsed()));
    let ids: Vec<String> =
        packs.iter().map(|(pack, _)| protocol::codec::hex(blake3::hash(pack).as_bytes())).collect();
    let drain = async |request: reqwest::RequestBuilder| {
        let mut response = request.send().await.unwrap();
        let mut total = 0;
        while let Some(part) = response.chunk().await.unwrap() {
            total += part.len();
        }
        total
    };
    let took = median(5, async |_| {
        for id in &ids {
            drain(device.request(reqwest::Method::GET, &format!("/packs/{id}"))).await;
        }
    })
    .await;
    println!("packs out: {}", rate(size, took));
    let asks: Vec<Vec<u8>> = packs
        .iter()
        .map(|(_, chunks)| {
            let piece = |id| Piece { chunk: ByteArray::new(id), first: 0, count: 0 };
            let pieces = chunks.iter().take(8).map(|chunk| piece(chunk.0)).collect();
            protocol::codec::encode(&ReadPieces { pieces })
        })
        .collect();
    let mut total = 0;
    let took = median(5, async |_| {
        total = 0;
        for ask in &asks {
            let request = device.request(reqwest::Method::POST, "/chunks/read");
            total += drain(request.body(ask.clone())).await;
        }
    })
    .await;
    println!("chunks out: {}", rate(total, took));
}
