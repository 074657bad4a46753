//! `protocol::inflate`: what comes out of compressed entries.

use std::io::{Cursor, Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::GzEncoder;
use log_ambassador::model::Codec;
use log_ambassador::protocol::inflate::{
    Decoders, InflateError, PIECE, error_of, inflate, inflater,
};

use super::memory::within;

/// Small, so that inputs reach it.
const LIMIT: usize = 4096;

/// What the state of either needs, beside what zstd allocates in C: for gzip two windows and tables,
/// as one member's state is there until the next one's is made.
pub const STATE: usize = 112 << 10;

/// - No more comes out than may, and no more is held.
/// - What is taken comes out the same in small pieces; what is refused is refused in them, too.
/// - A limit of exactly what comes out is enough, and a byte less is not.
/// - A gzip member is taken when its deflate stream is right, and its checksum.
/// - What was compressed comes out again, also of a decoder that had anything else before.
pub fn check(bytes: &[u8]) {
    for codec in [Codec::Gzip, Codec::Zstd] {
        check_any(bytes, codec);
        let packed = [compressed(bytes, codec), compressed(b"and more", codec)].concat();
        let expected = [bytes, b"and more"].concat();
        assert_eq!(inflate(&packed, codec, expected.len()).as_ref(), Ok(&expected));
    }
    check_deflated(bytes);
}

fn check_any(bytes: &[u8], codec: Codec) {
    // The buffer is there twice when it grows. So is what a gzip header names, which doubles.
    let most = 2 * (LIMIT + PIECE) + 3 * bytes.len() + STATE;
    let outcome = within(most, || inflate(bytes, codec, LIMIT));
    let decoders = Decoders::default();
    let in_pieces = in_small_pieces(bytes, codec, &decoders);
    // More at once than are kept.
    let input = || Cursor::new(bytes.to_vec());
    drop((0..3).map(|_| inflater(input(), codec, &decoders)).collect::<Vec<_>>());
    let next = in_small_pieces(&compressed(b"the next", codec), codec, &decoders);
    assert_eq!(next.as_deref(), Ok(&b"the next"[..]));
    let Ok(inflated) = outcome else {
        // Which of two things that are wrong is told depends on which is met first. And libzstd
        // compares the length that a frame claims with what came only while there is room for all
        // of it, when the last block is empty.
        assert!(in_pieces.is_err() || codec == Codec::Zstd, "in small pieces it is taken");
        return;
    };
    assert_eq!(in_pieces.as_ref(), Ok(&inflated), "in small pieces");
    assert!(inflated.len() <= LIMIT);
    assert_eq!(inflate(bytes, codec, inflated.len()).as_ref(), Ok(&inflated));
    if let Some(limit) = inflated.len().checked_sub(1) {
        assert_eq!(inflate(bytes, codec, limit), Err(InflateError::TooLarge { limit }));
    }
}

fn in_small_pieces(
    bytes: &[u8],
    codec: Codec,
    decoders: &Decoders,
) -> Result<Vec<u8>, InflateError> {
    let mut inflated = Vec::new();
    let mut piece = [0; 7];
    let refused = |error| error_of(&error, codec);
    let mut inflater = inflater(Cursor::new(bytes.to_vec()), codec, decoders).map_err(refused)?;
    if codec == Codec::Gzip {
        // No room is no end.
        inflater.read(&mut []).map_err(refused)?;
    }
    loop {
        let count = match inflater.read(&mut piece) {
            Ok(count) => count,
            Err(error) => {
                let is_over = matches!(inflater.read(&mut piece), Ok(0));
                assert!(is_over || codec == Codec::Zstd, "it goes on behind an error");
                return Err(refused(error));
            }
        };
        inflated.extend_from_slice(&piece[..count]);
        match (count, inflated.len() > LIMIT) {
            (_, true) => return Err(InflateError::TooLarge { limit: LIMIT }),
            (0, false) => return Ok(inflated),
            (_, false) => {}
        }
    }
}

/// Takes the bytes for a deflate stream and gives it the checksum that it should have, which
/// nobody who makes bytes up would find.
fn check_deflated(bytes: &[u8]) {
    let mut deflate = DeflateDecoder::new(bytes).take(LIMIT as u64 + 1);
    let mut content = Vec::new();
    if deflate.read_to_end(&mut content).is_err() || content.len() > LIMIT {
        return;
    }
    let end = usize::try_from(deflate.into_inner().total_in()).expect("no more than there are");
    let mut sum = flate2::Crc::new();
    sum.update(&content);
    let mut member = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
    member.extend_from_slice(&bytes[..end]);
    member.extend_from_slice(&sum.sum().to_le_bytes());
    member.extend_from_slice(&sum.amount().to_le_bytes());
    assert_eq!(inflate(&member, Codec::Gzip, LIMIT).as_ref(), Ok(&content));
    let last = member.len() - 1;
    member[last] ^= 1;
    inflate(&member, Codec::Gzip, LIMIT).expect_err("its length is wrong");
}

/// One gzip member, or one zstd frame.
pub fn compressed(bytes: &[u8], codec: Codec) -> Vec<u8> {
    match codec {
        Codec::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).expect("a Vec takes every byte");
            encoder.finish().expect("a Vec takes every byte")
        }
        Codec::Zstd => zstd::bulk::compress(bytes, 1).expect("every bytes can be compressed"),
    }
}
