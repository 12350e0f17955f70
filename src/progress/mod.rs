//! What is said of work in progress, on stderr: bars on a terminal, at most a line for each tenth elsewhere, nothing with
//! `-q`. Every line fits the terminal, and 80 columns. Bars disappear when the work is done.
//!
//! All bars of the process are drawn together, so that log lines and nested bars do not overwrite one another.

mod line;

pub use line::{ProgressLine, shortened};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    cell::Cell,
    io::{self, IsTerminal, Write, stderr},
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Widest line, in columns.
const WIDEST: usize = 80;
/// Columns of a bar and the space behind it.
const BAR: usize = 13;
/// Work that takes less time is not told without a terminal.
const WORTH_TELLING: Duration = Duration::from_secs(20);

static QUIET: AtomicBool = AtomicBool::new(false);
thread_local! {
    static QUIET_HERE: Cell<bool> = const { Cell::new(false) };
}
static BARS: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));

/// Says nothing about progress from now on (`-q`).
pub fn set_quiet() {
    QUIET.store(true, Relaxed);
}

/// As [`set_quiet`], for the calling thread: a rank that follows another.
pub fn set_quiet_here() {
    QUIET_HERE.set(true);
}

/// Whether nothing is said about progress.
pub fn is_quiet() -> bool {
    QUIET.load(Relaxed) || QUIET_HERE.get()
}

/// Whether bars are drawn.
pub fn has_bars() -> bool {
    !is_quiet() && stderr().is_terminal()
}

/// Columns of a line: those of the terminal, at most 80.
pub fn width() -> usize {
    let terminal = console::Term::stderr().size_checked().map(|(_, columns)| usize::from(columns));
    terminal.unwrap_or(WIDEST).min(WIDEST)
}

/// Columns of the text beside a bar.
pub fn width_beside_bar() -> usize {
    width().saturating_sub(BAR + 1)
}

/// As [`print`], unless progress is not wanted.
pub fn tell(line: &str) {
    if !is_quiet() {
        print(line);
    }
}

/// Prints a line on stderr, above the bars.
pub fn print(line: &str) {
    // A closed stderr cannot be reported.
    let _ = Above.write_all(format!("{line}\n").as_bytes());
}

/// stderr, above the bars.
#[derive(Clone, Copy, Debug)]
pub struct Above;

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let write = || stderr().write_all(bytes).map(|()| bytes.len());
        if has_bars() { BARS.suspend(write) } else { write() }
    }
    fn flush(&mut self) -> io::Result<()> {
        stderr().flush()
    }
}

/// A bar with a text beside it; hidden without a terminal.
pub fn text_bar(total: usize) -> ProgressBar {
    styled(total, "{bar:12} {msg}")
}

/// A bar that a caller advances in its own unit; hidden without a terminal.
pub fn bar_of(what: &str, unit: &str) -> ProgressBar {
    let bar = styled(0, &format!("{{msg}} {{bar:12}} {{pos}}/{{len}} {unit}  ETA {{eta}}"));
    bar.with_message(shortened(what, width() / 3))
}

/// A bar of bytes; hidden without a terminal.
pub fn byte_bar(what: &str) -> ProgressBar {
    let bar = styled(0, "{msg} {bar:12} {bytes}/{total_bytes} {eta}");
    bar.with_message(shortened(what, width() / 3))
}

fn styled(total: usize, template: &str) -> ProgressBar {
    if !has_bars() {
        return ProgressBar::hidden();
    }
    let bar = BARS.add(ProgressBar::new(total as u64));
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Removes a bar from the screen.
pub fn remove(bar: &ProgressBar) {
    bar.finish_and_clear();
    BARS.remove(bar);
}

/// The tenths of some work, of which each is told once: at the first step, and when another tenth is complete.
#[derive(Debug)]
pub struct Tenths {
    total: usize,
    told: Option<usize>,
}

impl Tenths {
    /// The tenths of `total` steps, of which none was told.
    pub fn new(total: usize) -> Self {
        Self { total, told: None }
    }

    /// Whether `done` steps are to be told; the last is left to whoever says that the work is done.
    pub fn take(&mut self, done: usize) -> bool {
        let tenth = self.tenth(done);
        let is_due = done < self.total && self.told.is_none_or(|told| tenth > told);
        if is_due {
            self.told = Some(tenth);
        }
        is_due
    }

    fn tenth(&self, done: usize) -> usize {
        10 * done / self.total.max(1)
    }
}

/// Counted work, such as the pictures of a set: a bar on a terminal, elsewhere a line for each tenth of what takes long.
pub struct Progress {
    what: String,
    bar: ProgressBar,
    total: usize,
    state: Mutex<(usize, Tenths)>,
    began: Instant,
}

impl Progress {
    /// None of `total` steps of `what`.
    pub fn new(total: usize, what: &str) -> Self {
        let bar = styled(total, "{msg} {bar:12} {pos}/{len}  ETA {eta}");
        let bar = bar.with_message(shortened(what, width() / 2));
        let state = Mutex::new((0, Tenths::new(total)));
        Self { what: what.into(), bar, total, state, began: Instant::now() }
    }

    /// Adds steps.
    pub fn add(&self, steps: usize) {
        self.bar.inc(steps as u64);
        let Ok(mut state) = self.state.lock() else { return };
        state.0 += steps;
        let done = state.0;
        let is_told = self.bar.is_hidden() && self.began.elapsed() > WORTH_TELLING;
        if is_told && state.1.take(done) {
            tell(&ProgressLine::new(&self.what, format!("{done}/{}", self.total)).fitted(width()));
        }
    }
}

impl Progress {
    /// Says that the work is done, and how long it took.
    pub fn done(&self) {
        let took = format!("took {:.1} s", self.began.elapsed().as_secs_f64());
        tell(&ProgressLine::new(&self.what, format!("{0}/{0}", self.total)).part(0, took).fitted(width()));
    }
}

/// Removes the bar.
impl Drop for Progress {
    fn drop(&mut self) {
        remove(&self.bar);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tenth_is_told_once_and_the_first_step() {
        let told = |total: usize, first: usize| {
            let mut tenths = Tenths::new(total);
            (first..=total).filter(|done| tenths.take(*done)).collect::<Vec<_>>()
        };
        assert_eq!(told(1000, 1), [1, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
        assert_eq!(told(1000, 551), [551, 600, 700, 800, 900], "a resumed run");
        assert_eq!(told(3, 1), [1, 2]);
        assert_eq!(told(1, 1), [0; 0]);
    }
}
