//! Rows and changes.

use super::{DecodeError, Out, Put, Wire, fields, skip};
use fs_core::{Attrs, Change, ContentRow, Flight, FlightItem, Hold, Loaded, NodeRow, Origin};
use minicbor::Decoder;

/// Counts its arguments.
macro_rules! count {
    () => { 0_u64 };
    ($first:ident $($rest:ident)*) => { 1_u64 + count!($($rest)*) };
}
pub(super) use count;

/// A struct as the array of these fields, in this order.
macro_rules! record {
    ($type:ident { $($field:ident),+ $(,)? }) => {
        impl Wire for $type {
            fn put(&self, out: &mut Out) -> Put {
                out.array(count!($($field)+))?;
                $(self.$field.put(out)?;)+
                Ok(())
            }
            fn get(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                let more = fields(input, count!($($field)+))?;
                $(let $field = Wire::get(input)?;)+
                skip(input, more)?;
                Ok($type { $($field),+ })
            }
        }
    };
}
pub(super) use record;

record!(Attrs { mode, uid, gid, rdev, atime, mtime, ctime, btime, target, xattrs });
record!(Origin { parent, name, attrs });
record!(NodeRow {
    ino,
    id,
    parent,
    name,
    kind,
    attrs,
    size,
    meta_rev,
    content_rev,
    pending,
    origin,
    listed,
    pinned,
    gone,
});
record!(Loaded { node, content });
record!(Flight { request, groups, items });
record!(FlightItem { group, sent, generation });

/// `blind` came later: a row without it was written before there was passthrough.
impl Wire for ContentRow {
    fn put(&self, out: &mut Out) -> Put {
        out.array(7)?;
        self.ino.put(out)?;
        self.base_id.put(out)?;
        self.base_rev.put(out)?;
        self.base_len.put(out)?;
        self.valid.put(out)?;
        self.dirty.put(out)?;
        self.blind.put(out)
    }

    fn get(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let more = fields(input, 6)?;
        let mut row = ContentRow {
            ino: Wire::get(input)?,
            base_id: Wire::get(input)?,
            base_rev: Wire::get(input)?,
            base_len: Wire::get(input)?,
            valid: Wire::get(input)?,
            dirty: Wire::get(input)?,
            blind: false,
        };
        if more > 0 {
            row.blind = Wire::get(input)?;
        }
        skip(input, more.saturating_sub(1))?;
        Ok(row)
    }
}

impl Wire for Change {
    fn put(&self, out: &mut Out) -> Put {
        match self {
            Change::PutNode(row) => row.put(out.array(2)?.u8(0)?),
            Change::DropNode(ino) => ino.put(out.array(2)?.u8(1)?),
            Change::PutContent(row) => row.put(out.array(2)?.u8(2)?),
            Change::DropContent(ino) => ino.put(out.array(2)?.u8(3)?),
            Change::Wrote { ino, range, size, mtime } => {
                out.array(5)?.u8(4)?;
                ino.put(out)?;
                range.put(out)?;
                size.put(out)?;
                mtime.put(out)
            }
            Change::Filled { ino, range } => {
                out.array(3)?.u8(5)?;
                ino.put(out)?;
                range.put(out)
            }
            Change::Cursor { rev, epoch } => {
                out.array(3)?.u8(6)?;
                rev.put(out)?;
                epoch.put(out)
            }
            Change::Complete => out.array(1)?.u8(7).map(drop),
            Change::PutFlight(flight) => flight.put(out.array(2)?.u8(8)?),
            Change::DropFlight(request) => request.put(out.array(2)?.u8(9)?),
            Change::Held(hold) => hold.bits().put(out.array(2)?.u8(10)?),
        }
    }

    fn get(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let count = fields(input, 1)?;
        let (known, change) = match input.u8()? {
            0 => (1, Change::PutNode(Wire::get(input)?)),
            1 => (1, Change::DropNode(Wire::get(input)?)),
            2 => (1, Change::PutContent(Wire::get(input)?)),
            3 => (1, Change::DropContent(Wire::get(input)?)),
            4 => {
                let (ino, range) = (Wire::get(input)?, Wire::get(input)?);
                let (size, mtime) = (Wire::get(input)?, Wire::get(input)?);
                (4, Change::Wrote { ino, range, size, mtime })
            }
            5 => (2, Change::Filled { ino: Wire::get(input)?, range: Wire::get(input)? }),
            6 => (2, Change::Cursor { rev: Wire::get(input)?, epoch: Wire::get(input)? }),
            7 => (0, Change::Complete),
            8 => (1, Change::PutFlight(Wire::get(input)?)),
            9 => (1, Change::DropFlight(Wire::get(input)?)),
            10 => (1, Change::Held(Hold::from_bits(Wire::get(input)?))),
            _ => return Err(DecodeError::message("unknown kind of change")),
        };
        let more = count.checked_sub(known);
        skip(input, more.ok_or_else(|| DecodeError::message("fields are missing"))?)?;
        Ok(change)
    }
}
