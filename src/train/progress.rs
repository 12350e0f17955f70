//! Progress line: redrawn in place on a terminal, otherwise printed with every log line.

use super::clock;
use crate::device;
use candle_core::Device;
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

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
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A stage on `device` that continues after `first` of `total` steps.
    pub fn new(stage: String, first: usize, total: usize, device: &Device) -> Self {
        let now = Instant::now();
        let bar = std::io::stderr().is_terminal().then(|| terminal_bar(first, total));
        Self { stage, first, total, device: device.clone(), began: now, drawn: now, bar }
    }

    /// The progress line after `step`; `loss` is the name and value of the task's first scalar.
    pub fn line(&self, step: usize, loss: Option<(&str, f64)>, lr: f64, pace: &Pace) -> String {
        let mut parts = vec![format!("{} {step}/{}", self.stage, self.total)];
        parts.extend(loss.map(|(name, value)| format!("{name} {value:.4}")));
        parts.push(format!("lr {lr:.2e}"));
        parts.extend(pace.rate().map(|rate| format!("{rate:.1} images/s")));
        parts.extend(pace.waiting().map(|share| format!("waiting {:.0} %", 100.0 * share)));
        parts.extend(memory_stats::memory_stats().map(|m| format!("{:.2} GB", m.physical_mem as f64 / 1e9)));
        parts.extend(device::memory(&self.device).map(|m| format!("GPU {:.2} GB", m.peak as f64 / 1e9)));
        parts.extend(self.seconds_left(step).map(|seconds| format!("ETA {}", clock::span(seconds))));
        parts.join("  ")
    }

    /// Whether a terminal's line is due for a redraw.
    pub fn is_due(&self) -> bool {
        self.bar.is_some() && self.drawn.elapsed() >= REDRAW
    }

    /// Redraws a terminal's line.
    pub fn draw(&mut self, step: usize, line: String) {
        self.drawn = Instant::now();
        if let Some(bar) = &self.bar {
            bar.set_position(step as u64);
            bar.set_message(line);
        }
    }

    /// Prints the line if there is no terminal.
    pub fn print(&self, line: &str) {
        if self.bar.is_none() {
            eprintln!("{line}");
        }
    }

    /// Prints a permanent line above a terminal's progress line.
    pub fn announce(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// Estimated seconds left, from the average time per step; None before the first step.
    fn seconds_left(&self, step: usize) -> Option<f64> {
        let done = step.checked_sub(self.first).filter(|done| *done > 0)?;
        Some(self.began.elapsed().as_secs_f64() / done as f64 * self.total.saturating_sub(step) as f64)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon(); // keeps the last line on screen
        }
    }
}

fn terminal_bar(first: usize, total: usize) -> ProgressBar {
    let bar = ProgressBar::new(total as u64).with_position(first as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:16} {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_holds_what_is_known() {
        let progress = Progress::new("pretrain".into(), 100, 200, &Device::Cpu);
        let nothing = progress.line(100, None, 3e-5, &Pace::default());
        assert!(nothing.starts_with("pretrain 100/200  lr 3.00e-5"), "{nothing}");
        assert!(!nothing.contains("images/s") && !nothing.contains("ETA"), "{nothing}");
        let mut pace = Pace::default();
        let step = Pace { busy: Duration::from_millis(500), waited: Duration::from_millis(100), images: 16 };
        pace.add(step);
        pace.add(step);
        let line = progress.line(150, Some(("loss", 5.7462)), 3e-5, &pace);
        assert!(
            line.starts_with("pretrain 150/200  loss 5.7462  lr 3.00e-5  32.0 images/s  waiting 20 %"),
            "{line}"
        );
        assert!(line.ends_with("ETA 00:00"), "{line}");
    }
}
