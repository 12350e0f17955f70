//! An allocator that ends the process on a request above a limit: what a small file must not be able to ask for.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    process,
    sync::atomic::{AtomicUsize, Ordering},
};

static MOST: AtomicUsize = AtomicUsize::new(usize::MAX);

pub fn limit(bytes: usize) {
    MOST.store(bytes, Ordering::Relaxed);
}

struct Limited;

#[global_allocator]
static ALLOCATOR: Limited = Limited;

fn check(bytes: usize) {
    let most = MOST.load(Ordering::Relaxed);
    if bytes > most {
        // Once: the message and the backtrace need memory, too.
        limit(usize::MAX);
        eprintln!("{bytes} bytes were asked for at once; {most} are allowed");
        eprintln!("{}", std::backtrace::Backtrace::force_capture());
        process::abort();
    }
}

// SAFETY: every request goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check(size);
        unsafe { System.realloc(at, layout, size) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}
