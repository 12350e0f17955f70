//! Training allocates and frees the same large buffers at every step, and the first touch of a fresh page costs more than
//! the arithmetic on it: with freed memory given back after ten milliseconds, the allocator's default, a step of the full
//! AlexNet takes a quarter longer.

use libmimalloc_sys::{mi_collect, mi_option_set, mi_option_t};

/// `mi_option_purge_delay` in mimalloc.h, which the bindings leave out.
const PURGE_DELAY: mi_option_t = 15;
/// A week, in milliseconds. Never, −1, would also hold what [`release`] asks for.
const LONG: std::ffi::c_long = 7 * 24 * 3_600_000;

/// Gives freed memory back to the system all the same, so that what is used from now on can be told. Only of effect where
/// mimalloc is the global allocator.
pub fn release() {
    // Each thread of the pool keeps what it has freed itself.
    rayon::broadcast(|_| collect());
    collect();
}

fn collect() {
    // SAFETY: takes no pointer, and may be called at any time.
    unsafe { mi_collect(true) }
}

/// Keeps freed memory with the process. Only of effect where mimalloc is the global allocator.
pub fn retain() {
    // SAFETY: sets one number in mimalloc's table of options, which the library allows at any time.
    unsafe { mi_option_set(PURGE_DELAY, LONG) }
}
