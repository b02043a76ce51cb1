//! The far side: what a cloud store can do, whatever is behind it. Behind it here: the native
//! store, which seals everything on this device and speaks to a Meshdrive server; and decorators.

mod buffers;
mod chunk;
mod chunker;
mod client;
mod code;
mod commit;
mod credentials;
mod draft;
mod faulty;
mod feed;
mod fetch;
#[cfg(test)]
mod formats;
mod history;
mod keys;
mod layout;
mod manifest;
mod membership;
mod mend;
mod native;
mod params;
mod pieces;
mod problem;
mod recent;
mod record;
mod records;
mod relay;
mod retry;
mod stage;
mod store;
mod stream;
mod throttle;
mod tree;

pub use client::{ClientOptions, Traffic};
pub use code::{Code, JoinCode, RecoveryKey};
pub use credentials::Credentials;
pub use faulty::{Fault, Faulty};
pub use history::{Activity, ActivityEntry, ActivityQuery, DeviceInfo, Moment, NodeChange};
pub use keys::DriveKey;
pub use membership::{JOIN_CODE_LIFE, create_drive, invite, join};
pub use mend::{Damage, Held};
pub use native::NativeStore;
pub use retry::Retrying;
pub use store::{CloudStore, ContentSource, PartSink};
pub use throttle::{Rates, Throttled};
