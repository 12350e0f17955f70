//! Progress of one stage for people: a line that is redrawn on a terminal, elsewhere a line for each tenth; a closing line
//! with the total time. `log.txt` has every line in full.

use super::clock;
use crate::{
    device,
    progress::{self, ProgressLine, Tenths},
};
use candle_core::Device;
use indicatif::ProgressBar;
use std::time::{Duration, Instant};

/// Time between two redraws on a terminal.
const REDRAW: Duration = Duration::from_millis(100);

/// Time, images and data wait summed over steps, without validation and checkpoints.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    pub busy: Duration,
    /// The part of `busy` spent waiting for the loader.
    pub waited: Duration,
    pub images: usize,
}

impl Pace {
    /// Adds one step.
    pub fn add(&mut self, step: Pace) {
        self.busy += step.busy;
        self.waited += step.waited;
        self.images += step.images;
    }

    /// Images per second; None before the first step.
    pub fn rate(&self) -> Option<f64> {
        (!self.busy.is_zero()).then(|| self.images as f64 / self.busy.as_secs_f64())
    }

    /// Share of the time spent waiting for data; None before the first step.
    pub fn waiting(&self) -> Option<f64> {
        (!self.busy.is_zero()).then(|| (self.waited.as_secs_f64() / self.busy.as_secs_f64()).min(1.0))
    }
}

/// Progress of one stage.
pub struct Progress {
    stage: String,
    first: usize,
    total: usize,
    device: Device,
    began: Instant,
    drawn: Instant,
    bar: ProgressBar,
    tenths: Tenths,
    /// First metric of the newest validation.
    validated: Option<String>,
}

impl Progress {
    /// A stage on `device` that continues after `first` of `total` steps.
    pub fn new(stage: String, first: usize, total: usize, device: &Device) -> Self {
        let now = Instant::now();
        let bar = progress::text_bar(total).with_position(first as u64);
        let (device, tenths) = (device.clone(), Tenths::new(total));
        Self { stage, first, total, device, began: now, drawn: now, bar, tenths, validated: None }
    }

    /// The progress line after `step`; `loss` is the name and value of the task's first scalar, `measured` a summary of the
    /// newest measurement.
    pub fn line(
        &self,
        step: usize,
        loss: Option<(&str, f64)>,
        lr: f64,
        pace: &Pace,
        measured: Option<String>,
    ) -> ProgressLine {
        let memory = memory_stats::memory_stats().map(|m| format!("{:.2} GB", m.physical_mem as f64 / 1e9));
        let device = device::memory(&self.device).map(|m| format!("GPU {:.2} GB", m.peak as f64 / 1e9));
        self.head(step)
            .part(1, loss.map(|(name, value)| format!("{name} {value:.4}")))
            .part(2, self.validated.clone())
            .part(5, format!("lr {lr:.2e}"))
            .part(4, pace.rate().map(|rate| format!("{rate:.1} images/s")))
            .part(7, pace.waiting().map(|share| format!("waiting {:.0} %", 100.0 * share)))
            .part(6, memory)
            .part(6, device)
            .part(3, self.seconds_left(step).map(|seconds| format!("ETA {}", clock::span(seconds))))
            .part(8, measured)
    }

    /// The line of a validation, a measurement or the end: `STAGE STEP/TOTAL`.
    pub fn head(&self, step: usize) -> ProgressLine {
        ProgressLine::new(&self.stage, format!("{step}/{}", self.total))
    }

    /// The time since the stage was begun by this process.
    pub fn took(&self) -> String {
        format!("took {}", clock::span(self.began.elapsed().as_secs_f64()))
    }

    /// Sets what lines say of the newest validation.
    pub fn set_validated(&mut self, text: Option<String>) {
        self.validated = text;
    }

    /// Whether a line is to be printed after `step`, without a terminal. To be asked once for each step.
    pub fn is_told(&mut self, step: usize) -> bool {
        self.bar.is_hidden() && !progress::is_quiet() && self.tenths.take(step)
    }

    /// Whether a terminal's line is due for a redraw.
    pub fn is_due(&self) -> bool {
        !self.bar.is_hidden() && self.drawn.elapsed() >= REDRAW
    }

    /// Redraws a terminal's line.
    pub fn draw(&mut self, step: usize, line: &ProgressLine) {
        self.drawn = Instant::now();
        self.bar.set_position(step as u64);
        self.bar.set_message(line.fitted(progress::width_beside_bar()));
    }

    /// Prints a permanent line, unless progress is not wanted.
    pub fn print(&self, line: &ProgressLine) {
        progress::tell(&line.fitted(progress::width()));
    }

    /// Prints what happened after `step` above a terminal's bar. The closing line tells what happened after the last step.
    pub fn print_above_bar(&self, step: usize, line: &ProgressLine) {
        if !self.bar.is_hidden() && step < self.total {
            self.print(line);
        }
    }

    /// Prints a warning.
    pub fn announce(&self, text: &str) {
        progress::print(text);
    }

    /// Estimated seconds left, from the average time per step; None before the first step.
    fn seconds_left(&self, step: usize) -> Option<f64> {
        let done = step.checked_sub(self.first).filter(|done| *done > 0)?;
        Some(self.began.elapsed().as_secs_f64() / done as f64 * self.total.saturating_sub(step) as f64)
    }
}

/// Removes the bar.
impl Drop for Progress {
    fn drop(&mut self) {
        progress::remove(&self.bar);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_holds_what_is_known() {
        let mut progress = Progress::new("pretrain".into(), 100, 200, &Device::Cpu);
        let nothing = progress.line(100, None, 3e-5, &Pace::default(), None).full();
        assert!(nothing.starts_with("pretrain 100/200  lr 3.00e-5"), "{nothing}");
        assert!(!nothing.contains("images/s") && !nothing.contains("ETA"), "{nothing}");
        let mut pace = Pace::default();
        let step = Pace { busy: Duration::from_millis(500), waited: Duration::from_millis(100), images: 16 };
        pace.add(step);
        pace.add(step);
        let line = progress.line(150, Some(("loss", 5.7462)), 3e-5, &pace, None).full();
        assert!(
            line.starts_with("pretrain 150/200  loss 5.7462  lr 3.00e-5  32.0 images/s  waiting 20 %"),
            "{line}"
        );
        assert!(line.ends_with("ETA 00:00"), "{line}");
        progress.set_validated(Some("top1 0.5".into()));
        let line = progress.line(150, Some(("loss", 5.7462)), 3e-5, &pace, Some("kNN 31 %".into()));
        assert!(line.fitted(80).starts_with("pretrain 150/200  loss 5.7462  top1 0.5  lr"), "{line:?}");
        assert!(line.fitted(80).chars().count() <= 80 && line.full().ends_with("kNN 31 %"), "{line:?}");
    }
}
