//! `protocol::ack`: what a receiver answers.

use log_ambassador::protocol::ack::{self, AckDecoder, AckError};
use log_ambassador::protocol::frame::WireId;

use super::memory::within;
use super::pieces;

/// What a decoder holds of an answer in small pieces, twice while it grows, and a scanner.
const HELD: usize = 4 * AckDecoder::LONGEST + 2048;

/// - Ids and errors do not depend on how the bytes arrive.
/// - What arrives in small pieces holds no more than one answer, however much it is.
/// - An id that we acknowledge comes out again.
pub fn check(bytes: &[u8]) {
    let [whole, single, anyhow] = pieces::ways(bytes);
    let expected = ids(&whole, HELD + 2 * bytes.len());
    assert_eq!(ids(&single, HELD), expected, "byte for byte");
    assert_eq!(ids(&anyhow, HELD), expected, "in some pieces");
    check_round_trip(bytes);
}

/// All ids, and what ended them.
fn ids(pieces: &[&[u8]], most: usize) -> (Vec<Vec<u8>>, Option<AckError>) {
    let mut decoder = AckDecoder::new();
    let mut ids = Vec::new();
    for piece in pieces {
        within(most, || decoder.feed(piece));
        loop {
            match within(most, || decoder.next_id().map(|id| id.map(<[u8]>::to_vec))) {
                Ok(None) => break,
                Ok(Some(id)) => ids.push(id),
                Err(error) => {
                    assert!(error.to_string().len() < 512, "what is said of it");
                    return (ids, Some(error));
                }
            }
        }
    }
    (ids, None)
}

fn check_round_trip(bytes: &[u8]) {
    let id = &bytes[..bytes.len().min(usize::from(u8::MAX))];
    for marker in [0xd9, 0xc4] {
        let length = u8::try_from(id.len()).expect("it was cut to that");
        let encoded = [&[marker, length], id].concat();
        let mut answer = Vec::new();
        ack::encode(WireId { encoded: &encoded, bytes: id }, &mut answer);
        assert_eq!(ids(&[&answer], HELD + answer.len()), (vec![id.to_vec()], None));
    }
}
