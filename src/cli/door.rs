//! Who `receive` lets in.
//!
//! In:  flags, and the files they name
//! Out: the settings of TLS and of the handshake, the same that a `forward` input has

use std::fs;
use std::path::{Path, PathBuf};

use crate::listen::DoorError;
use crate::listen::settings::Security;
use crate::model::Secret;
use crate::protocol::handshake::User;
use crate::secrets::{SecretError, Source};
use crate::tls::{self, TlsError};

/// What `receive` calls itself in a handshake.
const NAME: &str = "receive";

/// Flags about TLS, the shared key and users.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DoorFlags {
    /// Speak TLS: the certificate and those between it and its CA, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, as PEM, not encrypted
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Let in only senders that show a certificate of this CA (mutual TLS)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
    /// Let in only senders that know this key; others on this machine can see it: better is
    /// --shared-key-file
    #[arg(long, value_name = "KEY", group = "key", value_parser = read_key)]
    shared_key: Option<Secret>,
    /// The same key in a file, which is read again for each connection
    #[arg(long, value_name = "FILE", group = "key")]
    shared_key_file: Option<PathBuf>,
    /// Let in only users that are named so; may be repeated
    #[arg(long = "user", value_name = "NAME:PASSWORD", requires = "key", value_parser = read_user)]
    users: Vec<User>,
    /// The same in a file, one a line
    #[arg(long, value_name = "FILE", requires = "key")]
    user_file: Option<PathBuf>,
}

/// Why flags about TLS, the shared key or users are of no use.
#[derive(Debug, thiserror::Error)]
pub enum FlagError {
    /// A file with a certificate or a key.
    #[error("{0}")]
    Tls(TlsError),
    /// The file with the shared key.
    #[error("--shared-key-file: {0}; write the key into it")]
    SharedKey(SecretError),
    /// The file with users.
    #[error("--user-file: {}: {reason}", path.display())]
    Users {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
}

impl From<DoorError> for FlagError {
    /// Says flags where a configuration has keys.
    fn from(error: DoorError) -> Self {
        let error = match error {
            DoorError::Tls(error) => error,
            DoorError::Secret(error) => return Self::SharedKey(error),
        };
        let key = match error.key {
            "tls.crt_file" => "--tls-cert",
            "tls.key_file" => "--tls-key",
            "tls.ca_file" => "--tls-ca",
            _ => "--tls-cert and --tls-key",
        };
        let reason = error.reason.replace(
            "write its password as tls.key_passwd",
            "decrypt it with 'openssl pkey -in OLD -out NEW'",
        );
        Self::Tls(TlsError { key, reason, ..error })
    }
}

impl DoorFlags {
    /// `None`: TLS is off.
    pub fn tls(&self) -> Option<tls::Settings> {
        self.tls_cert.as_ref().map(|_| tls::Settings {
            crt_file: self.tls_cert.clone(),
            key_file: self.tls_key.clone(),
            ca_file: self.tls_ca.clone(),
            ..tls::Settings::default()
        })
    }

    /// `None`: a sender need not know anything.
    pub fn security(&self) -> Result<Option<Security>, FlagError> {
        let written = self.shared_key.clone().map(Source::Written);
        let in_file = self.shared_key_file.clone().map(Source::File);
        let Some(shared_key) = written.or(in_file) else {
            return Ok(None);
        };
        let mut users = self.users.clone();
        if let Some(path) = &self.user_file {
            let refused = |reason| FlagError::Users { path: path.clone(), reason };
            users.extend(read_users(path).map_err(refused)?);
        }
        Ok(Some(Security { name: NAME.to_owned(), shared_key, users }))
    }
}

/// What a door wants that opens to nobody: a key that is known to none.
pub fn locked(random: [u8; 16]) -> Security {
    let shared_key = Source::Written(Secret::new(random));
    Security { name: NAME.to_owned(), shared_key, users: Vec::new() }
}

/// A variable that is not set must not open the door.
fn read_key(text: &str) -> Result<Secret, &'static str> {
    match text {
        "" => Err("it is empty; write a key, or --shared-key-file FILE"),
        key => Ok(Secret::new(key)),
    }
}

fn read_user(text: &str) -> Result<User, &'static str> {
    match text.split_once(':') {
        Some((name, password)) if !name.is_empty() => {
            Ok(User { name: name.to_owned(), password: Secret::new(password) })
        }
        _ => Err("write NAME:PASSWORD"),
    }
}

/// The message shows no line: half of it may be a password.
fn read_users(path: &Path) -> Result<Vec<User>, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty());
    let users = lines
        .map(|(at, line)| read_user(line).map_err(|reason| format!("line {}: {reason}", at + 1)));
    let users = users.collect::<Result<Vec<_>, _>>()?;
    match users.is_empty() {
        // Without users, everyone who knows the key is let in.
        true => Err("it names nobody; write NAME:PASSWORD, one a line".to_owned()),
        false => Ok(users),
    }
}
