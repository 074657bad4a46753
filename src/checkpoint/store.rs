//! Keeps positions in one small file.
//!
//! In:  positions, handed over whole, at most a few times a second
//! Out: the file named by `DB`, replaced as a whole: written beside, synced, renamed
//!
//! The writing has a thread of its own, so that a slow disk stops nobody. The file is text: a
//! line that names the format, then one line a position, each with a checksum of its own, so that
//! damage costs one file's position and never a start. A file at `DB` that is not ours (Fluent
//! Bit keeps an SQLite database there) is never touched: ours then is `<DB>.log-ambassador`.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use tracing::{info, warn};

use super::mark::{Mark, hash};
use super::{Position, Remembered};
use crate::model::{Counters, Mentions};

/// The first line of the file.
const FORMAT: &str = "log-ambassador positions 1";

/// Saves positions until it is finished.
pub struct Store {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    next: Mutex<Next>,
    changed: Condvar,
}

#[derive(Default)]
struct Next {
    positions: Option<(Vec<Position>, SystemTime)>,
    is_finished: bool,
}

impl Store {
    /// Reads what is stored at `db`, and begins to save there. Whatever is wrong with the file is
    /// a warning: the agent starts anyway, without the positions that cannot be had.
    pub fn open(db: &Path, counters: Arc<Counters>) -> (Self, Remembered) {
        let path = our_path(db);
        let remembered = load(&path);
        let lock = lock(&path);
        let shared = Arc::new(Shared { next: Mutex::default(), changed: Condvar::new() });
        let writer = Writer { path, lock, counters, mentions: Mentions::default() };
        let thread = spawn(writer, Arc::clone(&shared));
        (Self { shared, writer: thread }, remembered)
    }

    /// Hands over positions to be saved. Those that still wait are replaced by them. `taken`: every
    /// file that came before it has a position among them. It becomes the stored file's time of
    /// change, whenever the writing is done: a file that came meanwhile is younger than it.
    pub fn save(&self, positions: Vec<Position>, taken: SystemTime) {
        self.shared.next().positions = Some((positions, taken));
        self.shared.changed.notify_all();
    }

    /// Saves what was handed over, and ends.
    pub fn finish(mut self) {
        self.shared.next().is_finished = true;
        self.shared.changed.notify_all();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            warn!("the thread that saves positions ended badly");
        }
    }
}

impl Shared {
    fn next(&self) -> MutexGuard<'_, Next> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for positions to save. `None`: nothing more will come.
    fn wait(&self) -> Option<(Vec<Position>, SystemTime)> {
        let mut next = self.next();
        loop {
            if let Some(positions) = next.positions.take() {
                return Some(positions);
            }
            if next.is_finished {
                return None;
            }
            next = self.changed.wait(next).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn spawn(mut writer: Writer, shared: Arc<Shared>) -> Option<JoinHandle<()>> {
    let work = move || {
        while let Some((positions, taken)) = shared.wait() {
            writer.save(&positions, taken);
        }
    };
    match thread::Builder::new().name("positions".to_owned()).stack_size(256 << 10).spawn(work) {
        Ok(thread) => Some(thread),
        Err(error) => {
            warn!(%error, "positions are not saved: no thread for it");
            None
        }
    }
}

struct Writer {
    path: PathBuf,
    /// Held for the life of the process; nobody else saves here meanwhile.
    lock: Option<File>,
    counters: Arc<Counters>,
    mentions: Mentions<io::ErrorKind>,
}

impl Writer {
    fn save(&mut self, positions: &[Position], taken: SystemTime) {
        if self.lock.is_none() {
            self.lock = lock(&self.path);
        }
        let result = match &self.lock {
            Some(_) => replace(&self.path, &to_text(positions), taken),
            None => Err(io::Error::new(io::ErrorKind::ResourceBusy, "the lock is not ours")),
        };
        let Err(error) = result else {
            self.counters.positions_saved.add(1);
            return;
        };
        self.counters.positions_unsaved.add(1);
        if let Some(times) = self.mentions.due(error.kind(), Instant::now()) {
            warn!(file = %self.path.display(), %error, times,
                "cannot save positions; lines are delivered all the same, and again after a restart");
        }
    }
}

/// Where ours is kept when `db` is somebody else's.
fn our_path(db: &Path) -> PathBuf {
    let mut head = [0; FORMAT.len()];
    let length = File::open(db).and_then(|mut file| file.read(&mut head)).unwrap_or(0);
    if FORMAT.as_bytes().starts_with(&head[..length]) {
        return db.to_owned();
    }
    let ours = with_suffix(db, ".log-ambassador");
    info!(file = %db.display(), ours = %ours.display(), "the file at `DB` is not ours; positions are kept beside it");
    ours
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Takes the lock beside the file. `None`: another process has it, or it cannot be made.
fn lock(path: &Path) -> Option<File> {
    let lock = with_suffix(path, ".lock");
    let file = match File::create(&lock) {
        Ok(file) => file,
        Err(error) => {
            warn!(file = %lock.display(), %error, "cannot lock the positions; they are not saved");
            return None;
        }
    };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        warn!(file = %lock.display(), "another process saves positions here; ours are not saved");
        return None;
    }
    Some(file)
}

fn load(path: &Path) -> Remembered {
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Remembered::default(),
        Err(error) => {
            warn!(file = %path.display(), %error, "cannot read positions; files are read from their start");
            return Remembered::default();
        }
    };
    let saved = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let mut positions = Vec::new();
    let mut damaged = 0;
    for line in text.lines().skip(1) {
        match from_line(line) {
            Some(position) => positions.push(position),
            None => damaged += 1,
        }
    }
    if damaged > 0 {
        warn!(file = %path.display(), damaged, "some positions are damaged; their files are read from their start");
    }
    Remembered::new(positions, saved)
}

/// Written beside, synced, renamed: at any instant the file is the old one or the new one, whole.
fn replace(path: &Path, text: &str, modified: SystemTime) -> io::Result<()> {
    let beside = with_suffix(path, ".new");
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.set_modified(modified)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

fn to_text(positions: &[Position]) -> String {
    let mut text = format!("{FORMAT}\n");
    for position in positions {
        let record = json!({
            "device": position.device,
            "inode": position.inode,
            "path": position.path.to_string_lossy(),
            "generation": position.generation,
            "offset": position.mark.offset,
            "marker": position.mark.marker,
            "head": position.head,
            "size": position.size,
        })
        .to_string();
        text.push_str(&format!("{:016x} {record}\n", hash(record.as_bytes())));
    }
    text
}

fn from_line(line: &str) -> Option<Position> {
    let (sum, record) = line.split_once(' ')?;
    if u64::from_str_radix(sum, 16).ok()? != hash(record.as_bytes()) {
        return None;
    }
    let record: Value = serde_json::from_str(record).ok()?;
    let number = |key: &str| record[key].as_u64();
    let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
    Some(Position {
        device: number("device")?,
        inode: number("inode")?,
        path: PathBuf::from(record["path"].as_str()?),
        generation: u32::try_from(number("generation")?).ok()?,
        mark: Mark { offset: number("offset")?, marker: number("marker")? },
        head: record["head"].as_array()?.iter().map(byte).collect::<Option<_>>()?,
        size: number("size")?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn position(path: &str, offset: u64) -> Position {
        Position {
            device: 1,
            inode: u64::MAX,
            path: PathBuf::from(path),
            generation: 2,
            mark: Mark { offset, marker: u64::MAX - 1 },
            head: vec![0, 10, 255],
            size: offset + 5,
        }
    }

    fn stored(db: &Path) -> Vec<Position> {
        load(&our_path(db)).unclaimed().collect()
    }

    fn save(db: &Path, positions: Vec<Position>) {
        let (store, _) = Store::open(db, Arc::default());
        store.save(positions, SystemTime::now());
        store.finish();
    }

    #[test]
    fn positions_come_back_as_they_were_saved() {
        let directory = tempfile::tempdir().unwrap();
        let db = directory.path().join("positions");
        save(&db, vec![position("/a \"b\"\n.log", 7), position("/c", 1 << 40)]);
        assert_eq!(stored(&db), [position("/a \"b\"\n.log", 7), position("/c", 1 << 40)]);
    }

    #[test]
    fn positions_are_as_old_as_their_taking_however_long_the_writing_takes() {
        let directory = tempfile::tempdir().unwrap();
        let db = directory.path().join("positions");
        let taken = SystemTime::now() - Duration::from_secs(3);
        let (store, _) = Store::open(&db, Arc::default());
        store.save(vec![position("/a", 7)], taken);
        store.finish();
        assert_eq!(fs::metadata(&db).unwrap().modified().unwrap(), taken);
    }

    #[test]
    fn damage_costs_one_position_and_never_a_start() {
        let directory = tempfile::tempdir().unwrap();
        let db = directory.path().join("positions");
        save(&db, vec![position("/a", 7), position("/b", 8), position("/c", 9)]);
        let text = fs::read_to_string(&db).unwrap();
        fs::write(&db, text.replace("\"path\":\"/b\"", "\"path\":\"/x\"")).unwrap();
        assert_eq!(stored(&db), [position("/a", 7), position("/c", 9)]);
        for length in 0..text.len() {
            fs::write(&db, &text[..length]).unwrap();
            assert!(stored(&db).len() <= 3);
        }
    }

    #[test]
    fn a_file_that_is_not_ours_is_never_touched() {
        let directory = tempfile::tempdir().unwrap();
        let db = directory.path().join("flb.db");
        fs::write(&db, b"SQLite format 3\0and so on").unwrap();
        save(&db, vec![position("/a", 7)]);
        assert_eq!(fs::read(&db).unwrap(), b"SQLite format 3\0and so on");
        assert_eq!(stored(&db), [position("/a", 7)]);
        assert!(directory.path().join("flb.db.log-ambassador").exists());
    }

    #[test]
    fn a_second_store_of_the_same_file_does_not_save() {
        let directory = tempfile::tempdir().unwrap();
        let db = directory.path().join("positions");
        let (first, _) = Store::open(&db, Arc::default());
        let counters = Arc::new(Counters::default());
        let (second, _) = Store::open(&db, Arc::clone(&counters));
        second.save(vec![position("/second", 1)], SystemTime::now());
        second.finish();
        assert_eq!(counters.positions_unsaved.get(), 1);
        first.save(vec![position("/first", 1)], SystemTime::now());
        first.finish();
        assert_eq!(stored(&db), [position("/first", 1)]);
    }

    #[test]
    fn what_cannot_be_saved_is_counted_and_stops_nothing() {
        let counters = Arc::new(Counters::default());
        let (store, _) = Store::open(Path::new("/proc/no/such/place"), Arc::clone(&counters));
        store.save(vec![position("/a", 1)], SystemTime::now());
        store.finish();
        assert_eq!((counters.positions_saved.get(), counters.positions_unsaved.get()), (0, 1));
    }
}
