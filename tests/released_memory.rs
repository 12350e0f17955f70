//! What is freed stays with the process until it is asked to give it back. Alone in its file, since the allocator and the
//! peak are the process's.

mod skipping;

use hueristic::train::{heap, manifest};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Megabytes that are held now.
fn held() -> Option<u64> {
    manifest::reset_peak_memory();
    manifest::peak_memory().map(|bytes| bytes >> 20)
}

#[test]
fn freed_memory_is_kept_until_it_is_released() {
    heap::retain();
    let Some(before) = held() else {
        return skipping::skipped("no peak of memory", "this system does not tell it");
    };
    drop((0..128).map(|_| vec![1u8; 1 << 20]).collect::<Vec<_>>());
    let kept = held().expect("told before");
    assert!(kept > before + 100, "{before} MB became {kept}");
    heap::release();
    let released = held().expect("told before");
    assert!(released + 100 < kept, "{kept} MB became {released}");
}
