//! A drive: credentials, daemon, and the store behind it.

use super::Finding;
use crate::{
    client::Control,
    config::Config,
    dirs::{Dirs, Label},
    drives, store, system,
};
use cloud::CloudStore;
use fs_core::CloudErrorKind;
use protocol::{PROTOCOL_VERSION, control::DriveStatus, wire::Info};
use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How long the store may take to answer a check.
const STORE_LIMIT: Duration = Duration::from_secs(10);
/// Difference of clocks from which times of files look odd.
const CLOCK_LIMIT: Duration = Duration::from_secs(120);

pub(crate) async fn all(dirs: &Dirs, config: &Config, label: &Label) -> Vec<Finding> {
    let (daemon, passthrough) = daemon(dirs, label).await;
    let mut findings = vec![daemon];
    findings.extend(passthrough);
    let what = format!("{label}: credentials");
    let path = dirs.credentials(label);
    let credentials = match store::credentials(dirs, label) {
        Ok(credentials) => credentials,
        Err(failure) => {
            let advice =
                "move the file away and join the drive again with a join code or the recovery key";
            findings.push(Finding::fail(what, failure.error.root_cause().to_string(), advice));
            return findings;
        }
    };
    findings.push(match system::open_to_others(&path) {
        None => Finding::ok(what, "can be read by you only"),
        Some(advice) => Finding::fail(what, "can be read by others", advice),
    });
    match info(config, &credentials.server).await {
        Ok(info) => {
            findings.push(protocol(label, &credentials.server, &info));
            findings.push(clock(label, &info));
            findings.push(membership(dirs, config, label).await);
        }
        Err(why) => findings.push(Finding::fail(
            format!("{label}: store"),
            format!("{} does not answer: {why}", credentials.server),
            "is the network up, and the store running? The drive works offline until then",
        )),
    }
    findings
}

/// The daemon, and if it runs whether the kernel does the work on local files.
async fn daemon(dirs: &Dirs, label: &Label) -> (Finding, Option<Finding>) {
    let what = format!("{label}: daemon");
    if !drives::is_running(dirs, label) {
        return (Finding::ok(what, "not mounted"), None);
    }
    let status = match Control::new(dirs, label) {
        Ok(control) => control.status().await,
        Err(failure) => Err(failure),
    };
    match status {
        Ok(status) => {
            let passthrough = passthrough(label, &status);
            let advice = "`meshdrive status --pending` says why and what to do";
            let daemon = if status.attention > 0 {
                Finding::warn(what, status.sentence, advice)
            } else {
                Finding::ok(what, status.sentence)
            };
            (daemon, Some(passthrough))
        }
        Err(failure) => {
            let advice = format!("see its log {}", dirs.log_file(label).display());
            (Finding::fail(what, failure.error.to_string(), advice), None)
        }
    }
}

/// Only speed is at stake, so it is never more than a remark.
fn passthrough(label: &Label, status: &DriveStatus) -> Finding {
    let what = format!("{label}: passthrough");
    if status.passthrough {
        Finding::ok(what, "on: the kernel reads and writes whole local files by itself")
    } else {
        Finding::ok(what, format!("off: {}", status.passthrough_off))
    }
}

/// `GET /v1/info`, open to all.
async fn info(config: &Config, server: &str) -> Result<Info, String> {
    let mut builder = reqwest::Client::builder().timeout(STORE_LIMIT);
    if let Some(file) = &config.cloud.ca_file {
        let pem = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        for certificate in reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| e.to_string())? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    let client = builder.build().map_err(|error| error.to_string())?;
    let url = format!("{}/v1/info", server.trim_end_matches('/'));
    let request = client.get(url).header("accept", "application/json");
    let answer = request.send().await.map_err(|error| causes(&error))?;
    if !answer.status().is_success() {
        return Err(format!("it answered {}", answer.status()));
    }
    answer.json().await.map_err(|error| format!("it is no Meshdrive store: {error}"))
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn protocol(label: &Label, server: &str, info: &Info) -> Finding {
    let what = format!("{label}: store");
    let major = |version: &str| version.split('.').next().map(str::to_string);
    let found = format!("{server} answers, version {}, protocol {}", info.server, info.protocol);
    if major(&info.protocol) == major(PROTOCOL_VERSION) {
        Finding::ok(what, found)
    } else {
        let advice = format!("this program speaks {PROTOCOL_VERSION}: upgrade the older side");
        Finding::fail(what, found, advice)
    }
}

fn clock(label: &Label, info: &Info) -> Finding {
    let what = format!("{label}: clock");
    let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let there = Duration::from_millis(info.time_ms);
    let off = here.abs_diff(there);
    let found = format!("{} ms from the store's", off.as_millis());
    if off <= CLOCK_LIMIT {
        Finding::ok(what, found)
    } else {
        Finding::warn(what, found, "set the clock: times of files look odd on other devices")
    }
}

/// Whether the store still knows this device.
async fn membership(dirs: &Dirs, config: &Config, label: &Label) -> Finding {
    let what = format!("{label}: membership");
    let opened = match store::open(dirs, config, label).map(|opened| opened.throttled) {
        Ok(store) => store,
        Err(failure) => {
            return Finding::fail(what, failure.error.to_string(), "join the drive again");
        }
    };
    match tokio::time::timeout(STORE_LIMIT, CloudStore::connect(&*opened)).await {
        Ok(Ok(drive)) => {
            let used = crate::render::text::size(drive.used_bytes);
            let quota = drive.quota_bytes.map(crate::render::text::size);
            let of = quota.map(|quota| format!(" of {quota}")).unwrap_or_default();
            Finding::ok(what, format!("the store knows this device; {used}{of} in use"))
        }
        Ok(Err(error)) if error.kind == CloudErrorKind::Denied => Finding::fail(
            what,
            error.message.to_string(),
            "unmount it, and `meshdrive drive join NAME --again` with a join code or the recovery key",
        ),
        Ok(Err(error)) => Finding::fail(what, error.message.to_string(), "try again later"),
        Err(_) => Finding::fail(what, "the store does not answer in time", "try again later"),
    }
}
