//! Parse, run, print what came out or the chain of errors, exit code.

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

// Training allocates and frees the same large buffers every step; this allocator keeps them (see `heap`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The short hash, with `-dirty` when a tracked file differs from it; read here since whatever holds it is compiled anew for
/// every commit. Elsewhere than in the crate's own repository git would speak of another project.
#[cfg(own_repository)]
const COMMIT: &str = git_version::git_version!(
    args = ["--always", "--exclude=*", "--abbrev=12", "--dirty=-dirty"],
    fallback = "unknown"
);
#[cfg(not(own_repository))]
const COMMIT: &str = "unknown";

fn main() -> ExitCode {
    without_stacks();
    program::set_commit(COMMIT);
    heap::retain();
    let cli = Cli::parse();
    cli.start_logging();
    match cli.run() {
        Ok(done) => match writeln!(stdout(), "{}", text::printable(done.text.trim_end())) {
            // The reader has seen enough: `hueristic show … | head`.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => ExitCode::FAILURE,
            _ => ExitCode::from(done.exit),
        },
        Err(error) => {
            let failure = Failure::of(&error);
            // Nowhere is left to report that stderr is closed.
            let _ = writeln!(stderr(), "{failure}");
            ExitCode::from(failure.exit())
        }
    }
}

/// `RUST_BACKTRACE` is for panics. candle takes it for its errors too, whose texts then end in the stack; the standard
/// library has a variable for errors alone, which stays as it is where somebody has set it.
fn without_stacks() {
    const ERRORS: &str = "RUST_LIB_BACKTRACE";
    if std::env::var_os(ERRORS).is_none() {
        // SAFETY: this is the only thread yet.
        unsafe { std::env::set_var(ERRORS, "0") };
    }
}
