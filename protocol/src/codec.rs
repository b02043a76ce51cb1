//! CBOR (RFC 8949) bodies with bounds. JSON of the same types is for people.

use serde::{Serialize, de::DeserializeOwned};

/// The media type of CBOR bodies (RFC 8949, 9.5).
pub const CBOR: &str = "application/cbor";

/// A body that is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("malformed body: {0}")]
pub struct DecodeError(String);

/// Encodes `value`. Our own types cannot fail to encode; a failure would be a bug, and yields an
/// empty body that every decoder refuses.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    if ciborium::into_writer(value, &mut out).is_err() {
        out.clear();
    }
    out
}

/// Decodes one value that must fill `bytes` exactly.
///
/// # Errors
/// Anything that is not a `T`, nests deeper than [`crate::limits::CBOR_DEPTH`], or has bytes left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut rest = bytes;
    let value =
        ciborium::de::from_reader_with_recursion_limit(&mut rest, crate::limits::CBOR_DEPTH)
            .map_err(|error| DecodeError(error.to_string()))?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(DecodeError(format!("{} bytes left over", rest.len())))
    }
}
