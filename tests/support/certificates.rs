//! A certificate authority of the tests' own, and what it signs, as files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;

/// Signs certificates and keeps them as PEM files in a folder, which goes with it.
pub struct TestCa {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl TestCa {
    /// A new authority, which nobody trusts yet. Its certificate is in `ca.crt`.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().unwrap();
        std::fs::write(folder.path().join("ca.crt"), params.self_signed(&key).unwrap().pem())
            .unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Signs a certificate for a name, a DNS name or an address: PEM of it and of its key.
    pub fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// The same, into `<stem>.crt` and `<stem>.key`.
    pub fn write(&self, stem: &str, name: &str) {
        let (certificate, key) = self.sign(name);
        self.write_pair(stem, &certificate, &key);
    }

    /// What a server needs that shows a certificate for this name.
    pub fn server(&self, name: &str) -> Arc<ServerConfig> {
        server_of(ServerConfig::builder().with_no_client_auth(), &self.sign(name))
    }

    /// The same for one that wants certificates of this authority from its clients.
    pub fn mutual_server(&self, name: &str) -> Arc<ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.file("ca.crt")).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder(roots.into()).build().unwrap();
        let builder = ServerConfig::builder().with_client_cert_verifier(verifier);
        server_of(builder, &self.sign(name))
    }

    /// Puts a pair into `<stem>.crt` and `<stem>.key`.
    pub fn write_pair(&self, stem: &str, certificate: &str, key: &str) {
        std::fs::write(self.file(&format!("{stem}.crt")), certificate).unwrap();
        std::fs::write(self.file(&format!("{stem}.key")), key).unwrap();
    }
}

fn server_of(
    builder: rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>,
    (certificate, key): &(String, String),
) -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    Arc::new(builder.with_single_cert(vec![certificate], key).unwrap())
}

/// A certificate that signed itself and calls itself a CA, as `openssl req -x509` makes it, with
/// its key.
pub fn self_signed(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}
