//! Undoes the compression of a frame's entries.
//!
//! In:  gzip or zstd, one member or several back to back (forward protocol: Fluentd compresses each
//!      append to its chunk on its own, so several are the rule)
//! Out: what all members hold, one after another, or why not; all at once, or as it is read
//!
//! Memory grows with what comes out, and stops at the limit while it comes out, not after.

use std::io::{self, BufRead, ErrorKind, Read};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::bufread::MultiGzDecoder;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer, WriteBuf};
use zstd::stream::zio;

use crate::model::Codec;

/// How far back zstd data may refer, as a power of two: 8 MiB, which the reader holds. It is what
/// every compressor keeps to that was not told otherwise.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How much is inflated at a time, in bytes.
pub const PIECE: usize = 32 << 10;

/// Why compressed entries were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// The last member ends early.
    #[error("the {0} data are cut off")]
    CutOff(&'static str),
    /// Another format, a wrong checksum, or something else behind the last member.
    #[error("the {0} data are broken: {1}")]
    Broken(&'static str, String),
    /// More came out than may.
    #[error("the entries inflate to more than {limit} bytes; send smaller chunks")]
    TooLarge {
        /// The most bytes that may come out.
        limit: usize,
    },
}

/// What `compressed` holds, as it is read. zstd is inflated with `window`.
pub fn inflater<'a>(
    compressed: impl BufRead + Send + 'a,
    codec: Codec,
    window: &Window,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match codec {
        Codec::Gzip => Box::new(MultiGzDecoder::new(compressed)),
        Codec::Zstd => Box::new(zio::Reader::new(compressed, window.lend()?)),
    })
}

/// What inflating zstd takes: as much as the sender wished, as far as there is something to put into
/// it. Clones share it, and whoever comes when it is lent gets a new one.
///
/// It is kept because the system's allocator would not give it back: each thread that has made one
/// would hold on to as much.
#[derive(Clone, Default)]
pub struct Window(Arc<Mutex<Option<Decoder<'static>>>>);

/// A window that somebody uses.
struct Lent {
    decoder: Option<Decoder<'static>>,
    home: Window,
}

impl Window {
    fn lend(&self) -> io::Result<Lent> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let decoder = match kept {
            Some(mut kept) => {
                kept.reinit()?;
                kept
            }
            None => {
                let mut new = Decoder::new()?;
                new.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
                new
            }
        };
        Ok(Lent { decoder: Some(decoder), home: self.clone() })
    }
}

impl Lent {
    fn decoder(&mut self) -> &mut Decoder<'static> {
        self.decoder.as_mut().expect("only its end takes it")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        *self.home.0.lock().unwrap_or_else(PoisonError::into_inner) = self.decoder.take();
    }
}

impl Operation for Lent {
    fn run<C: WriteBuf + ?Sized>(
        &mut self,
        input: &mut InBuffer<'_>,
        output: &mut OutBuffer<'_, C>,
    ) -> io::Result<usize> {
        self.decoder().run(input, output)
    }

    fn flush<C: WriteBuf + ?Sized>(&mut self, output: &mut OutBuffer<'_, C>) -> io::Result<usize> {
        self.decoder().flush(output)
    }

    fn reinit(&mut self) -> io::Result<()> {
        self.decoder().reinit()
    }

    fn finish<C: WriteBuf + ?Sized>(
        &mut self,
        output: &mut OutBuffer<'_, C>,
        finished_frame: bool,
    ) -> io::Result<usize> {
        self.decoder().finish(output, finished_frame)
    }
}

/// What went wrong while data compressed so were read.
pub fn error_of(error: &io::Error, codec: Codec) -> InflateError {
    match error.kind() {
        ErrorKind::UnexpectedEof => InflateError::CutOff(codec.name()),
        _ => InflateError::Broken(codec.name(), error.to_string()),
    }
}

/// Inflates a piece more to the end of `held`, and says how many bytes it has. Zero: that was all,
/// and its checksum is right. The room of `held` stays below `limit` and a piece, as long as `held`
/// does not pass the limit.
pub fn read_piece(inflater: &mut impl Read, held: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
    let from = held.len();
    if held.capacity() - from < PIECE {
        // A Vec doubles its room, too, but it would pass the limit by as much again.
        held.reserve_exact(from.min(limit.saturating_sub(from)) + PIECE);
    }
    held.resize(from + PIECE, 0);
    let count = inflater.read(&mut held[from..])?;
    held.truncate(from + count);
    Ok(count)
}

/// Inflates every member in `compressed`, to at most `limit` bytes.
pub fn inflate(compressed: &[u8], codec: Codec, limit: usize) -> Result<Vec<u8>, InflateError> {
    let refused = |error| error_of(&error, codec);
    let mut inflater = inflater(compressed, codec, &Window::default()).map_err(refused)?;
    let mut inflated = Vec::new();
    while read_piece(&mut inflater, &mut inflated, limit).map_err(refused)? > 0 {
        if inflated.len() > limit {
            return Err(InflateError::TooLarge { limit });
        }
    }
    Ok(inflated)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gunzip(bytes: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
        inflate(bytes, Codec::Gzip, limit)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn all_members_come_out_one_after_another() {
        let two = [gzip(b"one,"), gzip(b""), gzip(b"two")].concat();
        assert_eq!(gunzip(&two, 100).unwrap(), b"one,two");
    }

    #[test]
    fn the_limit_holds_to_the_byte_and_over_all_members() {
        let seven = [gzip(b"one,"), gzip(b"two")].concat();
        assert_eq!(gunzip(&seven, 7).unwrap().len(), 7);
        assert_eq!(gunzip(&seven, 6), Err(InflateError::TooLarge { limit: 6 }));
    }

    #[test]
    fn a_bomb_is_stopped_while_it_inflates() {
        let bomb = gzip(&vec![0; 5_000_000]);
        assert!(bomb.len() < 10_000);
        assert_eq!(gunzip(&bomb, 1000), Err(InflateError::TooLarge { limit: 1000 }));
    }

    #[test]
    fn the_room_of_what_came_out_does_not_pass_the_limit_by_more_than_a_piece() {
        let zeros = gzip(&vec![0; 3_000_000]);
        let inflated = gunzip(&zeros, 3_000_000).unwrap();
        assert!(inflated.capacity() <= 3_000_000 + PIECE, "{}", inflated.capacity());
    }

    #[test]
    fn what_is_cut_off_altered_or_followed_by_something_else_is_refused() {
        let good = gzip(b"some text that is long enough to be compressed, compressed, compressed");
        for cut in 0..good.len() {
            assert!(gunzip(&good[..cut], 1000).is_err(), "cut to {cut}");
        }
        for junk in [&b"\0"[..], b"junk", &good[..5], b"\x1f"] {
            assert!(gunzip(&[&good, junk].concat(), 1000).is_err(), "{junk:02x?}");
        }
        for at in [good.len() - 8, good.len() - 4] {
            let mut altered = good.clone();
            altered[at] ^= 1;
            assert!(
                matches!(gunzip(&altered, 1000), Err(InflateError::Broken("gzip", _))),
                "byte {at} of the checksum and length"
            );
        }
    }

    #[test]
    fn zstd_is_held_to_the_same_as_gzip() {
        let unzstd = |bytes: &[u8], limit| inflate(bytes, Codec::Zstd, limit);
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 0).unwrap();
        let two = [zstd(b"one,"), zstd(b""), zstd(b"two")].concat();
        assert_eq!(unzstd(&two, 7).unwrap(), b"one,two");
        assert_eq!(unzstd(&two, 6), Err(InflateError::TooLarge { limit: 6 }));
        let bomb = zstd(&vec![0; 5_000_000]);
        assert_eq!(unzstd(&bomb, 1000), Err(InflateError::TooLarge { limit: 1000 }));
        let good = zstd(b"some text that is long enough to be compressed, compressed, compressed");
        for cut in 1..good.len() {
            assert!(unzstd(&good[..cut], 1000).is_err(), "cut to {cut}");
        }
        for junk in [&b"\0"[..], b"junk", &good[..5]] {
            assert!(unzstd(&[&good, junk].concat(), 1000).is_err(), "{junk:02x?}");
        }
    }

    #[test]
    fn zstd_that_asks_for_more_memory_than_is_usual_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(ZSTD_WINDOW_LOG + 2).unwrap();
        encoder.write_all(&[7; 100]).unwrap();
        encoder.flush().unwrap();
        encoder.write_all(&[7; 100]).unwrap();
        let large = encoder.finish().unwrap();
        let refused = inflate(&large, Codec::Zstd, 1000);
        assert!(matches!(refused, Err(InflateError::Broken("zstd", _))), "{refused:?}");
    }
}
