//! Random UUIDs, version 4 (RFC 9562), without a system call for each.
//!
//! In:  a seed
//! Out: as many UUIDs as one likes, as text

/// The length of a UUID as text.
pub(super) const LENGTH: usize = 36;

/// The odd number nearest to 2^64 over the golden ratio: SplitMix64's step.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where the hyphens stand.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// A stream of UUIDs: two SplitMix64 generators, one for each half.
///
/// SplitMix64 (Steele, Lea and Flood, 2014) steps a counter by an odd number and mixes its bits
/// so that each bit of the counter changes each bit of the result about half the time; it passes
/// BigCrush. It is two multiplications, and the mixing is one to one, so that a half comes again
/// only after 2^64 UUIDs. The two halves begin at different places of their cycles, 128 bits of
/// the system's randomness apart, which is what makes UUIDs of two agents differ. It is no
/// cipher: who has seen a few UUIDs could compute the next. They name records and guard nothing.
#[derive(Debug)]
pub(super) struct Uuids {
    halves: [u64; 2],
}

impl Uuids {
    pub(super) fn new(seed: u128) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = seed.to_be_bytes();
        let first = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        Self { halves: [first, u64::from_be_bytes(rest)] }
    }

    /// Writes the next one in lower case.
    pub(super) fn write_next(&mut self, text: &mut [u8; LENGTH]) {
        let bytes = self.next_bytes();
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]).map(digit);
        let places = (0..LENGTH).filter(|place| !HYPHENS.contains(place));
        for (place, digit) in places.zip(digits) {
            text[place] = digit;
        }
        for place in HYPHENS {
            text[place] = b'-';
        }
    }

    fn next_bytes(&mut self) -> [u8; 16] {
        let [first, second] = &mut self.halves;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&split_mix(first).to_be_bytes());
        bytes[8..].copy_from_slice(&split_mix(second).to_be_bytes());
        bytes[6] = 0x40 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        bytes
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(STEP);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn next(uuids: &mut Uuids) -> String {
        let mut text = [0; LENGTH];
        uuids.write_next(&mut text);
        String::from_utf8(text.to_vec()).unwrap()
    }

    #[test]
    fn the_mixer_gives_the_published_sequence_of_split_mix() {
        let mut state = 1_234_567;
        let sequence = std::array::from_fn(|_| split_mix(&mut state));
        assert_eq!(sequence, [6457827717110365317, 3203168211198807973, 9817491932198370423]);
    }

    #[test]
    fn a_uuid_has_36_characters_and_says_version_4_and_its_variant() {
        let mut uuids = Uuids::new(0);
        for _ in 0..1_000 {
            let text = next(&mut uuids);
            for (place, byte) in text.bytes().enumerate() {
                let is_right = match place {
                    8 | 13 | 18 | 23 => byte == b'-',
                    14 => byte == b'4',
                    19 => b"89ab".contains(&byte),
                    _ => b"0123456789abcdef".contains(&byte),
                };
                assert!(is_right, "character {place} of {text}");
            }
        }
    }

    #[test]
    fn no_two_are_equal_within_a_stream_or_between_neighbouring_seeds() {
        let mut seen = HashSet::new();
        for seed in [0, 1, 1 << 64, u128::MAX] {
            let mut uuids = Uuids::new(seed);
            for number in 0..10_000 {
                let text = next(&mut uuids);
                assert!(seen.insert(text), "number {number} of seed {seed}");
            }
        }
    }

    #[test]
    fn every_free_bit_is_set_about_half_the_time() {
        let mut uuids = Uuids::new(7);
        let mut set = [0_u32; 128];
        for _ in 0..10_000 {
            let bits = u128::from_be_bytes(uuids.next_bytes());
            for (bit, count) in set.iter_mut().enumerate() {
                *count += u32::from(bits >> (127 - bit) & 1 == 1);
            }
        }
        let fixed = [48, 49, 50, 51, 64, 65];
        for (bit, count) in set.into_iter().enumerate().filter(|(bit, _)| !fixed.contains(bit)) {
            // Five standard deviations on either side.
            assert!((4_750..=5_250).contains(&count), "bit {bit}: {count} of 10000");
        }
    }
}
