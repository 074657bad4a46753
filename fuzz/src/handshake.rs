//! `protocol::handshake`: HELO, PING and PONG.

use log_ambassador::model::Secret;
use log_ambassador::model::cursor::Reader;
use log_ambassador::protocol::handshake::{
    Credentials, Greeting, HELO, HandshakeError, Helo, MessageReader, PING, PONG, Peer, Random,
    Refusal, Requirements, Session, User,
};

use super::memory::within;
use super::pieces;

const NONCE: Random = [1; 16];
const AUTH: Random = [2; 16];
const SALT: Random = [3; 16];

/// What a reader holds of a message in small pieces, twice while it grows, the message itself, and
/// a scanner.
const HELD: usize = 5 * MessageReader::LONGEST + 2048;

/// - Messages and errors do not depend on how the bytes arrive, and hold no more than one message.
/// - No answer of a server is longer than what Fluentd reads at once.
/// - What is told of a message, with all it quotes, stays within a few times its length.
/// - Nobody is let in who does not know the key, and whoever knows it and the password is.
pub fn check(bytes: &[u8]) {
    for name in [HELO, PING, PONG] {
        let [whole, single, anyhow] = pieces::ways(bytes);
        let expected = messages(&whole, name, HELD + 2 * bytes.len());
        assert_eq!(messages(&single, name, HELD), expected, "byte for byte");
        assert_eq!(messages(&anyhow, name, HELD), expected, "in some pieces");
        for message in &expected.0 {
            check_message(message);
        }
    }
    // Whoever calls these has a whole message; they need not trust that.
    check_message(bytes);
    Shake::of(bytes).check();
}

/// All messages, and what ended them or came behind.
fn messages(
    pieces: &[&[u8]],
    name: &'static str,
    most: usize,
) -> (Vec<Vec<u8>>, Result<Vec<u8>, HandshakeError>) {
    let mut reader = MessageReader::default();
    let mut messages = Vec::new();
    for piece in pieces {
        within(most, || reader.feed(piece));
        loop {
            match within(most, || reader.next(name)) {
                Ok(None) => break,
                Ok(Some(message)) => messages.push(message),
                Err(error) => {
                    assert!(error.to_string().len() < 512, "what is said of it");
                    return (messages, Err(error));
                }
            }
        }
    }
    for message in &messages {
        assert!(message.len() <= MessageReader::LONGEST);
        assert_eq!(Reader::new(message).skip(), Ok(&message[..]), "one whole value");
    }
    (messages, Ok(reader.into_rest()))
}

/// Reads it as each of the three.
fn check_message(message: &[u8]) {
    // A byte that is no UTF-8 is shown in three, one of control in up to six; lower-case and
    // growing double that again.
    let most = 64 * message.len() + 4096;
    let credentials = credentials("client", b"key", Some(("user", b"password")));
    let requirements = requirements("server", b"key", vec![user("user", b"password")]);
    let mut helo = Vec::new();
    let greeting = Greeting::encode(&requirements, NONCE, AUTH, &mut helo);
    within(most, || {
        let mut pong = Vec::new();
        let refusal = greeting.answer(message, &mut pong).expect_err("nobody knew the nonce");
        assert!(pong.len() < 512, "Fluentd reads that much at once");
        check_refused(&credentials, &helo, &pong, refusal);
    });
    within(most, || {
        let (ping, session) = pong_to(&credentials, &helo, message);
        let error = session.expect_err("nobody knew the salt");
        assert!(error.to_string().len() < 8 * message.len() + 512, "what is said of it");
        assert!(Reader::new(&ping).skip().is_ok());
    });
    if let Ok(helo) = within(most, || Helo::decode(message)) {
        let mut ping = Vec::new();
        let stranger = self::credentials("stranger", b"another key", None);
        let _awaiting = helo.answer(&stranger, SALT, &mut ping);
        assert!(ping.len() < 1024, "Fluent Bit reads that much at once");
        let refusal = greeting.answer(&ping, &mut Vec::new()).expect_err("another key");
        assert_eq!(refusal, Refusal::SharedKey, "a PING it is");
    }
}

fn check_refused(credentials: &Credentials, helo: &[u8], pong: &[u8], refusal: Refusal) {
    let (_, session) = pong_to(credentials, helo, pong);
    let reason = refusal.to_string();
    assert_eq!(session, Err(HandshakeError::Refused { reason }), "a refusal is read as one");
}

/// The client's PING, and what it makes of a PONG.
fn pong_to(
    credentials: &Credentials,
    helo: &[u8],
    pong: &[u8],
) -> (Vec<u8>, Result<Session, HandshakeError>) {
    let mut ping = Vec::new();
    let helo = Helo::decode(helo).expect("our own");
    let awaiting = helo.answer(credentials, SALT, &mut ping);
    (ping, awaiting.check(pong))
}

/// Two that shake hands, with names, keys and passwords out of the bytes.
struct Shake {
    client: Credentials,
    server: Requirements,
}

impl Shake {
    /// Eight texts between zeros. One that is missing or empty is what makes the handshake succeed.
    fn of(bytes: &[u8]) -> Self {
        let mut parts = bytes.split(|byte| *byte == 0).map(|part| &part[..part.len().min(99)]);
        let mut text =
            |otherwise| parts.next().filter(|part| !part.is_empty()).unwrap_or(otherwise);
        let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let (ours, theirs) = (name(text(b"client")), name(text(b"server")));
        let (our_key, their_key) = (text(b"key"), text(b"key"));
        let (our_user, our_password) = (name(text(b"user")), text(b"password"));
        let (a, b) = (text(b"password"), text(b"b"));
        let mut users = vec![user("user", a), user("other", b)];
        users.truncate(usize::from(bytes.first().is_none_or(|first| first & 1 == 0)) * 2);
        Self {
            client: credentials(&ours, our_key, Some((&our_user, our_password))),
            server: requirements(&theirs, their_key, users),
        }
    }

    fn check(&self) {
        let (mut helo, mut ping, mut pong) = (Vec::new(), Vec::new(), Vec::new());
        let greeting = Greeting::encode(&self.server, NONCE, AUTH, &mut helo);
        let awaiting = Helo::decode(&helo).expect("our own").answer(&self.client, SALT, &mut ping);
        let peer = greeting.answer(&ping, &mut pong);
        assert_eq!(peer, self.due());
        match (awaiting.check(&pong), peer) {
            (Ok(session), Ok(_)) => assert_eq!(session.server, self.server.name),
            (Err(HandshakeError::Refused { reason }), Err(refusal)) => {
                assert_eq!(reason, refusal.to_string());
            }
            (client, server) => panic!("{client:?} and {server:?}"),
        }
    }

    /// What the server should say.
    fn due(&self) -> Result<Peer, Refusal> {
        if self.client.shared_key.expose() != self.server.shared_key.expose() {
            return Err(Refusal::SharedKey);
        }
        if self.client.name == self.server.name {
            return Err(Refusal::SameName);
        }
        let user = self.client.user.clone().filter(|_| !self.server.users.is_empty());
        match user {
            Some(user) if !self.server.users.contains(&user) => Err(Refusal::User),
            user => Ok(Peer { name: self.client.name.clone(), user: user.map(|user| user.name) }),
        }
    }
}

fn credentials(name: &str, key: &[u8], user: Option<(&str, &[u8])>) -> Credentials {
    let user = user.map(|(name, password)| self::user(name, password));
    Credentials { name: name.to_owned(), shared_key: Secret::new(key), user }
}

fn requirements(name: &str, key: &[u8], users: Vec<User>) -> Requirements {
    Requirements { name: name.to_owned(), shared_key: Secret::new(key), users }
}

fn user(name: &str, password: &[u8]) -> User {
    User { name: name.to_owned(), password: Secret::new(password) }
}
