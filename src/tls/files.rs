//! Certificates and keys in PEM files.
//!
//! In:  the files that `tls.*` names
//! Out: what they hold, or which key names a file that is of no use, and why

use std::fs;
use std::path::{Path, PathBuf};

use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use xxhash_rust::xxh3::Xxh3;

use super::{Settings, TlsError};
use crate::model::Secret;

/// Everything that the files hold, as read at one time.
pub(super) struct Contents {
    ca_file: Option<(PathBuf, Vec<u8>)>,
    ca_path: Vec<(PathBuf, Vec<u8>)>,
    crt: Option<(PathBuf, Vec<u8>)>,
    key: Option<(PathBuf, Vec<u8>)>,
}

/// Tells whether files have changed.
pub(super) type Fingerprint = u128;

/// Whom we trust, and which certificates were named for that one by one.
pub(super) struct Trusted {
    pub(super) roots: RootCertStore,
    pub(super) named: Vec<CertificateDer<'static>>,
}

/// A certificate with those that stand between it and its CA, and its key.
pub(super) struct Pair {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Contents {
    pub(super) fn read(settings: &Settings) -> Result<Self, TlsError> {
        let read = |key, path: &Option<PathBuf>| match path {
            Some(path) => read(key, path).map(|bytes| Some((path.clone(), bytes))),
            None => Ok(None),
        };
        Ok(Self {
            ca_file: read("tls.ca_file", &settings.ca_file)?,
            ca_path: read_folder(settings.ca_path.as_deref())?,
            crt: read("tls.crt_file", &settings.crt_file)?,
            key: read("tls.key_file", &settings.key_file)?,
        })
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut hash = Xxh3::new();
        let files = self.ca_file.iter().chain(&self.ca_path).chain(&self.crt).chain(&self.key);
        for (path, bytes) in files {
            hash.update(path.as_os_str().as_encoded_bytes());
            hash.update(&bytes.len().to_ne_bytes());
            hash.update(bytes);
        }
        hash.digest128()
    }

    /// `None`: neither `tls.ca_file` nor `tls.ca_path` is written.
    pub(super) fn trusted(&self) -> Result<Option<Trusted>, TlsError> {
        if self.ca_file.is_none() && self.ca_path.is_empty() {
            return Ok(None);
        }
        let mut named = Vec::new();
        if let Some((path, bytes)) = &self.ca_file {
            named.extend(certificates("tls.ca_file", path, bytes)?);
        }
        // A folder may hold other things.
        for (path, bytes) in &self.ca_path {
            named.extend(certificates("tls.ca_path", path, bytes).unwrap_or_default());
        }
        let mut roots = RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(named.iter().cloned());
        if taken == 0 {
            return Err(TlsError::of_key("tls.ca_file", "no certificate there can be used"));
        }
        Ok(Some(Trusted { roots, named }))
    }

    /// `None`: there is no `tls.crt_file`.
    pub(super) fn pair(&self, password: Option<&Secret>) -> Result<Option<Pair>, TlsError> {
        let ((crt_path, crt), (key_path, key)) = match (&self.crt, &self.key) {
            (Some(crt), Some(key)) => (crt, key),
            (None, None) => return Ok(None),
            (Some(_), None) => {
                return Err(TlsError::of_key("tls.key_file", "tls.crt_file needs its key"));
            }
            (None, Some(_)) => {
                return Err(TlsError::of_key("tls.crt_file", "tls.key_file needs its certificate"));
            }
        };
        let chain = certificates("tls.crt_file", crt_path, crt)?;
        let key = private_key(key, password)
            .map_err(|reason| TlsError::of_file("tls.key_file", key_path, reason))?;
        Ok(Some(Pair { chain, key }))
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::of_file(key, path, error))
}

/// In the order of their names, so that the same files have the same fingerprint.
fn read_folder(folder: Option<&Path>) -> Result<Vec<(PathBuf, Vec<u8>)>, TlsError> {
    let Some(folder) = folder else {
        return Ok(Vec::new());
    };
    let unreadable = |error| TlsError::of_file("tls.ca_path", folder, error);
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    let files: Vec<_> =
        paths.into_iter().filter_map(|path| Some((path.clone(), fs::read(path).ok()?))).collect();
    if files.is_empty() {
        return Err(TlsError::of_file("tls.ca_path", folder, "it has no readable file"));
    }
    Ok(files)
}

fn certificates(
    key: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| TlsError::of_file(key, path, error))?;
    match found.is_empty() {
        true => {
            let reason = "it holds no certificate; PEM is wanted ('-----BEGIN CERTIFICATE-----')";
            Err(TlsError::of_file(key, path, reason))
        }
        false => Ok(found),
    }
}

fn private_key(pem: &[u8], password: Option<&Secret>) -> Result<PrivateKeyDer<'static>, String> {
    const NONE: &str = "it holds no key; PEM is wanted ('-----BEGIN PRIVATE KEY-----')";
    if pem.windows(OLD_ENCRYPTION.len()).any(|window| window == OLD_ENCRYPTION) {
        return Err("it is encrypted in OpenSSL's old way; make it PKCS#8 with \
                    'openssl pkcs8 -topk8 -in OLD -out NEW'"
            .to_owned());
    }
    if let Some(encrypted) = encrypted_part(pem) {
        let Some(password) = password else {
            return Err("it is encrypted; write its password as tls.key_passwd".to_owned());
        };
        return decrypt(encrypted, password);
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => NONE.to_owned(),
        other => other.to_string(),
    })
}

const OLD_ENCRYPTION: &[u8] = b"Proc-Type: 4,ENCRYPTED";

/// The part of a PEM file that is an encrypted PKCS#8 key.
fn encrypted_part(pem: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(pem).ok()?;
    let from = text.find("-----BEGIN ENCRYPTED PRIVATE KEY-----")?;
    let end = "-----END ENCRYPTED PRIVATE KEY-----";
    let to = from + text[from..].find(end)? + end.len();
    Some(&text[from..to])
}

fn decrypt(encrypted: &str, password: &Secret) -> Result<PrivateKeyDer<'static>, String> {
    let (_, document) = SecretDocument::from_pem(encrypted).map_err(|error| error.to_string())?;
    let info = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
        .map_err(|error| error.to_string())?;
    let key = info.decrypt(password.expose()).map_err(|_| {
        "it cannot be decrypted with tls.key_passwd; is it the right password, and was the key \
         encrypted with PBES2 ('openssl pkcs8 -topk8 -v2 aes256')?"
    })?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}
