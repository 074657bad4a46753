//! Acknowledgements: `{"ack": id}` in the direction from receiver to sender.
//!
//! In:  for the receiver, the id as the sender wrote it; for the sender, bytes in any pieces
//! Out: the bytes of one ack; the ids, in the order they came
//!
//! Ids are matched byte for byte, and by id, not by order: the protocol promises none.

use super::frame::WireId;
use crate::model::cursor::{ReadError, Reader, Scanner, Token};

/// Appends the acknowledgement of a chunk. Write it with one call: Fluentd and Fluent Bit fail
/// on an ack that arrives in two pieces.
pub fn encode(id: WireId<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\x81\xa3ack");
    out.extend_from_slice(id.encoded);
}

/// Why a receiver's answer ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    /// A HELO came: the other side begins a handshake.
    #[error(
        "the server requires a shared key (it greeted with HELO): set Shared_Key in this output \
         to the shared_key of the server's <security> section"
    )]
    SharedKeyRequired,
    /// Something else than a map came.
    #[error("the answer is {found}, not the map of an ack: {}", not_a_map(.found))]
    NotAMap {
        /// What came instead.
        found: &'static str,
    },
    /// A map came that acknowledges nothing: how Vector says that it could not deliver.
    #[error("the answer is a map without 'ack': the receiver did not take the chunk")]
    WithoutAck,
    /// The answer is no MessagePack.
    #[error("the answer is not MessagePack: {0}")]
    Broken(#[from] ReadError),
    /// The answer goes on and on.
    #[error("the answer is longer than {} bytes; an ack has about 30", AckDecoder::LONGEST)]
    TooLong,
}

fn not_a_map(found: &str) -> &'static str {
    match found {
        "an alert of TLS" => "set 'tls on'",
        _ => "is this the port of a forward receiver?",
    }
}

/// Reads acknowledgements from bytes as they arrive.
///
/// ```text
/// decoder.feed(bytes);
/// while let Some(id) = decoder.next_id()? { … }
/// ```
///
/// After an error the connection is of no more use, and neither is the decoder.
#[derive(Debug, Default)]
pub struct AckDecoder {
    bytes: Vec<u8>,
    /// Where the answer begins that is not yet handed out.
    at: usize,
    scanner: Scanner,
}

impl AckDecoder {
    /// The most bytes of one answer.
    pub const LONGEST: usize = 4096;

    /// Expects the first answer of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes as they came. Take all ids before the next call: only what is left of an
    /// unfinished answer is kept.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next acknowledged id. `None`: more bytes are needed.
    pub fn next_id(&mut self) -> Result<Option<&[u8]>, AckError> {
        let rest = &self.bytes[self.at..];
        let Some(&first) = rest.first() else {
            return Ok(None);
        };
        check_root(first)?;
        // No further than the limit, so that it does not matter how much came at once.
        let seen = &rest[..rest.len().min(Self::LONGEST + 1)];
        let length = self.scanner.scan(seen)?;
        if self.scanner.least_length().max(length.unwrap_or(seen.len())) > Self::LONGEST {
            return Err(AckError::TooLong);
        }
        let Some(length) = length else {
            return Ok(None);
        };
        let answer = &rest[..length];
        self.at += length;
        self.scanner = Scanner::new();
        read_answer(answer).map(Some)
    }
}

/// Only maps are acks, and only an array can be a HELO: anything else need not be waited for.
fn check_root(first: u8) -> Result<(), AckError> {
    match first {
        0x80..=0x9f | 0xdc..=0xdf => Ok(()),
        _ => {
            let found = match first {
                0x15 => "an alert of TLS",
                0x20..=0x7e => "text",
                0xc0 => "nil",
                _ => "another value",
            };
            Err(AckError::NotAMap { found })
        }
    }
}

fn read_answer(answer: &[u8]) -> Result<&[u8], AckError> {
    let mut reader = Reader::new(answer);
    let pairs = match reader.token()? {
        Token::Map(pairs) => pairs,
        Token::Array(1..) if reader.text("HELO") == Ok(b"HELO") => {
            return Err(AckError::SharedKeyRequired);
        }
        other => return Err(AckError::NotAMap { found: other.name() }),
    };
    for _ in 0..pairs {
        let is_ack = matches!(reader.peek()?, Token::Str(b"ack") | Token::Bin(b"ack"));
        reader.skip()?;
        if is_ack {
            return Ok(reader.text("the id of a chunk, which is a str")?);
        }
        reader.skip()?;
    }
    Err(AckError::WithoutAck)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids_of(pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, AckError> {
        let mut decoder = AckDecoder::new();
        let mut ids = Vec::new();
        for piece in pieces {
            decoder.feed(piece);
            while let Some(id) = decoder.next_id()? {
                ids.push(id.to_vec());
            }
        }
        Ok(ids)
    }

    #[test]
    fn an_ack_repeats_the_id_with_its_header() {
        for encoded in [&b"\xa1A"[..], b"\xc4\x01A", b"\xd9\x01A", b"\xa0"] {
            let mut out = Vec::new();
            encode(WireId { encoded, bytes: &[] }, &mut out);
            assert_eq!(out, [&b"\x81\xa3ack"[..], encoded].concat());
        }
    }

    #[test]
    fn ids_come_out_the_same_wherever_the_bytes_are_cut() {
        let bytes =
            b"\x81\xa3ack\xa3one\x82\xa1x\x01\xa3ack\xc4\x03two\xdf\0\0\0\x01\xa3ack\xd9\x05three";
        let expected = [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()];
        for cut in 0..=bytes.len() {
            let (left, right) = bytes.split_at(cut);
            assert_eq!(ids_of(&[left, right]).unwrap(), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(ids_of(&bytes).unwrap(), expected);
    }

    #[test]
    fn what_is_no_ack_says_what_it_is() {
        for (bytes, part) in [
            (&b"\x92\xa4HELO\x80"[..], "set Shared_Key"),
            (b"\x92\xc4\x04HELO\x80", "set Shared_Key"),
            (b"\x92\xa4PONG\xc3", "is an array"),
            (b"\x90", "is an array"),
            (b"HTTP/1.1 400 Bad Request\r\n", "is text"),
            (b"\xc0", "is nil"),
            (b"\x15\x03\x03\0\x02\x02\x0a", "set 'tls on'"),
            (b"\x80", "did not take the chunk"),
            (b"\x81\xa1x\xa3ack", "did not take the chunk"),
            (b"\x81\xa3ack\x05", "expected the id of a chunk"),
            (b"\x81\xc1", "not MessagePack"),
        ] {
            let message = ids_of(&[bytes]).unwrap_err().to_string();
            assert!(message.contains(part), "{bytes:02x?}: {message}");
        }
    }

    #[test]
    fn ids_before_a_broken_answer_still_come_out() {
        let mut decoder = AckDecoder::new();
        decoder.feed(b"\x81\xa3ack\xa3one\x80");
        assert_eq!(decoder.next_id(), Ok(Some(&b"one"[..])));
        assert_eq!(decoder.next_id(), Err(AckError::WithoutAck));
    }

    #[test]
    fn an_answer_without_end_is_given_up() {
        assert_eq!(ids_of(&[b"\x81\xa3ack\xdb\xff\xff\xff\xff"]), Err(AckError::TooLong));
        assert_eq!(ids_of(&[b"\xdf\xff\xff\xff\xff", &[0; 5000]]), Err(AckError::TooLong));
    }

    #[test]
    fn the_longest_answer_is_as_long_whether_it_comes_at_once_or_in_pieces() {
        for (length, is_taken) in [(AckDecoder::LONGEST, true), (AckDecoder::LONGEST + 1, false)] {
            let mut answer = b"\x81\xa3ack\xda".to_vec();
            let id = length - answer.len() - 2;
            answer.extend_from_slice(&u16::try_from(id).unwrap().to_be_bytes());
            answer.resize(length, b'x');
            for pieces in [vec![&answer[..]], answer.chunks(1000).collect()] {
                assert_eq!(ids_of(&pieces).is_ok(), is_taken, "{length} in {}", pieces.len());
            }
        }
        let broken = [&b"\xde\xff\xff"[..], &[0; 5000], b"\xc1"].concat();
        assert_eq!(ids_of(&[&broken]), Err(AckError::TooLong), "what is wrong first");
    }
}
