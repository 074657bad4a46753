//! The one place where ingest waits, and how others wake it.
//!
//! In:  descriptors with notices, a wake-up from another thread, a deadline
//! Out: which of them it was

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::tail::Watch;

/// Wakes ingest from any thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Ring>);

#[derive(Debug)]
struct Ring {
    bell: UnixStream,
    /// Rung and not yet heard: ringing again would be a system call for nothing.
    is_rung: AtomicBool,
}

/// Ingest's end of it.
#[derive(Debug)]
pub struct Sleeper {
    bell: UnixStream,
    ring: Arc<Ring>,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// There are notices about names.
    pub by_names: bool,
    /// There are notices about data.
    pub by_data: bool,
}

/// A waker, and the sleeper it wakes.
pub fn waker() -> io::Result<(Waker, Sleeper)> {
    let (far, near) = UnixStream::pair()?;
    far.set_nonblocking(true)?;
    near.set_nonblocking(true)?;
    let ring = Arc::new(Ring { bell: far, is_rung: AtomicBool::new(false) });
    Ok((Waker(Arc::clone(&ring)), Sleeper { bell: near, ring }))
}

impl Waker {
    /// Ends the wait that goes on, or the next one.
    pub fn wake(&self) {
        if !self.0.is_rung.swap(true, Ordering::SeqCst) {
            // It can only fail when it is full, and then it has been rung.
            (&self.0.bell).write_all(&[1]).ok();
        }
    }
}

impl Sleeper {
    /// Waits until one of the descriptors has something, it is woken, or `timeout` is over.
    /// Data notices are waited on only if `with_data`.
    pub fn wait(
        &self,
        watch: Option<&Watch>,
        with_data: bool,
        timeout: Option<Duration>,
    ) -> io::Result<Woken> {
        let mut descriptors = vec![PollFd::from_borrowed_fd(self.bell.as_fd(), PollFlags::IN)];
        if let Some(watch) = watch {
            descriptors.push(PollFd::from_borrowed_fd(watch.names_fd(), PollFlags::IN));
            if with_data {
                descriptors.push(PollFd::from_borrowed_fd(watch.data_fd(), PollFlags::IN));
            }
        }
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(&mut descriptors, timeout.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Woken::default()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let has = |index: usize| {
            descriptors.get(index).is_some_and(|descriptor| !descriptor.revents().is_empty())
        };
        if has(0) {
            self.hear_bell();
        }
        Ok(Woken { by_names: has(1), by_data: has(2) })
    }

    fn hear_bell(&self) {
        let mut strokes = [0; 64];
        while (&self.bell).read(&mut strokes).is_ok_and(|count| count > 0) {}
        // After the reading: the other way round a stroke between the two would be read with the
        // rest, and the bell would count as rung for ever. Who rings before this line is heard
        // all the same, because whatever they have for us is looked at after it.
        self.ring.is_rung.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_wait_ends_when_another_thread_wakes_it() {
        let (waker, sleeper) = waker().unwrap();
        let other = thread::spawn(move || waker.wake());
        let start = Instant::now();
        sleeper.wait(None, false, Some(Duration::from_secs(20))).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10));
        other.join().unwrap();
    }

    #[test]
    fn no_wake_is_lost_however_closely_it_meets_the_hearing_of_another() {
        const WAKES: u64 = 100_000;
        let (waker, sleeper) = waker().unwrap();
        let done = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&done);
        let other = thread::spawn(move || {
            for _ in 0..WAKES {
                count.fetch_add(1, Ordering::SeqCst);
                waker.wake();
            }
        });
        let start = Instant::now();
        while done.load(Ordering::SeqCst) < WAKES {
            sleeper.wait(None, false, Some(Duration::from_secs(20))).unwrap();
            assert!(start.elapsed() < Duration::from_secs(15), "a wake was lost");
        }
        other.join().unwrap();
    }

    #[test]
    fn a_wake_before_the_wait_is_not_forgotten_and_is_heard_once() {
        let (waker, sleeper) = waker().unwrap();
        waker.wake();
        waker.wake();
        let start = Instant::now();
        sleeper.wait(None, false, Some(Duration::from_secs(20))).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10));
        sleeper.wait(None, false, Some(Duration::from_millis(30))).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(30), "nobody has rung since");
    }
}
