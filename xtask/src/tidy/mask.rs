//! A view of Rust source in which comments and the insides of literals are blanks, so that plain
//! text searches see code only. Line breaks stay, so line numbers do too.

/// Returns `source` with every byte of comments, strings and character literals replaced by a
/// space, except line breaks. Same length in bytes; not a parser: any text is accepted.
pub(super) fn mask(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at).unwrap_or(at);
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    // Blanked ranges begin and end at ASCII delimiters, so what is left is still UTF-8.
    String::from_utf8_lossy(&out).into_owned()
}

/// The end of the comment or literal that begins at `at`, if one does.
fn literal_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return Some(line_end(bytes, at));
    }
    if rest.starts_with(b"/*") {
        return Some(block_comment_end(bytes, at));
    }
    match rest[0] {
        b'"' => Some(string_end(bytes, at + 1)),
        b'\'' => char_end(bytes, at),
        b'r' if at == 0 || !is_word(bytes[at - 1]) || is_raw_prefix(bytes, at) => {
            raw_string_end(bytes, at + 1)
        }
        _ => None,
    }
}

/// Whether the `r` at `at` follows a lone `b` or `c`, as in `br"..."`.
fn is_raw_prefix(bytes: &[u8], at: usize) -> bool {
    matches!(bytes[at - 1], b'b' | b'c') && (at == 1 || !is_word(bytes[at - 2]))
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |len| at + len)
}

/// Block comments nest in Rust.
fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `at` is after the `r`. A raw identifier (`r#match`) is no string.
fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at..].iter().take_while(|&&byte| byte == b'#').count();
    if bytes.get(at + hashes) != Some(&b'"') {
        return None;
    }
    let mut closing = vec![b'"'];
    closing.resize(1 + hashes, b'#');
    let body = at + hashes + 1;
    let found = bytes[body..].windows(closing.len()).position(|window| window == closing);
    Some(found.map_or(bytes.len(), |len| body + len + closing.len()))
}

/// A quote opens a character literal or a lifetime; only the first has a closing quote after one
/// character or an escape.
fn char_end(bytes: &[u8], at: usize) -> Option<usize> {
    let first = *bytes.get(at + 1)?;
    if first == b'\\' {
        let from = at + 3;
        let len = bytes.get(from..)?.iter().position(|&byte| byte == b'\'')?;
        return Some(from + len + 1);
    }
    let width = match first {
        0..=0x7f => 1,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    (bytes.get(at + 1 + width) == Some(&b'\'')).then_some(at + 2 + width)
}

/// Whether `byte` can be part of an identifier.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Start offsets of `word` in `text` where it stands as a whole word.
pub(super) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = text.as_bytes();
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let after = bytes.get(at + word.len()).copied().unwrap_or(b' ');
        (at == 0 || !is_word(bytes[at - 1])) && !is_word(after)
    })
}

/// The 1-based line of byte offset `at`.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that are left, with the same length and the same line breaks.
    fn left(source: &str) -> String {
        let masked = mask(source);
        assert_eq!(masked.len(), source.len(), "{source}");
        assert_eq!(masked.matches('\n').count(), source.matches('\n').count(), "{source}");
        masked.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_literals_become_blanks() {
        for (source, expected) in [
            ("a // {\nb", "a b"),
            ("a /* x /* { */ \n } */ b", "a b"),
            (r#"f("{ \" }") {"#, "f( ) {"),
            ("\"\\\\\" {", "{"),
            ("r\"\\\" {", "{"),
            ("br#\"a\"{\"# {", "b {"),
            ("'{' 'a' '\\'' '\\u{7d}' b'{' {", "b {"),
            ("'\\\\' {", "{"),
            ("fn f<'a>(x: &'a str) {", "fn f<'a>(x: &'a str) {"),
            ("r#match { bar\"x\" }", "r#match { bar }"),
            ("'ä' 'ä {", "'ä {"),
        ] {
            assert_eq!(left(source), expected, "{source}");
        }
    }

    #[test]
    fn unfinished_literals_reach_the_end_and_never_panic() {
        for source in ["\"abc", "r##\"abc\"#", "/* /* */", "'\\", "'", "\"\\", "r", "b'"] {
            assert_eq!(mask(source).len(), source.len(), "{source}");
        }
    }

    #[test]
    fn words_are_whole() {
        let text = "unsafe_code unsafe { unsafely (unsafe)";
        assert_eq!(words(text, "unsafe").collect::<Vec<_>>(), [12, 31]);
    }
}
