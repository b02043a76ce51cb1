//! The binary form of changes, on disk only: CBOR (RFC 8949), written and read by hand.
//!
//! A struct is an array of its fields, an enum an array of its variant's number and fields. Readers
//! skip fields that a later version appended, and fields are never removed or reordered; anything
//! else needs a new [`VERSION`]. Reading is total: hostile bytes give an error, never a panic, and
//! never an allocation beyond the length of the input.

mod basic;
mod record;
mod remote;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use basic::{kind, kind_number, name};

use fs_core::{Attrs, Change, Flight, Origin, Ranges, Xattrs};
use minicbor::{Decoder, Encoder, decode, encode};
use std::convert::Infallible;

/// Version of the record format; it stands in the header of every journal file.
pub(crate) const VERSION: u32 = 1;

pub(crate) type EncodeError = encode::Error<Infallible>;
pub(crate) type DecodeError = decode::Error;
pub(crate) type Put = Result<(), EncodeError>;
pub(crate) type Out = Encoder<Vec<u8>>;

/// A value with a place in the on-disk format.
pub(crate) trait Wire: Sized {
    fn put(&self, out: &mut Out) -> Put;
    fn get(input: &mut Decoder<'_>) -> Result<Self, DecodeError>;
}

/// Appends the batch to `buffer`; on an error the buffer is as before.
pub(crate) fn encode_batch(batch: &[Change], buffer: &mut Vec<u8>) -> Put {
    let before = buffer.len();
    let mut out = Encoder::new(std::mem::take(buffer));
    let result = put_list(batch, &mut out);
    *buffer = out.into_writer();
    if result.is_err() {
        buffer.truncate(before);
    }
    result
}

pub(crate) fn decode_batch(bytes: &[u8]) -> Result<Vec<Change>, DecodeError> {
    whole(bytes)
}

pub(crate) fn encode_ranges(ranges: &Ranges) -> Result<Vec<u8>, EncodeError> {
    bytes_of(ranges)
}

pub(crate) fn decode_ranges(bytes: &[u8]) -> Result<Ranges, DecodeError> {
    whole(bytes)
}

pub(crate) fn encode_flight(flight: &Flight) -> Result<Vec<u8>, EncodeError> {
    bytes_of(flight)
}

pub(crate) fn decode_flight(bytes: &[u8]) -> Result<Flight, DecodeError> {
    whole(bytes)
}

pub(crate) fn encode_origin(origin: &Origin) -> Result<Vec<u8>, EncodeError> {
    bytes_of(origin)
}

pub(crate) fn decode_origin(bytes: &[u8]) -> Result<Origin, DecodeError> {
    whole(bytes)
}

/// The attributes that few nodes have: device number, symlink target, extended attributes.
/// `None` when there are none, so that an ordinary row stays small.
pub(crate) fn encode_extra(attrs: &Attrs) -> Result<Option<Vec<u8>>, EncodeError> {
    if attrs.rdev == 0 && attrs.target.is_empty() && attrs.xattrs.is_empty() {
        return Ok(None);
    }
    let mut out = Encoder::new(Vec::new());
    out.array(3)?;
    attrs.rdev.put(&mut out)?;
    attrs.target.put(&mut out)?;
    attrs.xattrs.put(&mut out)?;
    Ok(Some(out.into_writer()))
}

pub(crate) fn decode_extra(bytes: &[u8]) -> Result<(u32, Vec<u8>, Xattrs), DecodeError> {
    let mut input = Decoder::new(bytes);
    let more = fields(&mut input, 3)?;
    let extra = (Wire::get(&mut input)?, Wire::get(&mut input)?, Wire::get(&mut input)?);
    skip(&mut input, more)?;
    Ok(extra)
}

fn bytes_of<T: Wire>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut out = Encoder::new(Vec::new());
    value.put(&mut out)?;
    Ok(out.into_writer())
}

/// Reads a value that must be all of `bytes`.
fn whole<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut input = Decoder::new(bytes);
    let value = T::get(&mut input)?;
    if input.position() == bytes.len() {
        Ok(value)
    } else {
        Err(DecodeError::message("bytes after the end of the value"))
    }
}

fn put_list<T: Wire>(list: &[T], out: &mut Out) -> Put {
    out.array(list.len() as u64)?;
    list.iter().try_for_each(|item| item.put(out))
}

/// Opens an array of at least `known` fields and returns how many more it has.
fn fields(input: &mut Decoder<'_>, known: u64) -> Result<u64, DecodeError> {
    length(input)?.checked_sub(known).ok_or_else(|| DecodeError::message("fields are missing"))
}

/// Opens an array of known length.
fn length(input: &mut Decoder<'_>) -> Result<u64, DecodeError> {
    input.array()?.ok_or_else(|| DecodeError::message("array without a length"))
}

/// Skips fields that a later version appended.
fn skip(input: &mut Decoder<'_>, count: u64) -> Result<(), DecodeError> {
    (0..count).try_for_each(|_| input.skip())
}
