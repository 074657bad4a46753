//! What was stored when the process last ran, held against the files that are there now.
//!
//! In:  stored positions; open files
//! Out: where to go on reading a file; generations that came and went meanwhile
//!
//! Nothing is believed by name or inode alone: a position counts only where the file still holds
//! the bytes before it.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirEntryExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::OFlags;

use super::mark::{MARKER_REACH, Mark, mark_of_file, read_once};

/// One file's position as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The file system the file lies on.
    pub device: u64,
    /// Its inode number there.
    pub inode: u64,
    /// The path it was found by.
    pub path: PathBuf,
    /// Which generation of it.
    pub generation: u32,
    /// The end of the settled prefix.
    pub mark: Mark,
    /// The first up to 64 bytes.
    pub head: Vec<u8>,
    /// The highest size seen.
    pub size: u64,
}

/// A file that does not bear a followed name, but holds lines of one that does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missed {
    /// The path it was followed by, or would have been.
    pub path: PathBuf,
    /// Where it lies.
    pub place: PathBuf,
}

/// See the head of this file.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    positions: Vec<(Position, Claim)>,
    saved: Option<SystemTime>,
}

type Age = (SystemTime, bool, Reverse<PathBuf>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// Nobody asked.
    Open,
    /// Its inode is another file now, or holds something else.
    Refuted,
    /// Reading goes on there.
    Taken,
}

impl Remembered {
    /// `saved` is when the positions were taken: files that came before it are among them.
    pub fn new(positions: Vec<Position>, saved: Option<SystemTime>) -> Self {
        Self { positions: positions.into_iter().map(|p| (p, Claim::Open)).collect(), saved }
    }

    /// Where to go on reading `file`, which lies at `place`. `None`: from its start.
    pub fn of(&mut self, file: &File, place: &Path) -> io::Result<Option<Position>> {
        if self.positions.is_empty() {
            return Ok(None);
        }
        let metadata = file.metadata()?;
        for (position, claim) in &mut self.positions {
            if position.inode != metadata.ino() || *claim != Claim::Open {
                continue;
            }
            if holds(file, position)? {
                *claim = Claim::Taken;
                return Ok(Some(position.clone()));
            }
            *claim = Claim::Refuted;
        }
        self.of_copy(file, place)
    }

    /// A file we do not know that holds a known marker at its offset is a copy made before a
    /// truncation (logrotate's `copytruncate`). Only a name that continues the original's counts,
    /// and only when the original itself holds something else by now: many files can begin alike.
    fn of_copy(&mut self, file: &File, place: &Path) -> io::Result<Option<Position>> {
        for index in 0..self.positions.len() {
            let (position, claim) = &self.positions[index];
            let is_named_after = continues_name(place, &position.path);
            if *claim == Claim::Taken || !is_named_after || position.mark.offset == 0 {
                continue;
            }
            if original_still_holds(position) || !holds(file, position)? {
                continue;
            }
            self.positions[index].1 = Claim::Taken;
            return Ok(Some(self.positions[index].0.clone()));
        }
        Ok(None)
    }

    /// Generations that no pattern matches any more: files known by inode under another name, and
    /// files named after a known one that changed since the positions were stored. Oldest first.
    pub fn missed(&self, is_matched: impl Fn(&Path) -> bool) -> Vec<Missed> {
        let mut directories: Vec<&Path> =
            self.positions.iter().filter_map(|(position, _)| position.path.parent()).collect();
        directories.sort_unstable();
        directories.dedup();
        let mut missed = Vec::new();
        for directory in directories {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                if !is_matched(&entry.path()) {
                    missed.extend(self.missed_at(&entry));
                }
            }
        }
        missed.sort();
        missed.into_iter().map(|(_, missed)| missed).collect()
    }

    /// With what to sort it by: the time of its last change, and, because files of one instant are
    /// usual, known ones first and then the higher number first (`app.log.2` before `app.log.1`).
    fn missed_at(&self, entry: &fs::DirEntry) -> Option<(Age, Missed)> {
        let place = entry.path();
        let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        let modified = metadata.modified().ok()?;
        let is_known = |position: &&Position| position.inode == entry.ino();
        let is_named_after = |position: &&Position| {
            continues_name(&place, &position.path) && self.saved.is_none_or(|t| modified > t)
        };
        let mut positions = self.positions.iter().map(|(position, _)| position);
        let known = positions.clone().find(is_known);
        let position = known.or_else(|| positions.find(is_named_after))?;
        let age = (modified, known.is_none(), Reverse(place.clone()));
        Some((age, Missed { path: position.path.clone(), place }))
    }

    /// Positions that no file has claimed.
    pub fn unclaimed(self) -> impl Iterator<Item = Position> {
        self.positions.into_iter().filter(|(_, c)| *c != Claim::Taken).map(|(position, _)| position)
    }
}

/// `app.log.1` and `app.log-20260101` continue the name `app.log`, in the same directory.
fn continues_name(path: &Path, original: &Path) -> bool {
    let (Some(name), Some(original_name)) = (path.file_name(), original.file_name()) else {
        return false;
    };
    path.parent() == original.parent()
        && name.len() > original_name.len()
        && name.as_encoded_bytes().starts_with(original_name.as_encoded_bytes())
}

/// Whether the file has the position's beginning, and the bytes before its offset.
fn holds(file: &File, position: &Position) -> io::Result<bool> {
    let mut head = [0; MARKER_REACH];
    let length = position.head.len().min(MARKER_REACH);
    let filled = read_once(file, &mut head[..length], 0)?;
    Ok(head[..filled] == position.head[..length]
        && mark_of_file(file, position.mark.offset)? == Some(position.mark))
}

fn original_still_holds(position: &Position) -> bool {
    // By now it can be a FIFO, whose opening waits for a writer.
    let without_waiting = i32::try_from(OFlags::NONBLOCK.bits()).expect("a small number");
    let opened = File::options().read(true).custom_flags(without_waiting).open(&position.path);
    let Ok(file) = opened else {
        return false;
    };
    let is_same = file.metadata().is_ok_and(|metadata| metadata.ino() == position.inode);
    is_same && holds(&file, position).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Logs(tempfile::TempDir);

    impl Logs {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, content: &str) -> File {
            fs::write(self.path(name), content).unwrap();
            File::open(self.path(name)).unwrap()
        }

        fn position(&self, name: &str, offset: u64) -> Position {
            let file = File::open(self.path(name)).unwrap();
            let metadata = file.metadata().unwrap();
            let mut head = vec![0; MARKER_REACH];
            let filled = read_once(&file, &mut head, 0).unwrap();
            head.truncate(filled);
            Position {
                device: metadata.dev(),
                inode: metadata.ino(),
                path: self.path(name),
                generation: 0,
                mark: mark_of_file(&file, offset).unwrap().unwrap(),
                head,
                size: metadata.len(),
            }
        }
    }

    fn remembered(position: &Position) -> Remembered {
        Remembered::new(vec![position.clone()], Some(SystemTime::UNIX_EPOCH))
    }

    #[test]
    fn reading_goes_on_at_the_position_when_the_file_still_holds_it() {
        let logs = Logs::new();
        let file = logs.write("app.log", "one\ntwo\n");
        let position = logs.position("app.log", 4);
        let mut remembered = remembered(&position);
        assert_eq!(remembered.of(&file, &logs.path("app.log")).unwrap(), Some(position));
        assert_eq!(remembered.unclaimed().count(), 0);
    }

    #[test]
    fn a_file_that_holds_something_else_is_read_from_its_start() {
        for content in ["ONE\ntwo\nthree\n", "on", ""] {
            let logs = Logs::new();
            logs.write("app.log", "one\ntwo\n");
            let position = logs.position("app.log", 4);
            let file = logs.write("app.log", content);
            let mut remembered = remembered(&position);
            assert_eq!(remembered.of(&file, &logs.path("app.log")).unwrap(), None, "{content:?}");
            assert_eq!(remembered.unclaimed().count(), 1);
        }
    }

    #[test]
    fn a_copy_made_before_a_truncation_is_read_from_where_the_original_was() {
        let logs = Logs::new();
        logs.write("app.log", "one\ntwo\n");
        let position = logs.position("app.log", 4);
        fs::copy(logs.path("app.log"), logs.path("app.log.1")).unwrap();
        let copy = File::open(logs.path("app.log.1")).unwrap();
        let mut before = remembered(&position);
        assert_eq!(before.of(&copy, &logs.path("app.log.1")).unwrap(), None, "not truncated yet");
        logs.write("app.log", "three\n");
        let mut after = remembered(&position);
        assert_eq!(after.of(&copy, &logs.path("app.log.1")).unwrap(), Some(position.clone()));
        let stranger = logs.write("other.log", "one\ntwo\n");
        let mut unrelated = remembered(&position);
        assert_eq!(unrelated.of(&stranger, &logs.path("other.log")).unwrap(), None);
    }

    #[test]
    fn an_original_that_is_a_fifo_by_now_holds_nobody_up() {
        let logs = Logs::new();
        logs.write("app.log", "one\ntwo\n");
        let position = logs.position("app.log", 4);
        fs::copy(logs.path("app.log"), logs.path("app.log.1")).unwrap();
        fs::remove_file(logs.path("app.log")).unwrap();
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o644));
        rustix::fs::mknodat(rustix::fs::CWD, logs.path("app.log"), kind, mode, 0).unwrap();
        let place = logs.path("app.log.1");
        let copy = File::open(&place).unwrap();
        let mut remembered = remembered(&position);
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(remembered.of(&copy, &place).unwrap()).ok());
        let found = is_done.recv_timeout(std::time::Duration::from_secs(20));
        assert_eq!(found.expect("it waits for a writer"), Some(position));
    }

    #[test]
    fn generations_that_were_renamed_or_made_meanwhile_are_missed() {
        let logs = Logs::new();
        logs.write("app.log", "one\n");
        let position = logs.position("app.log", 4);
        fs::rename(logs.path("app.log"), logs.path("app.log.2")).unwrap();
        logs.write("app.log.1", "two\n");
        logs.write("app.log", "three\n");
        logs.write("unrelated", "x\n");
        let missed = remembered(&position).missed(|path| path == logs.path("app.log"));
        let places: Vec<_> = missed.into_iter().map(|missed| missed.place).collect();
        assert_eq!(places, [logs.path("app.log.2"), logs.path("app.log.1")], "oldest first");
    }
}
