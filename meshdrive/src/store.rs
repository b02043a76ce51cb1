//! Opens the cloud store of a drive of this device.

use crate::{
    config::Config,
    dirs::{Dirs, Label},
    drives,
    failure::{Failure, Outcome},
};
use cloud::{ClientOptions, CloudStore, Credentials, NativeStore};
use std::sync::Arc;

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
    Ok(Arc::new(native))
}

pub(crate) fn client_options(config: &Config) -> ClientOptions {
    ClientOptions { ca_file: config.cloud.ca_file.clone() }
}
