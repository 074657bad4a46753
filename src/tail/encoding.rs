//! What files are written in, and the way from there to UTF-8.
//!
//! In:  bytes of a file, and what the configuration says about them
//! Out: text; where a character ends
//!
//! Nothing here reads a file. Lines are cut before they are converted, so that offsets, limits and
//! markers are about the bytes of the file, whatever it is written in.

use std::borrow::Cow;

use encoding_rs::DecoderResult;

use super::lines;

/// What an input is told about its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Nothing is written: UTF-8.
    #[default]
    Utf8,
    /// `Unicode.Encoding auto`: every file says it itself, by its first bytes.
    Auto,
    /// `Unicode.Encoding utf-16le` or `utf-16be`. A byte order mark that says otherwise is right.
    Utf16(ByteOrder),
    /// `Generic.Encoding`.
    Legacy(&'static encoding_rs::Encoding),
}

/// What one file is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8.
    #[default]
    Utf8,
    /// UTF-16.
    Utf16(ByteOrder),
    /// One in which the bytes below 0x80 that begin a character are ASCII, and in which no
    /// character has a newline or a carriage return inside.
    Legacy(&'static encoding_rs::Encoding),
}

/// Which byte of a UTF-16 code unit comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// The low one.
    Little,
    /// The high one.
    Big,
}

impl Encoding {
    /// The values of `Unicode.Encoding`.
    pub const UNICODE: &'static [&'static str] =
        &["auto", "utf-16le", "utf16-le", "utf-16be", "utf16-be"];

    /// The values of `Generic.Encoding`, as Fluent Bit spells them.
    pub const GENERIC: &'static [&'static str] = &[
        "ShiftJIS", "UHC", "GBK", "GB18030", "Big5", "Win866", "Win874", "Win1250", "Win1251",
        "Win1252", "Win1253", "Win1254", "Win1255", "Win1256",
    ];

    /// What a value of either key means, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let legacy = match name.to_ascii_lowercase().as_str() {
            "auto" => return Some(Self::Auto),
            "utf-16le" | "utf16-le" => return Some(Self::Utf16(ByteOrder::Little)),
            "utf-16be" | "utf16-be" => return Some(Self::Utf16(ByteOrder::Big)),
            "shiftjis" => encoding_rs::SHIFT_JIS,
            // What the Encoding Standard calls EUC-KR is Windows code page 949, which is UHC.
            "uhc" => encoding_rs::EUC_KR,
            "gbk" => encoding_rs::GBK,
            "gb18030" => encoding_rs::GB18030,
            "big5" => encoding_rs::BIG5,
            "win866" => encoding_rs::IBM866,
            "win874" => encoding_rs::WINDOWS_874,
            "win1250" => encoding_rs::WINDOWS_1250,
            "win1251" => encoding_rs::WINDOWS_1251,
            "win1252" => encoding_rs::WINDOWS_1252,
            "win1253" => encoding_rs::WINDOWS_1253,
            "win1254" => encoding_rs::WINDOWS_1254,
            "win1255" => encoding_rs::WINDOWS_1255,
            "win1256" => encoding_rs::WINDOWS_1256,
            _ => return None,
        };
        Some(Self::Legacy(legacy))
    }

    /// What a file is written in that begins with `head`. `None`: that does not tell, because
    /// there is too little of it, or it is the hole of a truncation.
    ///
    /// `auto` without a byte order mark goes by the first character, which in a log is ASCII.
    pub fn of_file(self, head: &[u8]) -> Option<Charset> {
        match (self, head) {
            (Self::Utf8, _) => Some(Charset::Utf8),
            (Self::Legacy(encoding), _) => Some(Charset::Legacy(encoding)),
            (_, [0xef, 0xbb, 0xbf, ..]) => Some(Charset::Utf8),
            (_, [0xff, 0xfe, ..]) => Some(Charset::Utf16(ByteOrder::Little)),
            (_, [0xfe, 0xff, ..]) => Some(Charset::Utf16(ByteOrder::Big)),
            (Self::Utf16(order), _) => Some(Charset::Utf16(order)),
            (Self::Auto, [] | [_] | [0, 0, ..]) => None,
            (Self::Auto, [_, 0, ..]) => Some(Charset::Utf16(ByteOrder::Little)),
            (Self::Auto, [0, _, ..]) => Some(Charset::Utf16(ByteOrder::Big)),
            (Self::Auto, _) => Some(Charset::Utf8),
        }
    }

    /// The most bytes that conversion adds to what an event takes for each byte of its line.
    ///
    /// A parser takes at most so many bytes for a character, whatever it is, and the bytes that it
    /// has beyond one as they are. In a legacy encoding one byte can be a character of three. In
    /// UTF-16 that takes two bytes, and a parser's share of the second is enough.
    pub fn growth(self) -> usize {
        if matches!(self, Self::Legacy(_)) { 2 } else { 0 }
    }
}

impl ByteOrder {
    /// A character of ASCII.
    fn unit(self, ascii: u8) -> [u8; 2] {
        match self {
            Self::Little => [ascii, 0],
            Self::Big => [0, ascii],
        }
    }
}

impl Charset {
    /// Bytes of a code unit. Units are counted from the start of the file.
    pub fn unit(self) -> usize {
        if matches!(self, Self::Utf16(_)) { 2 } else { 1 }
    }

    /// How many bytes lie between `offset` and the unit boundary at or before it.
    pub fn beyond_unit(self, offset: u64) -> usize {
        usize::from(self.unit() == 2 && offset % 2 == 1)
    }

    /// How long the byte order mark is that the file begins with.
    pub fn mark_length(self, beginning: &[u8]) -> usize {
        let mark: &[u8] = match self {
            Self::Utf8 => &[0xef, 0xbb, 0xbf],
            Self::Utf16(ByteOrder::Little) => &[0xff, 0xfe],
            Self::Utf16(ByteOrder::Big) => &[0xfe, 0xff],
            Self::Legacy(_) => return 0,
        };
        if beginning.starts_with(mark) { mark.len() } else { 0 }
    }

    /// A newline or a carriage return at the end of `line`: how many bytes it takes.
    pub(super) fn ends_with(self, line: &[u8], ascii: u8) -> usize {
        let is_there = match self {
            Self::Utf16(order) => line.ends_with(&order.unit(ascii)),
            Self::Utf8 | Self::Legacy(_) => line.ends_with(&[ascii]),
        };
        if is_there { self.unit() } else { 0 }
    }

    /// The text that whole lines are, if nothing of it needs to be converted or replaced.
    pub fn as_text(self, lines: &[u8]) -> Option<&str> {
        match self {
            Self::Utf8 => simdutf8::basic::from_utf8(lines).ok(),
            Self::Legacy(_) if lines.is_ascii() => simdutf8::basic::from_utf8(lines).ok(),
            Self::Legacy(_) | Self::Utf16(_) => None,
        }
    }

    /// The text of a line, and whether some of its bytes fit no character: each such sequence
    /// becomes U+FFFD.
    pub fn decode(self, line: &[u8]) -> (Cow<'_, str>, bool) {
        let Some(converted) = self.converted() else {
            let text = String::from_utf8_lossy(line);
            let is_bad = matches!(text, Cow::Owned(_));
            return (text, is_bad);
        };
        converted.decode_without_bom_handling(line)
    }

    /// The longest beginning of `line` that is no longer than `limit` bytes and does not end
    /// inside of a character.
    pub fn cut(self, line: &[u8], limit: usize) -> &[u8] {
        if line.len() <= limit {
            return line;
        }
        match self.converted() {
            None => lines::cut_at_character(line, limit),
            Some(encoding) => &line[..limit - begun_at_end(encoding, &line[..limit])],
        }
    }

    fn converted(self) -> Option<&'static encoding_rs::Encoding> {
        match self {
            Self::Utf8 => None,
            Self::Utf16(ByteOrder::Little) => Some(encoding_rs::UTF_16LE),
            Self::Utf16(ByteOrder::Big) => Some(encoding_rs::UTF_16BE),
            Self::Legacy(encoding) => Some(encoding),
        }
    }
}

/// How many bytes at the end of `text` begin a character whose rest is not there. Where a
/// character begins shows only from the start of the text: the second byte of one can look like
/// the first of another.
fn begun_at_end(encoding: &'static encoding_rs::Encoding, text: &[u8]) -> usize {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut decoded = [0; 1024];
    let mut rest = text;
    loop {
        let (result, read, _) =
            decoder.decode_to_utf8_without_replacement(rest, &mut decoded, false);
        rest = &rest[read..];
        if result == DecoderResult::InputEmpty {
            break;
        }
    }
    let mut begun = 0;
    while let (DecoderResult::Malformed(length, _), ..) =
        decoder.decode_to_utf8_without_replacement(&[], &mut decoded, true)
    {
        begun += usize::from(length);
    }
    begun
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LITTLE: Charset = Charset::Utf16(ByteOrder::Little);
    const BIG: Charset = Charset::Utf16(ByteOrder::Big);

    #[test]
    fn every_value_of_both_keys_means_an_encoding() {
        for name in Encoding::UNICODE.iter().chain(Encoding::GENERIC) {
            assert!(Encoding::named(name).is_some(), "{name}");
            assert_eq!(Encoding::named(&name.to_uppercase()), Encoding::named(name), "{name}");
        }
        assert_eq!(Encoding::named("utf-8"), None);
    }

    #[test]
    fn a_byte_order_mark_or_else_the_first_character_says_what_a_file_is_written_in() {
        let little = Encoding::Utf16(ByteOrder::Little);
        for (encoding, head, expected) in [
            (Encoding::Auto, &b"\xff\xfea\0"[..], Some(LITTLE)),
            (Encoding::Auto, b"\xfe\xff\0a", Some(BIG)),
            (Encoding::Auto, b"\xef\xbb\xbfa", Some(Charset::Utf8)),
            (Encoding::Auto, b"{\0", Some(LITTLE)),
            (Encoding::Auto, b"\0{", Some(BIG)),
            (Encoding::Auto, b"{}", Some(Charset::Utf8)),
            (Encoding::Auto, b"\n", None),
            (Encoding::Auto, b"\0\0\0\0", None),
            (little, b"", Some(LITTLE)),
            (little, b"a\0", Some(LITTLE)),
            (little, b"\xfe\xff\0a", Some(BIG)),
            (little, b"\xef\xbb\xbfa", Some(Charset::Utf8)),
            (Encoding::Utf8, b"\xff\xfea\0", Some(Charset::Utf8)),
        ] {
            assert_eq!(encoding.of_file(head), expected, "{encoding:?} of {head:?}");
        }
    }

    /// Every charset there is, with its way back from UTF-8.
    fn charsets() -> Vec<Charset> {
        let legacy = Encoding::GENERIC.iter().map(|name| Encoding::named(name).unwrap());
        let legacy = legacy.filter_map(|encoding| encoding.of_file(b""));
        [Charset::Utf8, LITTLE, BIG].into_iter().chain(legacy).collect()
    }

    fn encode(charset: Charset, text: &str) -> Vec<u8> {
        match charset {
            Charset::Utf8 => text.into(),
            Charset::Utf16(ByteOrder::Little) => {
                text.encode_utf16().flat_map(u16::to_le_bytes).collect()
            }
            Charset::Utf16(ByteOrder::Big) => {
                text.encode_utf16().flat_map(u16::to_be_bytes).collect()
            }
            // What has no character there is left out.
            Charset::Legacy(encoding) => {
                let one = |character: char| {
                    let text = character.to_string();
                    let (bytes, _, is_bad) = encoding.encode(&text);
                    if is_bad { Vec::new() } else { bytes.into_owned() }
                };
                text.chars().flat_map(one).collect()
            }
        }
    }

    proptest! {
        #[test]
        fn a_cut_in_any_encoding_is_the_longest_that_ends_with_a_character(
            text in r"(\PC|[a-zäß日本語кот漢字한글ｱカไทย😀]){1,40}",
            limit in 0..200_usize,
        ) {
            for charset in charsets() {
                let line = encode(charset, &text);
                let cut = charset.cut(&line, limit);
                prop_assert!(cut.len() <= limit || cut.len() == line.len());
                let (whole, _) = charset.decode(&line);
                let (kept, is_bad) = charset.decode(cut);
                prop_assert!(!is_bad, "{charset:?}: {cut:x?} of {line:x?}");
                prop_assert!(whole.starts_with(&*kept), "{charset:?}");
                let next = whole[kept.len()..].chars().next();
                let taken = next.map_or(0, |next| encode(charset, &next.to_string()).len());
                prop_assert!(line.len() <= limit || cut.len() + taken > limit, "{charset:?}");
            }
        }

        #[test]
        fn a_cut_of_bytes_that_fit_nothing_loses_no_more_than_a_character(
            line in prop::collection::vec(any::<u8>(), 0..60),
            limit in 0..60_usize,
        ) {
            for charset in charsets() {
                let cut = charset.cut(&line, limit);
                prop_assert!(cut.len() + 4 >= line.len().min(limit), "{charset:?}: {line:x?}");
            }
        }
    }
}
