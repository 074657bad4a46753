//! Notices from the kernel about directories: names and data apart.
//!
//! In:  the directories to cover
//! Out: [`Notice`]s, which are hints; the directory is the truth
//!
//! Two inotify instances, however many files there are. Names are always waited on. Data are
//! waited on only while everything is quiet; once something has come they are read on a timer,
//! so that a writer of a thousand lines a second does not wake us a thousand times. Neither mask
//! has an event for what we do ourselves (open, list, close after reading).

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};

use super::discover::here;

/// What the kernel said about one name in one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Directory and name.
    pub path: PathBuf,
    /// What happened.
    pub what: What,
}

/// What happened to a name, or to the file behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The name is new, or is another file than before.
    Appeared,
    /// It came by a rename; the same number is on the [`What::Left`] of its old name.
    Arrived(u32),
    /// It left by a rename; the same number is on the [`What::Arrived`] of its new name, if that
    /// lies in a watched directory.
    Left(u32),
    /// It was deleted.
    Vanished,
    /// Bytes were written, or the file was truncated.
    Changed,
    /// A writer closed the file.
    Closed,
    /// Notices were lost, or the directory itself went away: list everything again.
    Unknown,
}

impl Notice {
    /// Whether it is about what bears this name.
    pub fn is_about(&self, name: &Path) -> bool {
        self.what.is_about_a_name() && self.path == name
    }
}

impl What {
    /// Whether it is about what bears a name, and not about the bytes behind it.
    pub fn is_about_a_name(self) -> bool {
        matches!(self, Self::Appeared | Self::Arrived(_) | Self::Left(_) | Self::Vanished)
    }
}

/// See the head of this file.
pub struct Watch {
    names: Inotify,
    data: Inotify,
    covered: HashMap<PathBuf, Covered>,
    by_name_watch: HashMap<WatchDescriptor, PathBuf>,
    by_data_watch: HashMap<WatchDescriptor, PathBuf>,
    buffer: Vec<u8>,
}

struct Covered {
    inode: u64,
    names: WatchDescriptor,
    data: WatchDescriptor,
}

impl Watch {
    /// Opens both instances. The error is the system's: too many instances, too many files.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            names: Inotify::init()?,
            data: Inotify::init()?,
            covered: HashMap::new(),
            by_name_watch: HashMap::new(),
            by_data_watch: HashMap::new(),
            buffer: vec![0; 16 << 10],
        })
    }

    /// Watches the directories that a look for them finds. One can come after the look and before
    /// the one it came into was watched, so that no notice tells of it: they are looked for again,
    /// until there is no other.
    pub fn cover_all(&mut self, mut look: impl FnMut() -> Vec<PathBuf>) -> io::Result<()> {
        // Each can bring one more level.
        const LOOKS: usize = 16;
        let mut covered = Vec::new();
        for _ in 0..LOOKS {
            let directories = look();
            if directories == covered {
                break;
            }
            self.cover(&directories)?;
            covered = directories;
        }
        Ok(())
    }

    /// Watches exactly these directories. A directory that was replaced by another of the same
    /// path is unwatched first and watched anew. The first error is given back after all were
    /// tried; a directory that is gone meanwhile is none.
    pub fn cover(&mut self, directories: &[PathBuf]) -> io::Result<()> {
        let gone: Vec<PathBuf> =
            self.covered.keys().filter(|path| !directories.contains(path)).cloned().collect();
        for path in gone {
            self.uncover(&path);
        }
        let mut first_error = Ok(());
        for path in directories {
            match self.cover_one(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound && first_error.is_ok() => {
                    first_error = Err(error);
                }
                _ => {}
            }
        }
        first_error
    }

    fn cover_one(&mut self, path: &Path) -> io::Result<()> {
        let inode = std::fs::metadata(here(path))?.ino();
        if self.covered.get(path).is_some_and(|covered| covered.inode == inode) {
            return Ok(());
        }
        self.uncover(path);
        let names = self.names.watches().add(
            here(path),
            WatchMask::CREATE
                | WatchMask::MOVE
                | WatchMask::DELETE
                | WatchMask::DELETE_SELF
                | WatchMask::MOVE_SELF
                | WatchMask::ONLYDIR,
        )?;
        let data = self
            .data
            .watches()
            .add(here(path), WatchMask::MODIFY | WatchMask::CLOSE_WRITE | WatchMask::ONLYDIR)?;
        self.by_name_watch.insert(names.clone(), path.to_owned());
        self.by_data_watch.insert(data.clone(), path.to_owned());
        self.covered.insert(path.to_owned(), Covered { inode, names, data });
        Ok(())
    }

    fn uncover(&mut self, path: &Path) {
        let Some(covered) = self.covered.remove(path) else {
            return;
        };
        self.by_name_watch.remove(&covered.names);
        self.by_data_watch.remove(&covered.data);
        // The kernel has removed them itself when the directory is gone.
        drop(self.names.watches().remove(covered.names));
        drop(self.data.watches().remove(covered.data));
    }

    /// Whether another directory, or none, has the path of one that is watched. The kernel is silent
    /// about that for as long as we hold a file that was deleted from it.
    pub fn has_lost_one(&self) -> bool {
        let inode = |path: &Path| std::fs::metadata(here(path)).ok().map(|there| there.ino());
        self.covered.iter().any(|(path, covered)| inode(path) != Some(covered.inode))
    }

    /// Whether notices come for what lies in this directory.
    pub fn covers(&self, directory: &Path) -> bool {
        self.covered.contains_key(directory)
    }

    /// To wait on for names.
    pub fn names_fd(&self) -> BorrowedFd<'_> {
        self.names.as_fd()
    }

    /// To wait on for data.
    pub fn data_fd(&self) -> BorrowedFd<'_> {
        self.data.as_fd()
    }

    /// The notices about names that have come, in order.
    pub fn take_names(&mut self) -> Vec<Notice> {
        let mut ended = Vec::new();
        let notices = take(&mut self.names, &self.by_name_watch, &mut self.buffer, &mut ended);
        for path in ended {
            self.uncover(&path);
        }
        notices
    }

    /// The notices about data that have come, in order.
    pub fn take_data(&mut self) -> Vec<Notice> {
        take(&mut self.data, &self.by_data_watch, &mut self.buffer, &mut Vec::new())
    }
}

/// Whether an error of [`Watch::cover`] means that there will be no watches for a while: the
/// system's limits, which other processes use up as well.
pub fn is_limit(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::NOSPC, Errno::MFILE, Errno::NFILE, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// `ended` gets the directories whose watch the kernel has ended, because they are gone: another
/// one may come under the same path, and even under the same inode number.
fn take(
    instance: &mut Inotify,
    directories: &HashMap<WatchDescriptor, PathBuf>,
    buffer: &mut [u8],
    ended: &mut Vec<PathBuf>,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    while let Ok(events) = instance.read_events(buffer) {
        for event in events {
            let what = what_of(event.mask, event.cookie);
            let directory = directories.get(&event.wd);
            if event.mask.contains(EventMask::IGNORED) {
                ended.extend(directory.cloned());
            }
            let notice = match (directory, event.name, what) {
                (Some(directory), Some(name), Some(what)) => {
                    Notice { path: directory.join(name), what }
                }
                (_, _, Some(What::Unknown)) => {
                    Notice { path: PathBuf::from(OsString::new()), what: What::Unknown }
                }
                // A watch we have given up, or a word about the watch itself.
                _ => continue,
            };
            if notices.last() != Some(&notice) {
                notices.push(notice);
            }
        }
    }
    notices
}

fn what_of(mask: EventMask, cookie: u32) -> Option<What> {
    let table = [
        (EventMask::Q_OVERFLOW, What::Unknown),
        (EventMask::DELETE_SELF, What::Unknown),
        (EventMask::MOVE_SELF, What::Unknown),
        (EventMask::UNMOUNT, What::Unknown),
        (EventMask::CREATE, What::Appeared),
        (EventMask::MOVED_TO, What::Arrived(cookie)),
        (EventMask::MOVED_FROM, What::Left(cookie)),
        (EventMask::DELETE, What::Vanished),
        (EventMask::MODIFY, What::Changed),
        (EventMask::CLOSE_WRITE, What::Closed),
    ];
    table.into_iter().find(|(bit, _)| mask.contains(*bit)).map(|(_, what)| what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_comes_between_the_look_and_the_watch_is_watched() {
        let root = tempfile::tempdir().unwrap();
        let later = root.path().join("later");
        let mut watch = Watch::new().unwrap();
        let look = || {
            let found = [root.path().to_owned(), later.clone()];
            let found = found.into_iter().filter(|directory| directory.is_dir()).collect();
            std::fs::create_dir_all(&later).unwrap();
            found
        };
        watch.cover_all(look).unwrap();
        assert!(watch.covers(&later));
    }
}
