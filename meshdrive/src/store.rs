//! Opens the cloud store of a drive of this device.

use crate::{
    config::{Config, Size},
    dirs::{Dirs, Label},
    drives,
    failure::{Failure, Outcome},
    hours::{Hours, limit_at},
};
use cloud::{ClientOptions, CloudStore, Credentials, NativeStore, Rates, Throttled};
use std::{num::NonZeroU32, sync::Arc};

/// The credentials of a drive.
pub(crate) fn credentials(dirs: &Dirs, label: &Label) -> Outcome<Credentials> {
    drives::require(dirs, label)?;
    Credentials::load(&dirs.credentials(label))
        .map_err(|error| Failure::from(error).context(format!("cannot use the drive {label}")))
}

/// The store of a drive, and what is asked of its parts.
pub(crate) struct Opened {
    /// Counts what goes over the line.
    pub(crate) native: Arc<NativeStore>,
    /// Everything goes through it.
    pub(crate) throttled: Arc<Throttled>,
}

/// Does not touch the network: a drive starts offline as well.
pub(crate) fn open(dirs: &Dirs, config: &Config, label: &Label) -> Outcome<Opened> {
    let credentials = credentials(dirs, label)?;
    let native = Arc::new(NativeStore::new(credentials, client_options(config))?);
    let inner = Arc::clone(&native) as Arc<dyn CloudStore>;
    let throttled = Arc::new(Throttled::new(inner, rates(config)));
    Ok(Opened { native, throttled })
}

/// The limits that hold now, by the clock of this device.
pub(crate) fn rates(config: &Config) -> Rates {
    let now = jiff::tz::TimeZone::system().to_datetime(jiff::Timestamp::now()).time();
    let limit = |always, hours: &[Hours]| rate(limit_at(always, hours, now));
    Rates {
        up: limit(config.upload.limit, &config.upload.hours),
        down: limit(config.download.limit, &config.download.hours),
    }
}

/// Rates above 4 GB/s are none.
fn rate(limit: Option<Size>) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(limit?.0).ok()?)
}

fn client_options(config: &Config) -> ClientOptions {
    ClientOptions { ca_file: config.cloud.ca_file.clone() }
}
