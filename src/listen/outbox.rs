//! The acknowledgements of one connection, on their way to its client.
//!
//! In:  acknowledgements, whenever a frame is settled
//! Out: each in one write, in the order they came

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long a client may take no byte of an acknowledgement.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many may wait before nothing more is read from the client.
const MANY: usize = 256;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: RefCell<VecDeque<Vec<u8>>>,
    /// How many more will be put in.
    awaited: Cell<usize>,
    /// A frame was given up: its client must learn it, and there is no word for it but a close.
    is_broken: Cell<bool>,
    /// Nothing more is read from the client: once it has what it waits for, that was all.
    is_ending: Cell<bool>,
    /// The connection has ended.
    is_closed: Cell<bool>,
    changed: Notify,
    room: Notify,
}

impl Outbox {
    pub(super) fn put(&self, ack: Vec<u8>) {
        self.waiting.borrow_mut().push_back(ack);
        self.changed.notify_one();
    }

    pub(super) fn await_one(&self) {
        self.awaited.set(self.awaited.get() + 1);
    }

    /// One that was awaited: its acknowledgement, or that there is none.
    pub(super) fn settle_one(&self, ack: Option<Vec<u8>>) {
        self.awaited.set(self.awaited.get() - 1);
        match ack {
            Some(ack) => self.waiting.borrow_mut().push_back(ack),
            None => self.is_broken.set(true),
        }
        self.changed.notify_one();
    }

    pub(super) fn awaited(&self) -> usize {
        self.awaited.get()
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.get()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// Lets the writing end once nothing is awaited any more.
    pub(super) fn end(&self) {
        self.is_ending.set(true);
        self.changed.notify_one();
    }

    pub(super) fn close(&self) {
        self.is_closed.set(true);
    }

    pub(super) fn take(&self) -> Option<Vec<u8>> {
        let ack = self.waiting.borrow_mut().pop_front();
        self.room.notify_one();
        ack
    }

    /// Returns once few enough wait. A client that does not take its acknowledgements sends no more.
    pub(super) async fn has_room(&self) {
        while self.waiting.borrow().len() >= MANY {
            self.room.notified().await;
        }
    }

    /// Writes what comes, until a frame was given up, or everything awaited is out and
    /// [`Outbox::end`] was called.
    pub(super) async fn write_to(&self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        loop {
            while let Some(ack) = self.take() {
                // One write: Fluentd and Fluent Bit fail on an ack that arrives in two pieces.
                let write = async {
                    writer.write_all(&ack).await?;
                    writer.flush().await
                };
                timeout(PATIENCE, write).await.map_err(|_| {
                    io::Error::new(io::ErrorKind::TimedOut, "it takes no acknowledgement")
                })??;
            }
            if self.is_broken() {
                return Ok(());
            }
            if self.is_ending.get() && self.awaited() == 0 {
                return writer.shutdown().await;
            }
            self.changed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::recorder::Recorder;

    #[tokio::test]
    async fn each_acknowledgement_is_one_write() {
        let mut client = Recorder::default();
        let outbox = Outbox::default();
        let acks = [b"\x81\xa3ack\xa1A".to_vec(), b"\x81\xa3ack\xa1B".to_vec()];
        acks.iter().for_each(|ack| outbox.put(ack.clone()));
        outbox.end();
        outbox.write_to(&mut client).await.unwrap();
        assert_eq!(*client.writes().borrow(), acks);
    }
}
