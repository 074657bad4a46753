//! Buffers that came back and wait to be used again, so that a busy agent allocates nothing.

/// Free buffers, smallest first. What they take is not part of the budget, so the pool is only
/// kept as large as what the budget has free.
#[derive(Debug, Default)]
pub struct Pool {
    free: Vec<Vec<u8>>,
    held: usize,
}

impl Pool {
    /// An empty buffer of at least `capacity` bytes, and of at most twice as many.
    ///
    /// `room` is what may be held beside the new buffer: the pool shrinks to it.
    pub fn take(&mut self, capacity: usize, room: usize) -> Vec<u8> {
        let at = self.free.partition_point(|buffer| buffer.capacity() < capacity);
        if let Some(buffer) = self.free.get(at)
            && buffer.capacity() <= capacity.saturating_mul(2)
        {
            self.held -= buffer.capacity();
            return self.free.remove(at);
        }
        self.shrink_to(room);
        Vec::with_capacity(capacity)
    }

    /// Takes a buffer back, unless the pool would then hold more than `room` bytes.
    pub fn give(&mut self, mut buffer: Vec<u8>, room: usize) {
        if buffer.capacity() == 0 || self.held + buffer.capacity() > room {
            return;
        }
        buffer.clear();
        self.held += buffer.capacity();
        let at = self.free.partition_point(|other| other.capacity() < buffer.capacity());
        self.free.insert(at, buffer);
    }

    /// Gives memory back to the system until at most `room` bytes are held, smallest first: they
    /// are what a chunk left behind as it grew, and had again for little.
    pub fn shrink_to(&mut self, room: usize) {
        let mut count = 0;
        while self.held > room
            && let Some(buffer) = self.free.get(count)
        {
            self.held -= buffer.capacity();
            count += 1;
        }
        self.free.drain(..count);
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_it_fits_and_is_not_far_too_large() {
        let mut pool = Pool::default();
        pool.give(Vec::with_capacity(4096), 1 << 20);
        pool.give(Vec::with_capacity(65_536), 1 << 20);
        assert_eq!(pool.held(), 69_632);
        assert_eq!(pool.take(4000, 1 << 20).capacity(), 4096);
        assert_eq!(pool.take(4000, 1 << 20).capacity(), 4000, "64 KiB would be wasted on it");
        assert_eq!(pool.take(65_536, 1 << 20).capacity(), 65_536);
        assert_eq!(pool.held(), 0);
    }

    #[test]
    fn the_pool_never_holds_more_than_there_is_room() {
        let mut pool = Pool::default();
        pool.give(Vec::with_capacity(1000), 1500);
        pool.give(Vec::with_capacity(1000), 1500);
        assert_eq!(pool.held(), 1000);
        pool.shrink_to(999);
        assert_eq!(pool.held(), 0);
    }

    #[test]
    fn the_small_buffers_go_first() {
        let mut pool = Pool::default();
        for capacity in [4000, 64_000, 8000] {
            pool.give(Vec::with_capacity(capacity), 1 << 20);
        }
        pool.shrink_to(70_000);
        assert_eq!(pool.held(), 64_000);
        assert_eq!(pool.take(64_000, 0).capacity(), 64_000);
    }
}
