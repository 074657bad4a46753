//! A client for tests that see how we write.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Has said everything already, and remembers each write by itself.
#[derive(Default)]
pub(super) struct Recorder {
    says: Vec<u8>,
    writes: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Recorder {
    pub(super) fn saying(bytes: Vec<u8>) -> Self {
        Self { says: bytes, writes: Rc::default() }
    }

    /// What has been written, and will be.
    pub(super) fn writes(&self) -> Rc<RefCell<Vec<Vec<u8>>>> {
        Rc::clone(&self.writes)
    }
}

impl AsyncRead for Recorder {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = buffer.remaining().min(self.says.len());
        buffer.put_slice(&self.says.drain(..count).collect::<Vec<_>>());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.borrow_mut().push(bytes.to_vec());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
