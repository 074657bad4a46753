//! Hearing notices, and keeping track of where followed files lie.
//!
//! In:  notices about names and data, in the order in which they came
//! Out: files that get their turn, files that have another place or none
//!
//! Notices are hints: a place is believed only once the inode there was seen.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tracing::debug;

use super::{FollowedFile, Inode, Notice, Tail, What, open};
use crate::model::FileId;

/// A file on its way from name to name, within the notices that have come or beyond them.
#[derive(Clone, Debug)]
pub(super) struct Traveller {
    /// The path under which it is (or should have been) followed.
    path: PathBuf,
    /// It was open before it left.
    is_followed: bool,
}

/// How we learn of a followed file's other name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// It was renamed before our eyes.
    Renamed,
    /// It was met there.
    Met,
}

/// New files that were opened before their notices are taken in, by name.
pub(crate) type Opened = HashMap<PathBuf, io::Result<File>>;

/// How many renamed files are opened before their notices are taken in. Each is a descriptor until
/// then, and a directory of logs may be rotated at once.
const RENAMED_AT_ONCE: usize = 256;

/// How often notices are read, at most, until none come while new files are opened. A writer that
/// makes and renames files as fast as it can needs about ten.
const READINGS: usize = 64;

/// Reads notices and opens the files that they tell of, until no more notices have come by the time
/// that is done. Then each file is the one that its notice means: had it been renamed and another
/// come in its place, there would be a notice of it.
///
/// `None`: notices come faster than that, or there are none. Then nothing that was opened is of
/// use.
pub fn open_what_notices_mean<T>(
    mut read: impl FnMut() -> Vec<Notice>,
    mut open: impl FnMut(&[Notice]) -> T,
) -> (Vec<Notice>, Option<T>) {
    let mut notices = read();
    if notices.is_empty() {
        return (notices, None);
    }
    for _ in 0..READINGS {
        let opened = open(&notices);
        let more = read();
        if more.is_empty() {
            return (notices, Some(opened));
        }
        notices.extend(more);
    }
    (notices, None)
}

impl Tail {
    /// Opens the files that the notices tell of under the names that they have not left: see
    /// [`open_what_notices_mean`]. Opened later, a name could be that of a later generation, which
    /// would be read before those between.
    pub fn open_new(&self, notices: &[Notice]) -> Opened {
        let last = last_of_each_name(notices);
        let told = || last.values().map(|&index| &notices[index]);
        let is_new =
            |notice: &&Notice| notice.what == What::Appeared && self.globs.matches(&notice.path);
        let is_renamed = |notice: &&Notice| {
            let What::Arrived(cookie) = notice.what else { return false };
            self.globs.matches(&notice.path)
                || self.leaving.iter().any(|(left, _)| *left == cookie)
                || notices.iter().any(|other| other.what == What::Left(cookie))
        };
        let renamed = told().filter(is_renamed).take(RENAMED_AT_ONCE);
        let wanted = told().filter(is_new).chain(renamed).map(|notice| &notice.path);
        wanted.map(|path| (path.clone(), open::open_log(path))).collect()
    }

    /// Takes in notices about names, in the order in which they came.
    ///
    /// What bears a name now may be a later file than the one a notice tells of. So a file is
    /// followed through all its names, and opened only under the last one. Each is opened before
    /// those that came after it, so a stream stays in order.
    pub fn hear_names(&mut self, notices: &[Notice], mut opened: Opened, now: Instant) {
        let last = last_of_each_name(notices);
        for (index, notice) in notices.iter().enumerate() {
            let is_last = last.get(&*notice.path) == Some(&index);
            match notice.what {
                What::Appeared if is_last => {
                    self.hear_appeared(&notice.path, opened.remove(&notice.path), now);
                }
                What::Appeared => {
                    let later = Later { notices, after: index, last: &last };
                    self.hear_passing(&notice.path, &later, &opened, now);
                }
                What::Arrived(cookie) => {
                    let traveller = self.take_leaving(cookie);
                    let opened = is_last.then(|| opened.remove(&notice.path));
                    self.hear_arrived(&notice.path, traveller, opened, now);
                }
                What::Left(cookie) => self.hear_left(&notice.path, cookie),
                What::Vanished => match self.passing.remove(&notice.path) {
                    Some(traveller) => self.count_vanished(&traveller),
                    None => self.lose_name(&notice.path, 0),
                },
                What::Unknown => {
                    self.passing.clear();
                    self.settled.clear();
                    self.wants_scan = true;
                }
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
                if file.is_queued {
                    // How much is unread is known also while there is no memory to read it.
                    self.look(id, now);
                }
                self.enqueue(id);
            }
        }
    }

    fn hear_appeared(&mut self, path: &Path, opened: Option<io::Result<File>>, now: Instant) {
        if !self.globs.matches(path) {
            self.wants_scan |= path.is_dir();
            return;
        }
        let is_there = match opened {
            Some(Ok(file)) => {
                self.take_on(file, path, path, Came::Met, now);
                true
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => false,
            _ => self.look_at(path, now),
        };
        // A link that leads nowhere is not gone.
        if !is_there && !path.is_symlink() {
            self.pass(path, Traveller { path: path.to_owned(), is_followed: false });
        }
    }

    /// A file appeared that has left its name since. It is opened under the last that it got.
    fn hear_passing<'a>(
        &mut self,
        path: &'a Path,
        later: &Later<'a>,
        opened: &Opened,
        now: Instant,
    ) {
        let was_opened_by_a_listing = self.by_place.contains_key(path) && !self.lies_at(path);
        if !self.globs.matches(path) || was_opened_by_a_listing {
            return;
        }
        let followed = later.last_name_of(path).and_then(|place| {
            // Its arrival there is told of later, and wants it as well.
            let file = match opened.get(place) {
                Some(Ok(file)) => file.try_clone().ok()?,
                _ => open::open_log(place).ok()?,
            };
            self.take_on(file, path, place, Came::Renamed, now);
            Some(())
        });
        self.pass(path, Traveller { path: path.to_owned(), is_followed: followed.is_some() });
    }

    /// A file got this name. `opened` is `None` if it has left it since, else the file if it was
    /// opened.
    fn hear_arrived(
        &mut self,
        place: &Path,
        traveller: Option<Traveller>,
        opened: Option<Option<io::Result<File>>>,
        now: Instant,
    ) {
        if let Some(overwritten) = self.passing.remove(place) {
            self.count_vanished(&overwritten);
        }
        let new = || Traveller { path: place.to_owned(), is_followed: false };
        let Some(traveller) = traveller.or_else(|| self.globs.matches(place).then(new)) else {
            self.wants_scan |= place.is_dir();
            return;
        };
        let Some(opened) = opened else {
            // It may have come in the place of another.
            if !self.lies_at(place) {
                self.lose_name(place, 0);
            }
            return self.pass(place, traveller);
        };
        match opened.unwrap_or_else(|| open::open_log(place)) {
            Ok(file) => self.take_on(file, &traveller.path, place, Came::Renamed, now),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.pass(place, traveller),
            Err(_) => {
                if self.globs.matches(place) {
                    self.look_at(place, now);
                }
            }
        }
    }

    fn hear_left(&mut self, place: &Path, cookie: u32) {
        if let Some(traveller) = self.passing.remove(place) {
            return self.remember_leaving(cookie, traveller);
        }
        let file = self.by_place.get(place).and_then(|id| self.files.get(id));
        let path = file.map(|file| file.path.to_path_buf());
        let is_followed = path.is_some();
        let path = path.or_else(|| self.globs.matches(place).then(|| place.to_owned()));
        if let Some(path) = path {
            self.remember_leaving(cookie, Traveller { path, is_followed });
        }
        self.lose_name(place, 1);
    }

    /// The traveller was at this name, and has left it as a notice says or will say.
    fn pass(&mut self, place: &Path, traveller: Traveller) {
        // Nobody waits for so many notices; the directory is the truth.
        const REMEMBERED: usize = 4096;
        if self.passing.len() >= REMEMBERED {
            self.passing.clear();
            self.wants_scan = true;
        }
        self.passing.insert(place.to_owned(), traveller);
    }

    /// The two notices of a rename can come in two readings, so the first is remembered beyond
    /// the one in which it came.
    fn remember_leaving(&mut self, cookie: u32, traveller: Traveller) {
        const REMEMBERED: usize = 64;
        if self.leaving.len() == REMEMBERED
            && let Some((_, forgotten)) = self.leaving.pop_front()
        {
            self.count_vanished(&forgotten);
        }
        self.leaving.push_back((cookie, traveller));
    }

    fn take_leaving(&mut self, cookie: u32) -> Option<Traveller> {
        let at = self.leaving.iter().position(|(other, _)| *other == cookie)?;
        self.leaving.remove(at).map(|(_, traveller)| traveller)
    }

    fn count_vanished(&self, traveller: &Traveller) {
        if !traveller.is_followed {
            self.counters.vanished.add(1);
            debug!(file = %traveller.path.display(), "a new file was gone before it could be opened");
        }
    }

    /// Whether the file that we know at this place is there.
    fn lies_at(&self, place: &Path) -> bool {
        let file = self.by_place.get(place).and_then(|id| self.files.get(id));
        let there = std::fs::metadata(place).map(|metadata| Inode::of(&metadata));
        file.is_some_and(|file| there.is_ok_and(|inode| inode == file.inode))
    }

    // === Names and places

    /// A name went. A file that has more than these `links` left bears another name, which a
    /// listing finds; without it, it would be forgotten and then be met as a new one.
    fn lose_name(&mut self, place: &Path, links: u64) {
        let file = self.by_place.get(place).and_then(|id| self.files.get(id));
        let may_be_elsewhere = |file: &FollowedFile| file.links().is_none_or(|left| left > links);
        self.wants_scan |= file.is_some_and(may_be_elsewhere);
        self.lose_place(place);
    }

    /// A followed file was met at a place, which it may have had before. The kernel names a file in
    /// its notices by the name that its writer opened, or what that was renamed to: with another
    /// name of the file we miss them, and look at it now and then.
    pub(super) fn set_place(&mut self, id: FileId, place: &Path, came: Came) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        file.met_in = self.round;
        let is_known = file.place.as_deref() == Some(place) || *file.path == *place;
        if came == Came::Met && !is_known {
            file.is_unwatched = true;
            self.astray.insert(id);
        }
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
        file.is_unwatched |= place.is_symlink();
        if let Some(other) = self.by_place.insert(place.to_owned(), id)
            && other != id
            && let Some(other) = self.files.get_mut(&other)
        {
            other.place = None;
            let other = other.id;
            self.note_place(other);
        }
        self.note_place(id);
        debug!(place = %place.display(), "a followed file has another name");
        self.enqueue(id);
    }

    pub(super) fn lose_place(&mut self, place: &Path) {
        let Some(id) = self.by_place.remove(place) else {
            return;
        };
        if let Some(file) = self.files.get_mut(&id) {
            file.place = None;
            self.note_place(id);
            self.enqueue(id);
        }
    }

    pub(super) fn lose_all_places(&mut self, id: FileId) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        if let Some(place) = file.place.take() {
            self.by_place.remove(&place);
            self.note_place(id);
        }
    }
}

/// Where each name is told of last.
fn last_of_each_name(notices: &[Notice]) -> HashMap<&Path, usize> {
    let about_names = notices.iter().enumerate().filter(|(_, n)| n.what.is_about_a_name());
    about_names.map(|(index, notice)| (&*notice.path, index)).collect()
}

/// The notices that came after one.
struct Later<'a> {
    notices: &'a [Notice],
    after: usize,
    /// Where each name is told of last.
    last: &'a HashMap<&'a Path, usize>,
}

impl<'a> Later<'a> {
    /// Where the file is that appeared under this name. `None`: deleted, replaced, or moved where
    /// we do not watch.
    fn last_name_of(&self, path: &'a Path) -> Option<&'a Path> {
        let mut name = path;
        let mut at = self.after;
        loop {
            let departure = self.notices[at + 1..].iter().position(|n| n.is_about(name))? + at + 1;
            let What::Left(cookie) = self.notices[departure].what else {
                return None;
            };
            let arrived = |notice: &Notice| notice.what == What::Arrived(cookie);
            at = self.notices[departure..].iter().position(arrived)? + departure;
            name = &self.notices[at].path;
            if self.last.get(name) == Some(&at) {
                return Some(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_opened_counts_only_if_no_notice_came_meanwhile() {
        let batch = |count| vec![Notice { path: PathBuf::from("a"), what: What::Appeared }; count];
        let reading = |counts: &[usize]| {
            let mut batches: Vec<_> = counts.iter().rev().map(|count| batch(*count)).collect();
            open_what_notices_mean(|| batches.pop().unwrap_or_default(), <[Notice]>::len)
        };
        assert_eq!(reading(&[]), (batch(0), None));
        assert_eq!(reading(&[2]), (batch(2), Some(2)));
        assert_eq!(reading(&[2, 3]), (batch(5), Some(5)));
        assert_eq!(reading(&[1; 100]), (batch(1 + READINGS), None), "it gives up");
    }
}
