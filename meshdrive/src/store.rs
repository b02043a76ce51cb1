//! Opens the cloud store of a drive of this device.

use crate::{
    config::{Config, Size},
    dirs::{Dirs, Label},
    drives,
    failure::{Failure, Outcome},
};
use cloud::{ClientOptions, CloudStore, Credentials, NativeStore, Rates, Throttled};
use std::{num::NonZeroU32, sync::Arc};

/// The credentials of a drive.
pub(crate) fn credentials(dirs: &Dirs, label: &Label) -> Outcome<Credentials> {
    drives::require(dirs, label)?;
    Credentials::load(&dirs.credentials(label))
        .map_err(|error| Failure::from(error).context(format!("cannot use the drive {label}")))
}

/// Does not touch the network: a drive starts offline as well.
pub(crate) fn open(dirs: &Dirs, config: &Config, label: &Label) -> Outcome<Arc<dyn CloudStore>> {
    let credentials = credentials(dirs, label)?;
    let native = NativeStore::new(credentials, client_options(config))?;
    let rates = Rates { up: rate(config.upload.limit), down: rate(config.download.limit) };
    Ok(if rates == Rates::default() {
        Arc::new(native)
    } else {
        Arc::new(Throttled::new(Arc::new(native), rates))
    })
}

/// Rates above 4 GB/s are none.
fn rate(limit: Option<Size>) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(limit?.0).ok()?)
}

fn client_options(config: &Config) -> ClientOptions {
    ClientOptions { ca_file: config.cloud.ca_file.clone() }
}
