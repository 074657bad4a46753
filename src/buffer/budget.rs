//! Memory as a value that somebody owns.
//!
//! In:  requests for bytes, asked before anything is read
//! Out: a [`Reservation`], or nothing; room comes back when a reservation is dropped
//!
//! Nobody waits here. Whoever got nothing goes back to its loop and is told when memory was freed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What is called when memory was freed that somebody had asked for in vain.
pub type OnRoom = Arc<dyn Fn() + Send + Sync>;

/// The memory limit of one input, in bytes.
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    limit: usize,
    used: AtomicUsize,
    /// Somebody asked in vain since memory was last freed.
    wanted: AtomicBool,
    on_room: OnRoom,
}

impl Budget {
    /// A budget of `limit` bytes. `on_room` is called from the thread that frees memory.
    pub fn new(limit: usize, on_room: OnRoom) -> Self {
        Self(Arc::new(Shared {
            limit,
            used: AtomicUsize::new(0),
            wanted: AtomicBool::new(false),
            on_room,
        }))
    }

    /// Takes `size` bytes if they are free.
    ///
    /// When nothing at all is taken, any size is granted: a record larger than the limit passes
    /// alone, because refusing it would stop its file for good.
    pub fn try_reserve(&self, size: usize) -> Option<Reservation> {
        if let Some(reservation) = self.take(size) {
            return Some(reservation);
        }
        self.0.wanted.store(true, Ordering::SeqCst);
        // Memory may have been freed between the first look and the wish; nobody would tell us.
        self.take(size)
    }

    /// A reservation of no bytes, for whoever pays as he goes.
    pub fn nothing(&self) -> Reservation {
        Reservation { budget: self.clone(), size: 0 }
    }

    fn take(&self, size: usize) -> Option<Reservation> {
        let grant = |used: usize| {
            (used == 0 || used.saturating_add(size) <= self.0.limit).then(|| used + size)
        };
        self.0.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, grant).ok()?;
        Some(Reservation { budget: self.clone(), size })
    }

    /// Bytes taken at the moment.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::SeqCst)
    }

    /// The limit in bytes.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    fn free(&self, size: usize) {
        if size == 0 {
            return;
        }
        self.0.used.fetch_sub(size, Ordering::SeqCst);
        if self.0.wanted.swap(false, Ordering::SeqCst) {
            (self.0.on_room)();
        }
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Budget({} of {})", self.used(), self.limit())
    }
}

/// Bytes of a budget. They return when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    size: usize,
}

impl Reservation {
    /// How many bytes it holds.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Takes `size` further bytes of the same budget, if they are free.
    pub fn try_more(&self, size: usize) -> Option<Self> {
        self.budget.try_reserve(size)
    }

    /// Hands over `size` of its bytes, if it has that many.
    pub fn split(&mut self, size: usize) -> Option<Self> {
        self.size = self.size.checked_sub(size)?;
        Some(Self { budget: self.budget.clone(), size })
    }

    /// Takes the bytes of another reservation of the same budget.
    pub fn absorb(&mut self, mut other: Self) {
        self.size += std::mem::take(&mut other.size);
    }

    /// Gives back what it holds above `size`.
    pub fn shrink_to(&mut self, size: usize) {
        let surplus = self.size.saturating_sub(size);
        self.size -= surplus;
        self.budget.free(surplus);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.free(self.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(limit: usize) -> (Budget, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&calls);
        let on_room = Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        (Budget::new(limit, on_room), calls)
    }

    #[test]
    fn a_reservation_gives_its_bytes_back_when_it_is_dropped() {
        let (budget, _) = budget(100);
        let first = budget.try_reserve(60).unwrap();
        assert!(budget.try_reserve(41).is_none());
        drop(first);
        assert_eq!(budget.used(), 0);
        assert!(budget.try_reserve(100).is_some());
    }

    #[test]
    fn whoever_holds_nothing_is_granted_any_size() {
        let (budget, _) = budget(100);
        let large = budget.try_reserve(5_000).unwrap();
        assert!(budget.try_reserve(1).is_none());
        drop(large);
        assert!(budget.try_reserve(1).is_some());
    }

    #[test]
    fn a_split_moves_bytes_and_adds_none() {
        let (budget, _) = budget(100);
        let mut whole = budget.try_reserve(80).unwrap();
        let part = whole.split(30).unwrap();
        assert!(whole.split(51).is_none());
        assert_eq!((whole.size(), part.size(), budget.used()), (50, 30, 80));
        whole.absorb(part);
        assert_eq!((whole.size(), budget.used()), (80, 80));
        whole.shrink_to(10);
        assert_eq!(budget.used(), 10);
    }

    #[test]
    fn freeing_tells_only_those_who_asked_in_vain_and_only_once() {
        let (budget, calls) = budget(100);
        let first = budget.try_reserve(60).unwrap();
        let second = budget.try_reserve(40).unwrap();
        assert!(budget.try_reserve(1).is_none());
        drop(first);
        drop(second);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        drop(budget.try_reserve(10));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }
}
