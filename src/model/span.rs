//! How bytes of files are accounted for: spans, and the shares that chunks hold in them.

/// One followed file for the life of the process. Never reused, so a late answer cannot settle
/// another file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u64);

/// One read of one generation of one file: numbered by the ledger, in the order of the reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId {
    /// Which generation of the file: 0 until the first truncation.
    pub generation: u32,
    /// Which read of that generation.
    pub number: u64,
}

/// A chunk's part in a span. The span is settled when its last share is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The followed file.
    pub file: FileId,
    /// The span the chunk took events from.
    pub span: SpanId,
    /// Where in the file the first of those events begins.
    pub offset: u64,
    /// How many of the file's bytes those events were.
    pub bytes: u64,
    /// How many events they made.
    pub events: u32,
}
