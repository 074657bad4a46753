//! Cuts bytes into lines.
//!
//! In:  bytes that end with a newline
//! Out: lines without it, each with the bytes it took
//!
//! Nothing here reads a file.

use memchr::memchr;

/// One line, as it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The bytes before the newline, without the carriage return before it.
    pub content: &'a [u8],
    /// How many bytes of the file the line takes, newline included.
    pub taken: usize,
}

impl<'a> Line<'a> {
    /// A line of `bytes`, which hold no newline.
    pub fn unterminated(bytes: &'a [u8]) -> Self {
        Self { content: without_carriage_return(bytes), taken: bytes.len() }
    }
}

/// The first line of `bytes`. `None`: no newline.
pub fn first_line(bytes: &[u8]) -> Option<Line<'_>> {
    let end = memchr(b'\n', bytes)?;
    Some(Line { content: without_carriage_return(&bytes[..end]), taken: end + 1 })
}

/// A line that is only a carriage return keeps it, as in Fluent Bit.
fn without_carriage_return(line: &[u8]) -> &[u8] {
    match line {
        [head @ .., b'\r'] if !head.is_empty() => head,
        _ => line,
    }
}

/// Whether `Skip_Empty_Lines` leaves the line out.
pub fn is_empty(line: &[u8]) -> bool {
    matches!(line, [] | [b'\r'])
}

/// The longest beginning of `text` that is no longer than `limit` bytes and does not end inside
/// of a UTF-8 character.
pub fn cut_at_character(text: &[u8], limit: usize) -> &[u8] {
    if text.len() <= limit {
        return text;
    }
    let is_continuation = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    let mut end = limit;
    // A character has at most three continuation bytes; more than that is not UTF-8 anyway.
    while end > 0 && limit - end < 4 && is_continuation(text[end]) {
        end -= 1;
    }
    if is_continuation(text[end]) { &text[..limit] } else { &text[..end] }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut lines = Vec::new();
        while let Some(line) = first_line(bytes) {
            lines.push(line.content);
            bytes = &bytes[line.taken..];
        }
        lines
    }

    #[test]
    fn a_line_ends_at_a_newline_and_loses_one_carriage_return_before_it() {
        for (bytes, expected) in [
            (&b"a\nb\n"[..], vec![&b"a"[..], b"b"]),
            (b"a\r\n\r\nb\n", vec![b"a", b"\r", b"b"]),
            (b"a\r\r\n", vec![b"a\r"]),
            (b"\n\n", vec![b"", b""]),
            (b"a\nrest", vec![b"a"]),
            (b"rest", vec![]),
            (b"a\0b\n", vec![b"a\0b"]),
        ] {
            assert_eq!(cut(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        for (text, limit, expected) in [
            ("abcdef", 3, "abc"),
            ("abc", 3, "abc"),
            ("aé", 2, "a"),
            ("aé", 3, "aé"),
            ("日本", 5, "日"),
            ("a😀", 4, "a"),
            ("é", 1, ""),
        ] {
            let cut = cut_at_character(text.as_bytes(), limit);
            assert_eq!(cut, expected.as_bytes(), "{text} at {limit}");
        }
        assert_eq!(cut_at_character(&[0x80; 9], 6).len(), 6, "what is not UTF-8 is cut anywhere");
    }

    proptest! {
        #[test]
        fn the_lines_and_the_rest_are_all_the_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut rest = &bytes[..];
            let mut taken = 0;
            while let Some(line) = first_line(rest) {
                prop_assert!(!line.content.contains(&b'\n'));
                taken += line.taken;
                rest = &rest[line.taken..];
            }
            prop_assert!(!rest.contains(&b'\n'));
            prop_assert_eq!(taken + rest.len(), bytes.len());
        }
    }
}
