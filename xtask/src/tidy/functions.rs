//! Finds functions in masked source and counts their lines.

use super::mask::{is_word, line_of, words};

/// One function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// 1-based line of the word `fn`.
    pub(super) line: usize,
    /// From the line of `fn` to the line of the closing brace, both included.
    pub(super) lines: usize,
}

/// Every function with a body in `masked` (see [`super::mask::mask`]), nested ones too.
pub(super) fn functions(masked: &str) -> Vec<Function> {
    words(masked, "fn").filter_map(|at| function_at(masked, at)).collect()
}

fn function_at(masked: &str, at: usize) -> Option<Function> {
    let after = masked[at + 2..].trim_start();
    let name: String =
        after.bytes().take_while(|&byte| is_word(byte) || byte == b'#').map(char::from).collect();
    if name.is_empty() {
        return None; // A function pointer type: `fn(u32)`.
    }
    let open = body_start(masked.as_bytes(), at)?;
    let close = matching_brace(masked.as_bytes(), open)?;
    let line = line_of(masked, at);
    Some(Function { name, line, lines: line_of(masked, close) - line + 1 })
}

/// The `{` of the body; `None` for a declaration that ends with `;`.
fn body_start(bytes: &[u8], from: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, &byte) in bytes.iter().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at),
            b';' if depth == 0 => return None,
            _ => {}
        }
        if depth < 0 {
            return None; // `fn` was inside a macro's parentheses.
        }
    }
    None
}

fn matching_brace(bytes: &[u8], open: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, &byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::mask::mask;
    use super::*;

    fn found(source: &str) -> Vec<(String, usize, usize)> {
        functions(&mask(source)).into_iter().map(|f| (f.name, f.line, f.lines)).collect()
    }

    #[test]
    fn counts_from_fn_to_the_closing_brace() {
        let source = "\n/// fn doc() {}\n#[x]\npub fn one() {\n    \"}\";\n    if a { b } // }\n}\nfn two() {}\n";
        assert_eq!(found(source), [("one".into(), 4, 4), ("two".into(), 8, 1)]);
    }

    #[test]
    fn signatures_may_be_long_and_hold_arrays() {
        let source = "fn f(\n    a: [u8; 4],\n) -> [u8; 2]\nwhere\n    T: X,\n{\n}\n";
        assert_eq!(found(source), [("f".into(), 1, 7)]);
    }

    #[test]
    fn declarations_and_pointer_types_are_not_functions() {
        assert!(found("trait T { fn f(&self); }\ntype P = fn(u8) -> u8;\n").is_empty());
    }

    #[test]
    fn nested_functions_are_found_on_their_own() {
        let source = "fn outer() {\n    fn inner() {\n    }\n}\n";
        assert_eq!(found(source), [("outer".into(), 1, 4), ("inner".into(), 2, 2)]);
    }
}
