//! Many devices of one drive that follow one writer, for benchmarks: `crowd CREDENTIALS DEVICES COMMITS
//! A_SECOND`. Each device is the real client of the store, without a mount. Prints how late the last
//! of them was, by commit, as JSON.

use anyhow::{Context, Result, bail, ensure};
use cloud::{ClientOptions, CloudStore, Credentials, NativeStore};
use fs_core::{
    Attrs, Flight, Group, GroupOutcome, Kind, Name, NodeId, Op, RequestId, Rev, Timestamp, Xattrs,
};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinSet};

/// 2023-11-14, in nanoseconds since 1970.
const TIME: Timestamp = Timestamp(1_700_000_000_000_000_000);
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [credentials, devices, commits, a_second] = arguments.as_slice() else {
        bail!("usage: crowd CREDENTIALS DEVICES COMMITS A_SECOND");
    };
    let number = |text: &str| text.parse::<u64>().with_context(|| format!("`{text}`"));
    let (devices, commits, a_second) = (number(devices)?, number(commits)?, number(a_second)?);
    let owner = Credentials::load(Path::new(credentials))?;
    let options = ClientOptions::default();
    let mut followers = Vec::new();
    for device in 1..devices {
        let code = cloud::invite(&owner, &options).await?.reveal();
        let name = format!("device {device}");
        let joined = cloud::join(&owner.server, &code, &name, &options).await?;
        followers.push(Arc::new(NativeStore::new(joined, options.clone())?));
    }
    let writer = NativeStore::new(owner, options)?;
    let start = writer.connect().await?.head;
    let (end, ended) = watch::channel(None);
    let mut running = JoinSet::new();
    for follower in &followers {
        running.spawn(follow(Arc::clone(follower), start, ended.clone()));
    }
    let began = Instant::now();
    let acknowledged = write(&writer, start, commits, a_second).await?;
    let rate = commits as f64 / began.elapsed().as_secs_f64();
    let last = Rev(start.0 + commits);
    end.send(Some(last)).ok().context("all devices have given up")?;
    let mut late = vec![Duration::ZERO; acknowledged.len()];
    while let Some(seen) = running.join_next().await {
        for (rev, at) in seen?? {
            let index = usize::try_from(rev.0 - start.0 - 1)?;
            let (Some(late), Some(told)) = (late.get_mut(index), acknowledged.get(index)) else {
                bail!("somebody else writes to this drive");
            };
            *late = (*late).max(at.saturating_duration_since(*told));
        }
    }
    late.sort_unstable();
    let percentile = |percent: usize| late[(late.len() - 1) * percent / 100].as_millis();
    let requests: u64 = followers.iter().map(|follower| follower.traffic().requests).sum();
    println!(
        "{{\"p50_ms\": {}, \"p99_ms\": {}, \"most_ms\": {}, \"requests\": {requests}, \"commits_a_second\": {rate:.1}}}",
        percentile(50),
        percentile(99),
        percentile(100),
    );
    Ok(())
}

/// Makes folders, one a commit, evenly in time; gives when each was acknowledged.
async fn write(
    store: &NativeStore,
    start: Rev,
    commits: u64,
    a_second: u64,
) -> Result<Vec<Instant>> {
    let every = Duration::from_secs(1) / u32::try_from(a_second)?;
    let mut ticks = tokio::time::interval(every);
    let mut acknowledged = Vec::new();
    for number in 0..commits {
        ticks.tick().await;
        let mut id = [9; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        let name = Name::new(format!("n{number:06}").as_bytes())?;
        let (id, request) = (NodeId(id), RequestId(id));
        let (parent, kind, attrs) = (NodeId::ROOT, Kind::Dir, attrs());
        let op = Op::Create { id, parent, name, kind, attrs, content: None };
        let flight = Flight { request, groups: vec![Group { ops: vec![op] }], items: Vec::new() };
        let outcomes = store.commit(&flight).await?;
        let rev = Rev(start.0 + number + 1);
        ensure!(outcomes == [GroupOutcome::Done(rev)], "commit {number}: {outcomes:?}");
        acknowledged.push(Instant::now());
    }
    Ok(acknowledged)
}

/// Follows the feed as a daemon does, until the last commit is here; gives when each came.
async fn follow(
    store: Arc<NativeStore>,
    start: Rev,
    mut end: watch::Receiver<Option<Rev>>,
) -> Result<Vec<(Rev, Instant)>> {
    let (mut applied, mut head, mut seen) = (start, start, Vec::new());
    let mut finish = None;
    loop {
        let last = *end.borrow_and_update();
        if last.is_some_and(|last| applied >= last) {
            return Ok(seen);
        }
        if last.is_some() && finish.is_none() {
            finish = Some(Instant::now() + PATIENCE);
        }
        ensure!(finish.is_none_or(|finish| Instant::now() < finish), "rev {applied:?} and no more");
        if head <= applied {
            head = tokio::select! {
                moved = store.wait_head(head) => moved?,
                _ = end.changed() => continue,
            };
            continue;
        }
        let (commits, newest) = store.changes(applied).await?;
        let now = Instant::now();
        head = head.max(newest);
        for commit in commits {
            applied = commit.rev;
            seen.push((commit.rev, now));
        }
    }
}

fn attrs() -> Attrs {
    Attrs {
        mode: 0o755,
        uid: 0,
        gid: 0,
        rdev: 0,
        atime: TIME,
        mtime: TIME,
        ctime: TIME,
        btime: TIME,
        target: Vec::new(),
        xattrs: Xattrs::new(),
    }
}
