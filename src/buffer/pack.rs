//! Compresses the entries of a sealed chunk, once, for an output that wants them so.
//!
//! In:  entries
//! Out: the same, compressed, in a buffer that the packer owns; or nothing, when that would not
//!      make them smaller
//!
//! Buffer and state of the compression are made at the start, so that a chunk needs no memory in
//! order to leave.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::open::LARGEST_CHUNK;
use crate::model::Codec;

/// Fast: logs lose little by it, and a sidecar has a tenth of a core.
const LEVEL: u8 = 1;

/// See the head of this file.
pub struct Packer {
    state: State,
    packed: Vec<u8>,
}

enum State {
    Gzip(Compress),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Packer {
    /// Makes the state of a compression.
    pub fn new(codec: Codec) -> Self {
        let state = match codec {
            Codec::Gzip => State::Gzip(Compress::new_gzip(Compression::new(LEVEL.into()), 15)),
            Codec::Zstd => {
                let state = zstd::bulk::Compressor::new(LEVEL.into());
                State::Zstd(state.expect("its level is one of its own"))
            }
        };
        Self { state, packed: Vec::with_capacity(LARGEST_CHUNK) }
    }

    /// What it makes.
    pub fn codec(&self) -> Codec {
        match self.state {
            State::Gzip(_) => Codec::Gzip,
            State::Zstd(_) => Codec::Zstd,
        }
    }

    /// One gzip member or one zstd frame with all of `entries`. `None`: they do not get smaller.
    pub fn pack(&mut self, entries: &[u8]) -> Option<&[u8]> {
        self.packed.clear();
        // One record alone may be larger than a chunk; its room is not kept.
        self.packed.shrink_to(LARGEST_CHUNK);
        self.packed.reserve(entries.len());
        let is_whole = match &mut self.state {
            State::Gzip(state) => {
                state.reset();
                let status = state.compress_vec(entries, &mut self.packed, FlushCompress::Finish);
                matches!(status, Ok(Status::StreamEnd))
            }
            State::Zstd(state) => state.compress_to_buffer(entries, &mut self.packed).is_ok(),
        };
        (is_whole && self.packed.len() < entries.len()).then_some(&self.packed)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn unpack(codec: Codec, packed: &[u8]) -> Vec<u8> {
        let mut entries = Vec::new();
        match codec {
            // One member only: some receivers read no more.
            Codec::Gzip => flate2::read::GzDecoder::new(packed).read_to_end(&mut entries).unwrap(),
            Codec::Zstd => zstd::Decoder::new(packed).unwrap().read_to_end(&mut entries).unwrap(),
        };
        entries
    }

    #[test]
    fn what_is_packed_comes_out_again_however_often_the_packer_was_used() {
        for codec in [Codec::Gzip, Codec::Zstd] {
            let mut packer = Packer::new(codec);
            assert_eq!(packer.codec(), codec);
            for (length, word) in
                [(2_000_000, "large "), (100, "small "), (3_000_000, "x"), (500, "y")]
            {
                let entries = word.repeat(length / word.len());
                let packed = packer.pack(entries.as_bytes()).unwrap();
                assert!(packed.len() < length / 3, "{codec:?}");
                assert_eq!(unpack(codec, packed), entries.as_bytes(), "{codec:?}");
            }
            packer.pack(b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").unwrap();
            assert!(packer.packed.capacity() <= LARGEST_CHUNK, "{codec:?}");
        }
    }

    #[test]
    fn what_does_not_get_smaller_is_left_as_it_is() {
        let mut noise = 1_u64;
        let entries: Vec<u8> = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            noise.to_be_bytes()[0]
        })
        .take(50_000)
        .collect();
        for codec in [Codec::Gzip, Codec::Zstd] {
            let mut packer = Packer::new(codec);
            assert_eq!(packer.pack(&entries), None, "{codec:?}");
            assert_eq!(packer.pack(b"x"), None, "{codec:?}");
            assert!(packer.pack(&[b'x'; 1000]).is_some(), "{codec:?}");
        }
    }
}
