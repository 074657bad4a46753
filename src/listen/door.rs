//! What a client must do before its frames are taken: come from where it may, TLS, and the handshake.
//!
//! In:  a connection that was accepted
//! Out: the same, inside of TLS if that is on, with whatever came behind the handshake; or why not
//!
//! The shared key and the passwords are read for each connection, so that a Secret that was
//! replaced holds from the next one on.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::end::End;
use super::settings::{Neighbour, Security};
use super::socket::Stream;
use crate::protocol::handshake::{Greeting, MessageReader, PING, Random, Refusal, Requirements};
use crate::secrets::SecretError;
use crate::tls::{self, TlsError};

/// How long a client may take to be let in.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one that is refused waits for the word, so that nobody guesses keys in a hurry.
const REFUSAL_PAUSE: Duration = Duration::from_secs(1);
/// How long its last bytes are read, so that the word arrives: a close with unread bytes is a reset,
/// which would overtake it.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// See the head of this file.
pub(super) struct Door {
    tls: Option<tls::Server>,
    security: Option<Security>,
    neighbours: Vec<Neighbour>,
    random: fn() -> Random,
}

/// Why nobody could ever be let in.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// What `tls.*` names is of no use.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The shared key cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// A client that was let in.
pub(super) struct Admitted {
    pub(super) stream: Box<dyn Stream>,
    /// What came with the last message of the handshake.
    pub(super) rest: Vec<u8>,
}

impl Door {
    /// Lets everybody in.
    pub(super) fn open() -> Self {
        Self { tls: None, security: None, neighbours: Vec::new(), random: || [0; 16] }
    }

    /// `name` is what logs call the input; `random` gives bytes that nobody can guess.
    pub(super) fn new(
        name: &str,
        tls: Option<tls::Settings>,
        security: Option<Security>,
        random: fn() -> Random,
    ) -> Result<Self, DoorError> {
        let tls = tls.map(|settings| tls::Server::new(name, settings)).transpose()?;
        if let Some(security) = &security {
            // A file that cannot be read now would let nobody in later.
            security.shared_key.read()?;
        }
        Ok(Self { tls, security, neighbours: Vec::new(), random })
    }

    /// Lets in only those of them, if there are any. Who comes over a Unix socket is let in.
    pub(super) fn to(mut self, neighbours: Vec<Neighbour>) -> Result<Self, DoorError> {
        for security in neighbours.iter().filter_map(|neighbour| neighbour.security.as_ref()) {
            security.shared_key.read()?;
        }
        self.neighbours = neighbours;
        Ok(self)
    }

    /// Lets a client in that comes from this address; `None`: over a Unix socket. The answer `None`:
    /// it has closed without a word, as probes and heartbeats do.
    pub(super) async fn admit(
        &self,
        stream: Box<dyn Stream>,
        from: Option<IpAddr>,
    ) -> Result<Option<Admitted>, End> {
        let security = self.security_for(from)?;
        match timeout(PATIENCE, self.shake_hands(stream, security)).await {
            Ok(admitted) => admitted,
            Err(_) => Err(End::NotAdmitted(format!("no handshake in {} s", PATIENCE.as_secs()))),
        }
    }

    /// What a client from this address must know.
    fn security_for(&self, from: Option<IpAddr>) -> Result<Option<&Security>, End> {
        let Some(address) = from.filter(|_| !self.neighbours.is_empty()) else {
            return Ok(self.security.as_ref());
        };
        // Where we listen on `::`, IPv4 comes in the clothes of IPv6.
        let address = address.to_canonical();
        let those = self.neighbours.iter().filter(|those| those.network.contains(&address));
        match those.max_by_key(|those| those.network.prefix_len()) {
            Some(neighbour) => Ok(neighbour.security.as_ref()),
            None => Err(End::NotAdmitted(format!(
                "{address} is in none of the networks that may send; if it may, write \
                 'Security.Allow {address}'"
            ))),
        }
    }

    async fn shake_hands(
        &self,
        stream: Box<dyn Stream>,
        security: Option<&Security>,
    ) -> Result<Option<Admitted>, End> {
        let mut stream: Box<dyn Stream> = match &self.tls {
            None => stream,
            Some(tls) => Box::new(tls.accept(stream).await.map_err(explained)?),
        };
        let Some(security) = security else {
            return Ok(Some(Admitted { stream, rest: Vec::new() }));
        };
        let requirements = requirements(security)
            .map_err(|error| End::NotAdmitted(format!("{error}; nobody is let in without it")))?;
        let mut message = Vec::new();
        let greeting =
            Greeting::encode(&requirements, (self.random)(), (self.random)(), &mut message);
        // One write each: Fluent Bit and Fluentd fail on a message that arrives in two pieces.
        write(&mut stream, &message).await?;
        let mut reader = MessageReader::default();
        let Some(ping) = read_ping(&mut stream, &mut reader).await? else {
            return Ok(None);
        };
        message.clear();
        match greeting.answer(&ping, &mut message) {
            Ok(_) => {
                write(&mut stream, &message).await?;
                Ok(Some(Admitted { stream, rest: reader.into_rest() }))
            }
            Err(refusal) => {
                sleep(REFUSAL_PAUSE).await;
                write(&mut stream, &message).await?;
                stream.shutdown().await?;
                // It has nothing to say that we want to hear.
                timeout(LAST_BYTES, tokio::io::copy(&mut stream, &mut tokio::io::sink()))
                    .await
                    .ok();
                Err(End::NotAdmitted(format!("{refusal}{}", remedy(refusal))))
            }
        }
    }
}

fn requirements(security: &Security) -> Result<Requirements, SecretError> {
    Ok(Requirements {
        name: security.name.clone(),
        shared_key: security.shared_key.read()?,
        users: security.users.clone(),
    })
}

fn remedy(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::InvalidPing => ": does it have a shared key at all?",
        Refusal::SameName => ": give one of the two another Self_Hostname",
        Refusal::SharedKey => ": write the same Shared_Key there and here",
        Refusal::User => ": write one of Security.Users there",
    }
}

async fn write(stream: &mut Box<dyn Stream>, message: &[u8]) -> io::Result<()> {
    stream.write_all(message).await?;
    stream.flush().await
}

/// `None`: the client has closed without a word.
async fn read_ping(
    stream: &mut Box<dyn Stream>,
    reader: &mut MessageReader,
) -> Result<Option<Vec<u8>>, End> {
    let mut bytes = [0; 512];
    let mut has_come = false;
    loop {
        let next = reader.next(PING);
        if let Some(ping) = next.map_err(|error| End::NotAdmitted(error.to_string()))? {
            return Ok(Some(ping));
        }
        match stream.read(&mut bytes).await? {
            0 if has_come => {
                return Err(End::NotAdmitted(
                    "it closed in the middle of the handshake".to_owned(),
                ));
            }
            0 => return Ok(None),
            count => reader.feed(&bytes[..count]),
        }
        has_come = true;
    }
}

/// What is wrong with TLS is for people to see; that a connection broke is not.
fn explained(error: io::Error) -> End {
    match tls::explain(&error) {
        Some(reason) => End::NotAdmitted(reason),
        None => End::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::recorder::Recorder;
    use crate::model::Secret;
    use crate::protocol::handshake::{Credentials, Helo};
    use crate::secrets::Source;

    const RANDOM: Random = [7; 16];

    #[tokio::test]
    async fn helo_and_pong_are_one_write_each_and_what_came_with_the_ping_is_kept() {
        let key = Source::Written(Secret::new("k3y"));
        let security = Security { name: "server".to_owned(), shared_key: key, users: vec![] };
        let mut helo = Vec::new();
        Greeting::encode(&requirements(&security).unwrap(), RANDOM, RANDOM, &mut helo);
        let shown =
            Credentials { name: "client".to_owned(), shared_key: Secret::new("k3y"), user: None };
        let mut said = Vec::new();
        let awaiting = Helo::decode(&helo).unwrap().answer(&shown, RANDOM, &mut said);
        said.extend_from_slice(b"a frame");
        let client = Recorder::saying(said);
        let writes = client.writes();
        let door = Door::new("forward.0", None, Some(security), || RANDOM).unwrap();
        let admitted = door.admit(Box::new(client), None).await.unwrap().unwrap();
        assert_eq!(admitted.rest, b"a frame");
        let writes = writes.borrow();
        assert_eq!((writes.len(), &writes[0]), (2, &helo));
        awaiting.check(&writes[1]).unwrap();
    }
}
