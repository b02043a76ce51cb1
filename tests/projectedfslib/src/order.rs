//! Names as Windows compares and matches them.

use std::cmp::Ordering;

windows::core::link!("ntdll.dll" "system" fn RtlUpcaseUnicodeChar(unit: u16) -> u16);

/// By the table of the system that this runs on.
pub(crate) fn upper(unit: u16) -> u16 {
    // SAFETY: a function from a number to a number.
    unsafe { RtlUpcaseUnicodeChar(unit) }
}

pub(crate) fn compare(left: &[u16], right: &[u16]) -> Ordering {
    left.iter().map(|&unit| upper(unit)).cmp(right.iter().map(|&unit| upper(unit)))
}

pub(crate) fn key(place: &[u16]) -> Vec<u16> {
    place.iter().map(|&unit| upper(unit)).collect()
}

/// `*` and `?` only.
pub(crate) fn matches(name: &[u16], pattern: &[u16]) -> bool {
    const STAR: u16 = b'*' as u16;
    const ONE: u16 = b'?' as u16;
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((&STAR, rest)), _) => {
            matches(name, rest)
                || name.split_first().is_some_and(|(_, name)| matches(name, pattern))
        }
        (Some((&ONE, rest)), Some((_, name))) => matches(name, rest),
        (Some((&unit, rest)), Some((&first, name))) => {
            upper(unit) == upper(first) && matches(name, rest)
        }
        _ => false,
    }
}

pub(crate) fn has_wildcards(name: &[u16]) -> bool {
    name.iter().any(|&unit| "*?<>\"".encode_utf16().any(|wild| wild == unit))
}
