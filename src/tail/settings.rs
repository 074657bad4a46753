//! What the `tail` input can be told. `config` fills it; the keys are Fluent Bit's.

use std::path::PathBuf;
use std::time::Duration;

use super::encoding::Encoding;

/// One `[INPUT]` section with `Name tail`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `Alias`, or `tail.<n>`: what logs and metrics call this input.
    pub name: String,
    /// `Path`: globs, comma-separated there.
    pub paths: Vec<String>,
    /// `Exclude_Path`: globs over the whole path (`*` also matches `/`), comma-separated there.
    pub exclude_paths: Vec<String>,
    /// `Tag`: as written; a `*` stands for the path of the file.
    pub tag: String,
    /// `Tag_Regex`: its named groups, found in the path, stand for `<name>` in the tag.
    pub tag_regex: Option<String>,
    /// `Parser`: its name. `None`: every line goes out as text under `key`.
    pub parser: Option<String>,
    /// What joins lines before they are events.
    pub joins: Joins,
    /// `Key`: the record key of a line that goes out as text.
    pub key: String,
    /// `Path_Key`: the record key for the path of the file.
    pub path_key: Option<String>,
    /// `Offset_Key`: the record key for the offset of the line's first byte.
    pub offset_key: Option<String>,
    /// `Read_from_Head`: what to do with what files hold at the start. Ours is on by default.
    pub read_from_head: bool,
    /// `Read_newly_discovered_files_from_head`: off means that files found later are treated as
    /// those at the start, unless they take the place of one that was followed.
    pub read_new_from_head: bool,
    /// `Follow_Symlinks` (ours): where symbolic links may lead.
    pub symlinks: Symlinks,
    /// `Refresh_Interval`: how often directories are listed although no notice came.
    pub refresh_interval: Duration,
    /// `Progress_Check_Interval`: how often files without notices are looked at.
    pub progress_check_interval: Duration,
    /// `Rotate_Wait`: how long a deleted or moved-away file stays open after its last byte came.
    pub rotate_wait: Duration,
    /// `Ignore_Older`: files not written to for longer are not followed when found. When one is
    /// written to after all, what it held is left out.
    pub ignore_older: Option<Duration>,
    /// `Inotify_Watcher`: off means looking at every file every `Progress_Check_Interval`.
    pub inotify_watcher: bool,
    /// `Mem_Buf_Limit` in bytes: what this input's chunks may take until acknowledged.
    pub mem_buf_limit: usize,
    /// `Unicode.Encoding` or `Generic.Encoding`: what the files are written in.
    pub encoding: Encoding,
    /// `Buffer_Max_Size` in bytes: the longest line, without its newline, that is taken whole. The
    /// bytes are those of the file, whatever it is written in.
    pub line_limit: usize,
    /// What happens to longer ones.
    pub long_lines: LongLines,
    /// `Skip_Empty_Lines`: lines that are empty or only a carriage return make no event.
    pub skip_empty_lines: bool,
    /// `Exit_On_Eof`: drain and end once every file found at the start was read to its end.
    pub exit_on_eof: bool,
    /// `Max_Held_Bytes` (ours): what deleted files may hold of the volume.
    pub max_held_bytes: MaxHeld,
    /// `DB`: where positions are kept. `None`: nothing is written anywhere.
    pub db: Option<PathBuf>,
}

/// What happens to a line above the line limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongLines {
    /// Its beginning goes out as text, cut at a character boundary and marked (our default, and
    /// `Truncate_Long_Lines On`).
    Cut,
    /// It is left out and counted (`Skip_Long_Lines On`).
    Skip,
}

/// Where symbolic links may lead. Devices, FIFOs and `/proc` are never followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symlinks {
    /// Anywhere, as in Fluent Bit.
    All,
    /// Not out of the directory that a pattern names before its first wildcard.
    Inside,
}

/// What deleted files that are not delivered yet may hold of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxHeld {
    /// Anything: nothing is lost as long as the volume has room.
    Off,
    /// Half of the volume if it is memory, anything if it is a disk: what is not written.
    HalfOfTmpfs,
    /// So many bytes.
    Bytes(u64),
}

/// Which lines become one event. Parsers are named as in their sections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joins {
    /// Every line is an event of its own.
    Nothing,
    /// `multiline.parser`: those that are tried, in this order. `parser` and `key` mean nothing.
    Parsers(Vec<String>),
    /// `Docker_Mode`: the pieces of a line of Docker, which `parser` reads then.
    DockerMode {
        /// `Docker_Mode_Parser`: a line it reads is the first of several.
        first: Option<String>,
        /// `Docker_Mode_Flush`: how long after its last piece a line is taken to be complete.
        flush_after: Duration,
    },
    /// `Multiline`: what follows a first line is added to its record. `parser` means nothing.
    FirstLines {
        /// `Parser_Firstline`.
        first: String,
        /// `Parser_1` and so on: they read the lines that follow.
        others: Vec<String>,
        /// `Multiline_Flush`: how long after its last line a message is taken to be complete.
        flush_after: Duration,
    },
}

impl Settings {
    /// `Mem_Buf_Limit` when none is written: 16MB.
    pub const DEFAULT_MEM_BUF_LIMIT: usize = 16_000_000;
    /// The line limit when no `Buffer_Max_Size` is written: 1 MiB.
    pub const DEFAULT_LINE_LIMIT: usize = 1 << 20;

    /// An input over `paths` with every other key unwritten. `name` is also its tag.
    pub fn new(name: &str, paths: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            paths,
            exclude_paths: Vec::new(),
            tag: name.to_owned(),
            tag_regex: None,
            parser: None,
            joins: Joins::Nothing,
            key: "log".to_owned(),
            path_key: None,
            offset_key: None,
            read_from_head: true,
            read_new_from_head: true,
            symlinks: Symlinks::All,
            refresh_interval: Duration::from_secs(60),
            progress_check_interval: Duration::from_secs(2),
            rotate_wait: Duration::from_secs(5),
            ignore_older: None,
            inotify_watcher: true,
            mem_buf_limit: Self::DEFAULT_MEM_BUF_LIMIT,
            encoding: Encoding::default(),
            line_limit: Self::DEFAULT_LINE_LIMIT,
            long_lines: LongLines::Cut,
            skip_empty_lines: false,
            exit_on_eof: false,
            max_held_bytes: MaxHeld::HalfOfTmpfs,
            db: None,
        }
    }
}
