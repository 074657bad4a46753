//! `log-ambassador receive` inside the test, printing into memory.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use log_ambassador::cli::receive::{ReceiveError, receive};
use log_ambassador::listen::{Limits, Server};
use serde_json::Value as Json;
use tokio::sync::oneshot;

/// A running `receive`. Stops when it is dropped.
pub struct Receiver {
    port: u16,
    out: Printed,
    log: Printed,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ReceiveError>>>,
}

impl Receiver {
    /// Listens on a port that the system chooses.
    pub fn start() -> Self {
        Self::start_with(Limits::default(), Printed::default())
    }

    /// The same, with other limits and somewhere to print.
    pub fn start_with(limits: Limits, out: Printed) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (bound, port) = std::sync::mpsc::channel();
        let print_to = out.clone();
        let log = Printed::default();
        let log_to = log.clone();
        let thread = thread::spawn(move || {
            let subscriber = tracing_subscriber::fmt()
                .with_ansi(false)
                .without_time()
                .with_writer(move || log_to.clone())
                .finish();
            let _guard = tracing::subscriber::set_default(subscriber);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let server = Server::bind("127.0.0.1:0").await.unwrap().with_limits(limits);
                bound.send(server.local_addr().unwrap().port()).unwrap();
                receive(server, print_to, async { stopped.await.unwrap_or(()) }).await
            })
        });
        Self { port: port.recv().unwrap(), out, log, stop: Some(stop), thread: Some(thread) }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits until so many lines are printed, and returns all that are.
    pub fn wait_for_lines(&self, count: usize, within: Duration) -> Vec<String> {
        let lines = self
            .out
            .wait(within, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count() >= count);
        lines.lines().map(str::to_owned).collect()
    }

    /// The same lines, read as JSON.
    pub fn wait_for_events(&self, count: usize, within: Duration) -> Vec<Json> {
        let lines = self.wait_for_lines(count, within);
        lines.iter().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// Waits for a line of its own log, and takes away all of them.
    pub fn wait_for_log(&self, within: Duration) -> String {
        self.log.wait(within, |bytes| bytes.contains(&b'\n'));
        self.log.take()
    }

    /// What is printed by now, taken away.
    pub fn take_printed(&self) -> String {
        self.out.take()
    }

    /// Stops it as a signal does.
    pub fn stop(mut self) -> Result<(), ReceiveError> {
        self.end().expect("it runs until it is stopped")
    }

    /// Waits for it to end by itself.
    pub fn join(mut self) -> Result<(), ReceiveError> {
        self.thread.take().unwrap().join().expect("it does not panic")
    }

    fn end(&mut self) -> Option<Result<(), ReceiveError>> {
        drop(self.stop.take());
        self.thread.take().map(|thread| thread.join().expect("it does not panic"))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.end();
        }
    }
}

/// Memory to print into, in place of stdout.
#[derive(Clone, Default)]
pub struct Printed(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    blocks: bool,
    /// Somebody waits to write.
    is_full: bool,
    closed: bool,
}

impl Printed {
    /// Takes nothing until [`Printed::opens`], as a pipe that nobody reads.
    pub fn blocked() -> Self {
        let printed = Self::default();
        printed.0.0.lock().unwrap().blocks = true;
        printed
    }

    /// Waits until somebody wants to write and cannot.
    pub fn wait_until_full(&self, within: Duration) {
        let (state, changed) = &*self.0;
        let state = state.lock().unwrap();
        let (state, _) = changed.wait_timeout_while(state, within, |state| !state.is_full).unwrap();
        assert!(state.is_full, "waited {within:?} for somebody to write");
    }

    /// Takes everything from now on.
    pub fn opens(&self) {
        self.0.0.lock().unwrap().blocks = false;
        self.0.1.notify_all();
    }

    /// Takes nothing any more, as a pipe whose reader has gone.
    pub fn closes(&self) {
        self.0.0.lock().unwrap().closed = true;
        self.0.1.notify_all();
    }

    fn wait(&self, within: Duration, done: impl Fn(&[u8]) -> bool) -> String {
        let deadline = Instant::now() + within;
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        while !done(&state.bytes) {
            let left = deadline.saturating_duration_since(Instant::now());
            let text = String::from_utf8_lossy(&state.bytes);
            assert!(!left.is_zero(), "waited {within:?}; there is\n{text}");
            (state, _) = changed.wait_timeout(state, left).unwrap();
        }
        String::from_utf8(state.bytes.clone()).expect("JSON is UTF-8")
    }

    fn take(&self) -> String {
        let bytes = std::mem::take(&mut self.0.0.lock().unwrap().bytes);
        String::from_utf8(bytes).expect("JSON is UTF-8")
    }
}

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        if state.blocks {
            state.is_full = true;
            changed.notify_all();
            state = changed.wait_while(state, |state| state.blocks && !state.closed).unwrap();
        }
        if state.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        state.bytes.extend_from_slice(bytes);
        changed.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
