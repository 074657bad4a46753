//! A secret: a shared key, a password.
//!
//! In:  the text as it is written or read from a file
//! Out: its bytes, to whoever asks for them by name; to logs and messages nothing but dots

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;

/// Bytes that no log, message or panic shows: it has no `Display`, and `Debug` says only that
/// there is one. Cheap to clone.
#[derive(Clone)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// Takes a secret over.
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Self(secret.into().into())
    }

    /// The secret itself. For digests and ciphers, and for nothing that people read.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Takes as long for a secret that differs in its first byte as for one that differs in its last.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_seen_only_by_whoever_asks_for_it() {
        let secret = Secret::new("s3cr3t-key");
        assert_eq!(secret.expose(), b"s3cr3t-key");
        for shown in [format!("{secret:?}"), format!("{secret:#?}"), format!("{:?}", Some(&secret))]
        {
            assert!(!shown.contains("s3cr3t"), "{shown}");
        }
        assert_eq!(secret, secret.clone());
        assert_ne!(secret, Secret::new("s3cr3t-kez"));
        assert_ne!(secret, Secret::new("s3cr3t"));
    }
}
