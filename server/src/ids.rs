//! Identities inside the server: plain arrays.

use crate::problem::Problem;
use protocol::codec;

/// A node, device, request or drive id, or a name key.
pub(crate) type Id = [u8; 16];
/// A chunk id or the hash of a pack.
pub(crate) type Hash = [u8; 32];

/// The root directory of every drive: a parent only, never a node of its own.
pub(crate) const ROOT: Id = [0; 16];

/// An id as it stands in a path.
pub(crate) fn from_path<const N: usize>(what: &str, text: &str) -> Result<[u8; N], Problem> {
    codec::unhex(text).ok_or_else(|| {
        Problem::invalid(format!("the {what} in the path must be {} lower-case hex digits", 2 * N))
    })
}

/// `N` random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Problem::internal("random bytes from the operating system", &error))?;
    Ok(bytes)
}
