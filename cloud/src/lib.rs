//! The far side: what a cloud store can do, whatever is behind it.

mod store;

pub use store::{CloudStore, ContentSource, PartSink};
