//! Hearing notices, and keeping track of where followed files lie.
//!
//! In:  notices about names and data, in the order in which they came
//! Out: files that get their turn, files that have another place or none
//!
//! Notices are hints: a place is believed only once the inode there was seen.

use std::path::{Path, PathBuf};
use std::time::Instant;

use tracing::debug;

use super::{Inode, Notice, Tail, What, open};
use crate::model::FileId;

impl Tail {
    /// Takes in notices about names, in the order in which they came.
    pub fn hear_names(&mut self, notices: &[Notice], now: Instant) {
        for (index, notice) in notices.iter().enumerate() {
            match notice.what {
                What::Appeared => self.hear_appeared(&notice.path, &notices[index + 1..], now),
                What::Arrived(cookie) => {
                    let from = self.take_leaving(cookie);
                    self.hear_arrived(&notice.path, from, now);
                }
                What::Left(cookie) => {
                    if self.globs.matches(&notice.path) || self.by_place.contains_key(&notice.path)
                    {
                        let path = self.original_path(&notice.path);
                        self.remember_leaving(cookie, path);
                    }
                    self.lose_place(&notice.path);
                }
                What::Vanished => self.lose_place(&notice.path),
                What::Unknown => {
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
                self.enqueue(id);
            }
        }
    }

    /// The two notices of a rename can come in two readings, so the first is remembered beyond
    /// the one in which it came.
    fn remember_leaving(&mut self, cookie: u32, path: PathBuf) {
        const REMEMBERED: usize = 64;
        if self.leaving.len() == REMEMBERED {
            self.leaving.pop_front();
        }
        self.leaving.push_back((cookie, path));
    }

    fn take_leaving(&mut self, cookie: u32) -> Option<PathBuf> {
        let at = self.leaving.iter().position(|(other, _)| *other == cookie)?;
        self.leaving.remove(at).map(|(_, path)| path)
    }

    fn hear_appeared(&mut self, path: &Path, later: &[Notice], now: Instant) {
        if self.globs.matches(path) {
            // A link that leads nowhere is not gone.
            if !self.look_at(path, now) && !path.is_symlink() {
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

    // === Names and places

    pub(super) fn set_place(&mut self, id: FileId, place: &Path) {
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
