//! Names of the drive as names that NTFS and Win32 accept, and back, without loss.
//!
//! The drive's names are bytes; Windows' are UTF-16 with forbidden characters. A byte that cannot
//! stand as it is becomes the private-use character U+F000 + byte: one unit a byte, so a name of at
//! most 255 bytes stays within 255 units. That holds for forbidden characters, bytes that are no
//! UTF-8, the last dot or space, the first letter of a reserved name, and for the private-use
//! characters U+F000 to U+F0FF themselves (their three bytes, one by one).

use fs_core::{FsError, Name};

/// The first of the 256 private-use characters that stand for bytes.
const ESCAPE: u16 = 0xf000;
/// Code units of a path component (NTFS).
pub const UNITS_MAX: usize = 255;

/// Device names that Win32 takes for itself, with any extension ("Naming Files, Paths, and
/// Namespaces", Microsoft).
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];
/// Those that are followed by one digit of [`DEVICE_DIGITS`].
const NUMBERED_DEVICES: [&str; 2] = ["COM", "LPT"];
/// 1 to 9, and the superscripts that Windows treats the same.
const DEVICE_DIGITS: &str = "123456789¹²³";

/// The name that Windows shows for `name`.
#[must_use]
pub fn to_windows(name: &Name) -> Vec<u16> {
    let mut units = Vec::with_capacity(name.as_bytes().len());
    for chunk in name.as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            push(&mut units, character);
        }
        units.extend(chunk.invalid().iter().copied().map(escape));
    }
    if let Some(last) = units.last_mut() {
        // Win32 silently strips them.
        if *last == u16::from(b'.') || *last == u16::from(b' ') {
            *last |= ESCAPE;
        }
    }
    if is_device(&units) {
        units[0] |= ESCAPE;
    }
    units
}

fn push(units: &mut Vec<u16>, character: char) {
    let mut buffer = [0; 4];
    if is_forbidden(character) || is_escape(u32::from(character)) {
        units.extend(character.encode_utf8(&mut buffer).bytes().map(escape));
    } else {
        units.extend_from_slice(character.encode_utf16(&mut [0; 2]));
    }
}

fn escape(byte: u8) -> u16 {
    ESCAPE | u16::from(byte)
}

fn is_escape(character: u32) -> bool {
    character & !0xff == u32::from(ESCAPE)
}

fn is_forbidden(character: char) -> bool {
    matches!(character, '\0'..='\x1f' | '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*')
}

/// Whether Win32 would open a device instead of a file: the part before the first dot, without
/// trailing spaces, is a device name in any case.
fn is_device(units: &[u16]) -> bool {
    let base: Vec<u16> =
        units.iter().copied().take_while(|&unit| unit != u16::from(b'.')).collect();
    let base = String::from_utf16_lossy(&base).trim_end_matches(' ').to_ascii_uppercase();
    let numbered = |device: &&str| {
        let mut rest = base.strip_prefix(*device).unwrap_or_default().chars();
        rest.next().is_some_and(|digit| DEVICE_DIGITS.contains(digit)) && rest.next().is_none()
    };
    DEVICES.contains(&base.as_str()) || NUMBERED_DEVICES.iter().any(numbered)
}

/// The drive's name for what Windows calls `units`; the exact inverse of [`to_windows`].
///
/// # Errors
/// `Invalid` when no name of the drive is shown like that: lone surrogates, forbidden characters,
/// or an escape where none is needed (two names would fall together otherwise). `NameTooLong`
/// above 255 bytes.
pub fn from_windows(units: &[u16]) -> Result<Name, FsError> {
    let mut bytes = Vec::with_capacity(units.len());
    for character in char::decode_utf16(units.iter().copied()) {
        let character = character.map_err(|_| FsError::Invalid)?;
        match u32::from(character) {
            value if is_escape(value) => bytes.push(value.to_le_bytes()[0]),
            _ => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    let name = Name::new(&bytes)?;
    if to_windows(&name) == units { Ok(name) } else { Err(FsError::Invalid) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(bytes: &[u8]) -> String {
        String::from_utf16(&to_windows(&Name::new(bytes).unwrap())).unwrap()
    }

    fn back(text: &str) -> Result<Vec<u8>, FsError> {
        let units: Vec<u16> = text.encode_utf16().collect();
        from_windows(&units).map(|name| name.as_bytes().to_vec())
    }

    #[test]
    fn plain_names_stay_as_they_are() {
        for name in ["a", "Größe.txt", "日本語", "a.b.c", " leading", ".hidden", "😀", "a~1"]
        {
            assert_eq!(shown(name.as_bytes()), name);
        }
    }

    #[test]
    fn what_windows_refuses_is_escaped() {
        for (name, expected) in [
            (&b"a:b"[..], "a\u{f03a}b"),
            (b"a\\b", "a\u{f05c}b"),
            (b"what?", "what\u{f03f}"),
            (b"\x01", "\u{f001}"),
            (b"end.", "end\u{f02e}"),
            (b"...", "..\u{f02e}"),
            (b"end ", "end\u{f020}"),
            (b"con", "\u{f063}on"),
            (b"NUL.tar.gz", "\u{f04e}UL.tar.gz"),
            (b"com1", "\u{f063}om1"),
            ("LPT².x".as_bytes(), "\u{f04c}PT².x"),
            (b"aux .c", "\u{f061}ux .c"),
            (b"bad\xff", "bad\u{f0ff}"),
            ("\u{f041}".as_bytes(), "\u{f0ef}\u{f081}\u{f081}"),
        ] {
            assert_eq!(shown(name), expected, "{}", name.escape_ascii());
            assert_eq!(back(expected).unwrap(), name, "{}", name.escape_ascii());
        }
        for name in ["com", "com10", "com0", "console", "lpt", "nul_", "coM1x"] {
            assert_eq!(shown(name.as_bytes()), name);
        }
    }

    #[test]
    fn what_no_name_is_shown_as_is_refused() {
        for text in ["\u{f041}", "a:b", "end.", "con", "a\u{f02e}b", "", ".", "..", "a/b"] {
            assert_eq!(back(text), Err(FsError::Invalid), "{text:?}");
        }
        assert_eq!(from_windows(&[0xd800]), Err(FsError::Invalid));
        assert_eq!(back(&"ä".repeat(128)), Err(FsError::NameTooLong));
    }

    /// Bytes that are likely to meet the rules above.
    fn name_bytes() -> impl Strategy<Value = Vec<u8>> {
        let odd =
            prop::sample::select(&b" .:\\*?<>|\"\x01\x1f\x7f\xef\x80\x81\xbf\xffconulpt12~aA"[..]);
        let byte = prop_oneof![3 => odd, 1 => any::<u8>()];
        let bytes = prop::collection::vec(byte, 1..=255);
        let text = "[\u{f000}-\u{f0ff}a. \u{10000}-\u{10010}]{1,60}".prop_map(String::into_bytes);
        prop_oneof![bytes, text].prop_filter("a legal name", |bytes| Name::new(bytes).is_ok())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn every_name_comes_back_and_is_legal(bytes in name_bytes()) {
            let name = Name::new(&bytes).unwrap();
            let units = to_windows(&name);
            prop_assert!(units.len() <= UNITS_MAX);
            prop_assert_eq!(from_windows(&units), Ok(name));
            let text = String::from_utf16(&units).unwrap();
            prop_assert!(!text.contains(is_forbidden), "{:?}", text);
            prop_assert!(!text.ends_with(['.', ' ']), "{:?}", text);
            prop_assert!(!is_device(&units), "{:?}", text);
        }

        #[test]
        fn what_is_accepted_is_shown_the_same(units in prop::collection::vec(any::<u16>(), 1..40)) {
            if let Ok(name) = from_windows(&units) {
                prop_assert_eq!(to_windows(&name), units);
            }
        }
    }
}
