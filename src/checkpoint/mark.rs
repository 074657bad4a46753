//! How a place in a file is recognised later: an offset, and a hash of what stood before it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use xxhash_rust::xxh3::xxh3_64;

/// How many bytes before an offset its marker covers.
pub const MARKER_REACH: usize = 64;

/// An offset, and a hash of the up to 64 bytes before it as they were read: enough to tell later
/// whether the file still is what we read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Hash of the up to 64 bytes before `offset`.
    pub marker: u64,
}

/// How many bytes the marker of `offset` covers.
pub fn marker_length(offset: u64) -> usize {
    usize::try_from(offset).map_or(MARKER_REACH, |offset| offset.min(MARKER_REACH))
}

/// The hash behind markers: XXH3, whose values are stable over versions and machines. Nothing has
/// the hash 0, so that the mark of an empty beginning is [`Mark::default`].
pub fn hash(bytes: &[u8]) -> u64 {
    if bytes.is_empty() { 0 } else { xxh3_64(bytes) }
}

/// The mark of a file at `offset`, read from the file. `None`: the file ends before it.
pub fn mark_of_file(file: &File, offset: u64) -> io::Result<Option<Mark>> {
    let length = marker_length(offset);
    let mut bytes = [0; MARKER_REACH];
    let filled = read_once(file, &mut bytes[..length], offset - length as u64)?;
    Ok((filled == length).then(|| Mark { offset, marker: hash(&bytes[..length]) }))
}

/// One call. A regular file gives less than was asked for only at its end.
pub fn read_once(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
