//! A record is MessagePack bytes, from the parser to the socket. This file writes them.
//!
//! In:  keys and values
//! Out: the bytes of a MessagePack map, always in the shortest form
//!
//! Reading records back is in `protocol/reader.rs`; nothing on the way from file to socket does.

/// The most pairs a map header of one byte can announce.
const FIXMAP_MAX: usize = 15;

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

/// Appends a MessagePack unsigned integer in its shortest form.
pub fn write_uint(out: &mut Vec<u8>, number: u64) {
    let bytes = number.to_be_bytes();
    match number {
        0..=0x7f => out.push(bytes[7]),
        0x80..=0xff => out.extend_from_slice(&[0xcc, bytes[7]]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend_from_slice(&bytes[6..]);
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend_from_slice(&bytes[4..]);
        }
        _ => {
            out.push(0xcf);
            out.extend_from_slice(&bytes);
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
    let (had, header) = read_map_header(&out[start..]).expect("a record begins with a map header");
    let (bytes, length) = map_header(had + pairs);
    if length == header {
        out[start..start + length].copy_from_slice(&bytes[..length]);
    } else {
        out.splice(start..start + header, bytes[..length].iter().copied());
    }
    out.extend_from_slice(encoded);
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
    if pairs <= FIXMAP_MAX {
        return ([0x80 | low_byte(pairs), 0, 0, 0, 0], 1);
    }
    if pairs <= 0xffff {
        let [a, b] = low_u16(pairs).to_be_bytes();
        return ([0xde, a, b, 0, 0], 3);
    }
    let [a, b, c, d] = low_u32(pairs).to_be_bytes();
    ([0xdf, a, b, c, d], 5)
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
    fn unsigned_integers_have_the_shortest_form() {
        for (number, expected) in [
            (0, vec![0]),
            (127, vec![0x7f]),
            (128, vec![0xcc, 128]),
            (256, vec![0xcd, 1, 0]),
            (65_536, vec![0xce, 0, 1, 0, 0]),
            (1 << 32, vec![0xcf, 0, 0, 0, 1, 0, 0, 0, 0]),
        ] {
            let mut out = Vec::new();
            write_uint(&mut out, number);
            assert_eq!(out, expected, "{number}");
        }
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
