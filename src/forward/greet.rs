//! Shakes hands, where a shared key is configured.
//!
//! In:  a fresh connection, and what we have to show
//! Out: whether the connection may be kept, or why there is none. The server speaks first; each
//!      of its messages may take its time and no longer.

use std::time::Duration;

use tokio::time::timeout;

use super::settings::Security;
use super::wire::Wire;
use super::{Failure, broken};
use crate::model::Secret;
use crate::protocol::handshake::{Credentials, HELO, Helo, MessageReader, PONG, Random, User};

/// Shakes hands; each message of the server may take `limit`. False: the server closes the
/// connection after each frame that it answers.
pub(super) async fn shake_hands(
    wire: &mut Wire,
    security: &Security,
    salt: Random,
    limit: Duration,
) -> Result<bool, Failure> {
    // Read anew for each connection: a Secret that Kubernetes has replaced holds at once.
    let credentials = security.read()?;
    let mut reader = MessageReader::default();
    let helo = match timeout(limit, next_message(wire, &mut reader, HELO)).await {
        Ok(helo) => Helo::decode(&helo?)?,
        Err(_) => return Err(Failure::NoHelo { limit }),
    };
    let mut ping = Vec::new();
    let awaiting = helo.answer(&credentials, salt, &mut ping);
    let exchange = async {
        wire.write_all(&ping).await.map_err(broken)?;
        next_message(wire, &mut reader, PONG).await
    };
    let pong = match timeout(limit, exchange).await {
        Ok(Err(Failure::Closed)) => return Err(Failure::ClosedInsteadOfPong),
        Ok(pong) => pong?,
        Err(_) => return Err(Failure::NoPong { limit }),
    };
    let session = awaiting.check(&pong)?;
    tracing::debug!(server = %session.server, keepalive = session.keepalive, "shook hands");
    Ok(session.keepalive)
}

impl Security {
    /// What we show to servers, as it is now.
    pub(super) fn read(&self) -> Result<Credentials, Failure> {
        let shared_key = self.shared_key.read()?;
        let user = match &self.user {
            None => None,
            Some((name, password)) => {
                let password = match password {
                    Some(password) => password.read()?,
                    None => Secret::new(""),
                };
                Some(User { name: name.clone(), password })
            }
        };
        Ok(Credentials { name: self.self_hostname.clone(), shared_key, user })
    }
}

async fn next_message(
    wire: &mut Wire,
    reader: &mut MessageReader,
    name: &'static str,
) -> Result<Vec<u8>, Failure> {
    loop {
        if let Some(message) = reader.next(name)? {
            return Ok(message);
        }
        let mut bytes = [0; 1024];
        match wire.read(&mut bytes).await.map_err(broken)? {
            0 => return Err(Failure::Closed),
            count => reader.feed(&bytes[..count]),
        }
    }
}
