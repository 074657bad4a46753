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
pub mod followed;
pub mod lines;
pub mod open;
pub mod read;
pub mod settings;
pub mod watch;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::{debug, error, info, warn};

pub use self::discover::PathError;
use self::discover::{Entry, Globs, TagTemplate, here};
pub use self::followed::{FollowedFile, Inode, Reading, Seen};
pub use self::read::ReadBuffer;
pub use self::settings::{LongLines, MaxHeld, Settings};
pub use self::watch::{Notice, Watch, What};
use crate::checkpoint::{Position, Remembered};
use crate::model::{Counters, FileId, Mentions, Share, Tag};

/// When notices work, this part of the files is looked at in each reconcile, in turn.
const LOOKED_AT_IN_TURN: u64 = 10;

/// The files of one input. See the head of this file.
pub struct Tail {
    settings: Settings,
    globs: Globs,
    tag: TagTemplate,
    counters: Arc<Counters>,
    files: HashMap<FileId, FollowedFile>,
    by_inode: HashMap<Inode, FileId>,
    by_place: HashMap<PathBuf, FileId>,
    /// The newest file of each path, named or not.
    newest: HashMap<Arc<Path>, FileId>,
    /// Files with something to read, in the order in which they get their turn.
    queue: VecDeque<FileId>,
    /// Files that are not followed although their name matches: said once.
    refused: HashSet<Inode>,
    mentions: Mentions<(PathBuf, io::ErrorKind)>,
    next_id: u64,
    has_scanned: bool,
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
            newest: HashMap::new(),
            queue: VecDeque::new(),
            refused: HashSet::new(),
            mentions: Mentions::default(),
            next_id: u64::from(number) << 48,
            has_scanned: false,
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

    // === Finding files

    /// Lists the directories and sets right whatever notices did not tell. `is_watched` says
    /// whether notices come for a directory.
    pub fn scan(&mut self, now: Instant, is_watched: impl Fn(&Path) -> bool) {
        self.wants_scan = false;
        if !self.has_scanned {
            self.find_missed_generations(now);
        }
        self.round += 1;
        let directories = self.globs.directories();
        let mut listed = Vec::new();
        for directory in &directories {
            match self.list(directory, now) {
                Ok(()) => listed.push(directory.clone()),
                // What could not be listed says nothing about what lies there.
                Err(error) => self.mention_unlisted(directory, &error, now),
            }
        }
        self.forget_places_not_met(&listed);
        let every =
            !self.has_scanned || self.is_silent || directories.iter().any(|d| !is_watched(d));
        self.look_at_files(now, if every { 1 } else { LOOKED_AT_IN_TURN });
        if !self.has_scanned {
            self.count_what_is_gone();
        }
        self.has_scanned = true;
    }

    /// Meets what a directory holds. Files that lie where they did are only ticked off.
    fn list(&mut self, directory: &Path, now: Instant) -> io::Result<()> {
        let device = std::fs::metadata(here(directory)).map_or(0, |metadata| metadata.dev());
        let mut others = Vec::new();
        discover::each_entry(directory, |name, number, is_symlink| {
            let id = self.by_inode.get(&Inode { device, number });
            let file = id.and_then(|id| self.files.get_mut(id));
            let place = file.as_ref().and_then(|file| file.place.as_ref());
            let is_where_it_was = place.is_some_and(|place| place.file_name() == Some(name));
            match file {
                Some(file) if is_where_it_was && !is_symlink => file.met_in = self.round,
                _ => others.push(Entry { path: directory.join(name), inode: number, is_symlink }),
            }
        })?;
        others.sort_by(|a, b| a.path.cmp(&b.path));
        for entry in others {
            self.meet(&entry, device, now);
        }
        Ok(())
    }

    fn mention_unlisted(&mut self, directory: &Path, error: &io::Error, now: Instant) {
        if let Some(times) = self.mentions.due((directory.to_owned(), error.kind()), now) {
            error!(directory = %directory.display(), %error, times, "cannot list a directory; trying again");
        }
    }

    fn meet(&mut self, entry: &Entry, device: u64, now: Instant) {
        let inode = Inode { device, number: entry.inode };
        if entry.is_symlink {
            if self.globs.matches(&entry.path) {
                self.look_at(&entry.path, now);
            }
            return;
        }
        if let Some(&id) = self.by_inode.get(&inode) {
            self.set_place(id, &entry.path);
            return;
        }
        if !self.refused.contains(&inode) && self.globs.matches(&entry.path) {
            self.look_at(&entry.path, now);
        }
    }

    fn forget_places_not_met(&mut self, directories: &[PathBuf]) {
        let is_gone = |place: &&PathBuf| {
            let directory = place.parent().unwrap_or_else(|| Path::new(""));
            directories.iter().any(|listed| listed == directory)
                || matches!(place.try_exists(), Ok(false))
        };
        let unmet = self.files.values().filter(|file| file.met_in != self.round);
        let gone: Vec<PathBuf> =
            unmet.filter_map(|file| file.place.as_ref()).filter(is_gone).cloned().collect();
        for place in gone {
            self.lose_place(&place);
        }
    }

    fn look_at_files(&mut self, now: Instant, in_turn: u64) {
        let turn = self.round % in_turn;
        let ids: Vec<FileId> =
            self.files.keys().filter(|id| id.0 % in_turn == turn).copied().collect();
        for id in ids {
            let unannounced = self.look(id, now);
            if unannounced && self.has_scanned && self.settings.inotify_watcher {
                debug!(file = %self.files[&id].path.display(), "found growth that no notice announced");
                self.is_silent = true;
            }
        }
    }

    /// Looks at one file; if it changed, it gets its turn to be read. True: it grew, and was
    /// expected to be announced.
    fn look(&mut self, id: FileId, now: Instant) -> bool {
        let Some(file) = self.files.get_mut(&id) else {
            return false;
        };
        let Ok(look) = file.look() else {
            self.lose_all_places(id);
            return false;
        };
        file.is_deleted = look.is_deleted;
        if look.is_deleted {
            self.lose_all_places(id);
        }
        let Some(file) = self.files.get_mut(&id) else {
            return false;
        };
        let was_expected = file.is_queued || file.is_unwatched || file.place.is_none();
        if look.has_changed {
            file.changed = now;
            self.enqueue(id);
        }
        look.has_grown && !was_expected
    }

    /// Looks at the files that notices do not reach. To be called every
    /// [`Tail::progress_interval`].
    pub fn look_at_unwatched(&mut self, now: Instant, all: bool) {
        let ids: Vec<FileId> = self
            .files
            .values()
            .filter(|file| all || self.is_silent || file.is_unwatched || file.place.is_none())
            .map(|file| file.id)
            .collect();
        for id in ids {
            self.look(id, now);
        }
        let links: Vec<PathBuf> = self
            .files
            .values()
            .filter(|file| file.is_unwatched)
            .filter_map(|file| file.place.clone())
            .collect();
        for link in links {
            self.look_at(&link, now);
        }
    }

    /// Whether [`Tail::look_at_unwatched`] has anything to do.
    pub fn has_unwatched(&self) -> bool {
        self.is_silent || self.files.values().any(|file| file.is_unwatched || file.place.is_none())
    }

    // === Notices

    /// Takes in notices about names, in the order in which they came.
    pub fn hear_names(&mut self, notices: &[Notice], now: Instant) {
        let mut leaving: HashMap<u32, PathBuf> = HashMap::new();
        for (index, notice) in notices.iter().enumerate() {
            match notice.what {
                What::Appeared => self.hear_appeared(&notice.path, &notices[index + 1..], now),
                What::Arrived(cookie) => {
                    self.hear_arrived(&notice.path, leaving.remove(&cookie), now);
                }
                What::Left(cookie) => {
                    if self.globs.matches(&notice.path) || self.by_place.contains_key(&notice.path)
                    {
                        leaving.insert(cookie, self.original_path(&notice.path));
                    }
                    self.lose_place(&notice.path);
                }
                What::Vanished => self.lose_place(&notice.path),
                What::Unknown => self.wants_scan = true,
                What::Changed | What::Closed => {}
            }
        }
    }

    /// Takes in notices about data: the files they name get their turn.
    pub fn hear_data(&mut self, notices: &[Notice], now: Instant) {
        for notice in notices {
            if notice.what == What::Unknown {
                self.look_at_unwatched(now, true);
                continue;
            }
            let Some(file) = self.by_place.get(&notice.path).and_then(|id| self.files.get_mut(id))
            else {
                continue;
            };
            file.closed_by_writer = notice.what == What::Closed;
            if notice.what == What::Changed {
                file.changed = now;
                let id = file.id;
                self.enqueue(id);
            }
        }
    }

    fn hear_appeared(&mut self, path: &Path, later: &[Notice], now: Instant) {
        if self.globs.matches(path) {
            if !self.look_at(path, now) {
                self.follow_rename_of(path, later, now);
            }
        } else if path.is_dir() {
            self.wants_scan = true;
        }
    }

    /// The name was gone before we could open it. If it was renamed, the file is opened under the
    /// name that the rename's number leads to, and again so if that is gone too.
    fn follow_rename_of(&mut self, path: &Path, later: &[Notice], now: Instant) {
        let mut name = path.to_owned();
        for (index, notice) in later.iter().enumerate() {
            let What::Left(cookie) = notice.what else {
                continue;
            };
            if notice.path != name {
                continue;
            }
            let arrived = later[index..].iter().find(|n| n.what == What::Arrived(cookie));
            let Some(arrived) = arrived else {
                break;
            };
            if let Ok(file) = open::open_log(&arrived.path) {
                self.take_on(file, path, &arrived.path, now);
                return;
            }
            name.clone_from(&arrived.path);
        }
        self.counters.vanished.add(1);
        debug!(file = %path.display(), "a new file was gone before it could be opened");
    }

    /// `from` is the path under which the file was (or should have been) followed.
    fn hear_arrived(&mut self, path: &Path, from: Option<PathBuf>, now: Instant) {
        let matches = self.globs.matches(path);
        if !matches && from.is_none() {
            self.wants_scan |= path.is_dir();
            return;
        }
        let Ok(file) = open::open_log(path) else {
            if matches {
                self.look_at(path, now);
            }
            return;
        };
        self.take_on(file, from.as_deref().unwrap_or(path), path, now);
    }

    fn original_path(&self, place: &Path) -> PathBuf {
        let file = self.by_place.get(place).and_then(|id| self.files.get(id));
        file.map_or_else(|| place.to_owned(), |file| file.path.to_path_buf())
    }

    // === Opening files

    /// Opens what lies at `path`, and follows it if it is a new regular file. False: there is
    /// nothing by that name.
    fn look_at(&mut self, path: &Path, now: Instant) -> bool {
        let error = match open::open_log(path) {
            Ok(file) => {
                self.take_on(file, path, path, now);
                return true;
            }
            Err(error) => error,
        };
        if open::is_out_of_descriptors(&error) && self.close_one() {
            return self.look_at(path, now);
        }
        match error.kind() {
            io::ErrorKind::NotFound => return false,
            io::ErrorKind::PermissionDenied => self.mention_unreadable(path, now),
            kind => {
                if let Some(times) = self.mentions.due((path.to_owned(), kind), now) {
                    error!(file = %path.display(), %error, times, "cannot open a log file; trying again");
                }
            }
        }
        true
    }

    fn mention_unreadable(&mut self, path: &Path, now: Instant) {
        self.counters.unreadable.add(1);
        let thing = (path.to_owned(), io::ErrorKind::PermissionDenied);
        if let Some(times) = self.mentions.due(thing, now) {
            error!(
                file = %path.display(),
                times,
                "{}; trying again at each Refresh_Interval",
                open::why_unreadable(path)
            );
        }
    }

    /// Follows an open file, unless it is followed already. `path` is the name it is known by,
    /// `place` where it lies.
    fn take_on(&mut self, file: File, path: &Path, place: &Path, now: Instant) {
        let Ok(metadata) = file.metadata() else {
            return;
        };
        let inode = Inode::of(&metadata);
        if let Some(&id) = self.by_inode.get(&inode) {
            self.set_place(id, place);
            return;
        }
        if self.refused.contains(&inode) {
            return;
        }
        let reason = self.reason_to_refuse(&file, &metadata);
        let (None, Some(tag)) = (reason, self.tag.tag_of(path)) else {
            let reason = reason.unwrap_or("its path does not fit `Tag_Regex`");
            info!(file = %place.display(), "not followed: {reason}");
            self.refuse(inode);
            return;
        };
        if let Err(error) = self.follow(file, path, place, tag, now) {
            warn!(file = %place.display(), %error, "cannot follow a log file; trying again");
        }
    }

    /// Remembers a file that is not followed, so that it is not opened at every listing. Compressed
    /// generations come for ever; after so many, all are looked at once more and said again.
    fn refuse(&mut self, inode: Inode) {
        const REMEMBERED: usize = 4096;
        if self.refused.len() >= REMEMBERED {
            self.refused.clear();
        }
        self.refused.insert(inode);
    }

    fn reason_to_refuse(&self, file: &File, metadata: &std::fs::Metadata) -> Option<&'static str> {
        if !metadata.is_file() {
            return Some("it is no regular file");
        }
        if open::is_compressed(file) {
            return Some("it is compressed: an older generation, already delivered");
        }
        let oldest = self.settings.ignore_older?;
        let age = SystemTime::now().duration_since(metadata.modified().ok()?).ok()?;
        (age > oldest).then_some("it was last written before `Ignore_Older`")
    }

    fn follow(
        &mut self,
        file: File,
        path: &Path,
        place: &Path,
        tag: Tag,
        now: Instant,
    ) -> io::Result<()> {
        let id = FileId(self.next_id);
        self.next_id += 1;
        let remembered = self.remembered.of(&file, place)?;
        let mut followed = FollowedFile::new(id, path.to_owned(), tag, file, now)?;
        followed.place = Some(place.to_owned());
        followed.is_unwatched = place.is_symlink();
        followed.met_in = self.round;
        match remembered {
            Some(Position { mark, generation, head, .. }) => {
                followed.start_at(mark, generation, head);
            }
            // A generation that was rotated while we were down is new, whenever it is found.
            None if !self.has_scanned && !self.settings.read_from_head && place == path => {
                followed.start_at_end()?;
            }
            None => {}
        }
        followed.after = self.newest.insert(Arc::clone(&followed.path), id);
        if self.by_place.contains_key(place) {
            self.lose_place(place);
        }
        info!(
            file = %place.display(),
            inode = followed.inode.number,
            from = followed.position().offset,
            "following"
        );
        self.counters.files_opened.add(1);
        self.by_inode.insert(followed.inode, id);
        self.by_place.insert(place.to_owned(), id);
        self.files.insert(id, followed);
        self.enqueue(id);
        Ok(())
    }

    /// With `DB`: generations that came and went while we were down, each before the file that
    /// bears its name now.
    fn find_missed_generations(&mut self, now: Instant) {
        for missed in self.remembered.missed(|path| self.globs.matches(path)) {
            if let Ok(file) = open::open_log(&missed.place) {
                self.take_on(file, &missed.path, &missed.place, now);
            }
        }
    }

    /// With `DB`: bytes that were not acknowledged when we stopped, and whose file is gone.
    fn count_what_is_gone(&mut self) {
        for position in std::mem::take(&mut self.remembered).unclaimed() {
            let lost = position.size.saturating_sub(position.mark.offset);
            if lost > 0 && self.globs.matches(&position.path) {
                self.counters.lost_while_down_bytes.add(lost);
                warn!(
                    file = %position.path.display(),
                    bytes = lost,
                    "bytes that were not acknowledged are gone with their file"
                );
            }
        }
    }

    // === Names and places

    fn set_place(&mut self, id: FileId, place: &Path) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        file.met_in = self.round;
        if let Some(old) = &file.place {
            let is_still_there =
                || std::fs::metadata(old).is_ok_and(|m| Inode::of(&m) == file.inode);
            if old == place || is_still_there() {
                // A second name of a file is neither a new file nor, when it goes, a deletion.
                return;
            }
            self.by_place.remove(old);
        }
        file.place = Some(place.to_owned());
        file.is_unwatched = place.is_symlink();
        if let Some(other) = self.by_place.insert(place.to_owned(), id)
            && other != id
            && let Some(other) = self.files.get_mut(&other)
        {
            other.place = None;
        }
        debug!(place = %place.display(), "a followed file has another name");
        self.enqueue(id);
    }

    fn lose_place(&mut self, place: &Path) {
        let Some(id) = self.by_place.remove(place) else {
            return;
        };
        if let Some(file) = self.files.get_mut(&id) {
            file.place = None;
            self.enqueue(id);
        }
    }

    fn lose_all_places(&mut self, id: FileId) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        if let Some(place) = file.place.take() {
            self.by_place.remove(&place);
        }
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
        if !opened.unwrap_or(false) {
            debug!(inode = id.0, "a closed file is no longer where it was");
            self.lose_all_places(id);
        }
    }

    /// Closes the file that was quiet for longest and can be found again. False: there is none.
    fn close_one(&mut self) -> bool {
        let candidate = self
            .files
            .values_mut()
            .filter(|file| file.is_open() && !file.is_queued && file.place.is_some())
            .min_by_key(|file| file.changed);
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
        self.files
            .values()
            .filter(|file| is_rotated(file) && !file.is_queued && file.owes_partial())
            .filter(|file| now.duration_since(file.changed) >= wait)
            .map(|file| file.id)
            .collect()
    }

    /// Closes and forgets the files that nobody can name, write or miss any more.
    pub fn retire(&mut self, now: Instant) {
        let wait = self.settings.rotate_wait;
        let done = |file: &FollowedFile| {
            file.place.is_none()
                && !file.is_queued
                && file.unsettled() == 0
                && now.duration_since(file.changed) >= wait
        };
        let ids: Vec<FileId> =
            self.files.values().filter(|file| done(file)).map(|file| file.id).collect();
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
            error!(
                file = %path, bytes, limit,
                "a deleted file is let go with lines that were not delivered: Max_Held_Bytes is reached"
            );
            self.counters.lost_held_bytes.add(bytes);
            self.forget(oldest);
        }
    }

    fn without_place(&self) -> Vec<FileId> {
        let files = self.files.values().filter(|file| file.place.is_none() && !file.is_deleted);
        files.map(|file| file.id).collect()
    }

    /// The oldest deleted file, if all of them hold more than they may; and how much that is.
    fn surplus(&self) -> Option<(FileId, u64)> {
        let held = || self.files.values().filter(|file| file.is_deleted);
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
        let Some(file) = self.files.remove(&id) else {
            return;
        };
        info!(file = %file.path.display(), inode = file.inode.number, "done with a file");
        self.seen_of_forgotten += file.seen();
        self.by_inode.remove(&file.inode);
        if self.newest.get(&file.path) == Some(&id) {
            self.newest.remove(&file.path);
        }
    }

    /// Whether [`Tail::ending`] or [`Tail::retire`] may have something to do later.
    pub fn has_rotated(&self) -> bool {
        self.files.values().any(is_rotated)
    }

    /// Every file at its end and quiet: for so long, or for less if its writer closed it.
    pub fn is_quiet(&self, now: Instant, quiet: Duration, quiet_if_closed: Duration) -> bool {
        self.queue.is_empty()
            && self.files.values().all(|file| {
                let wait = if file.closed_by_writer { quiet_if_closed } else { quiet };
                now.duration_since(file.changed) >= wait
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

/// A file that no longer bears the name it was found by.
fn is_rotated(file: &FollowedFile) -> bool {
    file.place.as_deref() != Some(&*file.path)
}
