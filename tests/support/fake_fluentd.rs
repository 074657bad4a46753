//! A forward receiver that can be told to misbehave.
//!
//! In:  connections of the sender under test
//! Out: what it sent, for the test to look at
//!
//! It has its own small MessagePack reader, so that our encoder cannot agree with itself, threads
//! and no runtime. It is strict: a chunk that is not as the protocol wants it from us (see
//! [`FakeFluentd::accepts_any_sender`]) fails the test at its next question, or at its end.
//!
//! ```text
//! let fluentd = FakeFluentd::start().never_acknowledges();
//! // … start the agent with fluentd.port() …
//! fluentd.wait_for_records(2, Duration::from_secs(5));
//! fluentd.behaves();
//! ```

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha512};

use super::ReservedPort;

/// One event as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub tag: String,
    pub seconds: u32,
    pub nanos: u32,
    /// Bytes that are not UTF-8 have become U+FFFD; a number of 64 bits is exact.
    pub record: Json,
}

/// A chunk as it arrived, of records that are a number each.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub at: Instant,
    /// Which of all connections since the start.
    pub connection: usize,
    pub tag: String,
    pub numbers: Vec<u64>,
}

/// The receiver. Stops when it is dropped.
pub struct FakeFluentd {
    shared: Arc<Shared>,
    port: ReservedPort,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Told about every change of the state.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    behaviour: Behaviour,
    events: Vec<Event>,
    /// With `keeps_only_sequence`: the numbers of each tag, in the order they arrived.
    sequences: BTreeMap<String, Vec<u64>>,
    record_count: u64,
    /// With `keeps_only_sequence`.
    arrivals: Vec<Arrival>,
    chunk_ids: Vec<String>,
    chunks_refused: usize,
    connections: usize,
    /// Open connections, to be cut by a stop. A closed one leaves `None`.
    open: Vec<Option<Stream>>,
    door: Door,
    /// Who shook hands: the name and the user.
    guests: Vec<(String, String)>,
    /// The options of the frames.
    options: Vec<Json>,
    /// Connections that the sender closed as it should: inside TLS, with its last word.
    closed_well: usize,
    /// What the sender did wrong.
    faults: Vec<String>,
    /// The port is open.
    listens: bool,
    stopped: bool,
}

/// What it wants of a connection before it takes frames. `behaves` leaves it alone.
#[derive(Clone, Default)]
struct Door {
    tls: Option<Arc<ServerConfig>>,
    shared_key: Option<String>,
    users: Vec<(String, String)>,
    name: Option<String>,
    denies_keepalive: bool,
    pong: Pong,
}

/// How it answers a right PING.
#[derive(Clone, Copy, Default, PartialEq)]
enum Pong {
    #[default]
    Well,
    WithWrongDigest,
    NotAtAll,
    ByClosing,
}

/// How it treats senders; by default, well.
#[derive(Clone, Default)]
struct Behaviour {
    never_acknowledges: bool,
    acknowledges_another_chunk: bool,
    answers_with_an_empty_map: bool,
    splits_acks: bool,
    stalls_reading: bool,
    greets_with_helo: bool,
    acks_late: Option<Duration>,
    hangs_up_after: Option<usize>,
    hangs_up_instead_of_acks: usize,
    resets_in_mid_frame: usize,
    acknowledges_twice: bool,
    refuses_chunks_with: Option<Vec<u8>>,
    // What it looks at; `behaves` leaves these alone.
    accepts_any_sender: bool,
    only_sequence: Option<String>,
}

impl FakeFluentd {
    /// Listens on a port of the loopback that the system chooses.
    pub fn start() -> Self {
        Self::start_on(0)
    }

    /// Listens on this port of the loopback. To come back after a stop, [`FakeFluentd::restart`]
    /// is safer: a dropped one's port may meanwhile be somebody else's.
    pub fn start_on(port: u16) -> Self {
        Self::start_with(ReservedPort::new(port))
    }

    /// Listens on an address of the loopback.
    pub fn start_at(address: Ipv4Addr, port: u16) -> Self {
        Self::start_with(ReservedPort::at(address, port))
    }

    fn start_with(port: ReservedPort) -> Self {
        let shared = Arc::new(Shared::default());
        accept_on(port.listen(), Arc::clone(&shared));
        Self { shared, port }
    }

    /// Listens on a Unix socket beside its port.
    pub fn listens_at(self, path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serve(Stream::Unix(stream), &shared);
            }
        });
        self
    }

    // ---- What it wants of connections. Holds for those that come from now on.

    /// Speaks TLS.
    pub fn speaks_tls(self, config: Arc<ServerConfig>) -> Self {
        self.opens(|door| door.tls = Some(config))
    }

    /// Wants a shared key.
    pub fn demands_key(self, key: &str) -> Self {
        self.opens(|door| door.shared_key = Some(key.to_owned()))
    }

    /// Wants one of these users, beside a shared key.
    pub fn demands_user(self, name: &str, password: &str) -> Self {
        self.opens(|door| door.users.push((name.to_owned(), password.to_owned())))
    }

    /// Calls itself so in its PONG.
    pub fn calls_itself(self, name: &str) -> Self {
        self.opens(|door| door.name = Some(name.to_owned()))
    }

    /// Says `keepalive: false`, and closes each connection after one acknowledged frame.
    pub fn denies_keepalive(self) -> Self {
        self.opens(|door| door.denies_keepalive = true).hangs_up_after(1)
    }

    /// Answers a right PING with a digest that proves nothing.
    pub fn does_not_know_the_key(self) -> Self {
        self.opens(|door| door.pong = Pong::WithWrongDigest)
    }

    /// Never answers a PING.
    pub fn never_answers_ping(self) -> Self {
        self.opens(|door| door.pong = Pong::NotAtAll)
    }

    /// Closes the connection instead of answering a PING, as Fluent Bit does.
    pub fn closes_instead_of_pong(self) -> Self {
        self.opens(|door| door.pong = Pong::ByClosing)
    }

    fn opens(self, change: impl FnOnce(&mut Door)) -> Self {
        change(&mut self.shared.lock().door);
        self
    }

    /// Who shook hands so far: names and users.
    pub fn guests(&self) -> Vec<(String, String)> {
        self.ask(|state| state.guests.clone())
    }

    /// The options of the frames that have arrived.
    pub fn options(&self) -> Vec<Json> {
        self.ask(|state| state.options.clone())
    }

    /// How many connections the sender has closed as it should.
    pub fn closed_well(&self) -> usize {
        self.ask(|state| state.closed_well)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.address().port()
    }

    /// Refuses: closes its port and cuts every connection. What arrived can still be asked for.
    pub fn stop(&self) {
        let mut state = self.shared.lock();
        if state.stopped {
            return;
        }
        state.stopped = true;
        for stream in state.open.iter_mut().filter_map(Option::take) {
            stream.shutdown().ok();
        }
        self.shared.changed.notify_all();
        // Wakes the thread that accepts: it closes the port and says so.
        drop(TcpStream::connect(self.port.address()));
        while state.listens {
            let changed = self.shared.changed.wait(state);
            state = changed.unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// Listens again on the same port after [`FakeFluentd::stop`], and remembers what it had.
    pub fn restart(&self) {
        accept_on(self.port.listen(), Arc::clone(&self.shared));
    }

    // ---- How it misbehaves. Each can be said at the start or at any time later.

    /// Takes every chunk and answers nothing.
    pub fn never_acknowledges(self) -> Self {
        self.with(|behaviour| behaviour.never_acknowledges = true)
    }

    /// Answers with an id that nobody sent.
    pub fn acknowledges_another_chunk(self) -> Self {
        self.with(|behaviour| behaviour.acknowledges_another_chunk = true)
    }

    /// Answers `{}`, as Vector does when it could not deliver.
    pub fn answers_with_an_empty_map(self) -> Self {
        self.with(|behaviour| behaviour.answers_with_an_empty_map = true)
    }

    /// Writes each ack in as many pieces as it has bytes.
    pub fn splits_acks(self) -> Self {
        self.with(|behaviour| behaviour.splits_acks = true)
    }

    /// Accepts connections and does not read from them.
    pub fn stalls_reading(self) -> Self {
        self.with(|behaviour| behaviour.stalls_reading = true)
    }

    /// Says HELO to each connection, as a server that wants a shared key.
    pub fn greets_with_helo(self) -> Self {
        self.with(|behaviour| behaviour.greets_with_helo = true)
    }

    /// Waits so long before each ack; reads nothing from that connection meanwhile.
    pub fn acks_late(self, wait: Duration) -> Self {
        self.with(|behaviour| behaviour.acks_late = Some(wait))
    }

    /// Closes each connection after it has acknowledged so many chunks of it.
    pub fn hangs_up_after(self, chunks: usize) -> Self {
        self.with(|behaviour| behaviour.hangs_up_after = Some(chunks))
    }

    /// So many times in all: takes a chunk, keeps its records and closes the connection without
    /// an ack. The same chunk must come again.
    pub fn hangs_up_instead_of_acks(self, times: usize) -> Self {
        self.with(|behaviour| behaviour.hangs_up_instead_of_acks = times)
    }

    /// So many times in all: reads the beginning of a frame and resets the connection.
    pub fn resets_in_mid_frame(self, times: usize) -> Self {
        self.with(|behaviour| behaviour.resets_in_mid_frame = times)
    }

    /// Writes each ack twice.
    pub fn acknowledges_twice(self) -> Self {
        self.with(|behaviour| behaviour.acknowledges_twice = true)
    }

    /// Closes the connection on a chunk whose entries contain `text`, and keeps nothing of it.
    pub fn refuses_chunks_with(self, text: &str) -> Self {
        self.with(|behaviour| behaviour.refuses_chunks_with = Some(text.into()))
    }

    /// Treats everybody well from now on, those that wait for it included.
    pub fn behaves(&self) {
        let mut state = self.shared.lock();
        state.behaviour = Behaviour {
            accepts_any_sender: state.behaviour.accepts_any_sender,
            only_sequence: state.behaviour.only_sequence.take(),
            ..Behaviour::default()
        };
        drop(state);
        self.shared.changed.notify_all();
    }

    // ---- What it looks at.

    /// Takes every carrier mode, metadata, heartbeats, frames without entries or `size` and ids of
    /// any form: for other senders than ours, which always writes PackedForward in a bin, `size`
    /// and a base64 id of 24 characters.
    pub fn accepts_any_sender(self) -> Self {
        self.with(|behaviour| behaviour.accepts_any_sender = true)
    }

    /// Keeps of each record only this integer, by tag, and no events: cheap enough for millions.
    pub fn keeps_only_sequence(self, field: &str) -> Self {
        self.with(|behaviour| behaviour.only_sequence = Some(field.to_owned()))
    }

    // ---- What arrived. Repeats of a chunk are in all of it.

    /// Waits until so many records have arrived, and returns all that have (none of them with
    /// [`FakeFluentd::keeps_only_sequence`]).
    pub fn wait_for_records(&self, count: u64, within: Duration) -> Vec<Event> {
        self.wait_until(&format!("{count} records"), within, |state| {
            (state.record_count >= count).then(|| state.events.clone())
        })
    }

    /// Waits until so many chunks have arrived, and returns their ids.
    pub fn wait_for_chunks(&self, count: usize, within: Duration) -> Vec<String> {
        self.wait_until(&format!("{count} chunks"), within, |state| {
            (state.chunk_ids.len() >= count).then(|| state.chunk_ids.clone())
        })
    }

    /// Waits until so many connections have been accepted since the start.
    pub fn wait_for_connections(&self, count: usize, within: Duration) {
        self.wait_until(&format!("{count} connections"), within, |state| {
            (state.connections >= count).then_some(())
        });
    }

    /// Waits until so many chunks have been refused by [`FakeFluentd::refuses_chunks_with`].
    pub fn wait_for_refused_chunks(&self, count: usize, within: Duration) {
        self.wait_until(&format!("{count} refused chunks"), within, |state| {
            (state.chunks_refused >= count).then_some(())
        });
    }

    /// The events that have arrived.
    pub fn events(&self) -> Vec<Event> {
        self.ask(|state| state.events.clone())
    }

    /// The events that have arrived, but for the first so many.
    pub fn events_after(&self, seen: usize) -> Vec<Event> {
        self.ask(|state| state.events[seen..].to_vec())
    }

    /// How many records have arrived.
    pub fn record_count(&self) -> u64 {
        self.ask(|state| state.record_count)
    }

    /// With [`FakeFluentd::keeps_only_sequence`]: the numbers of each tag as they arrived.
    pub fn sequences(&self) -> BTreeMap<String, Vec<u64>> {
        self.ask(|state| state.sequences.clone())
    }

    /// With [`FakeFluentd::keeps_only_sequence`]: the chunks in order.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.ask(|state| state.arrivals.clone())
    }

    /// The ids of the chunks that have arrived, in order.
    pub fn chunk_ids(&self) -> Vec<String> {
        self.ask(|state| state.chunk_ids.clone())
    }

    /// How many connections were accepted since the start.
    pub fn connections(&self) -> usize {
        self.ask(|state| state.connections)
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.ask(|state| state.open.iter().flatten().count())
    }

    /// What the sender did wrong so far. Asking takes it away: the test has seen it.
    pub fn take_faults(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().faults)
    }

    /// Waits until every connection has ended, and returns what the senders did wrong.
    pub fn faults_of_those_who_left(&self, within: Duration) -> Vec<String> {
        let has_ended = |state: &State| state.open.iter().flatten().next().is_none();
        self.shared.wait("the end of all connections", within, |s| has_ended(s).then_some(()));
        self.take_faults()
    }

    fn with(self, change: impl FnOnce(&mut Behaviour)) -> Self {
        change(&mut self.shared.lock().behaviour);
        self.shared.changed.notify_all();
        self
    }

    fn ask<T>(&self, answer: impl FnOnce(&State) -> T) -> T {
        let state = self.shared.lock();
        state.complain();
        answer(&state)
    }

    fn wait_until<T>(
        &self,
        what: &str,
        within: Duration,
        mut done: impl FnMut(&State) -> Option<T>,
    ) -> T {
        self.shared.wait(what, within, |state| {
            state.complain();
            done(state)
        })
    }
}

impl Drop for FakeFluentd {
    fn drop(&mut self) {
        self.stop();
        if !thread::panicking() {
            self.shared.lock().complain();
        }
    }
}

impl State {
    fn complain(&self) {
        assert!(self.faults.is_empty(), "the sender broke the protocol: {:#?}", self.faults);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits for an answer of `done`, which is asked at every change.
    fn wait<T>(
        &self,
        what: &str,
        within: Duration,
        mut done: impl FnMut(&State) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + within;
        let mut state = self.lock();
        loop {
            if let Some(answer) = done(&state) {
                return answer;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let State { record_count, connections, ref chunk_ids, .. } = *state;
                let chunks = chunk_ids.len();
                drop(state);
                panic!(
                    "waited {within:?} for {what}; there are {record_count} records, \
                     {chunks} chunks, {connections} connections"
                );
            }
            (state, _) = self.changed.wait_timeout(state, left).unwrap();
        }
    }
}

fn accept_on(listener: TcpListener, shared: Arc<Shared>) {
    let mut state = shared.lock();
    (state.listens, state.stopped) = (true, false);
    drop(state);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            if shared.lock().stopped {
                break;
            }
            stream.set_nodelay(true).ok();
            serve(Stream::Tcp(stream), &shared);
        }
        drop(listener);
        shared.lock().listens = false;
        shared.changed.notify_all();
    });
}

fn serve(stream: Stream, shared: &Arc<Shared>) {
    let mut state = shared.lock();
    state.connections += 1;
    let number = state.open.len();
    state.open.push(stream.try_clone().ok());
    let door = state.door.clone();
    drop(state);
    shared.changed.notify_all();
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let Ok(talk) = talk_over(&stream, &door) else {
            return;
        };
        let incoming = BufReader::with_capacity(64 << 10, talk);
        Connection { number, incoming, stream, door, shared, acked: 0 }.serve();
    });
}

/// The connection as bytes: inside TLS, if that is spoken.
fn talk_over(stream: &Stream, door: &Door) -> io::Result<Box<dyn Talk>> {
    let stream = stream.try_clone()?;
    Ok(match &door.tls {
        None => Box::new(stream),
        Some(config) => {
            let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
            Box::new(StreamOwned::new(session, stream))
        }
    })
}

trait Talk: Read + Write {}

impl<T: Read + Write> Talk for T {}

/// A connected socket.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }

    fn shutdown(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes),
            Self::Unix(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Connection {
    number: usize,
    incoming: BufReader<Box<dyn Talk>>,
    stream: Stream,
    door: Door,
    shared: Arc<Shared>,
    acked: usize,
}

/// Why a connection is closed from this side.
enum Close {
    /// The sender has closed it, or a stop has.
    Over,
    /// As it was told.
    AsTold,
    /// As it was told, without a word.
    Reset,
    /// The sender broke the protocol.
    Fault(String),
}

impl From<io::Error> for Close {
    fn from(_: io::Error) -> Self {
        Self::Over
    }
}

impl Connection {
    fn serve(mut self) {
        let end = self.shake_hands().and_then(|()| self.take_chunks());
        // Inside TLS, an end without its last word is an error.
        let closed_well =
            matches!(end, Err(Close::Over)) && matches!(self.incoming.read(&mut [0]), Ok(0));
        let is_reset = matches!(end, Err(Close::Reset));
        let mut state = self.shared.lock();
        if let Some(open) = state.open.get_mut(self.number) {
            *open = None;
        }
        if let Err(Close::Fault(fault)) = end {
            state.faults.push(fault);
        }
        state.closed_well += usize::from(closed_well);
        drop(state);
        if !is_reset {
            self.stream.shutdown().ok();
        }
        self.shared.changed.notify_all();
    }

    fn take_chunks(&mut self) -> Result<(), Close> {
        if self.behaviour().greets_with_helo {
            self.say(HELO)?;
        }
        loop {
            self.wait_while_stalling()?;
            self.reset_in_mid_frame()?;
            let frame = match Value::read(&mut self.incoming) {
                Ok(frame) => frame,
                Err(error) if is_bad_value(&error) => {
                    return Err(Close::Fault(error.to_string()));
                }
                Err(_) => return Err(Close::Over),
            };
            if frame == Value::Nil && self.behaviour().accepts_any_sender {
                continue;
            }
            // Said while the frame was on its way, it counts already.
            self.wait_while_stalling()?;
            let behaviour = self.behaviour();
            let chunk = Chunk::of(frame, &behaviour).map_err(Close::Fault)?;
            self.keep(chunk, &behaviour)?;
        }
    }

    fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        let talk = self.incoming.get_mut();
        talk.write_all(bytes)?;
        talk.flush()
    }

    /// Greets, checks the PING and answers it, by the specification and with no code of ours.
    fn shake_hands(&mut self) -> Result<(), Close> {
        let Some(key) = self.door.shared_key.clone() else {
            return Ok(());
        };
        let mut helo = HELO.to_vec();
        if self.door.denies_keepalive {
            *helo.last_mut().unwrap() = 0xc2;
        }
        self.say(&helo)?;
        let Value::Array(ping) = Value::read(&mut self.incoming)? else {
            return Err(Close::Fault("a PING is an array".to_owned()));
        };
        let texts: Vec<&[u8]> = ping.iter().map(Value::text).collect();
        let [b"PING", name, salt, digest, user, password_digest] = texts[..] else {
            return Err(Close::Fault(format!("a PING is {ping:?}")));
        };
        if salt.len() != 32 || ping.iter().any(|part| !matches!(part, Value::Str(_))) {
            return Err(Close::Fault(
                "what every server takes is 32 characters in a str".to_owned(),
            ));
        }
        let server = self.door.name.clone().unwrap_or_else(|| "fake.fluentd".to_owned());
        let nonce = &HELO[15..31];
        let auth = &HELO[38..54];
        let password = self.door.users.iter().find(|(known, _)| known.as_bytes() == user);
        let refusal = if hex_digest(&[salt, name, nonce, key.as_bytes()]) != digest {
            Some("shared_key mismatch")
        } else if !self.door.users.is_empty()
            && password.is_none_or(|(_, password)| {
                hex_digest(&[auth, user, password.as_bytes()]) != password_digest
            })
        {
            Some("username/password mismatch")
        } else {
            None
        };
        let mut pong = b"\x95\xa4PONG".to_vec();
        if let Some(refusal) = refusal {
            pong.push(0xc2);
            for text in [refusal, "", ""] {
                Value::Str(text.into()).write(&mut pong);
            }
            self.say(&pong)?;
            return Err(Close::AsTold);
        }
        match self.door.pong {
            Pong::NotAtAll => {
                self.incoming.read_exact(&mut [0])?;
                return Err(Close::Fault("something came before the PONG".to_owned()));
            }
            Pong::ByClosing => return Err(Close::AsTold),
            Pong::Well | Pong::WithWrongDigest => {}
        }
        let mut proof = hex_digest(&[salt, server.as_bytes(), nonce, key.as_bytes()]);
        if self.door.pong == Pong::WithWrongDigest {
            proof.rotate_left(1);
        }
        pong.push(0xc3);
        Value::Str(Vec::new()).write(&mut pong);
        Value::Str(server.into()).write(&mut pong);
        Value::Str(proof).write(&mut pong);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.shared.lock().guests.push((text(name), text(user)));
        self.shared.changed.notify_all();
        // In pieces: a message may come in any.
        for piece in pong.chunks(50) {
            self.say(piece)?;
        }
        Ok(())
    }

    fn reset_in_mid_frame(&mut self) -> Result<(), Close> {
        if self.behaviour().resets_in_mid_frame == 0 {
            return Ok(());
        }
        take::<8>(&mut self.incoming)?;
        self.shared.lock().behaviour.resets_in_mid_frame -= 1;
        // With no time to linger, closing with bytes unread is a reset.
        if let Stream::Tcp(stream) = &self.stream {
            socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
        }
        Err(Close::Reset)
    }

    fn keep(&mut self, chunk: Chunk, behaviour: &Behaviour) -> Result<(), Close> {
        let Chunk { contents, id, option } = chunk;
        let mut state = self.shared.lock();
        state.options.push(option);
        match contents {
            Contents::Refused => {
                state.chunks_refused += 1;
                drop(state);
                self.shared.changed.notify_all();
                return Err(Close::AsTold);
            }
            Contents::Events(events) => {
                state.record_count += events.len() as u64;
                state.events.extend(events);
            }
            Contents::Sequence(tag, numbers) => {
                state.record_count += numbers.len() as u64;
                state.arrivals.push(Arrival {
                    at: Instant::now(),
                    connection: self.number,
                    tag: tag.clone(),
                    numbers: numbers.clone(),
                });
                state.sequences.entry(tag).or_default().extend(numbers);
            }
        }
        if let Some(id) = &id {
            state.chunk_ids.push(String::from_utf8_lossy(id.text()).into_owned());
        }
        let hangs_up = state.behaviour.hangs_up_instead_of_acks > 0;
        if hangs_up {
            state.behaviour.hangs_up_instead_of_acks -= 1;
        }
        drop(state);
        self.shared.changed.notify_all();
        if hangs_up {
            return Err(Close::AsTold);
        }
        match id {
            Some(id) => self.answer(&id, behaviour),
            None => Ok(()),
        }
    }

    fn answer(&mut self, id: &Value, behaviour: &Behaviour) -> Result<(), Close> {
        if behaviour.never_acknowledges {
            return Ok(());
        }
        if let Some(wait) = behaviour.acks_late {
            self.wait_or_stop(wait)?;
        }
        let mut ack = b"\x81\xa3ack".to_vec();
        if behaviour.answers_with_an_empty_map {
            ack = vec![0x80];
        } else if behaviour.acknowledges_another_chunk {
            ack.extend_from_slice(b"\xb8bm90IHRoZSBjaHVuayBzZW50");
        } else {
            id.write(&mut ack);
        }
        if behaviour.acknowledges_twice {
            ack = ack.repeat(2);
        }
        let pieces = if behaviour.splits_acks { 1 } else { ack.len() };
        for piece in ack.chunks(pieces) {
            self.say(piece)?;
        }
        self.acked += 1;
        match behaviour.hangs_up_after {
            Some(chunks) if self.acked >= chunks => Err(Close::AsTold),
            _ => Ok(()),
        }
    }

    fn behaviour(&self) -> Behaviour {
        self.shared.lock().behaviour.clone()
    }

    fn wait_while_stalling(&self) -> Result<(), Close> {
        let mut state = self.shared.lock();
        while state.behaviour.stalls_reading && !state.stopped {
            state = self.shared.changed.wait(state).unwrap();
        }
        if state.stopped { Err(Close::Over) } else { Ok(()) }
    }

    fn wait_or_stop(&self, wait: Duration) -> Result<(), Close> {
        let state = self.shared.lock();
        let (state, _) =
            self.shared.changed.wait_timeout_while(state, wait, |state| !state.stopped).unwrap();
        if state.stopped { Err(Close::Over) } else { Ok(()) }
    }
}

/// Not so: a handshake of TLS that failed.
fn is_bad_value(error: &io::Error) -> bool {
    let is_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    error.kind() == io::ErrorKind::InvalidData && !is_tls
}

/// `["HELO", {"nonce": 16 bytes, "auth": 16 bytes, "keepalive": true}]`, as Fluentd writes it.
const HELO: &[u8] = b"\x92\xa4HELO\x83\xa5nonce\xc4\x10\xde\xad\xbe\xef\0\x01\x02\x03\xfc\xfd\xfe\xff\x10\x20\x30\x40\
\xa4auth\xc4\x10\xca\xfe\xba\xbe\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xa9keepalive\xc3";

/// A frame, looked at.
struct Chunk {
    contents: Contents,
    /// As it was written: a str or a bin.
    id: Option<Value>,
    /// All of it.
    option: Json,
}

enum Contents {
    Events(Vec<Event>),
    /// The tag, and a number of each record.
    Sequence(String, Vec<u64>),
    /// Holds what must not be taken.
    Refused,
}

impl Chunk {
    fn of(frame: Value, behaviour: &Behaviour) -> Result<Self, String> {
        let Value::Array(elements) = frame else {
            return Err(format!("a frame is an array, not {frame:?}"));
        };
        let mut elements = elements.into_iter();
        let tag = match elements.next() {
            Some(Value::Str(tag)) => {
                String::from_utf8(tag).map_err(|_| "the tag is not UTF-8".to_owned())?
            }
            other => return Err(format!("the tag is {other:?}")),
        };
        let second = elements.next().ok_or("a frame of one element")?;
        let message = match second {
            Value::Int(_) | Value::Ext(..) => Some(elements.next().ok_or("no record")?),
            _ => None,
        };
        let option = elements.next();
        let shown = option.as_ref().map_or(Json::Null, Value::json);
        let option = match option {
            Some(Value::Map(pairs)) => ChunkOption::of(&pairs)?,
            None | Some(Value::Nil) => ChunkOption::default(),
            Some(other) => return Err(format!("the option is {other:?}")),
        };
        if !behaviour.accepts_any_sender {
            option.is_ours(&second)?;
        }
        let (contents, count) = match message {
            Some(record) => {
                let entry = Value::Array(vec![second, record]);
                let event = Event::of(&tag, &entry, behaviour.accepts_any_sender)?;
                (Contents::Events(event.into_iter().collect()), 1)
            }
            None => Self::contents_of(tag, second, &option, behaviour)?,
        };
        if count == 0 && !behaviour.accepts_any_sender && !matches!(contents, Contents::Refused) {
            return Err("a frame without entries, which Fluent Bit closes on".to_owned());
        }
        match option.size {
            Some(size) if size != count && !matches!(contents, Contents::Refused) => {
                Err(format!("size says {size}, and there are {count} entries"))
            }
            _ => Ok(Self { contents, id: option.chunk, option: shown }),
        }
    }

    /// The contents of entries, and how many there are.
    fn contents_of(
        tag: String,
        entries: Value,
        option: &ChunkOption,
        behaviour: &Behaviour,
    ) -> Result<(Contents, u64), String> {
        let stream = match entries {
            Value::Array(entries) => {
                return Self::events_of(&tag, entries.into_iter().map(Ok), behaviour);
            }
            Value::Str(stream) | Value::Bin(stream) => option.inflate(stream)?,
            other => return Err(format!("the entries are {other:?}")),
        };
        if let Some(text) = &behaviour.refuses_chunks_with
            && stream.windows(text.len()).any(|window| window == text)
        {
            return Ok((Contents::Refused, 0));
        }
        if let Some(field) = &behaviour.only_sequence {
            let numbers = sequence_of(&stream, field)?;
            let count = numbers.len() as u64;
            return Ok((Contents::Sequence(tag, numbers), count));
        }
        let mut rest = stream.as_slice();
        let entries = std::iter::from_fn(|| {
            (!rest.is_empty())
                .then(|| Value::read(&mut rest).map_err(|error| format!("an entry: {error}")))
        });
        Self::events_of(&tag, entries, behaviour)
    }

    fn events_of(
        tag: &str,
        entries: impl Iterator<Item = Result<Value, String>>,
        behaviour: &Behaviour,
    ) -> Result<(Contents, u64), String> {
        let mut events = Vec::new();
        for entry in entries {
            events.extend(Event::of(tag, &entry?, behaviour.accepts_any_sender)?);
        }
        let count = events.len() as u64;
        Ok((Contents::Events(events), count))
    }
}

impl Event {
    /// `None` for a group marker of Fluent Bit.
    fn of(tag: &str, entry: &Value, may_have_metadata: bool) -> Result<Option<Self>, String> {
        let (time, record) = match entry {
            Value::Array(pair) if pair.len() == 2 => (&pair[0], &pair[1]),
            other => return Err(format!("an entry is {other:?}")),
        };
        let time = match time {
            // Fluentd up to 1.19.3 acknowledges it and throws it away.
            Value::Array(pair) if pair.len() == 2 && may_have_metadata => &pair[0],
            time => time,
        };
        let (seconds, nanos) = match time {
            Value::Ext(0, bytes) if bytes.len() == 8 => (
                u32::from_be_bytes(bytes[..4].try_into().unwrap()),
                u32::from_be_bytes(bytes[4..].try_into().unwrap()),
            ),
            Value::Int(seconds) => {
                (u32::try_from(*seconds).map_err(|_| format!("a time of {seconds}"))?, 0)
            }
            other => return Err(format!("a time is {other:?}")),
        };
        if nanos >= 1_000_000_000 {
            return Err(format!("a time has {nanos} nanoseconds"));
        }
        if seconds >= 0xffff_fffe {
            return Ok(None);
        }
        if !matches!(record, Value::Map(_)) {
            return Err(format!("a record is {record:?}"));
        }
        Ok(Some(Self { tag: tag.to_owned(), seconds, nanos, record: record.json() }))
    }
}

#[derive(Default)]
struct ChunkOption {
    size: Option<u64>,
    chunk: Option<Value>,
    compressed: Option<Vec<u8>>,
}

impl ChunkOption {
    fn of(pairs: &[(Value, Value)]) -> Result<Self, String> {
        let mut option = Self::default();
        for (key, value) in pairs {
            match (key.text(), value) {
                (b"size", Value::Int(size)) => option.size = u64::try_from(*size).ok(),
                (b"chunk", id @ (Value::Str(_) | Value::Bin(_))) => option.chunk = Some(id.clone()),
                (b"compressed", Value::Str(name)) => option.compressed = Some(name.clone()),
                (name @ (b"size" | b"chunk" | b"compressed"), value) => {
                    return Err(format!("option {} is {value:?}", name.escape_ascii()));
                }
                _ => {}
            }
        }
        Ok(option)
    }

    fn inflate(&self, stream: Vec<u8>) -> Result<Vec<u8>, String> {
        match self.compressed.as_deref() {
            None | Some(b"text") => Ok(stream),
            Some(b"gzip") => {
                let mut inflated = Vec::new();
                flate2::read::MultiGzDecoder::new(stream.as_slice())
                    .read_to_end(&mut inflated)
                    .map_err(|error| format!("gzip: {error}"))?;
                Ok(inflated)
            }
            Some(b"zstd") => {
                zstd::decode_all(stream.as_slice()).map_err(|error| format!("zstd: {error}"))
            }
            Some(other) => Err(format!("compressed with {}", other.escape_ascii())),
        }
    }

    /// Whether the frame has the form our sender gives it.
    fn is_ours(&self, entries: &Value) -> Result<(), String> {
        if !matches!(entries, Value::Bin(_)) {
            return Err("the entries are not in a bin".to_owned());
        }
        if self.size.is_none() {
            return Err("the option has no size".to_owned());
        }
        let Some(id) = &self.chunk else {
            return Ok(());
        };
        let Value::Str(text) = id else {
            return Err(format!("the chunk id is {id:?}"));
        };
        match STANDARD.decode(text) {
            Ok(bytes) if bytes.len() == 16 && text.len() == 24 => Ok(()),
            _ => Err(format!("the chunk id '{}' is not base64 of 16 bytes", text.escape_ascii())),
        }
    }
}

/// SHA-512 of parts one after another, in hexadecimal characters.
fn hex_digest(parts: &[&[u8]]) -> Vec<u8> {
    let digest = Sha512::digest(parts.concat());
    digest.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

/// A MessagePack value, read from a stream as it comes.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Nil,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Vec<u8>),
    Bin(Vec<u8>),
    Ext(i8, Vec<u8>),
    Array(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

impl Value {
    fn read(from: &mut impl Read) -> io::Result<Self> {
        let [marker] = take(from)?;
        Ok(match marker {
            0x00..=0x7f => Self::Int(marker.into()),
            0x80..=0x8f => Self::read_map(from, u32::from(marker & 15))?,
            0x90..=0x9f => Self::read_array(from, u32::from(marker & 15))?,
            0xa0..=0xbf => Self::Str(take_vec(from, u32::from(marker & 31))?),
            0xc0 => Self::Nil,
            0xc1 => return Err(io::Error::new(io::ErrorKind::InvalidData, "the byte c1")),
            0xc2 | 0xc3 => Self::Bool(marker == 0xc3),
            0xc4..=0xc6 => {
                let length = take_length(from, marker - 0xc4)?;
                Self::Bin(take_vec(from, length)?)
            }
            0xc7..=0xc9 => {
                let length = take_length(from, marker - 0xc7)?;
                Self::read_ext(from, length)?
            }
            0xca => Self::Float(f32::from_be_bytes(take(from)?).into()),
            0xcb => Self::Float(f64::from_be_bytes(take(from)?)),
            0xcc => Self::Int(u8::from_be_bytes(take(from)?).into()),
            0xcd => Self::Int(u16::from_be_bytes(take(from)?).into()),
            0xce => Self::Int(u32::from_be_bytes(take(from)?).into()),
            0xcf => Self::Int(u64::from_be_bytes(take(from)?).into()),
            0xd0 => Self::Int(i8::from_be_bytes(take(from)?).into()),
            0xd1 => Self::Int(i16::from_be_bytes(take(from)?).into()),
            0xd2 => Self::Int(i32::from_be_bytes(take(from)?).into()),
            0xd3 => Self::Int(i64::from_be_bytes(take(from)?).into()),
            0xd4..=0xd8 => Self::read_ext(from, 1 << (marker - 0xd4))?,
            0xd9..=0xdb => {
                let length = take_length(from, marker - 0xd9)?;
                Self::Str(take_vec(from, length)?)
            }
            0xdc | 0xdd => {
                let length = take_length(from, marker - 0xdc + 1)?;
                Self::read_array(from, length)?
            }
            0xde | 0xdf => {
                let length = take_length(from, marker - 0xde + 1)?;
                Self::read_map(from, length)?
            }
            0xe0..=0xff => Self::Int(i8::from_be_bytes([marker]).into()),
        })
    }

    fn read_array(from: &mut impl Read, length: u32) -> io::Result<Self> {
        (0..length).map(|_| Self::read(from)).collect::<io::Result<_>>().map(Self::Array)
    }

    fn read_map(from: &mut impl Read, length: u32) -> io::Result<Self> {
        let pair = |_| Ok((Self::read(from)?, Self::read(from)?));
        (0..length).map(pair).collect::<io::Result<_>>().map(Self::Map)
    }

    fn read_ext(from: &mut impl Read, length: u32) -> io::Result<Self> {
        let [kind] = take(from)?;
        Ok(Self::Ext(i8::from_be_bytes([kind]), take_vec(from, length)?))
    }

    /// The bytes of a str or bin; none of anything else.
    fn text(&self) -> &[u8] {
        match self {
            Self::Str(text) | Self::Bin(text) => text,
            _ => &[],
        }
    }

    /// Writes a str or bin back: for acks.
    fn write(&self, out: &mut Vec<u8>) {
        let (text, marker) = match self {
            Self::Str(text) => (text, 0xd9),
            Self::Bin(bytes) => (bytes, 0xc4),
            _ => unreachable!("only ids are written"),
        };
        match u8::try_from(text.len()) {
            Ok(length @ 0..=31) if marker == 0xd9 => out.push(0xa0 | length),
            Ok(length) => out.extend_from_slice(&[marker, length]),
            Err(_) => {
                let length = u16::try_from(text.len()).unwrap();
                out.push(marker + 1);
                out.extend_from_slice(&length.to_be_bytes());
            }
        }
        out.extend_from_slice(text);
    }

    fn json(&self) -> Json {
        match self {
            Self::Nil => Json::Null,
            Self::Bool(value) => Json::from(*value),
            Self::Int(value) => match u64::try_from(*value) {
                Ok(value) => Json::from(value),
                Err(_) => Json::from(i64::try_from(*value).expect("it was read from 64 bits")),
            },
            Self::Float(value) => Json::from(*value),
            Self::Str(text) | Self::Bin(text) => Json::from(String::from_utf8_lossy(text)),
            Self::Ext(kind, bytes) => serde_json::json!({"ext": kind, "bytes": bytes}),
            Self::Array(values) => values.iter().map(Self::json).collect(),
            Self::Map(pairs) => pairs
                .iter()
                .map(|(key, value)| (key.key(), value.json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    fn key(&self) -> String {
        match self {
            Self::Str(text) | Self::Bin(text) => String::from_utf8_lossy(text).into_owned(),
            other => other.json().to_string(),
        }
    }
}

fn take<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A length of 1, 2 or 4 bytes.
fn take_length(from: &mut impl Read, width: u8) -> io::Result<u32> {
    Ok(match width {
        0 => u8::from_be_bytes(take(from)?).into(),
        1 => u16::from_be_bytes(take(from)?).into(),
        _ => u32::from_be_bytes(take(from)?),
    })
}

fn take_vec(from: &mut impl Read, length: u32) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(length.into()).read_to_end(&mut bytes)?;
    if bytes.len() < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// The number that `field` has in each record of a stream of `[time, record]`. Builds no values.
fn sequence_of(stream: &[u8], field: &str) -> Result<Vec<u64>, String> {
    let mut numbers = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let entry = rest;
        let [0x92, 0xd7, 0x00, ..] = *entry else {
            return Err(format!("an entry begins with {:02x?}", &entry[..entry.len().min(3)]));
        };
        rest = entry.get(11..).ok_or("a time that is cut off")?;
        let pairs = match *rest {
            [first @ 0x80..=0x8f, ..] => {
                rest = &rest[1..];
                u32::from(first & 15)
            }
            [0xde, a, b, ..] => {
                rest = &rest[3..];
                u32::from(u16::from_be_bytes([a, b]))
            }
            _ => return Err("a record is no map".to_owned()),
        };
        let mut number = None;
        for _ in 0..pairs {
            let key = pass(&mut rest).ok_or("a key that is cut off")?;
            if key.ends_with(field.as_bytes()) && key.len() == field.len() + 1 {
                let mut value = pass(&mut rest).ok_or("a value that is cut off")?;
                number = match Value::read(&mut value) {
                    Ok(Value::Int(number)) => u64::try_from(number).ok(),
                    _ => None,
                };
            } else {
                pass(&mut rest).ok_or("a value that is cut off")?;
            }
        }
        numbers.push(number.ok_or_else(|| format!("a record without an integer '{field}'"))?);
    }
    Ok(numbers)
}

/// Passes over one value and returns its bytes.
fn pass<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let from = *rest;
    let mut due = 1_u64;
    let mut at = 0_usize;
    while due > 0 {
        due -= 1;
        let marker = *from.get(at)?;
        let number = |width: usize| {
            let bytes = from.get(at + 1..at + 1 + width)?;
            Some(bytes.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte)))
        };
        let (header, payload, values) = match marker {
            0x80..=0x8f => (1, 0, 2 * usize::from(marker & 15)),
            0x90..=0x9f => (1, 0, usize::from(marker & 15)),
            0xa0..=0xbf => (1, usize::from(marker & 31), 0),
            0xc4 | 0xd9 => (2, number(1)?, 0),
            0xc5 | 0xda => (3, number(2)?, 0),
            0xc6 | 0xdb => (5, number(4)?, 0),
            0xc7 => (3, number(1)?, 0),
            0xc8 => (4, number(2)?, 0),
            0xc9 => (6, number(4)?, 0),
            0xcc | 0xd0 => (2, 0, 0),
            0xcd | 0xd1 => (3, 0, 0),
            0xca | 0xce | 0xd2 => (5, 0, 0),
            0xcb | 0xcf | 0xd3 => (9, 0, 0),
            0xd4..=0xd8 => (2, 1 << (marker - 0xd4), 0),
            0xdc => (3, 0, number(2)?),
            0xdd => (5, 0, number(4)?),
            0xde => (3, 0, 2 * number(2)?),
            0xdf => (5, 0, 2 * number(4)?),
            _ => (1, 0, 0),
        };
        at += header + payload;
        due += values as u64;
    }
    let value = from.get(..at)?;
    *rest = &from[at..];
    Some(value)
}
