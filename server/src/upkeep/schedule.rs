//! When the store looks after itself.

use crate::app::App;
use std::{sync::Arc, time::Duration};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior},
};

/// The age clock is noted this often: a crash sets it back by no more.
const TICK: Duration = Duration::from_secs(60);
/// A store that has just been opened has other things to do first.
const QUIET: Duration = Duration::from_secs(600);
/// Some packs are read back this often.
const SCRUB_STEP: Duration = Duration::from_secs(3_600);

/// Runs until the store stops.
pub(crate) fn start(app: Arc<App>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut stopping = app.stopping.subscribe();
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = run(&app) => {}
        }
    })
}

async fn run(app: &App) {
    let every = app.config.keep.collect_every;
    let mut tick = tokio::time::interval(TICK.min(every));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let start = Instant::now();
    let (mut collect_at, mut scrub_at) = (start + QUIET.min(every), start + SCRUB_STEP);
    loop {
        tick.tick().await;
        if let Err(error) = app.db.keep_age().await {
            tracing::warn!(%error, "the age of the store could not be noted");
        }
        if Instant::now() >= collect_at {
            collect(app).await;
            collect_at = Instant::now() + every;
        }
        if Instant::now() >= scrub_at {
            match app.upkeep.scrub_step().await {
                Ok(done) => app.metrics.upkeep.scrubbed(&done),
                Err(error) => tracing::warn!(%error, "packs could not be read back"),
            }
            scrub_at = Instant::now() + SCRUB_STEP;
        }
    }
}

async fn collect(app: &App) {
    if let Err(error) = app.collect(false).await {
        tracing::warn!(%error, "a collection ended early; the next one goes on");
    }
}
