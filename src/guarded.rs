//! Readers of outside crates, called so that a panic inside them becomes an error of the file that they read.
//!
//! A panic elsewhere, in our own code or on other threads, keeps its message and its backtrace.

use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

/// What a reader said when it gave up.
#[derive(Debug, thiserror::Error)]
#[error("it is damaged: its reader gave up on it ({0})")]
pub struct Panicked(String);

thread_local! {
    /// Calls of [`call`] that this thread is inside of.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Runs `read`; nothing of a panic inside it reaches stderr.
///
/// # Errors
/// [`Panicked`], with the first line of the panic's message.
pub fn call<T>(read: impl FnOnce() -> T) -> Result<T, Panicked> {
    silence();
    DEPTH.set(DEPTH.get() + 1);
    // What the closure leaves half done is dropped with it: the caller gets nothing but the error.
    let result = catch_unwind(AssertUnwindSafe(read));
    DEPTH.set(DEPTH.get() - 1);
    result.map_err(|payload| Panicked(message(payload.as_ref())))
}

/// Once for the process: panics inside [`call`] pass the hook by.
fn silence() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let hook = take_hook();
        set_hook(Box::new(move |info| {
            if DEPTH.get() == 0 {
                hook(info);
            }
        }));
    });
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref().copied());
    crate::text::excerpt(text.and_then(|text| text.lines().next()).unwrap_or("no message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn a_panic_is_an_error_with_its_first_line() {
        assert_eq!(call(|| 3).unwrap(), 3);
        let error = call(|| assert!(black_box(false), "index {} of 2\nmore", 7)).unwrap_err();
        assert_eq!(error.to_string(), "it is damaged: its reader gave up on it (index 7 of 2)");
        let nested = call(|| call(|| assert!(black_box(false))).is_err());
        assert!(nested.unwrap());
        assert_eq!(DEPTH.get(), 0);
    }
}
