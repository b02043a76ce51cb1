//! Operations on their way to the cloud, as a flight keeps them.

use super::record::{count, record};
use super::{DecodeError, Out, Put, Wire, fields, skip};
use fs_core::{Draft, Group, Op};
use minicbor::Decoder;

record!(Draft { bytes, size });
record!(Group { ops });

/// An enum as the array of its variant's number and that variant's fields, in this order.
macro_rules! variants {
    ($type:ident { $($number:literal => $variant:ident { $($field:ident),+ }),+ $(,)? }) => {
        impl Wire for $type {
            fn put(&self, out: &mut Out) -> Put {
                match self {
                    $($type::$variant { $($field),+ } => {
                        out.array(1 + count!($($field)+))?.u8($number)?;
                        $($field.put(out)?;)+
                        Ok(())
                    })+
                }
            }
            fn get(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                let more = fields(input, 1)?;
                match input.u8()? {
                    $($number => {
                        let more = more.checked_sub(count!($($field)+));
                        let more = more.ok_or_else(|| DecodeError::message("fields are missing"))?;
                        $(let $field = Wire::get(input)?;)+
                        skip(input, more)?;
                        Ok($type::$variant { $($field),+ })
                    })+
                    _ => Err(DecodeError::message("unknown kind of operation")),
                }
            }
        }
    };
}

variants!(Op {
    0 => Create { id, parent, name, kind, attrs, content },
    1 => SetContent { id, base, content },
    2 => Move { id, base, parent, name, attrs, for_content },
    3 => SetAttrs { id, base, attrs, for_content },
    4 => Trash { id, meta, content },
    5 => Restore { id, base, parent, name, attrs, for_content },
});
