//! Log lines on stderr, terse on a terminal. stdout carries results only.

use crate::{
    progress::{self, Above},
    train::clock,
};
use std::{
    io::{IsTerminal, stderr},
    time::SystemTime,
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{self, format::Writer, time::FormatTime},
};

/// The time of day in UTC, to the second: lines are to fit 80 columns, and run directories have the date.
struct TimeOfDay;

impl FormatTime for TimeOfDay {
    fn format_time(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        let now = clock::utc(SystemTime::now());
        out.write_str(now.get(11..19).unwrap_or(&now))
    }
}

/// Initializes logging: `RUST_LOG`, or info from this crate and warnings from others. `quiet` also ends progress lines. A
/// process that `follows` another is silent: that one says the same.
pub(super) fn start(verbose: bool, quiet: bool, follows: bool) {
    let default = match (verbose, quiet) {
        _ if follows => "off",
        (true, _) => "info,hueristic=debug",
        (_, true) => "warn",
        _ => "warn,hueristic=info",
    };
    if quiet || follows {
        progress::set_quiet();
    }
    let filter = EnvFilter::try_from_default_env().ok().filter(|_| !follows);
    let filter = filter.unwrap_or_else(|| EnvFilter::new(default));
    let terminal = stderr().is_terminal();
    let log = fmt::fmt().with_env_filter(filter).with_writer(|| Above).with_target(false).with_ansi(terminal);
    // A second call in the same process (tests) keeps the first subscriber.
    let _ = if terminal { log.without_time().try_init() } else { log.with_timer(TimeOfDay).try_init() };
}
