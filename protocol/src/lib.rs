//! Everything that crosses a process boundary: the cloud wire, the pack format, the control socket, and what
//! a store tells its operator.
//! The only serde types of the project. Evolution: fields are added as optional, never re-used.

mod bounds;
pub mod codec;
pub mod control;
pub mod keeper;
pub mod limits;
pub mod operator;
pub mod pack;
pub mod wire;

/// Sent by both sides as the header `Meshdrive-Protocol`; the number before the dot must be equal.
pub const PROTOCOL_VERSION: &str = "1.0";
/// Name of the header that carries [`PROTOCOL_VERSION`].
pub const PROTOCOL_HEADER: &str = "meshdrive-protocol";
