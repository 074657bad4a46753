//! What `tls.*` says. `config` fills it; the keys are Fluent Bit's.

use std::path::PathBuf;

use rustls::{CipherSuite, SupportedCipherSuite};

use crate::model::Secret;

/// The `tls.*` keys of one plugin with `tls on`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `tls.verify`: whether the other side's certificate must be signed by somebody we trust. A
    /// server asks its clients for one only when `ca_file` or `ca_path` is written too.
    pub verify: bool,
    /// `tls.verify_hostname`: whether a server's certificate must be for the name we ask for.
    pub verify_hostname: bool,
    /// `tls.vhost`: the name we ask for, instead of `Host`.
    pub vhost: Option<String>,
    /// `tls.ca_file`: who is trusted, as PEM.
    pub ca_file: Option<PathBuf>,
    /// `tls.ca_path`: a folder of such files.
    pub ca_path: Option<PathBuf>,
    /// `tls.crt_file`: our certificate and those between it and its CA, as PEM.
    pub crt_file: Option<PathBuf>,
    /// `tls.key_file`: its key, as PEM.
    pub key_file: Option<PathBuf>,
    /// `tls.key_passwd`: the password of an encrypted key.
    pub key_passwd: Option<Secret>,
    /// `tls.min_version`.
    pub min_version: Version,
    /// `tls.max_version`.
    pub max_version: Version,
    /// `tls.ciphers`: the only ones for TLS 1.2. As with OpenSSL, TLS 1.3 has its own.
    pub ciphers: Option<Vec<Cipher>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            verify: true,
            verify_hostname: false,
            vhost: None,
            ca_file: None,
            ca_path: None,
            crt_file: None,
            key_file: None,
            key_passwd: None,
            min_version: Version::Tls12,
            max_version: Version::Tls13,
            ciphers: None,
        }
    }
}

/// A version of TLS. Older ones are broken and not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// `TLSv1.2`.
    Tls12,
    /// `TLSv1.3`.
    Tls13,
}

impl Settings {
    pub(super) fn versions(&self) -> Vec<&'static rustls::SupportedProtocolVersion> {
        let is_allowed = |version| (self.min_version..=self.max_version).contains(&version);
        let known =
            [(Version::Tls12, &rustls::version::TLS12), (Version::Tls13, &rustls::version::TLS13)];
        let allowed = known.into_iter().filter(|(version, _)| is_allowed(*version));
        allowed.map(|(_, version)| version).collect()
    }
}

/// A cipher of TLS 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cipher(CipherSuite);

impl Cipher {
    /// Those there are, as OpenSSL calls them.
    pub const NAMES: [&'static str; 6] = [
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ];

    const ALL: [CipherSuite; 6] = [
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ];

    /// The cipher that OpenSSL calls so. `None`: it is unknown, or not spoken.
    pub fn named(name: &str) -> Option<Self> {
        let at = Self::NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))?;
        Some(Self(Self::ALL[at]))
    }

    pub(super) fn is(self, suite: SupportedCipherSuite) -> bool {
        suite.suite() == self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cipher_of_tls_1_2_has_its_name_and_there_is_no_other() {
        let spoken = rustls::crypto::ring::ALL_CIPHER_SUITES;
        let old: Vec<_> = spoken.iter().filter(|suite| suite.tls13().is_none()).collect();
        assert_eq!(old.len(), Cipher::NAMES.len());
        for (name, suite) in Cipher::NAMES.iter().zip(Cipher::ALL) {
            assert!(old.iter().any(|known| known.suite() == suite), "{name}");
            assert_eq!(Cipher::named(&name.to_lowercase()), Some(Cipher(suite)));
        }
        assert_eq!(Cipher::named("DES-CBC3-SHA"), None);
    }
}
