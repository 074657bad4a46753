//! The side that connects.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::files::{Contents, Trusted};
use super::kept::Kept;
use super::verify::Verifier;
use super::{Settings, TlsError, provider};

/// A stream inside TLS, as the side has it that connected.
pub type ClientStream<S> = tokio_rustls::client::TlsStream<S>;

/// Makes connections to servers.
pub struct Client(Kept<ClientConfig>);

impl Client {
    /// `name` is what logs call it. The files must be of use now; later ones may be broken.
    pub fn new(name: &str, settings: Settings) -> Result<Self, TlsError> {
        // These belong to the image, and do not change.
        let writes_none = settings.ca_file.is_none() && settings.ca_path.is_none();
        let system = (settings.verify && writes_none).then(system_roots);
        let make = move |settings: &Settings, contents: &Contents| {
            configure(settings, contents, system.as_ref())
        };
        Kept::new(name, settings, Box::new(make)).map(Self)
    }

    /// Shakes hands with the server called `host`, which `tls.vhost` replaces. Has no deadline.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<ClientStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let host = self.0.settings().vhost.as_deref().unwrap_or(host);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            io::Error::other(format!("'{host}' is no name to ask for; write one as tls.vhost"))
        })?;
        TlsConnector::from(self.0.current()).connect(name, stream).await
    }
}

fn configure(
    settings: &Settings,
    contents: &Contents,
    system: Option<&RootCertStore>,
) -> Result<ClientConfig, TlsError> {
    let provider = provider(settings);
    let trusted = match settings.verify {
        false => None,
        true => contents
            .trusted()?
            .or_else(|| system.map(|roots| Trusted { roots: roots.clone(), named: Vec::new() })),
    };
    let verify_hostname = settings.verify_hostname;
    let verifier = Verifier { trusted, verify_hostname, provider: Arc::clone(&provider) };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&settings.versions())
        .map_err(|error| TlsError::of_key("tls.min_version", error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let Some(pair) = contents.pair(settings.key_passwd.as_ref())? else {
        return Ok(config.with_no_client_auth());
    };
    config
        .with_client_auth_cert(pair.chain, pair.key)
        .map_err(|error| TlsError::of_key("tls.crt_file and tls.key_file", error))
}

/// Who the system trusts; where it has nobody, as in an empty image, whom Mozilla trusts.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}
