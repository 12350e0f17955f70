//! Parses the command line, runs the command, prints its output or errors, sets the exit code.

use clap::Parser;
use hueristic::{
    cli::{Cli, Failure},
    text,
    train::{heap, program},
};
use std::{
    io::{ErrorKind, Write, stderr, stdout},
    process::ExitCode,
};

// Training allocates and frees the same large buffers in every step; this allocator retains them (see `heap`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Short commit hash, with `-dirty` if a tracked file is modified. It is in the binary because any crate that contains it
/// is recompiled for every commit. Outside of the crate's own repository, git would report another project's commit.
#[cfg(own_repository)]
const COMMIT: &str = git_version::git_version!(
    args = ["--always", "--exclude=*", "--abbrev=12", "--dirty=-dirty"],
    fallback = "unknown"
);
#[cfg(not(own_repository))]
const COMMIT: &str = "unknown";

fn main() -> ExitCode {
    disable_error_backtraces();
    program::set_commit(COMMIT);
    heap::retain();
    let cli = Cli::parse();
    cli.start_logging();
    match cli.run() {
        Ok(done) => match writeln!(stdout(), "{}", text::printable(done.text.trim_end())) {
            // Ignore a closed pipe, as in `hueristic show … | head`.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => ExitCode::FAILURE,
            _ => ExitCode::from(done.exit),
        },
        Err(error) => {
            let failure = Failure::of(&error);
            // A closed stderr cannot be reported.
            let _ = writeln!(stderr(), "{failure}");
            ExitCode::from(failure.exit())
        }
    }
}

/// Disables backtraces in error messages. candle also captures them for errors if `RUST_BACKTRACE` is set, and appends the
/// stack to the message. The standard library has a separate variable for errors, which is not overridden if set.
fn disable_error_backtraces() {
    const ERRORS: &str = "RUST_LIB_BACKTRACE";
    if std::env::var_os(ERRORS).is_none() {
        // SAFETY: no other thread has been started yet.
        unsafe { std::env::set_var(ERRORS, "0") };
    }
}
