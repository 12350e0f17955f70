//! Allocator settings. Training allocates and frees the same large buffers at every step, and page faults on fresh
//! memory cost more than the arithmetic. With mimalloc's default of returning freed memory after 10 ms, a step of the
//! full AlexNet takes 25 % longer.

use libmimalloc_sys::{mi_collect, mi_option_set, mi_option_t};

/// `mi_option_purge_delay` in mimalloc.h; the bindings lack it.
const PURGE_DELAY: mi_option_t = 15;
/// One week, in milliseconds. −1 (never) would also disable [`release`].
const ONE_WEEK_MS: std::ffi::c_long = 7 * 24 * 3_600_000;

/// Returns freed memory to the system, so that later memory use can be measured. No effect unless mimalloc is the
/// global allocator.
pub fn release() {
    // Each pool thread holds its own freed memory.
    rayon::broadcast(|_| collect());
    collect();
}

fn collect() {
    // SAFETY: takes no pointer and may be called at any time.
    unsafe { mi_collect(true) }
}

/// Retains freed memory in the process. No effect unless mimalloc is the global allocator.
pub fn retain() {
    // SAFETY: sets one number in mimalloc's option table, which the library allows at any time.
    unsafe { mi_option_set(PURGE_DELAY, ONE_WEEK_MS) }
}
