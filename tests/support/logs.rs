//! A directory of log files, and the things that are done to them.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A directory that is gone when the test is over.
pub struct LogDir(tempfile::TempDir);

impl LogDir {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Appends bytes as they are.
    pub fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        self.open(name).write_all(text.as_ref()).unwrap();
    }

    /// Appends `{"seq":n}` for each number.
    pub fn append_sequence(&self, name: &str, numbers: impl IntoIterator<Item = u64>) {
        self.append(name, sequence(numbers));
    }

    /// Opens as a writer does that keeps its file open.
    pub fn open(&self, name: &str) -> File {
        OpenOptions::new().create(true).append(true).open(self.file(name)).unwrap()
    }

    pub fn rename(&self, from: &str, to: &str) {
        fs::rename(self.file(from), self.file(to)).unwrap();
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.file(name)).unwrap();
    }

    pub fn truncate(&self, name: &str, length: u64) {
        OpenOptions::new().write(true).open(self.file(name)).unwrap().set_len(length).unwrap();
    }

    /// What logrotate's `copytruncate` does.
    pub fn copy_and_truncate(&self, name: &str, copy: &str) {
        fs::copy(self.file(name), self.file(copy)).unwrap();
        self.truncate(name, 0);
    }
}

/// `{"seq":n}` for each number, a line each.
pub fn sequence(numbers: impl IntoIterator<Item = u64>) -> String {
    numbers.into_iter().map(|number| format!("{{\"seq\":{number}}}\n")).collect()
}
