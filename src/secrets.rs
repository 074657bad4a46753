//! Where secrets come from.
//!
//! In:  a secret as it is written, or the name of a file that holds it
//! Out: the [`Secret`]; the file is read each time, so that one that Kubernetes has replaced holds
//!      from the next connection on

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use crate::model::Secret;

/// The most bytes a file of a secret may have. A mistaken path should not fill the memory.
const LARGEST: u64 = 64 << 10;

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is written in the configuration, or comes from a variable named there.
    Written(Secret),
    /// It is what a file holds, but for one newline at its end.
    File(PathBuf),
}

/// Why a file gives no secret.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the secret in {}: {reason}", path.display())]
pub struct SecretError {
    /// The file.
    pub path: PathBuf,
    /// What the system said, or what is wrong with it.
    pub reason: io::Error,
}

impl Source {
    /// The secret as it is now.
    pub fn read(&self) -> Result<Secret, SecretError> {
        match self {
            Self::Written(secret) => Ok(secret.clone()),
            Self::File(path) => {
                read_file(path).map_err(|reason| SecretError { path: path.clone(), reason })
            }
        }
    }
}

fn read_file(path: &PathBuf) -> io::Result<Secret> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("it has more than {LARGEST} bytes")));
    }
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let text = text.strip_suffix(b"\r").filter(|_| text.len() < bytes.len()).unwrap_or(text);
    if text.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_a_secret_and_perhaps_a_newline_and_is_read_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let source = Source::File(path.clone());
        for (text, expected) in [
            (&b"key"[..], &b"key"[..]),
            (b"key\n", b"key"),
            (b"key\r\n", b"key"),
            (b"key\n\n", b"key\n"),
            (b"key\r", b"key\r"),
            (b" key \n", b" key "),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(source.read().unwrap().expose(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_file_that_is_missing_empty_or_far_too_large_is_named_without_what_it_holds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let message = || Source::File(path.clone()).read().unwrap_err().to_string();
        assert!(message().contains("No such file"), "{}", message());
        assert!(message().contains(path.to_str().unwrap()), "{}", message());
        std::fs::write(&path, b"\n").unwrap();
        assert!(message().contains("it is empty"), "{}", message());
        std::fs::write(&path, vec![b'x'; 100_000]).unwrap();
        assert!(message().contains("more than 65536 bytes"), "{}", message());
        assert!(!message().contains("xx"), "{}", message());
    }
}
