//! Undoes the compression of a frame's entries.
//!
//! In:  gzip or zstd, one member or several back to back (forward protocol: Fluentd compresses each
//!      append to its chunk on its own, so several are the rule)
//! Out: what all members hold, one after another, or why not; all at once, or as it is read
//!
//! Memory grows with what comes out, and stops at the limit while it comes out, not after.

use std::io::{self, BufRead, Cursor, ErrorKind, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flate2::bufread::GzDecoder;
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

/// What `compressed` holds, as it is read, inflated with one of `decoders`.
pub fn inflater(
    compressed: impl BufRead + Send + 'static,
    codec: Codec,
    decoders: &Decoders,
) -> io::Result<Box<dyn Read + Send>> {
    Ok(match codec {
        Codec::Gzip => Box::new(decoders.gunzip(Feed(Box::new(compressed)))),
        Codec::Zstd => Box::new(zio::Reader::new(compressed, decoders.lend_zstd()?)),
    })
}

/// What inflating takes, kept for the next who inflates: decoders, and the room for a piece. Clones
/// share it, and whoever comes when all is lent gets new ones.
///
/// It is kept because the system's allocator would not give it back. A decoder of zstd has a window as
/// large as the sender wished, and each thread that has made one would hold on to as much. That of gzip
/// is small, but so are the frames that are made between one and the next: each would begin in the
/// place that the last left, so that the next does not fit there.
#[derive(Clone, Default)]
pub struct Decoders(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    gzip: Vec<GzDecoder<Feed>>,
    zstd: Option<Decoder<'static>>,
    rooms: Vec<Vec<u8>>,
}

/// How many are kept of what is small: one for whoever checks frames, one for whoever takes them.
const MOST_KEPT: usize = 2;

impl Decoders {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty buffer with room for a piece.
    pub fn lend_room(&self) -> Vec<u8> {
        self.kept().rooms.pop().unwrap_or_else(|| Vec::with_capacity(PIECE))
    }

    /// Takes it back.
    pub fn take_room(&self, mut room: Vec<u8>) {
        room.clear();
        room.shrink_to(2 * PIECE);
        keep(&mut self.kept().rooms, room);
    }

    fn gunzip(&self, feed: Feed) -> Gunzip {
        let kept = self.kept().gzip.pop();
        let mut decoder = kept.unwrap_or_else(|| GzDecoder::new(Feed::default()));
        decoder.reset(feed);
        Gunzip { decoder: Some(decoder), is_over: false, home: self.clone() }
    }

    fn lend_zstd(&self) -> io::Result<Lent> {
        let kept = self.kept().zstd.take();
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

fn keep<T>(kept: &mut Vec<T>, thing: T) {
    if kept.len() < MOST_KEPT {
        kept.push(thing);
    }
}

/// Compressed bytes.
struct Feed(Box<dyn BufRead + Send>);

impl Default for Feed {
    fn default() -> Self {
        Self(Box::new(io::empty()))
    }
}

impl Read for Feed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

/// All members of a gzip. An error is its end.
struct Gunzip {
    decoder: Option<GzDecoder<Feed>>,
    is_over: bool,
    home: Decoders,
}

impl Gunzip {
    fn read_members(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let decoder = self.decoder.as_mut().expect("only its end takes it");
        loop {
            let count = decoder.read(out)?;
            if count > 0 || out.is_empty() || decoder.get_mut().fill_buf()?.is_empty() {
                return Ok(count);
            }
            let rest = decoder.reset(Feed::default());
            decoder.reset(rest);
        }
    }
}

impl Read for Gunzip {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.is_over {
            return Ok(0);
        }
        let read = self.read_members(out);
        self.is_over = read.is_err();
        read
    }
}

impl Drop for Gunzip {
    fn drop(&mut self) {
        if let Some(mut decoder) = self.decoder.take() {
            // It does not hold on to the frame.
            decoder.reset(Feed::default());
            keep(&mut self.home.kept().gzip, decoder);
        }
    }
}

/// A decoder of zstd that somebody uses.
struct Lent {
    decoder: Option<Decoder<'static>>,
    home: Decoders,
}

impl Lent {
    fn decoder(&mut self) -> &mut Decoder<'static> {
        self.decoder.as_mut().expect("only its end takes it")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.kept().zstd = self.decoder.take();
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
    let compressed = Cursor::new(compressed.to_vec());
    let mut inflater = inflater(compressed, codec, &Decoders::default()).map_err(refused)?;
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
    fn a_decoder_that_failed_or_was_left_in_the_middle_begins_anew() {
        let text = b"some text that is long enough to be compressed, compressed, compressed";
        let zstd = zstd::encode_all(&text[..], 0).unwrap();
        for (codec, good) in [(Codec::Gzip, gzip(text)), (Codec::Zstd, zstd)] {
            let decoders = Decoders::default();
            let inflate = |bytes: &[u8], most: u64| {
                let mut out = Vec::new();
                let inflater = inflater(Cursor::new(bytes.to_vec()), codec, &decoders).unwrap();
                inflater.take(most).read_to_end(&mut out).map(|_| out)
            };
            for cut in 0..good.len() {
                drop(inflate(&good[..cut], 1000));
                assert_eq!(inflate(&good, 1000).unwrap(), text, "{codec:?} after {cut} bytes");
                assert_eq!(inflate(&good, 7).unwrap(), &text[..7]);
            }
            let two = [&good[..], &good].concat();
            assert_eq!(inflate(&two, 1000).unwrap(), [text, &text[..]].concat());
            assert!(decoders.kept().gzip.len() <= MOST_KEPT);
        }
    }

    #[test]
    fn a_gzip_that_was_refused_has_nothing_more_to_say() {
        let mut bytes = gzip(b"one");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        bytes.extend(gzip(b"two"));
        let mut inflater = inflater(Cursor::new(bytes), Codec::Gzip, &Decoders::default()).unwrap();
        let mut out = Vec::new();
        assert!(inflater.read_to_end(&mut out).is_err());
        assert_eq!(inflater.read_to_end(&mut out).unwrap(), 0);
        assert_eq!(out, b"one");
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
