//! The memory of one `forward` input, and who may have how much of it.
//!
//! In:  `Mem_Buf_Limit`; connections that want to read a frame
//! Out: an [`Admitted`] for each frame, which gives its bytes back when it is dropped
//!
//! ```text
//! limit ─┬─ 1/2   bodies: frames that are too large for the buffer of their connection
//!        ├─ 1/16  frames that fit into it, and what is remembered of all until they are settled
//!        ├─ 1/8   the buffers of connections, which bounds their number
//!        └─ rest  chunks
//! ```
//!
//! The parts are apart so that nobody waits for memory that only he could free: a body that was
//! begun is paid for to its end, and chunks go on leaving however many frames wait.
//!
//! Inflating zstd takes a window, as large as the sender wished and as far as there is something to
//! put into it. There is one, which goes from frame to frame. A frame that puts much into it keeps it
//! until its events were taken.

use std::cell::Cell;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::protocol::inflate::Decoders;

/// What remembering a frame costs until it is settled, in bytes.
const REMEMBERED: usize = 512;

/// The room for one read, in bytes, and what a frame must be larger than to count as a body.
const LARGEST_BUFFER: usize = 8 << 10;
const SMALLEST_BUFFER: usize = 512;

/// How many connections there may be, at least and at most.
const FEWEST_CONNECTIONS: usize = 8;
const MOST_CONNECTIONS: usize = 512;

/// How a limit is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portions {
    /// For frames that are too large for the buffer of their connection.
    pub bodies: usize,
    /// For all others, and for what is remembered of frames.
    pub small: usize,
    /// The buffer of a connection.
    pub buffer: usize,
    /// How many connections there may be.
    pub connections: usize,
    /// For chunks.
    pub chunks: usize,
}

impl Portions {
    /// Divides a limit, in bytes.
    pub fn of(limit: usize) -> Self {
        let buffer = (limit / 512).clamp(SMALLEST_BUFFER, LARGEST_BUFFER);
        let connections = (limit / 8 / buffer).clamp(FEWEST_CONNECTIONS, MOST_CONNECTIONS);
        let (bodies, small) = (limit / 2, (limit / 16).max(buffer + REMEMBERED));
        let chunks = limit.saturating_sub(bodies + small + connections * buffer).max(limit / 8);
        Self { bodies, small, buffer, connections, chunks }
    }
}

/// See the head of this file. Requests are granted in the order they come.
pub(super) struct Intake {
    bodies: Arc<Semaphore>,
    small: Arc<Semaphore>,
    decoders: Decoders,
    may_use_window: Arc<Semaphore>,
    /// How many wait for a body.
    waiting: Cell<usize>,
}

/// What a frame has of the limit.
#[derive(Debug)]
pub struct Admitted {
    bytes: Option<OwnedSemaphorePermit>,
    has_window: Option<OwnedSemaphorePermit>,
    /// Until it is settled.
    _remembered: Option<OwnedSemaphorePermit>,
}

impl Intake {
    pub(super) fn new(portions: Portions) -> Self {
        let semaphore = |bytes: usize| Arc::new(Semaphore::new(permits(bytes) as usize));
        Self {
            bodies: semaphore(portions.bodies),
            small: semaphore(portions.small),
            decoders: Decoders::default(),
            may_use_window: semaphore(1),
            waiting: Cell::new(0),
        }
    }

    /// Room for a frame that is in the buffer of its connection.
    pub(super) async fn admit_small(&self, length: usize) -> Admitted {
        let mut all = take(&self.small, length + REMEMBERED).await;
        Admitted { bytes: all.split(length), has_window: None, _remembered: Some(all) }
    }

    /// Room for a body of at most `length` bytes.
    pub(super) async fn admit_body(&self, length: usize) -> Admitted {
        // In this order: what is remembered is freed by acknowledgements, which no body waits for.
        let remembered = take(&self.small, REMEMBERED).await;
        self.waiting.set(self.waiting.get() + 1);
        let waits = Waits(&self.waiting);
        let bytes = take(&self.bodies, length).await;
        drop(waits);
        Admitted { bytes: Some(bytes), has_window: None, _remembered: Some(remembered) }
    }

    /// What frames are inflated with.
    pub(super) fn decoders(&self) -> &Decoders {
        &self.decoders
    }

    /// Waits for the window, which goes to whoever has waited longest. Ingest, which gives it back,
    /// waits for nothing that a frame holds.
    pub(super) async fn lend_window(&self, to: &mut Admitted) {
        to.has_window = Some(take(&self.may_use_window, 1).await);
    }

    /// Whether some frame waits until a body is done.
    pub(super) fn is_waited_for(&self) -> bool {
        self.waiting.get() > 0
    }
}

/// Counts one who waits, also when he gives up.
struct Waits<'a>(&'a Cell<usize>);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Admitted {
    /// For receivers without a limit of their own.
    pub(super) fn free() -> Self {
        Self { bytes: None, has_window: None, _remembered: None }
    }

    /// Gives back what it has above `length` bytes.
    pub(super) fn shrink_to(&mut self, length: usize) {
        if let Some(bytes) = &mut self.bytes {
            drop(bytes.split(bytes.num_permits().saturating_sub(length)));
        }
    }

    /// The window is not needed any more, or for so little that it does not matter.
    pub(super) fn give_back_window(&mut self) {
        self.has_window = None;
    }

    /// Neither the frame itself nor what it was inflated with is held any more.
    pub fn give_back_bytes(&mut self) {
        self.bytes = None;
        self.has_window = None;
    }
}

async fn take(from: &Arc<Semaphore>, bytes: usize) -> OwnedSemaphorePermit {
    let taken = Arc::clone(from).acquire_many_owned(permits(bytes)).await;
    taken.expect("nobody closes the semaphore")
}

/// Four gigabytes of frames are as good as any more.
fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_portions_are_the_limit_and_no_more() {
        for limit in [1_000_000, 5_000_000, 16_000_000, 500_000_000] {
            let portions = Portions::of(limit);
            let Portions { bodies, small, buffer, connections, chunks } = portions;
            assert!(bodies + small + buffer * connections + chunks <= limit, "{portions:?}");
            assert!(chunks >= limit / 4, "{portions:?}");
            assert!(connections >= 60, "{portions:?}");
        }
        let tiny = Portions::of(50_000);
        assert_eq!((tiny.bodies, tiny.connections, tiny.buffer), (25_000, 12, 512));
        assert!(tiny.chunks > 10_000, "{tiny:?}");
    }

    #[tokio::test]
    async fn a_body_waits_until_there_is_room_for_all_of_it_and_later_ones_wait_behind_it() {
        let portions = Portions::of(1_000_000);
        let intake = Intake::new(portions);
        let mut first = intake.admit_body(portions.bodies).await;
        let mut second = Box::pin(intake.admit_body(300_000));
        let mut third = Box::pin(intake.admit_body(1));
        assert!(futures_are_pending(&mut second).await);
        assert!(futures_are_pending(&mut third).await);
        assert!(intake.is_waited_for());
        first.shrink_to(300_000);
        assert!(futures_are_pending(&mut second).await, "200,000 bytes are free");
        assert!(futures_are_pending(&mut third).await, "it came later");
        first.give_back_bytes();
        drop(second.await);
        drop(third.await);
        assert!(!intake.is_waited_for());
        drop(intake.admit_small(portions.buffer).await);
    }

    async fn futures_are_pending<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|context| {
            let is_pending = std::pin::Pin::new(&mut *future).poll(context).is_pending();
            std::task::Poll::Ready(is_pending)
        })
        .await
    }
}
