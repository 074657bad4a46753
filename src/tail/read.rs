//! The one read buffer of ingest, and the hashes that tell whether a file still is what it was.
//!
//! In:  an open file and an offset
//! Out: the bytes from there, with up to 64 bytes before them to compare

use std::fs::File;
use std::io;

use crate::checkpoint::Mark;
use crate::checkpoint::mark::{MARKER_REACH, hash, marker_length, read_once};

/// Bytes of a file as they were read, starting up to [`MARKER_REACH`] before the wanted offset.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    bytes: Vec<u8>,
    /// Offset in the file of `bytes[0]`.
    begin: u64,
    /// How many of `bytes` were read.
    filled: usize,
    /// The file ended within the last read.
    at_end: bool,
    /// Nothing is compared: see [`ReadBuffer::trusting_files`].
    trusts_files: bool,
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Bytes that follow on what was read before.
    Next {
        /// The file ended within this read.
        at_end: bool,
    },
    /// The file is shorter than the offset, or holds something else before it.
    SomethingElse,
}

impl ReadBuffer {
    /// The most that is kept between reads; a longer line takes more, for a while.
    const KEPT: usize = 256 << 10;

    /// One that takes every file to hold what it held before. Only a bench wants it, to measure
    /// what comparing costs.
    pub fn trusting_files() -> Self {
        Self { trusts_files: true, ..Self::default() }
    }

    /// [`begins_with`], or simply yes.
    pub fn finds_head(&self, file: &File, head: &[u8]) -> io::Result<bool> {
        if self.trusts_files {
            return Ok(true);
        }
        begins_with(file, head)
    }

    /// Reads up to `length` bytes from `from.offset`, and the bytes before it, in one call.
    pub fn read(&mut self, file: &File, from: Mark, length: usize) -> io::Result<Found> {
        let before = marker_length(from.offset);
        let wanted = before + length;
        self.make_room(wanted);
        self.begin = from.offset - before as u64;
        self.filled = read_once(file, &mut self.bytes[..wanted], self.begin)?;
        let is_same = || self.trusts_files || hash(&self.bytes[..before]) == from.marker;
        if self.filled < before || !is_same() {
            return Ok(Found::SomethingElse);
        }
        self.at_end = self.filled < wanted;
        Ok(Found::Next { at_end: self.at_end })
    }

    fn make_room(&mut self, wanted: usize) {
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        } else if self.bytes.len() > Self::KEPT && wanted <= Self::KEPT {
            self.bytes.truncate(Self::KEPT);
            self.bytes.shrink_to_fit();
        }
    }

    /// Whether the file ended within the last read.
    pub fn reached_end(&self) -> bool {
        self.at_end
    }

    /// The bytes from `offset` to the end of what was read.
    pub fn from(&self, offset: u64) -> &[u8] {
        &self.bytes[self.index(offset)..self.filled]
    }

    /// The first up to [`MARKER_REACH`] bytes of the file, if this read began there.
    pub fn beginning(&self) -> Option<&[u8]> {
        (self.begin == 0).then(|| &self.bytes[..self.filled.min(MARKER_REACH)])
    }

    /// The mark at `offset`, from the bytes as they were read.
    pub fn mark(&self, offset: u64) -> Mark {
        let end = self.index(offset);
        let start = end - marker_length(offset).min(end);
        Mark { offset, marker: hash(&self.bytes[start..end]) }
    }

    fn index(&self, offset: u64) -> usize {
        usize::try_from(offset - self.begin).map_or(self.filled, |index| index.min(self.filled))
    }
}

/// Whether the file begins with `head`, of which there are up to [`MARKER_REACH`] bytes, as far as
/// the file goes: it may have been cut off inside of a partial line.
pub fn begins_with(file: &File, head: &[u8]) -> io::Result<bool> {
    let mut beginning = [0; MARKER_REACH];
    let length = head.len().min(MARKER_REACH);
    let filled = read_once(file, &mut beginning[..length], 0)?;
    Ok(beginning[..filled] == head[..filled])
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::checkpoint::mark::mark_of_file;

    fn file_of(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn a_read_continues_only_where_the_bytes_before_are_the_same() {
        let file = file_of(&b"0123456789".repeat(20));
        let mut buffer = ReadBuffer::default();
        assert_eq!(
            buffer.read(&file, Mark::default(), 150).unwrap(),
            Found::Next { at_end: false }
        );
        let mark = buffer.mark(150);
        assert_eq!(mark_of_file(&file, 150).unwrap(), Some(mark));
        assert_eq!(buffer.read(&file, mark, 100).unwrap(), Found::Next { at_end: true });
        assert_eq!(buffer.from(150), b"0123456789".repeat(5));

        file.write_at(b"x", 100).unwrap();
        assert_eq!(buffer.read(&file, mark, 100).unwrap(), Found::SomethingElse);
        file.write_at(b"0", 100).unwrap();
        assert_eq!(buffer.read(&file, mark, 100).unwrap(), Found::Next { at_end: true });
        file.set_len(149).unwrap();
        assert_eq!(buffer.read(&file, mark, 100).unwrap(), Found::SomethingElse);
    }

    #[test]
    fn the_mark_near_the_start_covers_what_there_is() {
        let file = file_of(b"abc");
        let mut buffer = ReadBuffer::default();
        buffer.read(&file, Mark::default(), 100).unwrap();
        assert_eq!(buffer.mark(0), Mark::default());
        assert_eq!(buffer.mark(2), Mark { offset: 2, marker: hash(b"ab") });
        assert_eq!(mark_of_file(&file, 4).unwrap(), None);
    }
}
