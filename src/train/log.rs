//! What a run tells: `metrics.jsonl` for programs, event files for TensorBoard, a line for people, warnings.
//!
//! A line of `metrics.jsonl` is `{"step":…, "epoch":…, "split":"train"|"val", …}`. Lines of the split `train` hold
//! means over the steps since the line before; those of `val` what validation gave. [`TIMING`] names the fields that
//! depend on the machine's speed; all others are the same in every run of a spec.

use super::{
    atomic,
    checkpoint::State,
    events::Events,
    picture,
    progress::{Pace, Progress},
    run_dir::RunDir,
    task::{Metric, Panel},
    warning::{STARVED, Warning},
};
use anyhow::{Context, Result};
use candle_core::Device;
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

/// Its name in the run directory.
pub const FILE: &str = "metrics.jsonl";
/// Fields that differ between two runs of one spec.
pub const TIMING: [&str; 2] = ["images_per_second", "waiting_share"];
/// Shorter windows say nothing about the loader.
const TELLING: Duration = Duration::from_secs(1);

/// The open log of a run.
pub struct Log {
    path: PathBuf,
    metrics: File,
    events: Events,
    progress: Progress,
    pace: Option<Pace>,
    said: HashSet<String>,
    faults: HashSet<String>,
}

impl Log {
    /// Opens the log of a run that goes on after `step` of `total` updates: lines of later steps, which an
    /// interrupted process wrote, are cut.
    pub fn open(run: &RunDir, step: usize, total: usize, device: &Device) -> Result<Self> {
        let path = run.path().join(FILE);
        cut(&path, step).with_context(|| format!("cannot cut {} at step {step}", path.display()))?;
        let metrics = OpenOptions::new().create(true).append(true).open(&path);
        let log = Self {
            metrics: metrics.with_context(|| format!("cannot open {}", path.display()))?,
            path,
            events: Events::create(run.path(), (step > 0).then_some(step))?,
            progress: Progress::new(run.name(), step, total, device),
            pace: None,
            said: HashSet::new(),
            faults: HashSet::new(),
        };
        if step > 0 {
            log.say(run, &format!("{}: continuing after step {step} of {total}", run.name()))?;
        }
        Ok(log)
    }

    /// Counts a step's time and moves a terminal's line. The first step is not counted: it pays for empty queues and
    /// fresh memory.
    pub fn step(&mut self, state: &State, lr: f64, pace: Pace) {
        match &mut self.pace {
            Some(sum) => sum.add(pace),
            None => self.pace = Some(Pace::default()),
        }
        if self.progress.is_due() {
            let line = self.line(state, lr);
            self.progress.draw(state.step, line);
        }
    }

    /// Writes the means since the last call, and starts over.
    pub fn train(&mut self, run: &mut RunDir, state: &mut State, epoch: f64, lr: f64) -> Result<()> {
        let mut values = state.window.means();
        values.push(("lr".into(), lr));
        let pace = self.pace.unwrap_or_default();
        let timing = TIMING.map(String::from).into_iter().zip([pace.rate(), pace.waiting()]);
        values.extend(timing.filter_map(|(name, value)| Some((name, value?))));
        self.record(state.step, epoch, "train", &values)?;
        let line = self.line(state, lr);
        self.progress.print(&line);
        run.log(&line)?;
        state.window.clear();
        if let Some(share) = pace.waiting().filter(|share| *share > STARVED && pace.busy > TELLING) {
            self.warn(run, Warning::StarvedOfData { share })?;
        }
        self.pace = self.pace.map(|_| Pace::default());
        Ok(())
    }

    /// Writes the results of a validation.
    pub fn validation(&mut self, run: &RunDir, step: usize, epoch: f64, metrics: &[Metric]) -> Result<()> {
        let values: Vec<_> = metrics.iter().map(|m| (m.name.clone(), m.value)).collect();
        self.record(step, epoch, "val", &values)?;
        let shown: Vec<_> = values.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        self.say(run, &format!("{} {step}  validation  {}", run.name(), shown.join("  ")))
    }

    /// Stores a picture, for people and for TensorBoard.
    pub fn picture(&mut self, run: &RunDir, step: usize, panel: &Panel) -> Result<()> {
        let png = picture::encode(panel)?;
        picture::store(run.path(), &panel.name, step, &png)?;
        self.events.image(&panel.name, step, (panel.width, panel.height), &png)?;
        self.events.flush()
    }

    /// Says a warning once, and keeps it for the manifest.
    pub fn warn(&mut self, run: &mut RunDir, warning: Warning) -> Result<()> {
        if !self.said.insert(warning.key()) {
            return Ok(());
        }
        run.warn(warning.to_string());
        self.say(run, &format!("warning: {warning}"))
    }

    /// Names unreadable images that have not been named yet.
    pub fn faults(&mut self, run: &mut RunDir, faults: Vec<(String, String)>) -> Result<()> {
        for (image, reason) in faults {
            if self.faults.insert(image.clone()) {
                run.log(&format!("unreadable image {image}: {reason}"))?;
                self.warn(run, Warning::UnreadableImages { first: image, reason })?;
            }
        }
        Ok(())
    }

    /// Forces metrics to disk: called before a checkpoint, which must not know more than they do.
    pub fn sync(&mut self) -> Result<()> {
        self.metrics.sync_data().with_context(|| self.trouble())?;
        self.events.flush()
    }

    fn line(&self, state: &State, lr: f64) -> String {
        self.progress.line(state.step, state.window.first(), lr, &self.pace.unwrap_or_default())
    }

    fn say(&self, run: &RunDir, text: &str) -> Result<()> {
        self.progress.say(text);
        run.log(text)
    }

    fn record(&mut self, step: usize, epoch: f64, split: &str, values: &[(String, f64)]) -> Result<()> {
        let line = json_line(step, epoch, split, values)?;
        self.metrics.write_all(line.as_bytes()).with_context(|| self.trouble())?;
        for (name, value) in values {
            self.events.scalar(&format!("{split}/{name}"), step, *value)?;
        }
        self.events.flush()
    }

    fn trouble(&self) -> String {
        format!("cannot write {}: is the disk full?", self.path.display())
    }
}

/// One line; what is not finite becomes `null`, since JSON has no word for it.
fn json_line(step: usize, epoch: f64, split: &str, values: &[(String, f64)]) -> Result<String> {
    let mut line = format!("{{\"step\":{step},\"epoch\":{epoch},\"split\":\"{split}\"");
    for (name, value) in values {
        line += &format!(",{}:{}", serde_json::to_string(name)?, Value::from(*value));
    }
    line += "}\n";
    Ok(line)
}

/// Keeps the whole lines up to `step`.
fn cut(path: &Path, step: usize) -> io::Result<()> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read?,
    };
    let of_line = |line: &str| -> Option<u64> {
        serde_json::from_str::<HashMap<String, Value>>(line.strip_suffix('\n')?).ok()?.get("step")?.as_u64()
    };
    let keep: String =
        text.split_inclusive('\n').filter(|line| of_line(line).is_some_and(|at| at <= step as u64)).collect();
    if keep == text { Ok(()) } else { atomic::write_bytes(path, keep.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_json_in_order() {
        let values = [("loss".to_string(), 0.5), ("bad\"name".into(), f64::NAN)];
        let line = json_line(20, 0.25, "train", &values).unwrap();
        assert_eq!(
            line,
            "{\"step\":20,\"epoch\":0.25,\"split\":\"train\",\"loss\":0.5,\"bad\\\"name\":null}\n"
        );
    }

    #[test]
    fn cutting_keeps_whole_lines_up_to_the_step() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join(FILE);
        cut(&path, 5).unwrap();
        assert!(!path.exists());
        let kept = "{\"step\":5,\"split\":\"train\"}\n{\"step\":10,\"split\":\"val\"}\n";
        fs::write(&path, format!("{kept}{{\"step\":15}}\n{{\"step\":1")).unwrap();
        cut(&path, 10).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), kept);
        cut(&path, 0).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }
}
