//! A client of a `forward` input, which writes the protocol by hand.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// A connection to the agent.
pub struct Client(Box<dyn Socket>);

trait Socket: Read + Write + Send {
    fn read_within(&self, limit: Duration);
}

impl Socket for TcpStream {
    fn read_within(&self, limit: Duration) {
        self.set_read_timeout(Some(limit)).unwrap();
    }
}

impl Socket for UnixStream {
    fn read_within(&self, limit: Duration) {
        self.set_read_timeout(Some(limit)).unwrap();
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self(Box::new(TcpStream::connect(address).unwrap()))
    }

    pub fn connect_unix(path: &Path) -> Self {
        Self(Box::new(UnixStream::connect(path).unwrap()))
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends as much as is taken within a time; gives how much that was.
    pub fn send_what_is_taken(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// The next acknowledgement must be for `id`.
    pub fn expect_ack(&mut self, id: &str, within: Duration) {
        let expected = ack(id);
        let mut came = vec![0; expected.len()];
        self.0.read_within(within);
        self.0.read_exact(&mut came).unwrap_or_else(|error| panic!("no ack for {id}: {error}"));
        assert_eq!(came, expected, "the ack for {id}");
    }

    /// Nothing comes for a while, and the connection stays.
    pub fn expect_silence(&mut self, during: Duration) {
        self.0.read_within(during);
        let mut byte = [0];
        match self.0.read(&mut byte) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => panic!("{other:?}, {byte:02x?}"),
        }
    }

    /// The other side says something that is no acknowledgement, and closes.
    pub fn expect_refusal(&mut self, within: Duration) {
        self.0.read_within(within);
        let mut said = Vec::new();
        if let Err(error) = self.0.read_to_end(&mut said) {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
        }
        assert!(!said.windows(4).any(|four| four == b"\xa3ack"), "{said:02x?}");
    }

    /// The other side closes without another byte.
    pub fn expect_close(&mut self, within: Duration) {
        self.0.read_within(within);
        let mut byte = [0];
        match self.0.read(&mut byte) {
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            other => panic!("{other:?}, {byte:02x?}"),
        }
    }
}

/// `{"ack": id}`
fn ack(id: &str) -> Vec<u8> {
    [&b"\x81\xa3ack"[..], &text(id)].concat()
}

/// A MessagePack str.
pub fn text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("the texts of tests are short");
    let header = if length < 32 { vec![0xa0 | length] } else { vec![0xd9, length] };
    [&header, text.as_bytes()].concat()
}

/// `[time, {"seq": number, "text": "xx…"}]`: an entry of about `size` bytes.
pub fn entry(number: u32, size: usize) -> Vec<u8> {
    let mut entry = b"\x92\xd7\0".to_vec();
    entry.extend_from_slice(&(1_700_000_000 + number).to_be_bytes());
    entry.extend_from_slice(&7_u32.to_be_bytes());
    entry.extend_from_slice(b"\x82\xa3seq\xce");
    entry.extend_from_slice(&number.to_be_bytes());
    entry.extend_from_slice(b"\xa4text\xdb");
    entry.extend_from_slice(&u32::try_from(size).unwrap().to_be_bytes());
    entry.resize(entry.len() + size, b'x');
    entry
}

/// `[tag, bin of entries, {"chunk": id}]`; without an id, without the option.
pub fn packed(tag: &str, entries: &[u8], id: Option<&str>) -> Vec<u8> {
    packed_with(tag, entries, id, None)
}

/// The same, with `compressed`.
pub fn packed_with(
    tag: &str,
    entries: &[u8],
    id: Option<&str>,
    compressed: Option<&str>,
) -> Vec<u8> {
    let mut frame = vec![0x93];
    frame.extend_from_slice(&text(tag));
    frame.push(0xc6);
    frame.extend_from_slice(&u32::try_from(entries.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(entries);
    let options = [("chunk", id), ("compressed", compressed)];
    let written: Vec<_> =
        options.iter().filter_map(|(key, value)| Some((key, (*value)?))).collect();
    frame.push(0x80 | u8::try_from(written.len()).unwrap());
    for (key, value) in written {
        frame.extend_from_slice(&text(key));
        frame.extend_from_slice(&text(value));
    }
    frame
}

/// `[tag, [entry, …], {"chunk": id}]`
pub fn forward(tag: &str, entries: &[Vec<u8>], id: &str) -> Vec<u8> {
    let mut frame = vec![0x93];
    frame.extend_from_slice(&text(tag));
    frame.push(0xdd);
    frame.extend_from_slice(&u32::try_from(entries.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&entries.concat());
    frame.push(0x81);
    frame.extend_from_slice(&text("chunk"));
    frame.extend_from_slice(&text(id));
    frame
}

/// Connects as soon as somebody listens.
pub fn connect_when_ready(address: SocketAddr) -> Client {
    let deadline = Instant::now() + super::SOON;
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return Client(Box::new(stream)),
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
