//! Undoes the compression of a frame's entries.
//!
//! In:  gzip, one member or several back to back (forward protocol: Fluentd compresses each
//!      append to its chunk on its own, so several are the rule)
//! Out: what all members hold, one after another, or why not
//!
//! Memory grows with what comes out, and stops at the limit while it comes out, not after.

use std::io::{ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;

/// Why compressed entries were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// The last member ends early.
    #[error("the gzip data are cut off")]
    CutOff,
    /// Not gzip, a wrong checksum, or something else behind the last member.
    #[error("the gzip data are broken: {0}")]
    Broken(String),
    /// More came out than may.
    #[error("the entries inflate to more than {limit} bytes; send smaller chunks")]
    TooLarge {
        /// The most bytes that may come out.
        limit: usize,
    },
}

/// Inflates every gzip member in `compressed`, to at most `limit` bytes.
pub fn gunzip(compressed: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
    let mut inflated = Vec::new();
    // One byte more than may be: reaching it shows the limit is passed, and a stream of exactly
    // `limit` bytes is still read to its end, where the checksum is.
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(compressed).take(most).read_to_end(&mut inflated).map_err(|error| {
        match error.kind() {
            ErrorKind::UnexpectedEof => InflateError::CutOff,
            _ => InflateError::Broken(error.to_string()),
        }
    })?;
    if inflated.len() > limit {
        return Err(InflateError::TooLarge { limit });
    }
    Ok(inflated)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

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
                matches!(gunzip(&altered, 1000), Err(InflateError::Broken(_))),
                "byte {at} of the checksum and length"
            );
        }
    }
}
