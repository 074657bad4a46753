//! The handshake: both sides show that they know the shared key, and neither says it.
//!
//! ```text
//! server ─ HELO: nonce, auth ──────────────────────────▶ client
//! server ◀ PING: name, salt, digest, user, digest ────── client
//! server ─ PONG: yes, name, digest ────────────────────▶ client    then frames and acks
//!        or PONG: no, reason                                        then the end
//! ```
//!
//! In:  for the sender, the server's messages and what we know; for the receiver, the client's
//!      message and what it must know; the dice as arguments
//! Out: the messages to send; whom we talk to, or why not
//!
//! Digests are compared in constant time. Nothing may be sent before the PONG was checked, and
//! every error here ends the connection: what comes after it proves nothing.

use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq;

use crate::model::Secret;
use crate::model::cursor::{ReadError, Reader, Scanner, Token};
use crate::model::record::{write_bool, write_map_header, write_str};

/// Bytes that nobody has seen before: nonces and salts.
pub type Random = [u8; 16];

/// The server's first word.
pub const HELO: &str = "HELO";
/// The client's answer.
pub const PING: &str = "PING";
/// The server's last word before frames may come.
pub const PONG: &str = "PONG";

/// What a client shows to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// `Self_Hostname`.
    pub name: String,
    /// `Shared_Key`; may be empty (`Empty_Shared_Key`).
    pub shared_key: Secret,
    /// `Username` and `Password`.
    pub user: Option<User>,
}

/// A user and the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name, which is no secret.
    pub name: String,
    /// The password.
    pub password: Secret,
}

/// What a server wants from its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirements {
    /// `Self_Hostname`.
    pub name: String,
    /// `Shared_Key`; may be empty (`Empty_Shared_Key`).
    pub shared_key: Secret,
    /// `Security.Users`. None: no user is asked for.
    pub users: Vec<User>,
}

/// Why a handshake failed, as the client sees it. A server has [`Refusal`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Something else than a message of the handshake came.
    #[error("{found} came where a {expected} is due{}", not_a_message(.found))]
    NotAMessage {
        /// [`HELO`], [`PING`] or [`PONG`].
        expected: &'static str,
        /// What came.
        found: &'static str,
    },
    /// It is no MessagePack, or not of the right form.
    #[error("the {message} cannot be read: {error}")]
    Broken {
        /// Which one.
        message: &'static str,
        /// Why, and where.
        error: ReadError,
    },
    /// A message has too few elements.
    #[error("the {message} has {elements} elements")]
    Elements {
        /// Which one.
        message: &'static str,
        /// How many came.
        elements: u32,
    },
    /// A HELO without a nonce.
    #[error("the HELO has no nonce")]
    NoNonce,
    /// The message goes on and on.
    #[error("the {message} is longer than {} bytes", MessageReader::LONGEST)]
    TooLong {
        /// Which one.
        message: &'static str,
    },
    /// PONG false.
    #[error("the server refuses us, saying \"{reason}\": {}", remedy(.reason))]
    Refused {
        /// What it said, in full.
        reason: String,
    },
    /// PONG true, and the digest is wrong.
    #[error(
        "the server '{server}' does not know our shared key, so nothing is sent to it: write the \
         shared_key of its <security> section as Shared_Key, or check that Host is your server"
    )]
    WrongServerDigest {
        /// What it calls itself.
        server: String,
    },
    /// It calls itself what we call ourselves.
    #[error(
        "the server calls itself '{name}', which is our name too; give this output another \
         Self_Hostname"
    )]
    SameName {
        /// The name of both.
        name: String,
    },
}

fn not_a_message(found: &str) -> &'static str {
    match found {
        "TLS" => "; one side has 'tls on' and the other has not",
        "text" => "; is this the port of a forward receiver?",
        _ => "",
    }
}

/// What to do about a reason that Fluentd, Fluent Bit or the npm server gives.
fn remedy(reason: &str) -> &'static str {
    let reason = reason.to_ascii_lowercase();
    if reason.contains("shared") && reason.contains("key") {
        "write the shared_key of its <security> section as Shared_Key"
    } else if reason.contains("password") || reason.contains("authentication") {
        "write a user of its <security> section as Username and Password"
    } else if reason.contains("hostname") {
        "give this output another Self_Hostname"
    } else if reason.contains("host") {
        "add a <client> section for our address to the server"
    } else {
        "see the server's log"
    }
}

// === Messages as they arrive

/// Collects the bytes of messages that may come in any pieces.
#[derive(Debug, Default)]
pub struct MessageReader {
    bytes: Vec<u8>,
    scanner: Scanner,
}

impl MessageReader {
    /// The most bytes of one message. None that a peer writes has a thousand.
    pub const LONGEST: usize = 4096;

    /// Adds bytes as they came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The bytes of the message that is due, once they are all there.
    pub fn next(&mut self, message: &'static str) -> Result<Option<Vec<u8>>, HandshakeError> {
        let Some(&first) = self.bytes.first() else {
            return Ok(None);
        };
        if let Some(found) = no_message_begins_with(first) {
            return Err(HandshakeError::NotAMessage { expected: message, found });
        }
        let broken = |error| HandshakeError::Broken { message, error };
        // No further than the limit, so that it does not matter how much came at once.
        let seen = &self.bytes[..self.bytes.len().min(Self::LONGEST + 1)];
        let length = self.scanner.scan(seen).map_err(broken)?;
        if self.scanner.least_length().max(length.unwrap_or(seen.len())) > Self::LONGEST {
            return Err(HandshakeError::TooLong { message });
        }
        let Some(length) = length else {
            return Ok(None);
        };
        self.scanner = Scanner::new();
        let rest = self.bytes.split_off(length);
        Ok(Some(std::mem::replace(&mut self.bytes, rest)))
    }

    /// What came behind the last message.
    pub fn into_rest(self) -> Vec<u8> {
        self.bytes
    }
}

/// What it is when it is no array.
fn no_message_begins_with(first: u8) -> Option<&'static str> {
    match first {
        0x90..=0x9f | 0xdc | 0xdd => None,
        0x15 | 0x16 => Some("TLS"),
        0x20..=0x7e => Some("text"),
        0xc0 => Some("nil"),
        0x80..=0x8f | 0xde | 0xdf => Some("a map"),
        _ => Some("something else"),
    }
}

// === The client

/// What a server greets with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helo {
    nonce: Vec<u8>,
    /// The salt of the password. `None`, or empty: no user is wanted. Fluentd and Fluent Bit send
    /// one even when they check none.
    auth: Option<Vec<u8>>,
    keepalive: bool,
}

/// A handshake whose PING is on its way.
#[derive(Debug)]
pub struct AwaitingPong<'a> {
    credentials: &'a Credentials,
    nonce: Vec<u8>,
    salt: String,
    keepalive: bool,
}

/// A server that knows the shared key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// What it calls itself.
    pub server: String,
    /// False: it closes the connection after each frame that it answers.
    pub keepalive: bool,
}

impl Helo {
    /// Reads a whole message.
    pub fn decode(message: &[u8]) -> Result<Self, HandshakeError> {
        let broken = |error| HandshakeError::Broken { message: HELO, error };
        let mut reader = Reader::new(message);
        begin(&mut reader, HELO, 2)?;
        let (mut nonce, mut auth, mut keepalive) = (None, None, true);
        for _ in 0..reader.map("the options of a HELO").map_err(broken)? {
            let key = match reader.peek().map_err(broken)? {
                Token::Str(key) | Token::Bin(key) => key,
                _ => b"",
            };
            reader.skip().map_err(broken)?;
            match key {
                b"nonce" => nonce = Some(reader.text("a nonce").map_err(broken)?.to_vec()),
                b"auth" => auth = read_auth(&mut reader).map_err(broken)?,
                b"keepalive" => {
                    keepalive = reader.peek().map_err(broken)? != Token::Bool(false);
                    reader.skip().map_err(broken)?;
                }
                _ => {
                    reader.skip().map_err(broken)?;
                }
            }
        }
        let nonce = nonce.filter(|nonce| !nonce.is_empty()).ok_or(HandshakeError::NoNonce)?;
        Ok(Self { nonce, auth, keepalive })
    }

    /// Appends the PING that answers it. `salt` must be new for each connection: it goes out as
    /// 32 hexadecimal characters, the one form that every server takes.
    pub fn answer<'a>(
        self,
        credentials: &'a Credentials,
        salt: Random,
        out: &mut Vec<u8>,
    ) -> AwaitingPong<'a> {
        let salt = hex(&salt);
        let name = credentials.name.as_bytes();
        let key = credentials.shared_key.expose();
        let digest = Digest::of([salt.as_bytes(), name, &self.nonce, key]);
        out.push(0x96);
        write_str(out, PING);
        write_str(out, &credentials.name);
        write_str(out, &salt);
        write_str(out, digest.as_str());
        match (&credentials.user, &self.auth) {
            // A server that checks users sends a salt for the password; one that sends none
            // wants none.
            (Some(user), Some(auth)) => {
                let digest = Digest::of([auth, user.name.as_bytes(), user.password.expose()]);
                write_str(out, &user.name);
                write_str(out, digest.as_str());
            }
            _ => {
                write_str(out, "");
                write_str(out, "");
            }
        }
        AwaitingPong { credentials, nonce: self.nonce, salt, keepalive: self.keepalive }
    }
}

/// Something else than bytes there (nil) means that no user is wanted.
fn read_auth(reader: &mut Reader<'_>) -> Result<Option<Vec<u8>>, ReadError> {
    match reader.peek()? {
        Token::Str(auth) | Token::Bin(auth) => {
            reader.skip()?;
            Ok(Some(auth.to_vec()).filter(|auth| !auth.is_empty()))
        }
        _ => reader.skip().map(|_| None),
    }
}

impl AwaitingPong<'_> {
    /// Reads a whole message: the server must have taken our digest, and shown its own.
    pub fn check(self, message: &[u8]) -> Result<Session, HandshakeError> {
        let broken = |error| HandshakeError::Broken { message: PONG, error };
        let mut reader = Reader::new(message);
        begin(&mut reader, PONG, 5)?;
        let is_taken = match reader.token().map_err(broken)? {
            Token::Bool(is_taken) => is_taken,
            other => return Err(broken(reader.unexpected("a boolean", other))),
        };
        let mut text = |expected| {
            let bytes = reader.text(expected).map_err(broken)?;
            Ok(String::from_utf8_lossy(bytes).into_owned())
        };
        let reason = text("a reason")?;
        if !is_taken {
            return Err(HandshakeError::Refused { reason: reason.escape_debug().to_string() });
        }
        let (server, digest) = (text("a name")?, text("a digest")?);
        // Whoever calls itself as we do could send our own digest back.
        if server == self.credentials.name {
            return Err(HandshakeError::SameName { name: server });
        }
        let key = self.credentials.shared_key.expose();
        let expected = Digest::of([self.salt.as_bytes(), server.as_bytes(), &self.nonce, key]);
        if !expected.is(digest.as_bytes()) {
            let server = server.escape_debug().to_string();
            return Err(HandshakeError::WrongServerDigest { server });
        }
        Ok(Session { server, keepalive: self.keepalive })
    }
}

/// Reads the header of an array of at least so many elements, and its first, the message's name.
fn begin(reader: &mut Reader<'_>, name: &'static str, least: u32) -> Result<(), HandshakeError> {
    let broken = |error| HandshakeError::Broken { message: name, error };
    let elements = reader.array("an array").map_err(broken)?;
    if elements > 0 && reader.text(name).map_err(broken)? != name.as_bytes() {
        return Err(HandshakeError::NotAMessage {
            expected: name,
            found: "another message of the handshake",
        });
    }
    match elements < least {
        true => Err(HandshakeError::Elements { message: name, elements }),
        false => Ok(()),
    }
}

// === The server

/// A handshake whose HELO is on its way, as the server sees it.
#[derive(Debug)]
pub struct Greeting<'a> {
    requirements: &'a Requirements,
    nonce: Random,
    auth: Random,
}

/// A client that knows the shared key, and its user if one is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What it calls itself.
    pub name: String,
    /// Its user. `None`: none was asked for.
    pub user: Option<String>,
}

/// Why a client is refused. The text is what the PONG says, in the words of Fluentd and npm, which
/// people search for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no PING, or not of the right form.
    #[error("invalid ping message")]
    InvalidPing,
    /// It calls itself what we call ourselves.
    #[error("same hostname between input and output: invalid configuration")]
    SameName,
    /// It does not know the shared key.
    #[error("shared_key mismatch")]
    SharedKey,
    /// Nobody we know, or not the password.
    #[error("username/password mismatch")]
    User,
}

impl<'a> Greeting<'a> {
    /// Appends a HELO. Both must be new for each connection. Write it with one call.
    pub fn encode(
        requirements: &'a Requirements,
        nonce: Random,
        auth: Random,
        out: &mut Vec<u8>,
    ) -> Self {
        out.push(0x92);
        write_str(out, HELO);
        write_map_header(out, 3);
        write_str(out, "nonce");
        write_bin(out, &nonce);
        write_str(out, "auth");
        // Empty says that no user is wanted.
        write_bin(out, if requirements.users.is_empty() { &[] } else { &auth });
        write_str(out, "keepalive");
        write_bool(out, true);
        Self { requirements, nonce, auth }
    }

    /// Reads a whole message and appends the PONG that answers it, a refusal too. After a refusal
    /// the connection ends.
    pub fn answer(&self, message: &[u8], out: &mut Vec<u8>) -> Result<Peer, Refusal> {
        let checked = Ping::decode(message)
            .ok_or(Refusal::InvalidPing)
            .and_then(|ping| self.check(&ping).map(|peer| (peer, ping.salt)));
        out.push(0x95);
        write_str(out, PONG);
        write_bool(out, checked.is_ok());
        match checked {
            Ok((peer, salt)) => {
                let Requirements { name, shared_key, .. } = self.requirements;
                let digest = Digest::of([salt, name.as_bytes(), &self.nonce, shared_key.expose()]);
                write_str(out, "");
                write_str(out, name);
                write_str(out, digest.as_str());
                Ok(peer)
            }
            Err(refusal) => {
                write_str(out, &refusal.to_string());
                write_str(out, "");
                write_str(out, "");
                Err(refusal)
            }
        }
    }

    fn check(&self, ping: &Ping<'_>) -> Result<Peer, Refusal> {
        let Requirements { name, shared_key, .. } = self.requirements;
        let expected = Digest::of([ping.salt, ping.name, &self.nonce, shared_key.expose()]);
        if !expected.is(ping.digest) {
            return Err(Refusal::SharedKey);
        }
        if ping.name == name.as_bytes() {
            return Err(Refusal::SameName);
        }
        let name = String::from_utf8_lossy(ping.name).into_owned();
        Ok(Peer { name, user: self.check_user(ping)? })
    }

    fn check_user(&self, ping: &Ping<'_>) -> Result<Option<String>, Refusal> {
        let users = &self.requirements.users;
        if users.is_empty() {
            return Ok(None);
        }
        // An unknown name takes as long as a wrong password.
        let known = users.iter().find(|user| user.name.as_bytes() == ping.user);
        let password = known.map_or(&[][..], |user| user.password.expose());
        let is_right = Digest::of([&self.auth, ping.user, password]).is(ping.password_digest);
        match known {
            Some(user) if is_right => Ok(Some(user.name.clone())),
            _ => Err(Refusal::User),
        }
    }
}

/// A client's message. The salt is hashed exactly as it came: Fluentd's 32 characters are 32
/// bytes, not the 16 they stand for.
struct Ping<'a> {
    name: &'a [u8],
    salt: &'a [u8],
    digest: &'a [u8],
    user: &'a [u8],
    password_digest: &'a [u8],
}

impl<'a> Ping<'a> {
    fn decode(message: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(message);
        let elements = reader.array("an array").ok()?;
        let mut text = || reader.text("a str").ok();
        if elements != 6 || text()? != PING.as_bytes() {
            return None;
        }
        let (name, salt, digest) = (text()?, text()?, text()?);
        let (user, password_digest) = (text()?, text()?);
        Some(Self { name, salt, digest, user, password_digest })
    }
}

fn write_bin(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u8::try_from(bytes.len()).expect("nonces have 16 bytes");
    out.extend_from_slice(&[0xc4, length]);
    out.extend_from_slice(bytes);
}

// === Digests

/// SHA-512 of parts one after another, as 128 lower-case hexadecimal characters.
struct Digest(String);

impl Digest {
    fn of<const N: usize>(parts: [&[u8]; N]) -> Self {
        let mut hash = Sha512::new();
        for part in parts {
            hash.update(part);
        }
        Self(hex(&hash.finalize()))
    }

    fn as_str(&self) -> &str {
        &self.0
    }

    /// In a time that does not tell where they differ.
    fn is(&self, other: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(other).into()
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: Random = [1; 16];
    const AUTH: Random = [2; 16];
    const SALT: Random = [3; 16];

    fn credentials(key: &str, user: Option<(&str, &str)>) -> Credentials {
        let user = user.map(|(name, password)| self::user(name, password));
        Credentials { name: "client".to_owned(), shared_key: Secret::new(key), user }
    }

    fn user(name: &str, password: &str) -> User {
        User { name: name.to_owned(), password: Secret::new(password) }
    }

    fn requirements(key: &str, users: Vec<User>) -> Requirements {
        Requirements { name: "server".to_owned(), shared_key: Secret::new(key), users }
    }

    /// Both sides, with every message in pieces of one byte.
    fn shake(
        credentials: &Credentials,
        requirements: &Requirements,
    ) -> (Result<Peer, Refusal>, Result<Session, HandshakeError>) {
        let (mut helo, mut ping, mut pong) = (Vec::new(), Vec::new(), Vec::new());
        let greeting = Greeting::encode(requirements, NONCE, AUTH, &mut helo);
        let helo = in_pieces(&helo, HELO);
        let awaiting = Helo::decode(&helo).unwrap().answer(credentials, SALT, &mut ping);
        let peer = greeting.answer(&in_pieces(&ping, PING), &mut pong);
        assert!(helo.len() < 512 && pong.len() < 512, "what Fluentd reads at once");
        assert!(ping.len() < 1024, "what Fluent Bit reads at once");
        (peer, awaiting.check(&in_pieces(&pong, PONG)))
    }

    fn in_pieces(message: &[u8], name: &'static str) -> Vec<u8> {
        let mut reader = MessageReader::default();
        for byte in &message[..message.len() - 1] {
            reader.feed(&[*byte]);
            assert_eq!(reader.next(name), Ok(None));
        }
        reader.feed(&message[message.len() - 1..]);
        reader.next(name).unwrap().expect("all of it came")
    }

    #[test]
    fn who_knows_the_key_and_the_password_is_let_in() {
        let server = Session { server: "server".to_owned(), keepalive: true };
        let peer =
            |user: Option<&str>| Peer { name: "client".to_owned(), user: user.map(str::to_owned) };
        let users = || vec![user("bob", "b"), user("alice", "pa55")];
        for (credentials, users, expected) in [
            (credentials("key", None), vec![], peer(None)),
            (credentials("key", Some(("alice", "pa55"))), vec![], peer(None)),
            (credentials("key", Some(("alice", "pa55"))), users(), peer(Some("alice"))),
            (credentials("key", Some(("bob", "b"))), users(), peer(Some("bob"))),
        ] {
            let (peer, session) = shake(&credentials, &requirements("key", users));
            assert_eq!((peer, session), (Ok(expected), Ok(server.clone())));
        }
        let (peer, _) = shake(&credentials("", None), &requirements("", vec![]));
        assert!(peer.is_ok(), "an empty key is a key");
    }

    #[test]
    fn who_does_not_is_told_why_and_what_to_do() {
        let users = || vec![user("alice", "pa55")];
        for (credentials, requirements, refusal, part) in [
            (
                credentials("wrong", None),
                requirements("key", vec![]),
                Refusal::SharedKey,
                "\"shared_key mismatch\": write the shared_key of its <security> section",
            ),
            (
                credentials("", None),
                requirements("key", vec![]),
                Refusal::SharedKey,
                "as Shared_Key",
            ),
            (
                credentials("key", Some(("alice", "wrong"))),
                requirements("key", users()),
                Refusal::User,
                "as Username and Password",
            ),
            (
                credentials("key", Some(("eve", "pa55"))),
                requirements("key", users()),
                Refusal::User,
                "as Username and Password",
            ),
            // An unknown user is not let in with no password either.
            (
                credentials("key", Some(("eve", ""))),
                requirements("key", users()),
                Refusal::User,
                "as Username and Password",
            ),
            (
                credentials("key", None),
                requirements("key", users()),
                Refusal::User,
                "as Username and Password",
            ),
            (
                Credentials { name: "server".to_owned(), ..credentials("key", None) },
                requirements("key", vec![]),
                Refusal::SameName,
                "another Self_Hostname",
            ),
        ] {
            let (peer, session) = shake(&credentials, &requirements);
            assert_eq!(peer, Err(refusal));
            let message = session.unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    fn answered(pong: &[u8]) -> Result<Session, HandshakeError> {
        let credentials = credentials("key", None);
        let helo = Helo::decode(b"\x92\xa4HELO\x81\xa5nonce\xa1n").unwrap();
        helo.answer(&credentials, SALT, &mut Vec::new()).check(pong)
    }

    #[test]
    fn a_server_that_does_not_know_the_key_gets_nothing_from_us() {
        let digest = [b'0'; 128];
        let pong = [&b"\x95\xa4PONG\xc3\xa0\xa6server\xd9\x80"[..], &digest].concat();
        let message = answered(&pong).unwrap_err().to_string();
        assert!(message.contains("'server' does not know our shared key"), "{message}");
    }

    #[test]
    fn a_server_that_sends_our_own_digest_back_gets_nothing_from_us() {
        let credentials = credentials("key", None);
        let mut ping = Vec::new();
        let helo = Helo::decode(b"\x92\xa4HELO\x81\xa5nonce\xa1n").unwrap();
        let awaiting = helo.answer(&credentials, SALT, &mut ping);
        let digest = Ping::decode(&ping).unwrap().digest;
        let pong = [&b"\x95\xa4PONG\xc3\xa0\xa6client\xd9\x80"[..], digest].concat();
        let error = awaiting.check(&pong).unwrap_err();
        assert_eq!(error, HandshakeError::SameName { name: "client".to_owned() });
    }

    #[test]
    fn reasons_of_all_servers_come_with_their_remedy_and_in_full() {
        let long = "x".repeat(300);
        for (reason, part) in [
            ("shared_key mismatch", "as Shared_Key"),
            ("shared key mismatch", "as Shared_Key"),
            ("username/password mismatch", "as Username and Password"),
            ("missing authentication information", "as Username and Password"),
            ("anonymous source host '10.0.0.7' denied", "<client> section for our address"),
            ("Same hostname between input and output: invalid configuration", "Self_Hostname"),
            (&long, &long),
            ("a\nb", "a\\nb"),
        ] {
            let mut pong = b"\x95\xa4PONG\xc2".to_vec();
            write_str(&mut pong, reason);
            pong.extend_from_slice(b"\xa0\xa0");
            let message = answered(&pong).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_server_that_wants_short_connections_is_heard() {
        for (helo, keepalive) in [
            (&b"\x92\xa4HELO\x82\xa5nonce\xa1n\xa9keepalive\xc2"[..], false),
            (b"\x92\xa4HELO\x82\xa5nonce\xa1n\xa9keepalive\xc3", true),
            (b"\x92\xa4HELO\x82\xa5nonce\xa1n\xa9keepalive\xc0", true),
            (b"\x92\xa4HELO\x82\xa5nonce\xa1n\x05\xc2", true),
            (b"\x92\xa4HELO\x81\xa5nonce\xa1n", true),
        ] {
            assert_eq!(Helo::decode(helo).unwrap().keepalive, keepalive, "{helo:02x?}");
        }
    }

    #[test]
    fn what_is_no_handshake_says_what_it_is() {
        let read = |bytes: &[u8], name| {
            let mut reader = MessageReader::default();
            reader.feed(bytes);
            reader.next(name).map(|message| message.expect("a whole message"))
        };
        for (bytes, part) in [
            (&b"HTTP/1.1 400 Bad Request"[..], "text came where a HELO is due"),
            (b"\x15\x03\x03\0\x02\x02\x28", "'tls on'"),
            (b"\x81\xa3ack\xa1A", "a map came"),
            (b"\xc0", "nil came"),
            (b"\x90", "has 0 elements"),
            (b"\x91\xa4HELO", "has 1 elements"),
            (b"\x92\xa4PONG\x80", "another message of the handshake"),
            (b"\x92\xa4HELO\x80", "no nonce"),
            (b"\x92\xa4HELO\x81\xa5nonce\xa0", "no nonce"),
            (b"\x92\xa4HELO\x05", "expected the options of a HELO"),
            (b"\x92\xa4HELO\x81\xa5nonce\x05", "expected a nonce"),
            (b"\x92\xc1", "cannot be read"),
            (b"\x92\xa4HELO\xdb\xff\xff\xff\xff", "longer than 4096 bytes"),
        ] {
            let error = read(bytes, HELO).and_then(|message| Helo::decode(&message)).unwrap_err();
            assert!(error.to_string().contains(part), "{bytes:02x?}: {error}");
        }
        for (bytes, part) in [
            (&b"\x95\xa4PONG\x05\xa0\xa0\xa0"[..], "expected a boolean"),
            (b"\x95\xa4PONG\xc3\x05\xa0\xa0", "expected a reason"),
            (b"\x94\xa4PONG\xc3\xa0\xa0", "has 4 elements"),
            (b"\x95\xa4HELO\xc3\xa0\xa0\xa0", "another message"),
            (b"\x95\xa4PONG\xc3\xa0", "the bytes end"),
        ] {
            let error = answered(bytes).unwrap_err();
            assert!(error.to_string().contains(part), "{bytes:02x?}: {error}");
        }
    }

    #[test]
    fn what_is_no_ping_is_refused_in_fluentds_words() {
        let requirements = requirements("key", vec![]);
        for ping in
            [&b"\x90"[..], b"\xc0", b"\x93\xa1t\x01\x80", b"\x96\xa4PING\xa0\xa0\xa0\xa0\x05"]
        {
            let greeting = Greeting::encode(&requirements, NONCE, AUTH, &mut Vec::new());
            let mut pong = Vec::new();
            assert_eq!(greeting.answer(ping, &mut pong), Err(Refusal::InvalidPing));
            assert_eq!(pong, b"\x95\xa4PONG\xc2\xb4invalid ping message\xa0\xa0");
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_that_however_much_of_it_came_at_once() {
        let broken = [&b"\xdc\xff\xff"[..], &[0; 5000], b"\xc1"].concat();
        for pieces in [vec![&broken[..]], broken.chunks(1000).collect()] {
            let mut reader = MessageReader::default();
            let error = pieces.into_iter().find_map(|piece| {
                reader.feed(piece);
                reader.next(PING).err()
            });
            assert_eq!(error, Some(HandshakeError::TooLong { message: PING }));
        }
    }

    #[test]
    fn what_came_behind_a_message_is_kept() {
        let mut reader = MessageReader::default();
        reader.feed(b"\x91\x01\x91\x02\x93\xa1t");
        assert_eq!(reader.next(PING), Ok(Some(b"\x91\x01".to_vec())));
        assert_eq!(reader.next(PING), Ok(Some(b"\x91\x02".to_vec())));
        assert_eq!(reader.next(PING), Ok(None));
        assert_eq!(reader.into_rest(), b"\x93\xa1t");
    }

    /// What a panic or a trace could show.
    #[test]
    fn no_debug_form_shows_a_secret() {
        let (credentials, requirements) = (
            credentials("t0p-key", Some(("alice", "t0p-pw"))),
            requirements("t0p-key", vec![user("alice", "t0p-pw")]),
        );
        let (mut helo, mut ping, mut pong) = (Vec::new(), Vec::new(), Vec::new());
        let greeting = Greeting::encode(&requirements, NONCE, AUTH, &mut helo);
        let helo = Helo::decode(&helo).unwrap();
        let shown = format!("{credentials:?} {requirements:?} {greeting:?} {helo:?}");
        let awaiting = helo.answer(&credentials, SALT, &mut ping);
        let shown = format!("{shown} {awaiting:?} {:?}", greeting.answer(&ping, &mut pong));
        assert!(shown.contains("alice") && !shown.contains("t0p-"), "{shown}");
        for message in [&ping, &pong] {
            assert!(!message.windows(4).any(|part| part == b"t0p-"), "only digests are sent");
        }
    }
}
