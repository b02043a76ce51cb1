//! The cloud store as a service: axum over SQLite and a folder of packs. It moves sealed bytes about
//! and never looks inside; what it knows is the shape of the tree and the order of its changes.

mod app;
mod auth;
mod body;
mod commit;
mod config;
mod db;
mod door;
mod frames;
mod hints;
mod ids;
mod metrics;
mod operator;
mod packs;
mod problem;
mod rate;
mod routes;
mod setup;
mod start;
mod upkeep;

pub use config::{Bounds, Keep, Rates, ServerConfig, TlsFiles};
pub use db::OpenError;
pub use operator::{DOOR_FILE, Maintenance, MaintenanceError};
pub use start::{Server, StartError};
