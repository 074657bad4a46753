//! Finding files: listings, looks, and opening what is new.
//!
//! In:  directories
//! Out: followed files, each with the place where it lies now
//!
//! The directory is the truth: a listing sets right whatever notices did not tell.

use std::borrow::Cow;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::{debug, error, info, warn};

use super::discover::{self, Entry, here};
use super::hear::Came;
use super::{FollowedFile, Inode, Symlinks, Tail, open};
use crate::checkpoint::Position;
use crate::checkpoint::mark::mark_of_file;
use crate::model::{FileId, Tag};

/// Why a link is not followed that cannot be opened, whatever it leads to.
const LOOP: &str = "its links lead in a circle, or through /proc, which holds no logs; let the link \
                    lead to the log file itself";

/// Why a file is not followed that something has compressed.
const COMPRESSED: &str = "it is compressed: an older generation, already delivered";

/// When notices work, one in so many files is looked at in each reconcile, in turn; and a directory
/// that seems unchanged is listed in one of so many.
pub(super) const IN_TURN: u64 = 10;
/// How far the clock that stamps directories may be behind: it moves with the kernel's tick.
const TICK: Duration = Duration::from_millis(20);

/// When something was last created, renamed or deleted in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: Inode,
    modified: SystemTime,
}

impl Stamp {
    /// `None` if it could be the same after one more change: the last was a moment ago.
    fn of(directory: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(here(directory)).ok()?;
        let modified = metadata.modified().ok()?;
        let age = SystemTime::now().duration_since(modified).ok()?;
        (age > TICK).then(|| Self { inode: Inode::of(&metadata), modified })
    }
}

impl Tail {
    /// Lists the directories and sets right whatever notices did not tell. `is_watched` says
    /// whether notices come for a directory.
    pub fn scan(&mut self, now: Instant, is_watched: impl Fn(&Path) -> bool) {
        self.wants_scan = false;
        if !self.has_scanned {
            self.find_missed_generations(now);
        }
        self.round += 1;
        let directories = self.globs.directories();
        let every =
            !self.has_scanned || self.is_silent || directories.iter().any(|d| !is_watched(d));
        let must_list = every || self.round.is_multiple_of(IN_TURN);
        let (mut listed, mut unchanged) = (Vec::new(), Vec::new());
        for directory in &directories {
            let stamp = Stamp::of(directory);
            if !must_list && stamp.is_some() && stamp == self.settled.get(directory).copied() {
                unchanged.push(directory.clone());
                continue;
            }
            match self.list(directory, now) {
                Ok(is_settled) => {
                    listed.push(directory.clone());
                    self.remember_listing(directory, stamp.filter(|_| is_settled));
                }
                // What could not be listed says nothing about what lies there.
                Err(error) => self.mention_unlisted(directory, &error, now),
            }
        }
        // One that went away is not among them any more.
        if unchanged.len() < directories.len() || directories != self.directories {
            self.forget_places_not_met(&listed, &unchanged);
        }
        let round = self.round;
        self.put_off.retain(|_, (_, met_in)| *met_in == round);
        self.look_at_files(now, if every { 1 } else { IN_TURN });
        if !self.has_scanned {
            self.count_what_is_gone();
        }
        self.directories = directories;
        self.has_scanned = true;
    }

    /// Meets what a directory holds. Files that lie where they did are only ticked off. True: there
    /// is nothing in it to look at again before a name in it changes.
    fn list(&mut self, directory: &Path, now: Instant) -> io::Result<bool> {
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
        let mut is_settled = true;
        for entry in others {
            self.meet(&entry, device, now);
            is_settled &= self.is_met(&entry, device);
        }
        Ok(is_settled)
    }

    /// Followed, or not wanted. What could not be opened may be opened later, what was too old may
    /// be written to, and a link may lead elsewhere, without any change of the directory.
    fn is_met(&self, entry: &Entry, device: u64) -> bool {
        let inode = Inode { device, number: entry.inode };
        let is_known = self.by_inode.contains_key(&inode) && !entry.is_symlink;
        is_known || !self.globs.matches(&entry.path)
    }

    fn remember_listing(&mut self, directory: &Path, stamp: Option<Stamp>) {
        match stamp {
            Some(stamp) => self.settled.insert(directory.to_owned(), stamp),
            None => self.settled.remove(directory),
        };
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
            self.set_place(id, &entry.path, Came::Met);
            return;
        }
        let is_refused = self.refused.get(&inode).is_some_and(|names| names.contains(&entry.path));
        if !is_refused && self.globs.matches(&entry.path) {
            self.look_at(&entry.path, now);
        }
    }

    /// Files whose names were not met in the directories that were `listed` lie there no more.
    fn forget_places_not_met(&mut self, listed: &[PathBuf], unchanged: &[PathBuf]) {
        let is_gone = |place: &&PathBuf| {
            let directory = place.parent().unwrap_or_else(|| Path::new(""));
            let is_in = |directories: &[PathBuf]| directories.iter().any(|one| one == directory);
            is_in(listed) || (!is_in(unchanged) && matches!(place.try_exists(), Ok(false)))
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
    pub fn look(&mut self, id: FileId, now: Instant) -> bool {
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

    /// Looks at the files that notices do not reach, or at all of them.
    pub fn look_at_unwatched(&mut self, now: Instant, all: bool) {
        let ids: Vec<FileId> = if all || self.is_silent {
            self.ids()
        } else {
            let is_unheard = |file: &&FollowedFile| file.is_unwatched || file.place.is_none();
            self.astray().filter(is_unheard).map(|file| file.id).collect()
        };
        for id in ids {
            self.look(id, now);
        }
        let links: Vec<PathBuf> = self
            .astray()
            .filter(|file| file.is_unwatched)
            .filter_map(|file| file.place.clone())
            .collect();
        for link in links {
            self.look_at(&link, now);
        }
    }

    /// Whether [`Tail::look_at_unwatched`] has anything to do.
    pub fn has_unwatched(&self) -> bool {
        self.is_silent || self.astray().any(|file| file.is_unwatched || file.place.is_none())
    }

    // === Opening files

    /// Opens what lies at `path`, and follows it if it is a new regular file. False: there is
    /// nothing by that name.
    pub(super) fn look_at(&mut self, path: &Path, now: Instant) -> bool {
        let error = match open::open_log(path) {
            Ok(file) => {
                self.take_on(file, path, path, Came::Met, now);
                return true;
            }
            Err(error) => error,
        };
        if open::is_out_of_descriptors(&error) && self.close_one() {
            return self.look_at(path, now);
        }
        if open::is_loop(&error)
            && let Ok(link) = path.symlink_metadata()
        {
            self.refuse(Inode::of(&link), path, LOOP);
            return true;
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
    pub(super) fn take_on(
        &mut self,
        file: File,
        path: &Path,
        place: &Path,
        came: Came,
        now: Instant,
    ) {
        let Ok(metadata) = file.metadata() else {
            return;
        };
        let inode = Inode::of(&metadata);
        if let Some(&id) = self.by_inode.get(&inode) {
            self.set_place(id, place, came);
            return;
        }
        if let Some(reason) = self.reason_to_refuse(&file, &metadata, path, place) {
            self.refuse(inode, place, &reason);
            return;
        }
        let Some(tag) = self.tag.tag_of(path) else {
            self.refuse(inode, place, "its path does not fit `Tag_Regex`");
            return;
        };
        self.refused.remove(&inode);
        let taken_on = match self.remembered.of(&file, place) {
            Ok(None) if self.is_too_old(&metadata) => self.put_off(&file, &metadata, place),
            Ok(remembered) => self.follow(file, path, place, tag, remembered, now),
            Err(error) => Err(error),
        };
        if let Err(error) = taken_on {
            warn!(file = %place.display(), %error, "cannot follow a log file; trying again");
        }
    }

    /// A file that was followed since it was empty turned out to be an older generation that is
    /// being compressed. Nothing of it was taken, so nothing of it is accounted for.
    pub fn refuse_compressed(&mut self, id: FileId) {
        let Some(file) = self.files.remove(&id) else {
            return;
        };
        self.by_inode.remove(&file.inode);
        if self.newest.get(&file.path) == Some(&id) {
            self.newest.remove(&file.path);
        }
        self.astray.remove(&id);
        let place = file.place.as_deref().unwrap_or(&file.path);
        if self.by_place.get(place) == Some(&id) {
            self.by_place.remove(place);
        }
        self.refuse(file.inode, place, COMPRESSED);
    }

    /// Remembers a file that is not followed, so that it is not opened at every listing. Compressed
    /// generations come for ever; after so many, all are looked at once more and said again.
    fn refuse(&mut self, inode: Inode, place: &Path, reason: &str) {
        const REMEMBERED: usize = 4096;
        if self.refused.len() >= REMEMBERED {
            self.refused.clear();
        }
        let names = self.refused.entry(inode).or_default();
        if !names.iter().any(|name| name == place) {
            names.push(place.to_owned());
            info!(file = %place.display(), "not followed: {reason}");
        }
    }

    fn reason_to_refuse(
        &self,
        file: &File,
        metadata: &Metadata,
        path: &Path,
        place: &Path,
    ) -> Option<Cow<'static, str>> {
        if !metadata.is_file() {
            return Some("it is no regular file".into());
        }
        if open::is_in_proc(file) {
            return Some("it lies in /proc, which holds no logs".into());
        }
        // What was moved away before it was opened lies elsewhere without any link.
        let was_moved = || place != path && !place.is_symlink();
        if self.settings.symlinks == Symlinks::Inside
            && !was_moved()
            && let Ok(real) = open::real_path(file, path)
            && let Some(left) = self.globs.left_by(path, &real)
        {
            let (real, left) = (real.display(), left.display());
            return Some(format!("it leads to {real}, out of {left}; to follow it, take `Follow_Symlinks Inside` out, or name its directory in `Path`").into());
        }
        let is_compressed = open::is_compressed(file);
        is_compressed.then(|| COMPRESSED.into())
    }

    /// Leaves a file out that is too old. It is looked at again at each listing: it may be written
    /// to any time, and then what comes from now on is sent.
    fn put_off(&mut self, file: &File, metadata: &Metadata, place: &Path) -> io::Result<()> {
        let (inode, size) = (Inode::of(metadata), metadata.len());
        let known = self.put_off.get(&inode).map(|(mark, _)| *mark);
        if known.is_none() {
            info!(file = %place.display(), "not followed: it was last written before `Ignore_Older`");
        }
        let mark = match known.filter(|mark| mark.offset == size) {
            Some(mark) => mark,
            None => mark_of_file(file, size)?.unwrap_or_default(),
        };
        self.put_off.insert(inode, (mark, self.round));
        Ok(())
    }

    /// How much of what a new file holds is not sent.
    fn left_out_of(&mut self, file: &FollowedFile, place: &Path) -> io::Result<u64> {
        if let Some((mark, _)) = self.put_off.remove(&file.inode)
            && file.holds(mark)?
        {
            return Ok(mark.offset);
        }
        // A generation that was rotated while we were down is new, whenever it is found.
        let is_rotated = place != &*file.path;
        let is_new = self.has_scanned
            && (self.settings.read_new_from_head || self.newest.contains_key(&file.path));
        let is_read = self.settings.read_from_head || is_rotated || is_new;
        Ok(if is_read { 0 } else { file.size() })
    }

    fn is_too_old(&self, metadata: &Metadata) -> bool {
        let age = |modified| SystemTime::now().duration_since(modified).ok();
        let age = metadata.modified().ok().and_then(age);
        self.settings.ignore_older.zip(age).is_some_and(|(oldest, age)| age > oldest)
    }

    fn follow(
        &mut self,
        file: File,
        path: &Path,
        place: &Path,
        tag: Tag,
        remembered: Option<Position>,
        now: Instant,
    ) -> io::Result<()> {
        let id = FileId(self.next_id);
        self.next_id += 1;
        let mut followed = FollowedFile::new(id, path.to_owned(), tag, file, now)?;
        followed.place = Some(place.to_owned());
        followed.encoding = self.settings.encoding;
        // Its writer may know it by another name.
        let has_other_names = followed.links().is_some_and(|links| links > 1);
        followed.is_unwatched = place.is_symlink() || has_other_names;
        followed.met_in = self.round;
        match remembered {
            Some(Position { mark, generation, head, .. }) => {
                followed.start_at(mark, generation, head);
            }
            None => {
                let held = self.left_out_of(&followed, place)?;
                if held > 0 {
                    followed.start_behind(held)?;
                }
            }
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
        self.note_place(id);
        self.enqueue(id);
        Ok(())
    }

    /// With `DB`: generations that came and went while we were down, each before the file that
    /// bears its name now. Other inputs may keep their positions in the same store.
    fn find_missed_generations(&mut self, now: Instant) {
        let directories = self.globs.directories();
        for missed in self.remembered.missed(&directories, |path| self.globs.matches(path)) {
            if !self.globs.matches(&missed.path) {
                continue;
            }
            if let Ok(file) = open::open_log(&missed.place) {
                self.take_on(file, &missed.path, &missed.place, Came::Met, now);
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
}
