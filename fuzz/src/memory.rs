//! Counts memory.
//!
//! In:  some work, and the most it may hold
//! Out: what the work gave, or a panic
//!
//! Every allocation of Rust counts, of any length and of any crate; growing counts old and new
//! together. What zstd allocates in C does not: `ZSTD_WINDOW_LOG` bounds it.

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Does `work`, which may hold at most `most` bytes at any time beside those that were there.
/// Nothing else may run meanwhile.
pub fn within<T>(most: usize, work: impl FnOnce() -> T) -> T {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let done = work();
    let held = ALLOCATOR.peak_usage().saturating_sub(before);
    assert!(held <= most, "{held} bytes of memory were held at once, and {most} may be");
    done
}
