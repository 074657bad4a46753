//! TLS, for both directions.
//!
//! In:  what `tls.*` says, and the files it names
//! Out: a [`Client`] or a [`Server`], which make a stream of theirs of any stream
//!
//! ```text
//! settings ─▶ files: certificates, key, CA ─▶ kept: read again for each connection ─▶ client, server
//! ```
//!
//! The files are compared with what they held for each new connection, so the swap of a Kubernetes
//! Secret needs no restart. What cannot be used any more does not replace what could: the old
//! stays, and it is said once.

mod client;
mod files;
mod kept;
mod server;
pub mod settings;
mod verify;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{AlertDescription, CertificateError};

pub use self::client::{Client, ClientStream};
pub use self::server::{Server, ServerStream};
pub use self::settings::{Cipher, Settings, Version};

/// Why something that `tls.*` names cannot be used. Shown as `tls.crt_file: /x/tls.crt: reason`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct TlsError {
    /// The key that names it.
    pub key: &'static str,
    /// The file, if it is one.
    pub path: Option<PathBuf>,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl TlsError {
    fn of_file(key: &'static str, path: &Path, reason: impl ToString) -> Self {
        Self { key, path: Some(path.to_owned()), reason: reason.to_string() }
    }

    fn of_key(key: &'static str, reason: impl ToString) -> Self {
        Self { key, path: None, reason: reason.to_string() }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.key)?;
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display())?;
        }
        f.write_str(&self.reason)
    }
}

fn provider(settings: &Settings) -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    if let Some(ciphers) = &settings.ciphers {
        provider.cipher_suites.retain(|suite| {
            suite.tls13().is_some() || ciphers.iter().any(|cipher| cipher.is(*suite))
        });
    }
    Arc::new(provider)
}

/// What went wrong with a handshake or a connection, and what to do about it. `None`: it was not
/// TLS, but the connection below.
pub fn explain(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match remedy(error) {
        Some(remedy) => format!("{error}: {remedy}"),
        None => error.to_string(),
    })
}

fn remedy(error: &rustls::Error) -> Option<&'static str> {
    Some(match error {
        rustls::Error::InvalidCertificate(error) => match error {
            // The second: by another CA of the same name, mostly an older one.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "nobody we trust has signed it; write the certificate of its CA as tls.ca_file"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "it is for another name; write the name it is for as tls.vhost"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "it has to be renewed, or our clock is wrong"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "our clock is wrong, or it was issued in the future"
            }
            _ => return None,
        },
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::UnknownCA => {
                "it does not take the certificate we show; write one that it trusts as \
                 tls.crt_file, and its key as tls.key_file"
            }
            AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion => {
                "both sides have no version or cipher in common; see tls.min_version, \
                 tls.max_version and tls.ciphers"
            }
            AlertDescription::UnrecognisedName => {
                "it does not know the name we ask for; write the right one as tls.vhost"
            }
            _ => return None,
        },
        rustls::Error::PeerIncompatible(_) => {
            "both sides have no version or cipher in common; see tls.min_version, \
             tls.max_version and tls.ciphers"
        }
        rustls::Error::InvalidMessage(_) => {
            "the other side does not speak TLS; write 'tls off', or switch it on there"
        }
        rustls::Error::NoCertificatesPresented => {
            "it shows no certificate, and tls.ca_file says that one is wanted"
        }
        _ => return None,
    })
}
