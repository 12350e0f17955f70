//! Parses the command line, runs the command, prints its output or errors, sets the exit code.

use clap::Parser;
use hueristic::{
    cli::{Cli, CommandOutput, Failure},
    text,
    train::{
        collective::{self, Launcher},
        heap, program,
    },
};
use std::{
    io::{ErrorKind, Write, stderr, stdout},
    panic::{self, AssertUnwindSafe},
    process::{self, ExitCode},
    thread,
    time::Duration,
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
    set_environment();
    program::set_commit(COMMIT);
    heap::retain();
    let launcher = Launcher::from_env();
    let cli = Cli::try_parse().unwrap_or_else(|error| misused(&error, launcher));
    cli.start_logging();
    // A process that panics must not leave the others waiting.
    match panic::catch_unwind(AssertUnwindSafe(|| cli.run())) {
        Ok(Ok(done)) => {
            collective::finish();
            match launcher {
                Some(launcher) if launcher.follows() => ExitCode::from(done.exit),
                _ => print(&done),
            }
        }
        Ok(Err(error)) => fail(&Failure::of(&error), launcher),
        Err(_) => {
            collective::abort(PANICKED);
            ExitCode::from(PANICKED)
        }
    }
}

/// Exit code of a panic, as Rust has it.
const PANICKED: u8 = 101;

fn print(done: &CommandOutput) -> ExitCode {
    match writeln!(stdout(), "{}", text::printable(done.text.trim_end())) {
        // Ignore a closed pipe, as in `hueristic show … | head`.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::from(done.exit),
    }
}

/// Reports a command line that cannot be understood, or its help; the first process does for all.
fn misused(error: &clap::Error, launcher: Option<Launcher>) -> ! {
    match (wait_for_first(launcher), error.use_stderr()) {
        (None, _) => error.exit(),
        (Some(rank), true) => {
            let _ = writeln!(stderr(), "rank {rank}: {error}");
        }
        (Some(_), false) => {}
    }
    process::exit(error.exit_code())
}

/// Lets the first process report an error that all have, which ends those that wait; the rank of one that goes on.
fn wait_for_first(launcher: Option<Launcher>) -> Option<usize> {
    let Launcher { rank, .. } = launcher.filter(Launcher::follows)?;
    thread::sleep(Duration::from_millis(1500 + 500 * rank as u64));
    Some(rank)
}

/// Reports an error, and ends the other processes.
fn fail(failure: &Failure, launcher: Option<Launcher>) -> ExitCode {
    let mut text = failure.to_string();
    if let Some(rank) = wait_for_first(launcher) {
        text = format!("rank {rank}: {text}");
    }
    // A closed stderr cannot be reported.
    let _ = writeln!(stderr(), "{text}");
    collective::abort(failure.exit());
    ExitCode::from(failure.exit())
}

/// Defaults of variables that candle and the standard library read; those that are set are kept.
///
/// `RUST_LIB_BACKTRACE`: no backtraces in error messages. candle also captures them for errors if `RUST_BACKTRACE` is set,
/// and appends the stack to the message; the standard library has this separate variable for errors.
///
/// `CANDLE_NUM_THREADS`: candle's elementwise operations stay on the thread that calls them. Its pool for them waits in
/// busy loops: it takes the cores from our own threads, and beside another program each operation waits for the scheduler.
///
/// Open MPI's: see [`collective::SETTINGS`].
fn set_environment() {
    let ours = [("RUST_LIB_BACKTRACE", "0"), ("CANDLE_NUM_THREADS", "1")];
    for (name, value) in ours.into_iter().chain(collective::SETTINGS) {
        if std::env::var_os(name).is_none() {
            // SAFETY: no other thread has been started yet.
            unsafe { std::env::set_var(name, value) };
        }
    }
}
