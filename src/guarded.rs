//! Calls third-party readers and converts a panic inside them into an error about the file being read.
//!
//! Panics elsewhere, in this crate's code or on other threads, keep their message and backtrace.

use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

/// The message of a reader's panic.
#[derive(Debug, thiserror::Error)]
#[error("the file is damaged: its reader panicked ({0})")]
pub struct Panicked(String);

thread_local! {
    /// Nesting depth of [`call`] on this thread.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Runs `read`; a panic inside it prints nothing to stderr.
///
/// # Errors
/// [`Panicked`], with the first line of the panic's message.
pub fn call<T>(read: impl FnOnce() -> T) -> Result<T, Panicked> {
    silence();
    DEPTH.set(DEPTH.get() + 1);
    // Partial state is dropped with the closure: the caller receives only the error.
    let result = catch_unwind(AssertUnwindSafe(read));
    DEPTH.set(DEPTH.get() - 1);
    result.map_err(|payload| Panicked(message(payload.as_ref())))
}

/// Installs, once per process, a panic hook that ignores panics inside [`call`].
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
        assert_eq!(error.to_string(), "the file is damaged: its reader panicked (index 7 of 2)");
        let nested = call(|| call(|| assert!(black_box(false))).is_err());
        assert!(nested.unwrap());
        assert_eq!(DEPTH.get(), 0);
    }
}
