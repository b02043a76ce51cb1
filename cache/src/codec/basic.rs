//! Numbers, strings, lists and sets.

use super::{DecodeError, Out, Put, Wire, length, put_list};
use fs_core::{Ino, Kind, Name, NodeId, Pending, Range, Ranges, RequestId, Rev, Timestamp, Xattrs};
use minicbor::Decoder;

/// Types that minicbor writes and reads by a method of their own name.
macro_rules! native {
    ($($type:ident),+) => {$(
        impl Wire for $type {
            fn put(&self, out: &mut Out) -> Put {
                out.$type(*self).map(drop)
            }
            fn get(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                input.$type()
            }
        }
    )+};
}
// Not `u8`: a `Vec<u8>` is a byte string, not a list.
native!(bool, u32, u64, i64);

/// Newtypes over one of the above.
macro_rules! newtype {
    ($($type:ident),+) => {$(
        impl Wire for $type {
            fn put(&self, out: &mut Out) -> Put {
                self.0.put(out)
            }
            fn get(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                Wire::get(input).map($type)
            }
        }
    )+};
}
newtype!(Ino, Rev, Timestamp);

/// Newtypes over 16 bytes.
macro_rules! identity {
    ($($type:ident),+) => {$(
        impl Wire for $type {
            fn put(&self, out: &mut Out) -> Put {
                out.bytes(&self.0).map(drop)
            }
            fn get(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                let bytes = input.bytes()?.try_into();
                bytes.map($type).map_err(|_| DecodeError::message("an identity has 16 bytes"))
            }
        }
    )+};
}
identity!(NodeId, RequestId);

impl Wire for Pending {
    fn put(&self, out: &mut Out) -> Put {
        out.u8(self.0).map(drop)
    }
    fn get(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        input.u8().map(Pending)
    }
}

impl Wire for Name {
    fn put(&self, out: &mut Out) -> Put {
        out.bytes(self.as_bytes()).map(drop)
    }
    fn get(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        name(input.bytes()?)
    }
}

/// A name as it is stored: empty for nodes without a place.
pub(crate) fn name(bytes: &[u8]) -> Result<Name, DecodeError> {
    if bytes.is_empty() {
        return Ok(Name::none());
    }
    Name::new(bytes).map_err(|_| DecodeError::message("not a legal name"))
}

const KINDS: [Kind; 8] = [
    Kind::File,
    Kind::Dir,
    Kind::Symlink,
    Kind::Fifo,
    Kind::Socket,
    Kind::CharDevice,
    Kind::BlockDevice,
    Kind::Link,
];

/// The number of a kind in journal and index: its place in [`KINDS`].
pub(crate) fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::File => 0,
        Kind::Dir => 1,
        Kind::Symlink => 2,
        Kind::Fifo => 3,
        Kind::Socket => 4,
        Kind::CharDevice => 5,
        Kind::BlockDevice => 6,
        Kind::Link => 7,
    }
}

pub(crate) fn kind(number: u8) -> Result<Kind, DecodeError> {
    let known = KINDS.get(usize::from(number)).copied();
    known.ok_or_else(|| DecodeError::message("unknown kind of node"))
}

impl Wire for Kind {
    fn put(&self, out: &mut Out) -> Put {
        out.u8(kind_number(*self)).map(drop)
    }
    fn get(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        kind(input.u8()?)
    }
}

impl Wire for Vec<u8> {
    fn put(&self, out: &mut Out) -> Put {
        out.bytes(self).map(drop)
    }
    fn get(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        input.bytes().map(<[u8]>::to_vec)
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Out) -> Put {
        put_list(self, out)
    }
    fn get(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let count = length(input)?;
        // Grown as items arrive: a length is only a claim until its bytes are read.
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(T::get(input)?);
        }
        Ok(list)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Out) -> Put {
        match self {
            Some(value) => value.put(out),
            None => out.null().map(drop),
        }
    }
    fn get(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        if input.datatype()? == minicbor::data::Type::Null {
            input.null().map(|()| None)
        } else {
            T::get(input).map(Some)
        }
    }
}

impl<T: Wire> Wire for Box<T> {
    fn put(&self, out: &mut Out) -> Put {
        (**self).put(out)
    }
    fn get(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        T::get(input).map(Box::new)
    }
}

impl Wire for Xattrs {
    fn put(&self, out: &mut Out) -> Put {
        out.map(self.len() as u64)?;
        self.iter().try_for_each(|(name, value)| out.bytes(name)?.bytes(value).map(drop))
    }
    fn get(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let count = input.map()?.ok_or_else(|| DecodeError::message("map without a length"))?;
        let mut xattrs = Xattrs::new();
        for _ in 0..count {
            xattrs.insert(input.bytes()?.to_vec(), input.bytes()?.to_vec());
        }
        Ok(xattrs)
    }
}

impl Wire for Range {
    fn put(&self, out: &mut Out) -> Put {
        out.array(2)?.u64(self.start)?.u64(self.end).map(drop)
    }
    fn get(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let more = super::fields(input, 2)?;
        let range = Range::new(input.u64()?, input.u64()?);
        super::skip(input, more)?;
        Ok(range)
    }
}

/// A flat list: for each range the gap since the end of the one before, and its length.
impl Wire for Ranges {
    fn put(&self, out: &mut Out) -> Put {
        out.array(2 * self.count() as u64)?;
        let mut end = 0;
        for range in self.iter() {
            out.u64(range.start - end)?.u64(range.len())?;
            end = range.end;
        }
        Ok(())
    }
    fn get(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let numbers = length(input)?;
        if numbers % 2 == 1 {
            return Err(DecodeError::message("half a range"));
        }
        let mut ranges = Ranges::new();
        let mut end = 0_u64;
        for _ in 0..numbers / 2 {
            let (gap, len) = (input.u64()?, input.u64()?);
            let start = end.checked_add(gap);
            let stop = start.and_then(|start| start.checked_add(len));
            let (Some(start), Some(stop), 1..) = (start, stop, len) else {
                return Err(DecodeError::message("range out of bounds"));
            };
            ranges.insert(Range::new(start, stop));
            end = stop;
        }
        Ok(ranges)
    }
}
