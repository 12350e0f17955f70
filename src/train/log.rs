//! The run's log: `metrics.jsonl` for programs, event files for TensorBoard, a progress line for people, warnings.
//!
//! A line of `metrics.jsonl` is `{"step":…, "epoch":…, "split":"train"|"val"|"monitor", …}`. `train` lines hold means over
//! the steps since the previous line, `val` lines the metrics of a validation, `monitor` lines those of a representation,
//! named `LAYER/MEASURE`. Only the [`TIMING`] fields, and which `monitor` lines a budget leaves out and where the others stand,
//! depend on the machine's speed; all others are identical in every run of a spec.

use super::{
    checkpoint::State,
    events::Events,
    log_digest::LogDigest,
    monitor::{Measurement, Moment, MonitorState},
    picture,
    progress::{Pace, Progress},
    run_dir::RunDir,
    task::{ImagePanel, Metric},
    warning::{STARVED, Warning},
};
use crate::{atomic_write, progress::ProgressLine};
use anyhow::{Context, Result};
use candle_core::Device;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

pub use super::log_digest::FILE;
/// Fields that differ between two runs of the same spec, at the end of a line.
pub const TIMING: [&str; 4] = ["images_per_second", "waiting_share", SECONDS, SHARE];
/// Seconds of a measurement, and the time of all so far as a share of that of the updates.
const SECONDS: &str = "monitor_seconds";
const SHARE: &str = "monitor_share";
/// Split of the lines of a monitor.
const MONITOR: &str = "monitor";
/// Shorter intervals do not give a reliable data-wait share.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The open log of a run.
pub struct Log {
    path: PathBuf,
    metrics: File,
    events: Events,
    progress: Progress,
    pace: Option<Pace>,
    /// Of each rank, since the last line, seconds of waiting for pictures, and of passes.
    rank_seconds: Vec<[f64; 2]>,
    emitted: HashSet<String>,
    faults: HashSet<String>,
}

impl Log {
    /// Opens the log of a run that continues from `state` to `total` updates. Lines of later steps, left by an
    /// interrupted process, are removed. Missing or damaged lines give a warning.
    pub fn open(run: &mut RunDir, state: &State, total: usize, device: &Device) -> Result<Self> {
        let (path, step) = (run.path().join(FILE), state.step);
        let found = truncate_log(&path, step)
            .with_context(|| format!("cannot cut {} at step {step}", path.display()))?;
        let metrics = OpenOptions::new().create(true).append(true).open(&path);
        let mut log = Self {
            metrics: metrics.with_context(|| format!("cannot open {}", path.display()))?,
            path: path.clone(),
            events: Events::create(run.path(), (step > 0).then_some(step))?,
            progress: Progress::new(run.label(), step, total, device),
            pace: None,
            rank_seconds: vec![],
            emitted: HashSet::new(),
            faults: HashSet::new(),
        };
        if step > 0 {
            let line = log.progress.head(step).part(1, format!("continuing after step {step}"));
            log.progress.print(&line);
            run.log(&line.full())?;
        }
        if state.log_digest.map_or(found.damaged, |digest| digest != found.digest) {
            let expected = state.log_digest.map(|digest| digest.lines);
            log.warn(run, Warning::MetricsDamaged { file: path, lines: found.digest.lines, expected })?;
        }
        Ok(log)
    }

    /// Whether a line is printed after `step`, without a terminal. To be asked once for each step.
    pub fn is_told(&mut self, step: usize) -> bool {
        self.progress.is_told(step)
    }

    /// Adds a step's timing and updates a terminal's progress line, or prints one if the step `is_told`. The first step is
    /// excluded from the timing: its queues are empty and its memory is fresh.
    pub fn step(&mut self, state: &State, lr: f64, pace: Pace, is_told: bool) {
        match &mut self.pace {
            Some(sum) => sum.add(pace),
            None => self.pace = Some(Pace::default()),
        }
        if self.progress.is_due() {
            let line = self.line(state, lr);
            self.progress.draw(state.step, &line);
        }
        if is_told {
            self.progress.print(&self.line(state, lr));
        }
    }

    /// Adds an update's seconds of each rank, of several.
    pub fn ranks(&mut self, seconds: &[[f64; 2]]) {
        self.rank_seconds.resize(seconds.len(), [0.0; 2]);
        let values = self.rank_seconds.iter_mut().flatten().zip(seconds.iter().flatten());
        values.for_each(|(sum, seconds)| *sum += seconds);
    }

    /// For each rank the share of its time that it waited for pictures; and how much longer than the mean the slowest took.
    fn rank_shares(&mut self) -> Vec<(String, f64)> {
        let seconds: Vec<[f64; 2]> = self.rank_seconds.drain(..).filter(|[_, busy]| *busy > 0.0).collect();
        let shares = seconds.iter().enumerate();
        let mut named: Vec<_> = shares
            .map(|(rank, [waited, busy])| (format!("rank{rank}_waiting_share"), waited / busy))
            .collect();
        let busy = || seconds.iter().map(|[_, busy]| *busy);
        let mean = busy().sum::<f64>() / seconds.len().max(1) as f64;
        if seconds.len() > 1 {
            named.push(("rank_imbalance".into(), busy().fold(0.0, f64::max) / mean - 1.0));
        }
        named
    }

    /// Writes the means since the last call and resets them.
    pub fn train(&mut self, run: &mut RunDir, state: &mut State, epoch: f64, lr: f64) -> Result<()> {
        let mut values = state.window.means();
        values.push(("lr".into(), lr));
        let pace = self.pace.unwrap_or_default();
        let timing = TIMING.into_iter().zip([pace.rate(), pace.waiting()]);
        values.extend(timing.filter_map(|(name, value)| Some((name.to_string(), value?))));
        if pace.rate().is_some() {
            values.extend(self.rank_shares());
        }
        self.record(state, Moment { step: state.step, epoch }, "train", &values)?;
        state.levels.log(&state.window);
        run.log(&self.line(state, lr).full())?;
        state.window.clear();
        if let Some(share) = pace.waiting().filter(|share| *share > STARVED && pace.busy > MIN_INTERVAL) {
            self.warn(run, Warning::StarvedOfData { share })?;
        }
        self.pace = self.pace.map(|_| Pace::default());
        Ok(())
    }

    /// Writes the metrics of a validation.
    pub fn validation(
        &mut self,
        run: &RunDir,
        state: &mut State,
        epoch: f64,
        metrics: &[Metric],
    ) -> Result<()> {
        let step = state.step;
        let values: Vec<_> = metrics.iter().map(|m| (m.name.clone(), m.value)).collect();
        self.record(state, Moment { step, epoch }, "val", &values)?;
        let shown: Vec<_> = values.iter().map(|(name, value)| format!("{name} {}", shown(*value))).collect();
        self.progress.set_validated(shown.first().cloned());
        let line = self.progress.head(step).part(1, "validation".to_string());
        let line = shown.into_iter().fold(line, |line, metric| line.part(2, metric));
        self.progress.print_above_bar(step, &line);
        run.log(&line.full())
    }

    /// Prints the closing line with the metrics of the last validation and the total time.
    pub fn finish(self, run: &RunDir, step: usize, metrics: &[Metric]) -> Result<()> {
        let line = self.progress.head(step).part(0, self.progress.took());
        let metric = |line: ProgressLine, m: &Metric| line.part(1, format!("{} {}", m.name, shown(m.value)));
        let line = metrics.iter().fold(line, metric);
        self.progress.print(&line);
        run.log(&line.full())
    }

    /// Writes the values of a measurement and what it cost.
    pub fn monitor(
        &mut self,
        run: &RunDir,
        state: &mut State,
        at: Moment,
        measurement: Measurement,
        cost: &MonitorState,
    ) -> Result<()> {
        let Measurement { mut values, summary, .. } = measurement;
        let seconds = cost.seconds().unwrap_or_default();
        values.push((SECONDS.into(), seconds));
        values.extend(cost.share().map(|share| (SHARE.to_string(), share)));
        self.record(state, at, MONITOR, &values)?;
        let share =
            cost.share().map_or(String::new(), |share| format!(", {:.1} % of the time", 100.0 * share));
        let spent = format!("{seconds:.1} s{share}");
        let line = self.progress.head(at.step).part(1, "monitor".to_string());
        let line = line.part(2, summary).part(3, format!("({spent})"));
        self.progress.print_above_bar(state.step, &line);
        run.log(&line.full())
    }

    /// Stores a panel as a PNG file and as a TensorBoard image.
    pub fn picture(&mut self, run: &RunDir, step: usize, panel: &ImagePanel) -> Result<()> {
        let png = picture::encode(panel)?;
        picture::store(run.path(), &panel.name, step, &png)?;
        self.events.image(&panel.name, step, (panel.width, panel.height), &png)?;
        self.events.flush()
    }

    /// Prints a warning once and records it in the manifest.
    pub fn warn(&mut self, run: &mut RunDir, warning: Warning) -> Result<()> {
        if !self.emitted.insert(warning.key()) {
            return Ok(());
        }
        run.warn(warning.to_string());
        self.announce(run, &format!("warning: {warning}"))
    }

    /// Reports unreadable images that were not reported yet.
    pub fn faults(&mut self, run: &mut RunDir, faults: Vec<(String, String)>) -> Result<()> {
        for (image, reason) in faults {
            if self.faults.insert(image.clone()) {
                run.log(&format!("unreadable image {image}: {reason}"))?;
                self.warn(run, Warning::UnreadableImages { first: image, reason })?;
            }
        }
        Ok(())
    }

    /// Syncs the metrics to disk. Called before a checkpoint is written, since a checkpoint must not be ahead of the
    /// log.
    pub fn sync(&mut self) -> Result<()> {
        self.metrics.sync_data().with_context(|| self.write_error())?;
        self.events.flush()
    }

    fn line(&self, state: &State, lr: f64) -> ProgressLine {
        let measured = state.monitor.as_ref().and_then(|monitor| monitor.told(state.step));
        let (loss, pace) = (state.window.first(), self.pace.unwrap_or_default());
        self.progress.line(state.step, loss, lr, &pace, measured)
    }

    fn announce(&self, run: &RunDir, text: &str) -> Result<()> {
        self.progress.announce(text);
        run.log(text)
    }

    fn record(
        &mut self,
        state: &mut State,
        Moment { step, epoch }: Moment,
        split: &str,
        values: &[(String, f64)],
    ) -> Result<()> {
        let line = format_line(step, epoch, split, values)?;
        state.log_digest.iter_mut().for_each(|digest| digest.add(without_timing(line.as_bytes())));
        self.metrics.write_all(line.as_bytes()).with_context(|| self.write_error())?;
        for (name, value) in values {
            self.events.scalar(&format!("{split}/{name}"), step, *value)?;
        }
        self.events.flush()
    }

    fn write_error(&self) -> String {
        format!("cannot write {}: is the disk full?", self.path.display())
    }
}

/// Values by name; None for what is no number.
pub type NamedValues = BTreeMap<String, Option<f64>>;

/// Steps and values of the measurements in the log of the run directory `run`.
///
/// # Errors
/// A log that cannot be read.
pub fn measurements(run: &Path) -> Result<Vec<(usize, NamedValues)>> {
    let path = run.join(FILE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let measurement = |line: &str| -> Option<(usize, NamedValues)> {
        let mut line: HashMap<String, Value> = serde_json::from_str(line).ok()?;
        let step = line.remove("step")?.as_u64()? as usize;
        (line.remove("split")? == MONITOR).then_some(())?;
        Some((step, line.into_iter().map(|(name, value)| (name, value.as_f64())).collect()))
    };
    Ok(text.lines().filter_map(measurement).collect())
}

/// Formats one line. Non-finite values become `null`, since JSON cannot represent them.
fn format_line(step: usize, epoch: f64, split: &str, values: &[(String, f64)]) -> Result<String> {
    let mut line = format!("{{\"step\":{step},\"epoch\":{epoch},\"split\":\"{split}\"");
    for (name, value) in values {
        line += &format!(",{}:{}", serde_json::to_string(name)?, Value::from(*value));
    }
    line += "}\n";
    Ok(line)
}

/// Formats a metric for people; a dash for NaN.
fn shown(value: f64) -> String {
    if value.is_nan() { "–".into() } else { format!("{value:.4}") }
}

/// Marks a line of the `train` split.
const TRAIN: &[u8] = br#","split":"train","#;

/// The part of a line before the [`TIMING`] fields, which come last. A line without them (the first step of a process
/// is not timed) ends before its closing brace.
fn without_timing(line: &[u8]) -> &[u8] {
    let begins =
        |at: usize| TIMING.iter().any(|name| line[at..].starts_with(format!(",\"{name}\":").as_bytes()));
    let end = (0..line.len()).find(|at| line[*at] == b',' && begins(*at));
    let of_training = line.windows(TRAIN.len()).any(|part| part == TRAIN);
    let whole = if of_training { line.len() - b"}\n".len() } else { line.len() };
    &line[..end.unwrap_or(whole)]
}

/// The contents of an existing log.
#[derive(Debug, Default, PartialEq)]
struct LogContents {
    digest: LogDigest,
    /// Whether unreadable lines between readable ones were dropped.
    damaged: bool,
}

/// Truncates the log to the intact lines up to `step`.
fn truncate_log(path: &Path, step: usize) -> io::Result<LogContents> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(LogContents::default()),
        read => read?,
    };
    // A run without a checkpoint starts anew, with the measurement before its first update.
    let kept = |at: u64| step > 0 && at <= step as u64;
    let of_line = |line: &[u8]| -> Option<u64> {
        let line: HashMap<String, Value> = serde_json::from_slice(line.strip_suffix(b"\n")?).ok()?;
        line.get("step")?.as_u64()
    };
    let (mut keep, mut found, mut unread) = (vec![], LogContents::default(), false);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match of_line(line) {
            Some(at) if kept(at) => {
                keep.extend(line);
                found.digest.add(without_timing(line));
                found.damaged |= unread; // a broken tail is an interrupted write, not damage
            }
            Some(_) => {}
            None => unread = true,
        }
    }
    if keep != bytes {
        atomic_write::write(path, &keep)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_json_in_order() {
        let values = [("loss".to_string(), 0.5), ("bad\"name".into(), f64::NAN)];
        let line = format_line(20, 0.25, "train", &values).unwrap();
        assert_eq!(
            line,
            "{\"step\":20,\"epoch\":0.25,\"split\":\"train\",\"loss\":0.5,\"bad\\\"name\":null}\n"
        );
    }

    #[test]
    fn only_speed_is_left_out_of_what_was_told() {
        let values = [("loss".to_string(), 0.5), (TIMING[0].into(), 31.5), (TIMING[1].into(), 0.2)];
        let line = format_line(20, 0.25, "train", &values).unwrap();
        assert_eq!(
            without_timing(line.as_bytes()),
            b"{\"step\":20,\"epoch\":0.25,\"split\":\"train\",\"loss\":0.5"
        );
        assert_eq!(without_timing(b"{\"a\":1}\n"), b"{\"a\":1}\n");
        assert_eq!((shown(f64::NAN), shown(0.5)), ("–".to_string(), "0.5000".to_string()));
    }

    #[test]
    fn cutting_keeps_whole_lines_up_to_the_step() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join(FILE);
        assert_eq!(truncate_log(&path, 5).unwrap(), LogContents::default());
        assert!(!path.exists());
        let kept = "{\"step\":5,\"split\":\"train\"}\n{\"step\":10,\"split\":\"val\"}\n";
        fs::write(&path, format!("{kept}{{\"step\":15}}\n{{\"step\":1")).unwrap();
        assert!(!truncate_log(&path, 10).unwrap().damaged);
        assert_eq!(fs::read_to_string(&path).unwrap(), kept);
        fs::write(&path, [b"{\"step\":1,\"\xff\":2}\n", kept.as_bytes()].concat()).unwrap();
        let found = truncate_log(&path, 10).unwrap();
        assert!(found.damaged && found.digest.lines == 2);
        assert_eq!(fs::read_to_string(&path).unwrap(), kept);
        truncate_log(&path, 0).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }
}
