//! Cuts bytes into lines.
//!
//! In:  bytes that end with a newline, and what they are written in
//! Out: lines without it, each with the bytes it took
//!
//! Nothing here reads a file, and nothing is converted: see `encoding`.

use memchr::{memchr, memchr_iter, memrchr, memrchr_iter};

use super::encoding::{ByteOrder, Charset};

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
    pub fn unterminated(bytes: &'a [u8], charset: Charset) -> Self {
        Self { content: without_carriage_return(bytes, charset), taken: bytes.len() }
    }
}

/// The first line of `bytes`, which begin at a code unit. `None`: no newline.
pub fn first_line(bytes: &[u8], charset: Charset) -> Option<Line<'_>> {
    let taken = end_of_first_newline(bytes, charset)?;
    let content = &bytes[..taken - charset.unit()];
    Some(Line { content: without_carriage_return(content, charset), taken })
}

/// Just past the first newline in `bytes`, which begin at a code unit.
pub fn end_of_first_newline(bytes: &[u8], charset: Charset) -> Option<usize> {
    let Charset::Utf16(order) = charset else {
        return memchr(b'\n', bytes).map(|at| at + 1);
    };
    memchr_iter(b'\n', bytes).find_map(|at| end_of_wide_newline(bytes, at, order))
}

/// Just past the last newline in `bytes`, which begin at a code unit.
pub fn end_of_last_newline(bytes: &[u8], charset: Charset) -> Option<usize> {
    let Charset::Utf16(order) = charset else {
        return memrchr(b'\n', bytes).map(|at| at + 1);
    };
    memrchr_iter(b'\n', bytes).find_map(|at| end_of_wide_newline(bytes, at, order))
}

/// Just past the newline that the byte 0x0A at `at` is the low byte of, if it is one of a newline
/// and not of another code unit.
fn end_of_wide_newline(bytes: &[u8], at: usize, order: ByteOrder) -> Option<usize> {
    let (is_low, high) = match order {
        ByteOrder::Little => (at.is_multiple_of(2), at + 1),
        ByteOrder::Big => (!at.is_multiple_of(2), at.wrapping_sub(1)),
    };
    (is_low && bytes.get(high) == Some(&0)).then(|| at.max(high) + 1)
}

/// A line that is only a carriage return keeps it, as in Fluent Bit.
fn without_carriage_return(line: &[u8], charset: Charset) -> &[u8] {
    let head = line.len() - charset.ends_with(line, b'\r');
    if head > 0 { &line[..head] } else { line }
}

/// Whether `Skip_Empty_Lines` leaves the line out.
pub fn is_empty(line: &[u8], charset: Charset) -> bool {
    line.len() == charset.ends_with(line, b'\r')
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

    fn cut(mut bytes: &[u8], charset: Charset) -> Vec<&[u8]> {
        let mut lines = Vec::new();
        while let Some(line) = first_line(bytes, charset) {
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
            assert_eq!(cut(bytes, Charset::Utf8), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_newline_of_utf_16_is_a_code_unit_and_not_a_byte_of_another() {
        // U+0A0A, U+010A and U+0A00 have the byte of a newline inside.
        let (little, big) = (Charset::Utf16(ByteOrder::Little), Charset::Utf16(ByteOrder::Big));
        for (charset, bytes, expected) in [
            (little, &b"a\0\n\0\r\0\n\0b\0\r\0\n\0"[..], vec![&b"a\0"[..], b"\r\0", b"b\0"]),
            (big, b"\0a\0\n\0\r\0\n\0b\0\r\0\n", vec![b"\0a", b"\0\r", b"\0b"]),
            (little, b"\n\n\n\x01\0\n\n\0", vec![b"\n\n\n\x01\0\n"]),
            (big, b"\n\n\x01\n\n\0\0\n", vec![b"\n\n\x01\n\n\0"]),
            (little, b"a\0\n", vec![]),
            (big, b"\0a\0", vec![]),
            (big, b"a\0\n\0", vec![]),
            (little, b"\0a\0\n", vec![]),
        ] {
            assert_eq!(cut(bytes, charset), expected, "{bytes:x?}");
            let ends = !cut(bytes, charset).is_empty();
            assert_eq!(end_of_last_newline(bytes, charset), ends.then_some(bytes.len()));
        }
        assert!(is_empty(b"", little) && is_empty(b"\r\0", little) && is_empty(b"\0\r", big));
        assert!(!is_empty(b"\r\0", big) && !is_empty(b"\r", big) && !is_empty(b"a\0", little));
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

    fn any_charset() -> impl Strategy<Value = Charset> {
        let (little, big) = (Charset::Utf16(ByteOrder::Little), Charset::Utf16(ByteOrder::Big));
        prop::sample::select(vec![Charset::Utf8, little, big])
    }

    proptest! {
        #[test]
        fn the_lines_and_the_rest_are_all_the_bytes(
            bytes in prop::collection::vec(prop::sample::select(b"\n\r\0a\x0b".as_slice()), 0..300),
            charset in any_charset(),
        ) {
            let mut rest = &bytes[..];
            let mut taken = 0;
            let end = end_of_last_newline(rest, charset);
            while let Some(line) = first_line(rest, charset) {
                prop_assert_eq!(end_of_first_newline(line.content, charset), None);
                taken += line.taken;
                rest = &rest[line.taken..];
            }
            prop_assert_eq!(taken, end.unwrap_or(0));
            prop_assert_eq!(taken + rest.len(), bytes.len());
        }
    }
}
