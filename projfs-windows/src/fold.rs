//! Case-insensitive order of names, after the rule of NTFS: code units are compared by number after
//! each was turned to upper case on its own.
//!
//! NTFS has a table of its own, older than today's Unicode. This follows the pairs of Unicode that
//! map one unit to one unit and back, which leaves out `ı`, `ſ`, `µ` and final sigma as NTFS does.
//! A test under Wine compares it unit by unit with Wine's table (`RtlUpcaseUnicodeChar`).

use std::cmp::Ordering;

/// `unit` in upper case; units without a partner, and surrogates, stay.
#[must_use]
pub fn upper(unit: u16) -> u16 {
    let Some(character) = char::from_u32(u32::from(unit)) else { return unit };
    if character.is_ascii() {
        return u16::from(unit.to_le_bytes()[0].to_ascii_uppercase());
    }
    match unit {
        // Letters with an iota below: one unit in the old table, two in Unicode's full mapping.
        0x1f80..=0x1f87 | 0x1f90..=0x1f97 | 0x1fa0..=0x1fa7 => return unit + 8,
        0x1fb3 | 0x1fc3 | 0x1ff3 => return unit + 9,
        // Younger than the table.
        0x019b | 0x0264 | 0x1c8a | 0xa7cd | 0xa7cf | 0xa7d3 | 0xa7d5 | 0xa7db => return unit,
        _ => {}
    }
    single(character.to_uppercase())
        .filter(|&upper| single(upper.to_lowercase()) == Some(character))
        .and_then(|upper| u16::try_from(u32::from(upper)).ok())
        .unwrap_or(unit)
}

/// The only character of `characters`.
fn single(mut characters: impl Iterator<Item = char>) -> Option<char> {
    let first = characters.next();
    first.filter(|_| characters.next().is_none())
}

/// A key that is equal exactly for names that Windows takes for the same, and sorts like it does.
#[must_use]
pub fn key(name: &[u16]) -> Vec<u16> {
    name.iter().copied().map(upper).collect()
}

/// The order in which a listing must be given.
#[must_use]
pub fn compare(left: &[u16], right: &[u16]) -> Ordering {
    left.iter().copied().map(upper).cmp(right.iter().copied().map(upper))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn units(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    #[test]
    fn case_does_not_count() {
        for (left, right) in
            [("readme.TXT", "README.txt"), ("größe", "GRÖßE"), ("ж", "Ж"), ("", "")]
        {
            assert_eq!(compare(&units(left), &units(right)), Ordering::Equal, "{left} {right}");
        }
    }

    #[test]
    fn letters_that_only_look_alike_stay_apart() {
        for (left, right) in
            [("ı", "I"), ("ſ", "S"), ("µ", "Μ"), ("ς", "Σ"), ("ß", "SS"), ("ﬁ", "FI")]
        {
            assert_ne!(compare(&units(left), &units(right)), Ordering::Equal, "{left} {right}");
        }
    }

    #[test]
    fn the_underscore_comes_after_letters_of_either_case() {
        let mut names = ["_", "b", "A", "a.txt", "Z", "10", "9", "a"].map(units);
        names.sort_by(|left, right| compare(left, right));
        let sorted = names.map(|name| String::from_utf16(&name).unwrap());
        assert_eq!(sorted, ["10", "9", "A", "a", "a.txt", "b", "Z", "_"]);
    }

    proptest! {
        #[test]
        fn upper_is_stable(unit in any::<u16>()) {
            prop_assert_eq!(upper(upper(unit)), upper(unit));
        }

        #[test]
        fn keys_order_like_compare(
            left in prop::collection::vec(any::<u16>(), 0..8),
            right in prop::collection::vec(any::<u16>(), 0..8),
        ) {
            prop_assert_eq!(key(&left).cmp(&key(&right)), compare(&left, &right));
        }
    }
}
