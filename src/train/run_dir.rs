//! One stage's run directory: lock, resolved spec, manifest, metrics, events, checkpoints, pictures, log.
//!
//! | file | what |
//! |---|---|
//! | `lock` | who writes here; locked while it runs ([`super::lock`]) |
//! | `spec.yaml` | the run's resolved spec |
//! | `plan.txt` | what the stage of an experiment does |
//! | `layers.txt` | the layer table of its network |
//! | `manifest.json` | environment, status and results ([`super::manifest`]) |
//! | `metrics.jsonl` | one JSON object per line ([`super::log`]) |
//! | `events.out.tfevents.*` | the same for TensorBoard |
//! | `checkpoints/` | `last`, `best` and `best-STEP`, each `.safetensors` |
//! | `pictures/` | what the task draws, and `latest.png` |
//! | `log.txt` | console messages with times |

use super::{
    clock,
    lock::RunLock,
    manifest::{self, Manifest, RunInfo, Status},
    spec_change::differences,
    task::Metric,
};
use crate::{atomic_write, text};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Instant, SystemTime},
};

/// File name of a trained stage's weights.
pub const WEIGHTS: &str = "weights.safetensors";
/// File with the resolved spec.
pub const SPEC: &str = "spec.yaml";

/// Files and folders that a run of any stage writes, beside those of its manifest and TensorBoard's.
const USUAL: [&str; 6] = [SPEC, "plan.txt", "layers.txt", "metrics.jsonl", "checkpoints", "pictures"];

/// Whether a file or folder in a run directory has a name that a run of any stage writes.
pub fn is_usual(name: &str) -> bool {
    USUAL.contains(&name) || manifest::is_about_run(name) || name.starts_with("events.out.tfevents.")
}

/// An open, locked run directory. A second process gets an error that names the holder.
pub struct RunDir {
    path: PathBuf,
    _lock: RunLock,
    spec: String,
    log: LogFile,
    manifest: Manifest,
    opened: Instant,
    /// Seconds spent by earlier processes.
    before: f64,
    /// Whether an earlier process has finished the run.
    was_finished: bool,
}

impl RunDir {
    /// Creates or reopens the directory; writes spec.yaml on creation. Errors: the directory cannot be written,
    /// another process holds the lock ([`super::lock::InUse`]), or it belongs to a different spec.
    pub fn open(path: &Path, spec_yaml: &str) -> Result<Self> {
        let checkpoints = path.join("checkpoints");
        fs::create_dir_all(&checkpoints).with_context(|| {
            format!("cannot create {}: choose an --out that can be written", checkpoints.display())
        })?;
        let lock = RunLock::take(path)?;
        for folder in walkdir::WalkDir::new(path).into_iter().filter_entry(|entry| entry.path().is_dir()) {
            let swept = folder
                .map_err(io::Error::from)
                .and_then(|folder| atomic_write::remove_partials(folder.path()));
            swept.with_context(|| format!("cannot tidy {}", path.display()))?;
        }
        write_or_check_spec(path, spec_yaml)?;
        let manifest = Manifest::read(path)?;
        let before = manifest.as_ref().map_or(0.0, |m| m.wall_seconds);
        let was_finished = manifest.as_ref().is_some_and(|m| m.status.is_finished());
        manifest::reset_peak_memory();
        Ok(Self {
            path: path.into(),
            _lock: lock,
            spec: spec_yaml.into(),
            log: LogFile::open(&path.join("log.txt"))?,
            manifest: reopened(manifest),
            opened: Instant::now(),
            before,
            was_finished,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the run was finished when it was opened: another process may have done so meanwhile.
    pub fn was_finished(&self) -> bool {
        self.was_finished
    }

    /// Name of the stage, taken from the directory.
    pub fn name(&self) -> String {
        self.path.file_name().map_or_else(|| "run".into(), |n| n.to_string_lossy().into_owned())
    }

    /// The name without its hash, for lines of progress.
    pub fn label(&self) -> String {
        let name = self.name();
        let split = split_run_name(&name).map(|(label, seed, _)| format!("{label}-s{seed}"));
        split.unwrap_or(name)
    }

    /// The run's resolved spec.
    pub fn spec(&self) -> &str {
        &self.spec
    }

    /// The spec of the run directory at `path`, if there is one.
    pub fn spec_at(path: &Path) -> Option<String> {
        fs::read_to_string(path.join("spec.yaml")).ok()
    }

    /// The manifest of the run at `path` if the run is finished. A finished run is never written again, even if its
    /// files changed.
    ///
    /// # Errors
    /// The manifest cannot be read or is damaged: it is then unknown whether the run is finished.
    pub fn finished(path: &Path) -> Result<Option<Manifest>> {
        Ok(Manifest::read(path)?.filter(|manifest| manifest.status.is_finished()))
    }

    /// Records the run's circumstances and sets its status to running. Devices and precisions of earlier updates stay on
    /// record: `cpu, bf16, then cpu`.
    pub fn begin(&mut self, about: RunInfo) -> Result<()> {
        let earlier = if self.manifest.steps > 0 { self.manifest.about.device.as_str() } else { "" };
        self.manifest.about = about.after(earlier);
        self.save()
    }

    /// Records the completed updates; called with every checkpoint.
    pub fn reached(&mut self, step: usize) -> Result<()> {
        self.manifest.steps = step;
        self.save()
    }

    /// Completed updates at the newest checkpoint, by any process; 0 without a checkpoint.
    pub fn steps(&self) -> usize {
        self.manifest.steps
    }

    /// Records a resume from a checkpoint.
    pub fn resumed(&mut self) {
        self.manifest.resumed += 1;
    }

    /// Records the reason for divergence in the manifest; None keeps an earlier one.
    pub fn set_diverged(&mut self, what: Option<String>) {
        self.manifest.diverged = what.or(self.manifest.diverged.take());
    }

    /// Records a warning in the manifest.
    pub fn warn(&mut self, text: String) {
        if !self.manifest.warnings.contains(&text) {
            self.manifest.warnings.push(text);
        }
    }

    /// Appends a timestamped line to log.txt.
    pub fn log(&self, line: &str) -> Result<()> {
        let stamped = format!("{} {line}\n", clock::utc(SystemTime::now()));
        self.log.clone().write_all(stamped.as_bytes()).with_context(|| {
            format!("cannot write {}: is the disk full?", self.path.join("log.txt").display())
        })
    }

    /// log.txt as a writer, for a tracing subscriber.
    pub fn log_file(&self) -> LogFile {
        self.log.clone()
    }

    /// Finishes the run: records metrics, times, peak memory and the hash of every file.
    pub fn finish(mut self, metrics: &[Metric]) -> Result<()> {
        self.manifest.set_metrics(metrics);
        self.manifest.set_outputs(&self.path)?;
        self.end(Status::Finished)
    }

    /// Marks the run as interrupted, to be resumed later.
    pub fn interrupt(mut self) -> Result<()> {
        self.end(Status::Interrupted)
    }

    /// Records why the run failed. Its last checkpoint remains.
    pub fn fail(mut self, error: &anyhow::Error) -> Result<()> {
        let text = format!("{error:#}");
        self.log(&format!("failed: {text}"))?;
        self.manifest.error = Some(text);
        self.end(Status::Failed)
    }

    fn end(&mut self, status: Status) -> Result<()> {
        self.manifest.status = status;
        self.manifest.ended = Some(clock::utc(SystemTime::now()));
        self.save()
    }

    fn save(&mut self) -> Result<()> {
        self.manifest.wall_seconds = self.before + self.opened.elapsed().as_secs_f64();
        self.manifest.peak_memory_bytes = manifest::peak_memory().max(self.manifest.peak_memory_bytes);
        self.manifest.write(&self.path)
    }
}

/// log.txt, shared by all writers without interleaving their lines.
#[derive(Clone)]
pub struct LogFile(Arc<Mutex<File>>);

impl LogFile {
    fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self(Arc::new(Mutex::new(file))))
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The manifest of a (re)opened run: totals of earlier processes are kept, their end status is not.
fn reopened(earlier: Option<Manifest>) -> Manifest {
    let fresh = Manifest::begin();
    match earlier {
        None => fresh,
        Some(earlier) => Manifest {
            started: earlier.started,
            wall_seconds: earlier.wall_seconds,
            resumed: earlier.resumed,
            steps: earlier.steps,
            about: earlier.about,
            warnings: earlier.warnings,
            peak_memory_bytes: earlier.peak_memory_bytes,
            ..fresh
        },
    }
}

/// Whether `name` is that of a run directory, `LABEL-sSEED-HASH`.
pub fn is_run_name(name: &str) -> bool {
    split_run_name(name).is_some()
}

/// Label, seed and hash in the name of a run directory.
pub fn split_run_name(name: &str) -> Option<(&str, u64, &str)> {
    let (rest, hash) = name.rsplit_once('-')?;
    let (label, seed) = rest.rsplit_once("-s")?;
    let is_hash = hash.len() == 12 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some((label, seed.parse().ok()?, hash)).filter(|_| is_hash)
}

/// Writes spec.yaml, or checks that the existing one agrees.
fn write_or_check_spec(run: &Path, spec: &str) -> Result<()> {
    let path = run.join("spec.yaml");
    if !path.exists() {
        return atomic_write::write(&path, spec.as_bytes())
            .with_context(|| format!("cannot write {}: is the disk full or read-only?", path.display()));
    }
    let there = text::read(&path).with_context(|| {
        format!("cannot read {}: put a copy of it back, or delete it to rewrite it", path.display())
    })?;
    ensure!(
        serde_yaml::from_str::<serde_yaml::Value>(&there).is_ok_and(|yaml| !yaml.is_null()),
        "{} is damaged: put a copy of it back, or delete it to rewrite it",
        path.display()
    );
    let changed = differences(&there, spec);
    if changed.is_empty() {
        return Ok(());
    }
    bail!(
        "{} belongs to a run with a different spec:\n{}\nchoose another --out, or delete the directory to start over",
        run.display(),
        changed.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::task::Better;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("out").join("pretrain");
        (temp, path)
    }

    #[test]
    fn what_a_killed_process_was_writing_is_swept_at_any_depth() {
        let (_temp, path) = folder();
        drop(RunDir::open(&path, "steps: 3\n").unwrap());
        let deep = path.join("detections/val");
        fs::create_dir_all(&deep).unwrap();
        for name in ["cat.txt", "cat.txt.a7Gh2k.partial"] {
            fs::write(deep.join(name), "x").unwrap();
        }
        drop(RunDir::open(&path, "steps: 3\n").unwrap());
        let left: Vec<_> = fs::read_dir(&deep).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["cat.txt"]);
    }

    #[test]
    fn another_spec_is_refused_key_by_key() {
        let (_temp, path) = folder();
        drop(RunDir::open(&path, "train:\n  steps: 3\n  batch: 8\n").unwrap());
        drop(RunDir::open(&path, "# said otherwise\ntrain: { batch: 8, steps: 3 }\n").unwrap());
        let error = RunDir::open(&path, "train:\n  steps: 4\n  batch: 8\n").err().unwrap().to_string();
        assert!(error.contains("\n  train.steps: 3 → 4\nchoose another --out"), "{error}");
    }

    #[test]
    fn a_finished_run_knows_which_of_its_outputs_changed() {
        let (_temp, path) = folder();
        let mut run = RunDir::open(&path, "a: 1\n").unwrap();
        let data = [("train".into(), "ab".into())].into();
        run.begin(RunInfo { device: "cpu".into(), seed: 7, data, fit: None }).unwrap();
        assert!(RunDir::finished(&path).unwrap().is_none());
        fs::write(path.join("prior.npy"), "numbers").unwrap();
        run.finish(&[Metric { name: "top1".into(), value: 0.5, better: Better::Higher }]).unwrap();
        let manifest = RunDir::finished(&path).unwrap().unwrap();
        assert!(manifest.changed(&path).is_empty());
        assert_eq!((manifest.about.seed, manifest.metrics[0].value), (7, Some(0.5)));
        assert_eq!(manifest.outputs.keys().collect::<Vec<_>>(), ["prior.npy", "spec.yaml"]);
        fs::write(path.join("prior.npy"), "NUMBERS").unwrap();
        assert_eq!(RunDir::finished(&path).unwrap().unwrap().changed(&path), ["prior.npy"]);
    }

    #[test]
    fn a_damaged_spec_is_no_other_spec() {
        let (_temp, path) = folder();
        drop(RunDir::open(&path, "steps: 3\n").unwrap());
        for damage in [&b""[..], b"steps: [3", b"steps: \xff3\n"] {
            fs::write(path.join("spec.yaml"), damage).unwrap();
            let error = RunDir::open(&path, "steps: 3\n").err().unwrap().to_string();
            assert!(error.contains("spec.yaml") && error.contains("delete it to rewrite it"), "{error}");
        }
    }

    #[test]
    fn a_failure_is_on_record_and_time_adds_up() {
        let (_temp, path) = folder();
        let mut run = RunDir::open(&path, "a: 1\n").unwrap();
        run.before = 100.0;
        run.fail(&anyhow::anyhow!("no gradient").context("step 3")).unwrap();
        let failed = Manifest::read(&path).unwrap().unwrap();
        assert_eq!((failed.status, failed.error.as_deref()), (Status::Failed, Some("step 3: no gradient")));
        let mut run = RunDir::open(&path, "a: 1\n").unwrap();
        run.begin(RunInfo::default()).unwrap();
        let again = Manifest::read(&path).unwrap().unwrap();
        assert_eq!((again.status, again.error), (Status::Running, None));
        assert!(again.wall_seconds >= 100.0 && again.started == failed.started);
        assert!(
            fs::read_to_string(path.join("log.txt")).unwrap().ends_with("Z failed: step 3: no gradient\n")
        );
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        fs::write(&path, "").unwrap();
        let error = RunDir::open(&path, "a: 1\n").err().unwrap().to_string();
        assert!(error.contains("file/checkpoints: choose an --out that can be written"), "{error}");
    }

    #[test]
    fn names_of_runs() {
        assert_eq!(split_run_name("probe-a-s3-s10-0123456789ab"), Some(("probe-a-s3", 10, "0123456789ab")));
        for other in ["report", "probe-s0", "probe-0123456789ab", "probe-s0-0123456789a", "-sx-0123456789ab"]
        {
            assert!(!is_run_name(other), "{other}");
        }
    }
}
