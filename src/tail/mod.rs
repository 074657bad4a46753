//! Follows files: finds them, knows them by inode, generation and content, and reads them.
//!
//! In:  directories, and the kernel's notices about them
//! Out: files that have something to read, one after the other ([`Tail::next_file`]); reading them is
//!      [`FollowedFile::read`]
//!
//! Open is not read: files are found and opened whatever the receiver does, so one that is
//! created, rotated and deleted while it is away is held open and still delivered. Closing is
//! not forgetting: a file with a name keeps its position and is opened again when it grows. A
//! file without a name has only our descriptor, and is closed when every byte is settled and it
//! has been quiet for `Rotate_Wait`.

pub mod discover;
pub mod encoding;
mod find;
pub mod followed;
mod hear;
pub mod lines;
pub mod open;
pub mod read;
pub mod settings;
pub mod watch;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, error, info};

pub use self::discover::PathError;
use self::discover::{Globs, TagTemplate};
pub use self::encoding::{Charset, Encoding};
pub use self::followed::{FollowedFile, Inode, Reading, Seen};
use self::hear::Traveller;
pub use self::hear::open_what_notices_mean;
pub use self::read::ReadBuffer;
pub use self::settings::{Joins, LongLines, MaxHeld, Settings, Symlinks};
pub use self::watch::{Notice, Watch, What};
use crate::checkpoint::{Mark, Remembered};
use crate::model::{Counters, FileId, Mentions, Share};

/// The files of one input. See the head of this file.
pub struct Tail {
    settings: Settings,
    globs: Globs,
    tag: TagTemplate,
    counters: Arc<Counters>,
    files: HashMap<FileId, FollowedFile>,
    by_inode: HashMap<Inode, FileId>,
    by_place: HashMap<PathBuf, FileId>,
    /// Files without the name by which they were found, and those that notices do not reach: few
    /// among ten thousand, and the only ones that are looked through each time ingest wakes.
    astray: BTreeSet<FileId>,
    /// The newest file of each path, named or not.
    newest: HashMap<Arc<Path>, FileId>,
    /// Files with something to read, in the order in which they get their turn.
    queue: VecDeque<FileId>,
    /// Files that are not followed although their name matches, and their names: said once. An
    /// inode alone says little, because it is soon another file's.
    refused: HashMap<Inode, Vec<PathBuf>>,
    /// Files that were too old for `Ignore_Older`: where what comes later begins, and the last
    /// listing that found them so.
    put_off: HashMap<Inode, (Mark, u64)>,
    /// Names that left by a rename whose other notice has not come yet.
    leaving: VecDeque<(u32, Traveller)>,
    /// Files that are on their way, by the name that a notice told of and that they have left.
    passing: HashMap<PathBuf, Traveller>,
    mentions: Mentions<(PathBuf, io::ErrorKind)>,
    next_id: u64,
    has_scanned: bool,
    /// Those that there were at the last listing.
    directories: Vec<PathBuf>,
    /// Directories that held nothing but followed files when they were listed.
    settled: HashMap<PathBuf, find::Stamp>,
    wants_scan: bool,
    round: u64,
    /// A reconcile found growth that no notice announced.
    is_silent: bool,
    /// What was seen of files that are no longer followed.
    seen_of_forgotten: Seen,
    remembered: Remembered,
}

impl Tail {
    /// `number` is the input's number, `remembered` what the position store knows.
    pub fn new(
        number: u16,
        settings: Settings,
        working_directory: PathBuf,
        remembered: Remembered,
        counters: Arc<Counters>,
    ) -> Result<Self, PathError> {
        let regex = settings.tag_regex.as_deref();
        Ok(Self {
            globs: Globs::new(&settings.paths, &settings.exclude_paths)?,
            tag: TagTemplate::compile(&settings.tag, regex, working_directory)?,
            settings,
            counters,
            files: HashMap::new(),
            by_inode: HashMap::new(),
            by_place: HashMap::new(),
            astray: BTreeSet::new(),
            newest: HashMap::new(),
            queue: VecDeque::new(),
            refused: HashMap::new(),
            put_off: HashMap::new(),
            leaving: VecDeque::new(),
            passing: HashMap::new(),
            mentions: Mentions::default(),
            next_id: u64::from(number) << 48,
            has_scanned: false,
            directories: Vec::new(),
            settled: HashMap::new(),
            wants_scan: true,
            round: 0,
            is_silent: false,
            seen_of_forgotten: Seen::default(),
            remembered,
        })
    }

    /// What it was told.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The directories to watch: those that can hold matching files, and those in which a missing
    /// one would appear.
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut directories = self.globs.directories();
        directories.extend(self.globs.ancestors());
        directories
    }

    /// Whether something happened that only a listing can answer.
    pub fn wants_scan(&self) -> bool {
        self.wants_scan
    }

    // === Taking turns

    fn enqueue(&mut self, id: FileId) {
        if let Some(file) = self.files.get_mut(&id)
            && !file.is_queued
        {
            file.is_queued = true;
            self.queue.push_back(id);
        }
    }

    /// The file whose turn it is. It leaves the queue; [`Tail::has_more`] puts it back.
    pub fn next_file(&mut self) -> Option<FileId> {
        for _ in 0..self.queue.len() {
            let id = self.queue.pop_front()?;
            if self.must_wait(id) {
                self.queue.push_back(id);
                continue;
            }
            if let Some(file) = self.files.get_mut(&id) {
                file.is_queued = false;
                return Some(id);
            }
        }
        None
    }

    /// An older file of the same path is read first.
    fn must_wait(&self, id: FileId) -> bool {
        let older = self.files.get(&id).and_then(|file| file.after);
        older.and_then(|older| self.files.get(&older)).is_some_and(|older| older.is_queued)
    }

    /// There was no memory for anything of it: it is the first when there is some. At the end of the
    /// queue it could find none each time, while files before it take what comes free.
    pub fn keeps_its_turn(&mut self, id: FileId) {
        if let Some(file) = self.files.get_mut(&id)
            && !file.is_queued
        {
            file.is_queued = true;
            self.queue.push_front(id);
        }
    }

    /// The file has more to read: it gets another turn.
    pub fn has_more(&mut self, id: FileId) {
        self.enqueue(id);
    }

    /// Whether some file waits for its turn.
    pub fn is_busy(&self) -> bool {
        !self.queue.is_empty()
    }

    /// One file.
    pub fn file(&mut self, id: FileId) -> Option<&mut FollowedFile> {
        self.files.get_mut(&id)
    }

    /// Whether a file was read to its end. One that is no longer followed was.
    pub fn is_at_end(&self, id: FileId) -> bool {
        self.files.get(&id).is_none_or(|file| !file.is_queued)
    }

    /// Opens a file again that was closed for want of descriptors, if it is closed.
    pub fn ensure_open(&mut self, id: FileId) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        if file.is_open() {
            return;
        }
        let opened = file.reopen(open::open_log);
        if let Err(error) = &opened
            && open::is_out_of_descriptors(error)
            && self.close_one()
        {
            return self.ensure_open(id);
        }
        match opened {
            Ok(true) => {}
            // All that are open are deleted. It is tried again at the next look.
            Err(error) if open::is_out_of_descriptors(&error) => {
                if let Some(file) = self.files.get_mut(&id) {
                    file.look_again();
                }
            }
            _ => {
                debug!(inode = id.0, "a closed file is no longer where it was");
                self.lose_all_places(id);
            }
        }
    }

    /// Closes a file that can be found again: the one that was quiet for longest, or, if all have
    /// something to read, the one that waited for longest. False: there is none.
    fn close_one(&mut self) -> bool {
        let candidate = self
            .files
            .values_mut()
            .filter(|file| file.is_open() && file.place.is_some())
            .min_by_key(|file| (file.is_queued, file.changed));
        let Some(file) = candidate else {
            return false;
        };
        file.close();
        true
    }

    // === What was settled, and the end of a file's life

    /// Gives back a chunk's share.
    pub fn settle(&mut self, share: &Share) {
        if let Some(file) = self.files.get_mut(&share.file) {
            file.settle(share);
        }
    }

    /// Files without the name they were found by, at their end and quiet for `Rotate_Wait`: their
    /// unterminated last line goes out now.
    pub fn ending(&self, now: Instant) -> Vec<FileId> {
        let wait = self.settings.rotate_wait;
        self.astray()
            .filter(|file| is_rotated(file) && !file.is_queued && file.owes_partial())
            .filter(|file| now.duration_since(file.changed) >= wait)
            .map(|file| file.id)
            .collect()
    }

    /// Closes and forgets the files that nobody can name, write or miss any more; and those that
    /// were closed for want of descriptors and deleted before they could be opened again, when
    /// none of their lines is on the way any more.
    pub fn retire(&mut self, now: Instant) {
        let wait = self.settings.rotate_wait;
        let done = |file: &FollowedFile| {
            file.place.is_none()
                && !file.is_queued
                && (file.unsettled() == 0 || (!file.is_open() && file.is_settled()))
                && now.duration_since(file.changed) >= wait
        };
        let ids: Vec<FileId> =
            self.astray().filter(|file| done(file)).map(|file| file.id).collect();
        for id in ids {
            self.forget(id);
        }
    }

    /// Guards the volume: what deleted files hold of it beyond `Max_Held_Bytes` is let go, the
    /// oldest first, and counted as lost.
    pub fn let_go_of_surplus(&mut self, now: Instant) {
        for id in self.without_place() {
            self.look(id, now);
        }
        while let Some((oldest, limit)) = self.surplus() {
            let Some(file) = self.files.get(&oldest) else {
                return;
            };
            let (path, bytes) = (file.path.display(), file.unread());
            if bytes > 0 {
                error!(
                    file = %path, bytes, limit,
                    "a deleted file is let go with lines that were not delivered: Max_Held_Bytes is reached"
                );
            }
            self.forget(oldest);
        }
    }

    fn without_place(&self) -> Vec<FileId> {
        let files = self.astray().filter(|file| file.place.is_none() && !file.is_deleted);
        files.map(|file| file.id).collect()
    }

    /// The oldest deleted file, if all of them hold more than they may; and how much that is.
    fn surplus(&self) -> Option<(FileId, u64)> {
        let held = || self.astray().filter(|file| file.is_deleted);
        let oldest = held().min_by_key(|file| file.id)?;
        let limit = match self.settings.max_held_bytes {
            MaxHeld::Off => return None,
            MaxHeld::HalfOfTmpfs => oldest.half_of_tmpfs()?,
            MaxHeld::Bytes(bytes) => bytes,
        };
        let bytes: u64 = held().map(FollowedFile::size).sum();
        (bytes > limit).then_some((oldest.id, limit))
    }

    fn forget(&mut self, id: FileId) {
        let Some(mut file) = self.files.remove(&id) else {
            return;
        };
        file.close();
        self.counters.lost_held_bytes.add(file.unread());
        info!(file = %file.path.display(), inode = file.inode.number, "done with a file");
        self.seen_of_forgotten += file.seen();
        self.by_inode.remove(&file.inode);
        self.astray.remove(&id);
        self.settled.clear();
        if self.newest.get(&file.path) == Some(&id) {
            self.newest.remove(&file.path);
        }
    }

    /// Whether [`Tail::ending`] or [`Tail::retire`] may have something to do later.
    pub fn has_rotated(&self) -> bool {
        self.astray().any(is_rotated)
    }

    /// The files of [`Tail::astray`], the field.
    fn astray(&self) -> impl Iterator<Item = &FollowedFile> {
        self.astray.iter().filter_map(|id| self.files.get(id))
    }

    /// Has to follow every change of a file's place.
    fn note_place(&mut self, id: FileId) {
        let is_astray = |file: &FollowedFile| is_rotated(file) || file.is_unwatched;
        if self.files.get(&id).is_some_and(is_astray) {
            self.astray.insert(id);
            // If what took its place away was wrong, the next listing sets it right.
            self.settled.clear();
        } else {
            self.astray.remove(&id);
        }
    }

    /// Every file at its end and quiet since a stop began: for so long, or for less if its writer
    /// closed it. An application that was silent for hours, or has not written a line yet, is told
    /// to stop in the same moment as we are, and may have something to say about it.
    pub fn is_quiet(&self, now: Instant, quiet: &Quiet) -> bool {
        let is_quiet = |since: Instant, wait| now.duration_since(since) >= wait;
        if self.files.is_empty() {
            return is_quiet(quiet.since, quiet.wait);
        }
        self.queue.is_empty()
            && self.files.values().all(|file| {
                let wait = if file.closed_by_writer { quiet.wait_if_closed } else { quiet.wait };
                is_quiet(file.changed.max(quiet.since), wait)
            })
    }

    /// All followed files.
    pub fn files(&self) -> impl Iterator<Item = &FollowedFile> {
        self.files.values()
    }

    /// What was seen of all files that are or were followed.
    pub fn seen(&self) -> Seen {
        let mut seen = self.seen_of_forgotten;
        self.files.values().for_each(|file| seen += file.seen());
        seen
    }

    /// Bytes seen and not yet taken.
    pub fn unread(&self) -> u64 {
        self.files.values().map(FollowedFile::unread).sum()
    }

    /// The ids of all followed files.
    pub fn ids(&self) -> Vec<FileId> {
        self.files.keys().copied().collect()
    }
}

/// How long files must not have changed before nothing more is expected of them.
#[derive(Clone, Copy, Debug)]
pub struct Quiet {
    /// When the stop began.
    pub since: Instant,
    /// `Drain_Quiet`.
    pub wait: Duration,
    /// For a file that its writer was seen to close.
    pub wait_if_closed: Duration,
}

/// A file that no longer bears the name it was found by.
fn is_rotated(file: &FollowedFile) -> bool {
    file.place.as_deref() != Some(&*file.path)
}

#[cfg(test)]
mod tests {
    use super::find::IN_TURN;
    use super::hear::Opened;
    use super::*;

    fn tail_over(directory: &Path, change: impl FnOnce(&mut Settings)) -> Tail {
        let pattern = directory.join("app.log*").display().to_string();
        let mut settings = Settings::new("tail.0", vec![pattern]);
        change(&mut settings);
        Tail::new(0, settings, PathBuf::new(), Remembered::default(), Arc::default()).unwrap()
    }

    #[test]
    fn a_file_is_quiet_only_when_it_was_so_since_the_stop_began_and_an_input_without_files_too() {
        let directory = tempfile::tempdir().unwrap();
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let quiet = Quiet { since: start + 100 * second, wait: 2 * second, wait_if_closed: second };
        let mut tail = tail_over(directory.path(), |_| ());
        tail.scan(start, |_| true);
        assert!(!tail.is_quiet(start + 101 * second, &quiet));
        assert!(tail.is_quiet(start + 102 * second, &quiet));
        std::fs::write(directory.path().join("app.log"), "line\n").unwrap();
        tail.scan(start, |_| true);
        assert!(!tail.is_quiet(start + 102 * second, &quiet), "it is not read");
        let id = tail.next_file().unwrap();
        assert!(!tail.is_quiet(start + 101 * second, &quiet), "silent for 100 s before the stop");
        assert!(tail.is_quiet(start + 102 * second, &quiet));
        tail.file(id).unwrap().closed_by_writer = true;
        assert!(tail.is_quiet(start + 101 * second, &quiet));
        tail.file(id).unwrap().changed = start + 101 * second;
        assert!(!tail.is_quiet(start + 101 * second, &quiet));
    }

    #[test]
    fn a_file_that_was_opened_before_its_notice_was_taken_in_is_the_one_that_the_notice_meant() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let notice = |name, what| Notice { path: path(name), what };
        let (now, mut tail) = (Instant::now(), tail_over(directory.path(), |_| ()));
        tail.scan(now, |_| true);
        std::fs::write(path("app.log"), "first\n").unwrap();
        let first = Inode::of(&std::fs::metadata(path("app.log")).unwrap());
        let notices = [notice("app.log", What::Appeared)];
        let opened = tail.open_new(&notices);
        std::fs::rename(path("app.log"), path("old")).unwrap();
        std::fs::write(path("app.log"), "second\n").unwrap();
        tail.hear_names(&notices, opened, now);
        let notices = [
            notice("app.log", What::Left(7)),
            notice("old", What::Arrived(7)),
            notice("app.log", What::Appeared),
        ];
        let opened = tail.open_new(&notices);
        tail.hear_names(&notices, opened, now);
        assert_eq!(tail.files().count(), 2);
        let id = tail.next_file().unwrap();
        assert_eq!(
            tail.file(id).unwrap().inode,
            first,
            "it is read before the one that came later"
        );
    }

    /// The inodes of the files that wait, in the order in which they are read.
    fn reading_order(tail: &mut Tail) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some(id) = tail.next_file() {
            order.push(tail.file(id).unwrap().inode.number);
        }
        order
    }

    /// What the notices called `app.log.1` is another generation when they are taken in.
    #[test]
    fn generations_are_read_in_their_order_however_late_their_notices_are_taken_in() {
        for is_first_followed in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let path = |name: &str| directory.path().join(name);
            let notice = |name, what| Notice { path: path(name), what };
            let (now, mut tail) = (Instant::now(), tail_over(directory.path(), |_| ()));
            tail.scan(now, |_| true);
            let mut inodes = Vec::new();
            let mut write = || {
                std::fs::write(path("app.log"), "line\n").unwrap();
                inodes.push(Inode::of(&std::fs::metadata(path("app.log")).unwrap()).number);
            };
            let rotate = || {
                for (from, to) in [("app.log.2", "app.log.3"), ("app.log.1", "app.log.2")] {
                    std::fs::rename(path(from), path(to)).ok();
                }
                std::fs::rename(path("app.log"), path("app.log.1")).unwrap();
            };
            write();
            let mut notices = vec![notice("app.log", What::Appeared)];
            if is_first_followed {
                let opened = tail.open_new(&notices);
                tail.hear_names(&notices, opened, now);
                notices.clear();
            }
            rotate();
            write();
            notices.extend([
                notice("app.log", What::Left(1)),
                notice("app.log.1", What::Arrived(1)),
                notice("app.log", What::Appeared),
            ]);
            let opened = tail.open_new(&notices);
            rotate();
            write();
            rotate();
            write();
            tail.hear_names(&notices, opened, now);
            let notices = [
                notice("app.log.1", What::Left(2)),
                notice("app.log.2", What::Arrived(2)),
                notice("app.log", What::Left(3)),
                notice("app.log.1", What::Arrived(3)),
                notice("app.log", What::Appeared),
                notice("app.log.2", What::Left(4)),
                notice("app.log.3", What::Arrived(4)),
                notice("app.log.1", What::Left(5)),
                notice("app.log.2", What::Arrived(5)),
                notice("app.log", What::Left(6)),
                notice("app.log.1", What::Arrived(6)),
                notice("app.log", What::Appeared),
            ];
            let opened = tail.open_new(&notices);
            tail.hear_names(&notices, opened, now);
            assert_eq!(reading_order(&mut tail), inodes, "followed: {is_first_followed}");
        }
    }

    #[test]
    fn a_log_that_got_the_inode_of_a_refused_file_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let mut tail = tail_over(directory.path(), |_| ());
        let now = Instant::now();
        std::fs::write(path("app.log.1.gz"), [0x1f, 0x8b, 8, 0]).unwrap();
        tail.scan(now, |_| true);
        assert_eq!(tail.files().count(), 0);
        // A rename keeps the inode, which file systems do not promise of a deletion.
        std::fs::write(path("app.log.1.gz"), "line\n").unwrap();
        std::fs::rename(path("app.log.1.gz"), path("app.log")).unwrap();
        tail.scan(now, |_| true);
        assert_eq!(tail.files().count(), 1);
    }

    #[test]
    fn an_unchanged_directory_is_listed_in_one_of_ten_rounds_and_a_changed_one_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        let age = |name: &str| {
            let file = std::fs::File::open(path(name)).unwrap();
            file.set_modified(long_ago).unwrap();
        };
        std::fs::write(path("app.log"), "line\n").unwrap();
        age("");
        let mut tail = tail_over(directory.path(), |_| ());
        let now = Instant::now();
        tail.scan(now, |_| true);
        tail.scan(now, |_| true);
        assert_eq!(tail.files().count(), 1);
        // As if the file system had not stamped the directory.
        std::fs::write(path("app.log.1"), "line\n").unwrap();
        age("");
        tail.scan(now, |_| true);
        assert_eq!(tail.files().count(), 1, "it seems unchanged");
        (0..IN_TURN).for_each(|_| tail.scan(now, |_| true));
        assert_eq!(tail.files().count(), 2);
        std::fs::write(path("app.log.2"), "line\n").unwrap();
        tail.scan(now, |_| true);
        assert_eq!(tail.files().count(), 3);
        std::fs::remove_file(path("app.log")).unwrap();
        tail.scan(now, |_| true);
        assert_eq!(tail.files().filter(|file| file.place.is_none()).count(), 1);
    }

    #[test]
    fn a_file_that_got_no_memory_is_the_next_and_one_that_has_more_is_the_last() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a.log", "b.log", "c.log"] {
            std::fs::write(directory.path().join(name), "line\n").unwrap();
        }
        let path = directory.path().join("*.log").display().to_string();
        let mut tail = tail_over(directory.path(), |settings| settings.paths = vec![path]);
        tail.scan(Instant::now(), |_| true);
        let first = tail.next_file().unwrap();
        tail.keeps_its_turn(first);
        assert_eq!(tail.next_file(), Some(first));
        tail.has_more(first);
        let others = [tail.next_file().unwrap(), tail.next_file().unwrap()];
        assert!(!others.contains(&first));
        assert_eq!(tail.next_file(), Some(first));
    }

    #[test]
    fn files_of_a_directory_that_was_moved_away_lie_nowhere_at_the_next_listing() {
        let root = tempfile::tempdir().unwrap();
        for name in ["one", "two"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
            std::fs::write(root.path().join(name).join("app.log"), "line\n").unwrap();
            let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
            std::fs::File::open(root.path().join(name)).unwrap().set_modified(long_ago).unwrap();
        }
        let placeless = |tail: &Tail| tail.files().filter(|file| file.place.is_none()).count();
        for pattern in ["one/app.log", "*/app.log"] {
            let path = root.path().join(pattern).display().to_string();
            let mut tail = tail_over(root.path(), |settings| settings.paths = vec![path]);
            let now = Instant::now();
            tail.scan(now, |_| true);
            let elsewhere = tempfile::tempdir().unwrap();
            std::fs::rename(root.path().join("one"), elsewhere.path().join("one")).unwrap();
            tail.scan(now, |_| true);
            assert_eq!(placeless(&tail), 1, "{pattern}");
            std::fs::rename(elsewhere.path().join("one"), root.path().join("one")).unwrap();
            tail.scan(now, |_| true);
            assert_eq!(placeless(&tail), 0, "{pattern}");
        }
    }

    #[test]
    fn a_file_that_was_too_old_is_followed_once_it_is_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        std::fs::write(&path, "line\n").unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600)).unwrap();
        let mut tail =
            tail_over(directory.path(), |s| s.ignore_older = Some(Duration::from_secs(60)));
        tail.scan(Instant::now(), |_| true);
        assert_eq!(tail.files().count(), 0);
        file.set_modified(std::time::SystemTime::now()).unwrap();
        tail.scan(Instant::now(), |_| true);
        assert_eq!(tail.files().count(), 1);
    }

    #[test]
    fn a_file_moved_out_of_its_directory_before_it_was_opened_left_it_by_no_link() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        std::fs::create_dir(path("logs")).unwrap();
        std::fs::create_dir(path("archive")).unwrap();
        std::fs::write(path("archive/old"), "line\n").unwrap();
        let mut tail = tail_over(&path("logs"), |s| s.symlinks = Symlinks::Inside);
        let now = Instant::now();
        tail.scan(now, |_| true);
        let left = Notice { path: path("logs/app.log"), what: What::Left(1) };
        let arrived = Notice { path: path("archive/old"), what: What::Arrived(1) };
        tail.hear_names(&[left, arrived], Opened::new(), now);
        assert_eq!(tail.files().count(), 1);
    }

    #[test]
    fn a_file_that_was_closed_and_deleted_is_forgotten_and_what_it_grew_by_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        std::fs::write(&path, "line\n").unwrap();
        let mut tail = tail_over(directory.path(), |s| s.rotate_wait = Duration::ZERO);
        let now = Instant::now();
        tail.scan(now, |_| true);
        let id = tail.next_file().unwrap();
        assert!(tail.close_one());
        std::fs::remove_file(&path).unwrap();
        tail.ensure_open(id);
        tail.retire(now);
        assert_eq!(tail.files().count(), 0);
        assert_eq!((tail.counters.lost_held_bytes.get(), tail.seen().written), (5, 5));
    }

    #[test]
    fn a_file_that_was_closed_and_deleted_is_kept_until_its_lines_on_the_way_are_settled() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        std::fs::write(&path, "line\n").unwrap();
        let mut tail = tail_over(directory.path(), |s| s.rotate_wait = Duration::ZERO);
        let now = Instant::now();
        tail.scan(now, |_| true);
        let id = tail.next_file().unwrap();
        let file = tail.file(id).unwrap();
        let span = file.next_span();
        let mut buffer = read::ReadBuffer::default();
        file.read(&mut buffer, 64, 64, |_| ()).unwrap();
        file.take(&buffer, 5, 1, now);
        assert!(tail.close_one());
        std::fs::remove_file(&path).unwrap();
        tail.ensure_open(id);
        tail.retire(now);
        assert_eq!(tail.unread(), 0);
        assert_eq!(tail.files().map(FollowedFile::unsettled).sum::<u64>(), 5);
        tail.settle(&Share { file: id, span, offset: 0, bytes: 5, events: 1 });
        tail.retire(now);
        assert_eq!(tail.files().count(), 0);
        assert_eq!(tail.counters.lost_held_bytes.get(), 0);
    }

    #[test]
    fn what_another_input_of_the_same_db_missed_is_left_to_it() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = theirs.path().join("app.log");
        std::fs::write(&path, "line\n").unwrap();
        let inode = Inode::of(&std::fs::metadata(&path).unwrap());
        std::fs::rename(&path, theirs.path().join("rotated")).unwrap();
        let position = crate::checkpoint::Position {
            device: inode.device,
            inode: inode.number,
            path,
            generation: 0,
            mark: crate::checkpoint::Mark::default(),
            head: Vec::new(),
            size: 5,
        };
        for (directory, expected) in [(&ours, 0), (&theirs, 1)] {
            let mut tail = tail_over(directory.path(), |_| ());
            tail.remembered = Remembered::new(vec![position.clone()], None);
            tail.scan(Instant::now(), |_| true);
            assert_eq!(tail.files().count(), expected);
        }
    }

    #[test]
    fn a_rename_is_understood_although_its_two_notices_come_in_two_readings() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let settings = Settings::new("tail.0", vec![path("*.log").display().to_string()]);
        let mut tail =
            Tail::new(0, settings, PathBuf::new(), Remembered::default(), Arc::default()).unwrap();
        let now = Instant::now();
        tail.scan(now, |_| true);
        // Created, written and renamed before anyone looked.
        std::fs::write(path("app.log.1"), "line\n").unwrap();
        let notice = |name: &str, what| Notice { path: path(name), what };
        tail.hear_names(&[notice("app.log", What::Appeared)], Opened::new(), now);
        tail.hear_names(&[notice("app.log", What::Left(7))], Opened::new(), now);
        tail.hear_names(&[], Opened::new(), now);
        tail.hear_names(&[notice("app.log.1", What::Arrived(7))], Opened::new(), now);
        let followed: Vec<_> = tail.files().map(|file| file.path.to_path_buf()).collect();
        assert_eq!(followed, [path("app.log")]);
    }
}
