//! The side that listens.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::files::Contents;
use super::kept::Kept;
use super::{Settings, TlsError, provider};

/// A stream inside TLS, as the side has it that listened.
pub type ServerStream<S> = tokio_rustls::server::TlsStream<S>;

/// Takes connections of clients.
pub struct Server(Kept<ServerConfig>);

impl Server {
    /// `name` is what logs call it. The files must be of use now; later ones may be broken.
    pub fn new(name: &str, settings: Settings) -> Result<Self, TlsError> {
        Kept::new(name, settings, Box::new(configure)).map(Self)
    }

    /// Shakes hands with a client. Has no deadline.
    pub async fn accept<S>(&self, stream: S) -> io::Result<ServerStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(self.0.current()).accept(stream).await
    }
}

/// With `tls.ca_file` or `tls.ca_path`, clients must show a certificate (mutual TLS), unless
/// `tls.verify` is off.
fn configure(settings: &Settings, contents: &Contents) -> Result<ServerConfig, TlsError> {
    let provider = provider(settings);
    let Some(pair) = contents.pair(settings.key_passwd.as_ref())? else {
        let reason = "a server needs a certificate and its key (tls.key_file)";
        return Err(TlsError::of_key("tls.crt_file", reason));
    };
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&settings.versions())
        .map_err(|error| TlsError::of_key("tls.min_version", error))?;
    let config = match contents.trusted()?.filter(|_| settings.verify) {
        None => config.with_no_client_auth(),
        Some(trusted) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(trusted.roots.into(), provider)
                    .build()
                    .map_err(|error| TlsError::of_key("tls.ca_file", error))?;
            config.with_client_cert_verifier(verifier)
        }
    };
    config
        .with_single_cert(pair.chain, pair.key)
        .map_err(|error| TlsError::of_key("tls.crt_file and tls.key_file", error))
}
