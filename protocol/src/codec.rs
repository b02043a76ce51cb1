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

/// The same value as JSON for people: byte strings are lower-case hex.
#[must_use]
pub fn encode_json<T: Serialize>(value: &T) -> Vec<u8> {
    let tree = ciborium::Value::serialized(value).unwrap_or(ciborium::Value::Null);
    to_json(tree).to_string().into_bytes()
}

fn to_json(value: ciborium::Value) -> serde_json::Value {
    use ciborium::Value as Cbor;
    use serde_json::Value as Json;
    match value {
        Cbor::Integer(number) => {
            let number = i128::from(number);
            u64::try_from(number).map_or_else(|_| Json::from(number as i64), Json::from)
        }
        Cbor::Bytes(bytes) => Json::from(hex(&bytes)),
        Cbor::Float(number) => Json::from(number),
        Cbor::Text(text) => Json::from(text),
        Cbor::Bool(yes) => Json::from(yes),
        Cbor::Tag(_, inner) => to_json(*inner),
        Cbor::Array(list) => list.into_iter().map(to_json).collect(),
        Cbor::Map(entries) => entries
            .into_iter()
            .map(|(key, value)| (key.into_text().unwrap_or_default(), to_json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        _ => Json::Null,
    }
}

/// Lower-case hex, as ids stand in paths and in JSON.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |index: u8| char::from(DIGITS[usize::from(index & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Reads exactly `N` bytes of lower-case hex; `None` for anything else.
#[must_use]
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(out)
}
