//! A receiver that counts, and costs as little as it can.
//!
//! In:  frames of the forward protocol in any mode, from any sender, inside TLS or not
//! Out: how many events came and when the last one did, acknowledgements, how long the lines that
//!      say when they were written were on their way, and the entries, for who wants them
//!
//! It believes `size`, and steps over the events without a look where they come in one piece.
//! It shares no code with the agent.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use memchr::memmem;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::corpus::MARK;

/// One read takes at most this much, so that the receiver is woken less often than it is sent to.
const READ_BUFFER: usize = 256 * 1024;

/// What a receiver does besides counting.
#[derive(Clone, Default)]
pub(crate) struct Manner {
    /// Searches events for the time they were written.
    pub(crate) reads_marks: bool,
    /// Keeps the entries of every frame.
    pub(crate) keeps_entries: bool,
    /// Speaks TLS.
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// Listens on ports of its own until the process ends.
pub(crate) struct Receiver {
    pub(crate) ports: Vec<u16>,
    count: Arc<Count>,
}

/// What came so far.
#[derive(Clone, Default)]
pub(crate) struct Received {
    pub(crate) events: u64,
    /// Bytes of entries as they came, perhaps compressed.
    pub(crate) bytes: u64,
    /// When the last frame was complete.
    pub(crate) last: Option<Instant>,
    /// From write to receipt, of the lines that say when they were written.
    pub(crate) delays: Vec<Duration>,
    /// The entries of each frame, if they are kept.
    pub(crate) entries: Vec<Vec<u8>>,
    /// What a sender sent that is not the protocol.
    pub(crate) trouble: Option<String>,
}

#[derive(Default)]
struct Count {
    received: Mutex<Received>,
    changed: Condvar,
}

impl Receiver {
    /// Listens on so many ports.
    pub(crate) fn listen(manner: &Manner, ports: usize) -> io::Result<Self> {
        let count = Arc::new(Count::default());
        let ports = (0..ports).map(|_| listen_on_one(manner, &count)).collect::<Result<_, _>>()?;
        Ok(Self { ports, count })
    }

    /// Waits until `events` have come, until none has come for `patience`, or until `is_over`,
    /// which is asked now and then.
    pub(crate) fn wait_for(
        &self,
        events: u64,
        patience: Duration,
        mut is_over: impl FnMut() -> bool,
    ) -> Received {
        const NOW_AND_THEN: Duration = Duration::from_millis(200);
        let begun = Instant::now();
        let mut received = self.count.lock();
        while received.events < events {
            let quiet_since = received.last.map_or(begun, |last| last.max(begun));
            if quiet_since.elapsed() > patience || received.trouble.is_some() || is_over() {
                break;
            }
            let waited = self.count.changed.wait_timeout(received, NOW_AND_THEN);
            received = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        received.clone()
    }
}

impl Count {
    fn lock(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, frame: &mut Frame, manner: &Manner) {
        let kept = frame.kept.take();
        let delays = kept.iter().filter(|_| manner.reads_marks).flat_map(|kept| delays(kept));
        let delays: Vec<_> = delays.collect();
        let mut received = self.lock();
        received.events += frame.events;
        received.bytes += frame.bytes;
        received.last = Some(Instant::now());
        received.delays.extend(delays);
        received.entries.extend(kept.filter(|_| manner.keeps_entries));
        drop(received);
        self.changed.notify_all();
    }
}

fn listen_on_one(manner: &Manner, count: &Arc<Count>) -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let (manner, count) = (manner.clone(), Arc::clone(count));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (manner, count) = (manner.clone(), Arc::clone(&count));
            thread::spawn(move || {
                if let Err(error) = serve(stream, &count, &manner) {
                    count.lock().trouble = Some(error.to_string());
                }
            });
        }
    });
    Ok(port)
}

fn serve(stream: TcpStream, count: &Count, manner: &Manner) -> io::Result<()> {
    let Some(config) = &manner.tls else {
        return count_frames(stream, count, manner);
    };
    let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    // By itself rustls reads 4 KB at once.
    let stream = Buffered(BufReader::with_capacity(READ_BUFFER, stream));
    count_frames(StreamOwned::new(session, stream), count, manner)
}

fn count_frames<S: Read + Write>(stream: S, count: &Count, manner: &Manner) -> io::Result<()> {
    let mut frames = Frames {
        stream: BufReader::with_capacity(READ_BUFFER, stream),
        keeps: manner.reads_marks || manner.keeps_entries,
        kept: None,
    };
    loop {
        let mut frame = match frames.next() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::InvalidData => return Err(error),
            // An agent that was measured is killed, in the middle of whatever it does.
            Err(_) => return Ok(()),
        };
        count.add(&mut frame, manner);
        if let Some(chunk) = frame.chunk {
            acknowledge(frames.stream.get_mut(), &chunk)?;
        }
    }
}

fn acknowledge(stream: &mut impl Write, chunk: &[u8]) -> io::Result<()> {
    let length = u8::try_from(chunk.len()).map_err(|_| wrong("a chunk id of over 255 bytes"))?;
    let ack = [b"\x81\xa3ack\xd9".as_slice(), &[length], chunk].concat();
    match stream.write_all(&ack) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// A socket whose bytes are read in large pieces.
struct Buffered(BufReader<TcpStream>);

impl Read for Buffered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Buffered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Frame {
    events: u64,
    /// Bytes of its entries, where they come in one piece.
    bytes: u64,
    chunk: Option<Vec<u8>>,
    /// The bytes of its entries that were stepped over, if they are kept.
    kept: Option<Vec<u8>>,
}

/// The frames of one connection.
struct Frames<R> {
    stream: BufReader<R>,
    /// Whether entries are kept.
    keeps: bool,
    /// The entries of this frame, while they are stepped over and if they are kept.
    kept: Option<Vec<u8>>,
}

/// The part of a frame that holds the events.
struct Body {
    /// How many. `None`: only the option of PackedForward says.
    events: Option<u64>,
    bytes: u64,
    /// How many elements of the frame were read with it.
    elements: u64,
}

/// The beginning of a MessagePack value: of a number all of it, of anything else its header.
enum Head {
    Number(u64),
    /// Nil, a boolean, a negative integer, a float: read, and of no interest.
    Other,
    /// A str or a bin, of so many bytes.
    Bytes(u64),
    /// An extension, of so many bytes.
    Extension(u64),
    Array(u64),
    Map(u64),
}

impl<R: Read> Frames<R> {
    /// `None`: the connection ended between two frames.
    fn next(&mut self) -> io::Result<Option<Frame>> {
        if self.stream.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let Head::Array(elements @ 2..=4) = self.head()? else {
            return Err(wrong("a frame is an array of two to four"));
        };
        self.skip_value()?;
        self.kept = self.keeps.then(Vec::new);
        let body = self.body()?;
        let mut frame = Frame { bytes: body.bytes, kept: self.kept.take(), ..Frame::default() };
        if elements > body.elements {
            self.option(&mut frame)?;
        }
        frame.events = match body.events {
            None if frame.events == 0 => return Err(wrong("a packed frame without 'size'")),
            None => frame.events,
            Some(events) => events,
        };
        Ok(Some(frame))
    }

    /// What stands between tag and option.
    fn body(&mut self) -> io::Result<Body> {
        Ok(match self.head()? {
            Head::Array(entries) => {
                self.skip_values(entries)?;
                Body { events: Some(entries), bytes: 0, elements: 2 }
            }
            Head::Bytes(length) => {
                self.skip(length)?;
                Body { events: None, bytes: length, elements: 2 }
            }
            time => {
                self.skip_rest(&time)?;
                self.skip_value()?;
                Body { events: Some(1), bytes: 0, elements: 3 }
            }
        })
    }

    /// `size` and `chunk` of an option, which may be nil.
    fn option(&mut self, frame: &mut Frame) -> io::Result<()> {
        let pairs = match self.head()? {
            Head::Map(pairs) => pairs,
            Head::Other => 0,
            _ => return Err(wrong("an option is a map")),
        };
        for _ in 0..pairs {
            let key = self.text()?;
            match key.as_slice() {
                b"chunk" => frame.chunk = Some(self.text()?),
                b"size" => match self.head()? {
                    Head::Number(size) => frame.events = size,
                    _ => return Err(wrong("'size' is a number")),
                },
                _ => self.skip_value()?,
            }
        }
        Ok(())
    }

    fn text(&mut self) -> io::Result<Vec<u8>> {
        let Head::Bytes(length @ 0..1024) = self.head()? else {
            return Err(wrong("keys and chunk ids are short texts"));
        };
        let mut text = Vec::new();
        self.stream.by_ref().take(length).read_to_end(&mut text)?;
        Ok(text)
    }

    fn skip_value(&mut self) -> io::Result<()> {
        self.skip_values(1)
    }

    fn skip_values(&mut self, count: u64) -> io::Result<()> {
        let mut due = count;
        while due > 0 {
            due -= 1;
            let head = self.head()?;
            match head {
                Head::Array(values) => due += values,
                Head::Map(pairs) => due += 2 * pairs,
                _ => self.skip_rest(&head)?,
            }
        }
        Ok(())
    }

    fn skip_rest(&mut self, head: &Head) -> io::Result<()> {
        match *head {
            Head::Bytes(length) | Head::Extension(length) => self.skip(length),
            Head::Number(_) | Head::Other => Ok(()),
            Head::Array(_) | Head::Map(_) => Err(wrong("a time or entries are due")),
        }
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            let there = self.stream.fill_buf()?;
            let some = there.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if some == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Some(kept) = &mut self.kept {
                kept.extend_from_slice(&there[..some]);
            }
            self.stream.consume(some);
            left -= some as u64;
        }
        Ok(())
    }

    fn head(&mut self) -> io::Result<Head> {
        let marker = u8::try_from(self.number(1)?).unwrap_or_default();
        let low = |bits: u8| u64::from(marker & bits);
        Ok(match marker {
            0x00..=0x7f => Head::Number(low(0x7f)),
            0x80..=0x8f => Head::Map(low(0x0f)),
            0x90..=0x9f => Head::Array(low(0x0f)),
            0xa0..=0xbf => Head::Bytes(low(0x1f)),
            0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => Head::Other,
            0xc1 => return Err(wrong("0xc1 begins no value")),
            0xc4..=0xc6 => Head::Bytes(self.number(1 << (marker - 0xc4))?),
            0xc7..=0xc9 => Head::Extension(1 + self.number(1 << (marker - 0xc7))?),
            0xca => self.number(4).map(|_| Head::Other)?,
            0xcb => self.number(8).map(|_| Head::Other)?,
            0xcc..=0xcf => Head::Number(self.number(1 << (marker - 0xcc))?),
            0xd0..=0xd3 => self.number(1 << (marker - 0xd0)).map(|_| Head::Other)?,
            0xd4..=0xd8 => Head::Extension(1 + (1 << (marker - 0xd4))),
            0xd9..=0xdb => Head::Bytes(self.number(1 << (marker - 0xd9))?),
            0xdc | 0xdd => Head::Array(self.number(2 << (marker - 0xdc))?),
            0xde | 0xdf => Head::Map(self.number(2 << (marker - 0xde))?),
        })
    }

    /// An integer of `width` bytes, at most eight.
    fn number(&mut self, width: usize) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.stream.read_exact(&mut bytes[8 - width..])?;
        Ok(u64::from_be_bytes(bytes))
    }
}

/// How long the marked lines of these entries were on their way.
fn delays(entries: &[u8]) -> Vec<Duration> {
    let now = nanoseconds_now();
    let written = memmem::find_iter(entries, MARK).filter_map(|at| {
        let digits = entries[at + MARK.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        let text = digits.map(|byte| char::from(*byte)).collect::<String>();
        text.parse::<u128>().ok()
    });
    let delays = written.map(|then| {
        Duration::from_nanos(u64::try_from(now.saturating_sub(then)).unwrap_or(u64::MAX))
    });
    delays.collect()
}

/// Nanoseconds since 1970.
pub(crate) fn nanoseconds_now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("not a frame: {what}"))
}
