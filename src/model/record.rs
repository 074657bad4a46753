//! A record is MessagePack bytes, from the parser to the socket. This file writes them.
//!
//! In:  keys and values
//! Out: the bytes of a MessagePack map, always in the shortest form
//!
//! Reading records back is in `model/cursor.rs`; on the way from file to socket only a filter that
//! looks inside does.

/// The most pairs (of a map) or values (of an array) a header of one byte can announce.
const FIX_MAX: usize = 15;

/// Appends a MessagePack string in its shortest form.
pub fn write_str(out: &mut Vec<u8>, text: &str) {
    write_str_header(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Appends the header of a MessagePack string of `length` bytes, in its shortest form.
pub fn write_str_header(out: &mut Vec<u8>, length: usize) {
    match length {
        0..=31 => out.push(0xa0 | low_byte(length)),
        32..=0xff => out.extend_from_slice(&[0xd9, low_byte(length)]),
        0x100..=0xffff => {
            out.push(0xda);
            out.extend_from_slice(&low_u16(length).to_be_bytes());
        }
        _ => {
            out.push(0xdb);
            out.extend_from_slice(&low_u32(length).to_be_bytes());
        }
    }
}

/// The shortest header of a string of `length` bytes: the bytes, and how many of them count.
pub fn str_header(length: usize) -> ([u8; 5], usize) {
    match length {
        0..=31 => ([0xa0 | low_byte(length), 0, 0, 0, 0], 1),
        32..=0xff => ([0xd9, low_byte(length), 0, 0, 0], 2),
        0x100..=0xffff => {
            let [a, b] = low_u16(length).to_be_bytes();
            ([0xda, a, b, 0, 0], 3)
        }
        _ => {
            let [a, b, c, d] = low_u32(length).to_be_bytes();
            ([0xdb, a, b, c, d], 5)
        }
    }
}

/// Appends the header of a MessagePack map of `pairs` pairs, in its shortest form.
pub fn write_map_header(out: &mut Vec<u8>, pairs: usize) {
    let (bytes, length) = map_header(pairs);
    out.extend_from_slice(&bytes[..length]);
}

/// Adds pairs at the end of the record that begins at `start` and ends where `out` ends.
///
/// `encoded` holds `pairs` keys and values, already MessagePack. Existing keys of the same name
/// stay, as in Fluent Bit: a reader that keeps the last one sees the new value.
pub fn append_pairs(out: &mut Vec<u8>, start: usize, pairs: usize, encoded: &[u8]) {
    let (had, _) = read_map_header(&out[start..]).expect("a record begins with a map header");
    set_pairs(out, start, had + pairs);
    out.extend_from_slice(encoded);
}

/// Makes the header of the record that begins at `start` announce `pairs` pairs, in its shortest
/// form; what follows the header moves if its length changes.
pub fn set_pairs(out: &mut Vec<u8>, start: usize, pairs: usize) {
    let (_, header) = read_map_header(&out[start..]).expect("a record begins with a map header");
    let (bytes, length) = map_header(pairs);
    if length == header {
        out[start..start + length].copy_from_slice(&bytes[..length]);
    } else {
        out.splice(start..start + header, bytes[..length].iter().copied());
    }
}

/// How many pairs the map that begins here has, and how many bytes its header takes.
/// `None`: no map begins here.
pub fn read_map_header(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes {
        [first @ 0x80..=0x8f, ..] => Some((usize::from(first & 0x0f), 1)),
        [0xde, a, b, ..] => Some((usize::from(u16::from_be_bytes([a, b])), 3)),
        [0xdf, a, b, c, d, ..] => Some((u32::from_be_bytes([a, b, c, d]) as usize, 5)),
        _ => None,
    }
}

/// The shortest header of a map of `pairs` pairs: the bytes, and how many of them count.
pub fn map_header(pairs: usize) -> ([u8; 5], usize) {
    container_header(pairs, 0x80, 0xde)
}

/// The shortest header of an array of `values` values: the bytes, and how many of them count.
pub fn array_header(values: usize) -> ([u8; 5], usize) {
    container_header(values, 0x90, 0xdc)
}

/// `fix` is the marker that holds the length itself, `wide` the one before two bytes of length;
/// the one before four bytes comes next to it.
fn container_header(length: usize, fix: u8, wide: u8) -> ([u8; 5], usize) {
    if length <= FIX_MAX {
        return ([fix | low_byte(length), 0, 0, 0, 0], 1);
    }
    if length <= 0xffff {
        let [a, b] = low_u16(length).to_be_bytes();
        return ([wide, a, b, 0, 0], 3);
    }
    let [a, b, c, d] = low_u32(length).to_be_bytes();
    ([wide + 1, a, b, c, d], 5)
}

/// Appends a MessagePack nil.
pub fn write_nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

/// Appends a MessagePack boolean.
pub fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.push(0xc2 | u8::from(value));
}

/// Appends a MessagePack float of 64 bits; no number is ever narrowed.
pub fn write_float(out: &mut Vec<u8>, value: f64) {
    out.push(0xcb);
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a MessagePack integer in its shortest form.
pub fn write_uint(out: &mut Vec<u8>, value: u64) {
    let [_, _, _, _, d, c, b, a] = value.to_be_bytes();
    match value {
        0..=0x7f => out.push(a),
        0x80..=0xff => out.extend_from_slice(&[0xcc, a]),
        0x100..=0xffff => out.extend_from_slice(&[0xcd, b, a]),
        0x1_0000..=0xffff_ffff => out.extend_from_slice(&[0xce, d, c, b, a]),
        _ => {
            out.push(0xcf);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

/// Appends a MessagePack integer in its shortest form.
pub fn write_int(out: &mut Vec<u8>, value: i64) {
    if let Ok(value) = u64::try_from(value) {
        return write_uint(out, value);
    }
    let [_, _, _, _, d, c, b, a] = value.to_be_bytes();
    match value {
        -0x20..0 => out.push(a),
        -0x80..-0x20 => out.extend_from_slice(&[0xd0, a]),
        -0x8000..-0x80 => out.extend_from_slice(&[0xd1, b, a]),
        -0x8000_0000..-0x8000 => out.extend_from_slice(&[0xd2, d, c, b, a]),
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the caller has compared the length")]
fn low_byte(length: usize) -> u8 {
    length as u8
}

#[expect(clippy::cast_possible_truncation, reason = "the caller has compared the length")]
fn low_u16(length: usize) -> u16 {
    length as u16
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "no record reaches 4 GiB: a line is far shorter"
)]
fn low_u32(length: usize) -> u32 {
    length as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record_of(pairs: usize) -> Vec<u8> {
        let mut out = vec![0xc0];
        write_map_header(&mut out, pairs);
        for number in 0..pairs {
            write_str(&mut out, &format!("key {number}"));
            write_str(&mut out, "value");
        }
        out
    }

    #[test]
    fn appended_pairs_follow_the_others_and_the_header_counts_them() {
        let mut added = Vec::new();
        write_str(&mut added, "hostname");
        write_str(&mut added, "pod-1");
        for had in [0, 1, 14, 15, 16, 17, 65_534, 65_535, 65_536] {
            let mut out = record_of(had);
            let pairs_before = out[1 + map_header(had).1..].to_vec();
            append_pairs(&mut out, 1, 1, &added);
            let (pairs, header) = read_map_header(&out[1..]).unwrap();
            assert_eq!(pairs, had + 1, "after {had}");
            assert_eq!(header, map_header(had + 1).1, "the shortest header after {had}");
            assert_eq!(out[1 + header..], [pairs_before, added.clone()].concat(), "after {had}");
            assert_eq!(out[0], 0xc0, "what stands before the record is left alone");
        }
    }

    #[test]
    fn integers_have_the_shortest_form() {
        for (value, expected) in [
            (0, vec![0x00]),
            (127, vec![0x7f]),
            (128, vec![0xcc, 0x80]),
            (255, vec![0xcc, 0xff]),
            (256, vec![0xcd, 1, 0]),
            (65_535, vec![0xcd, 0xff, 0xff]),
            (65_536, vec![0xce, 0, 1, 0, 0]),
            (0xffff_ffff, vec![0xce, 0xff, 0xff, 0xff, 0xff]),
            (0x1_0000_0000, vec![0xcf, 0, 0, 0, 1, 0, 0, 0, 0]),
            (-1, vec![0xff]),
            (-32, vec![0xe0]),
            (-33, vec![0xd0, 0xdf]),
            (-128, vec![0xd0, 0x80]),
            (-129, vec![0xd1, 0xff, 0x7f]),
            (-32_768, vec![0xd1, 0x80, 0]),
            (-32_769, vec![0xd2, 0xff, 0xff, 0x7f, 0xff]),
            (-0x8000_0000, vec![0xd2, 0x80, 0, 0, 0]),
            (-0x8000_0001, vec![0xd3, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]),
            (i64::MIN, vec![0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            let mut out = Vec::new();
            write_int(&mut out, value);
            assert_eq!(out, expected, "{value}");
        }
        let mut out = Vec::new();
        write_uint(&mut out, u64::MAX);
        assert_eq!(out, [0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn arrays_have_the_shortest_header() {
        assert_eq!(array_header(15), ([0x9f, 0, 0, 0, 0], 1));
        assert_eq!(array_header(16), ([0xdc, 0, 16, 0, 0], 3));
        assert_eq!(array_header(65_536), ([0xdd, 0, 1, 0, 0], 5));
    }

    #[test]
    fn strings_have_the_shortest_header() {
        for (length, header) in [
            (0, vec![0xa0]),
            (31, vec![0xbf]),
            (32, vec![0xd9, 32]),
            (255, vec![0xd9, 255]),
            (256, vec![0xda, 1, 0]),
            (65_535, vec![0xda, 255, 255]),
            (65_536, vec![0xdb, 0, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            write_str(&mut out, &"x".repeat(length));
            assert_eq!(out[..header.len()], header, "{length}");
            assert_eq!(out.len(), header.len() + length);
        }
    }
}
