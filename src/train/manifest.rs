//! `manifest.json`: the run's environment, inputs, outputs, status and metrics. It alone decides whether a run is
//! finished, and reports take all facts about a run from it.

use super::{
    clock, program,
    task::{Better, Metric},
};
use crate::{
    atomic_write,
    checksum::{self, Verification},
    ops::conv::instructions,
};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io,
    path::Path,
    time::SystemTime,
};

/// File name in the run directory.
pub const FILE: &str = "manifest.json";
/// Files that are not outputs: they change after the outputs were hashed.
const NOT_OUTPUTS: [&str; 3] = [FILE, "lock", "log.txt"];
/// Larger outputs are compared by size only when a finished run is verified again.
const HASHED_AGAIN: u64 = 64 << 20;

/// Status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A killed run keeps this status.
    Running,
    Interrupted,
    Failed,
    Finished,
}

impl Status {
    /// Whether the run's results count. The manifest alone decides, even if files changed later.
    pub fn is_finished(self) -> bool {
        self == Self::Finished
    }
}

/// Whether a file of a run directory is about the run and not among its outputs.
pub fn is_about_run(name: &str) -> bool {
    NOT_OUTPUTS.contains(&name)
}

/// Run information that the caller supplies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Description of the compute device.
    pub device: String,
    pub seed: u64,
    /// Fingerprints of the data sets, by name (`train`, `val`).
    pub data: BTreeMap<String, String>,
    /// The fit that the run was made for; absent in older manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<FitName>,
}

/// Name of a fit: its experiment and stage, and its row and column if the stage has several fits.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FitName {
    pub experiment: String,
    pub stage: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
}

impl RunInfo {
    /// The same, with the description of all devices in turn; `earlier` is empty if there was none.
    pub fn after(self, earlier: &str) -> Self {
        const THEN: &str = ", then ";
        let device = match earlier.rsplit(THEN).next() {
            None | Some("") => self.device,
            Some(last) if last == self.device => earlier.into(),
            Some(_) => [earlier, &self.device].join(THEN),
        };
        Self { device, ..self }
    }
}

/// The program and the machine that ran it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    pub version: String,
    /// Git commit of the build, if known.
    pub commit: Option<String>,
    pub features: Vec<String>,
    pub host: String,
    /// Name of the processor, and the vector instructions of its products in f32, on which their last bits depend.
    pub cpu: String,
    pub cores: usize,
}

/// A recorded metric; `value` is None where validation gave NaN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedMetric {
    pub name: String,
    pub value: Option<f64>,
    pub better: Better,
}

/// One file of a finished run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    pub sha256: String,
    pub bytes: u64,
}

/// The contents of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub status: Status,
    /// Error text of a failed run.
    pub error: Option<String>,
    #[serde(flatten)]
    pub about: RunInfo,
    #[serde(flatten)]
    pub machine: Environment,
    /// UTC times of the first start and the last end.
    pub started: String,
    pub ended: Option<String>,
    /// Total time over all starts.
    pub wall_seconds: f64,
    /// Number of resumes from a checkpoint.
    pub resumed: usize,
    /// Completed updates.
    pub steps: usize,
    pub metrics: Vec<RecordedMetric>,
    pub warnings: Vec<String>,
    /// Why the results are not those of a successful training: the divergence of this run or of the one it started
    /// from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverged: Option<String>,
    /// Peak resident set size of the process during this run.
    pub peak_memory_bytes: Option<u64>,
    /// Every file of a finished run, by its path relative to the run directory (with `/`).
    pub outputs: BTreeMap<String, OutputFile>,
}

impl Manifest {
    /// The manifest of a run that starts now.
    pub fn begin() -> Self {
        Self {
            status: Status::Running,
            error: None,
            about: RunInfo::default(),
            machine: Environment::here(),
            started: clock::utc(SystemTime::now()),
            ended: None,
            wall_seconds: 0.0,
            resumed: 0,
            steps: 0,
            metrics: vec![],
            warnings: vec![],
            diverged: None,
            peak_memory_bytes: None,
            outputs: BTreeMap::new(),
        }
    }

    /// Reads the manifest of the run directory `run`; None if there is none.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        read(run)
    }

    /// Writes the manifest with its checksum into the run directory `run`.
    pub fn write(&self, run: &Path) -> Result<()> {
        let path = run.join(FILE);
        atomic_write::write(&path, checksum::to_json(self)?.as_bytes())
            .with_context(|| format!("cannot write {}: is the disk full or read-only?", path.display()))
    }

    /// Outputs that are missing or modified: compared by SHA-256 up to 64 MiB, by size above.
    pub fn changed(&self, run: &Path) -> Vec<&str> {
        let holds = |(name, output): &(&String, &OutputFile)| {
            let path = run.join(name);
            let same_size = path.metadata().is_ok_and(|m| m.len() == output.bytes);
            same_size && (output.bytes > HASHED_AGAIN || sha256(&path).is_ok_and(|h| h == output.sha256))
        };
        self.outputs.iter().filter(|entry| !holds(entry)).map(|(name, _)| name.as_str()).collect()
    }

    /// Sets the results.
    pub fn set_metrics(&mut self, metrics: &[Metric]) {
        let outcome = |m: &Metric| RecordedMetric {
            name: m.name.clone(),
            value: m.value.is_finite().then_some(m.value),
            better: m.better,
        };
        self.metrics = metrics.iter().map(outcome).collect();
    }

    /// Hashes every file of the run directory `run`.
    pub fn set_outputs(&mut self, run: &Path) -> Result<()> {
        self.outputs.clear();
        let mut links = HashMap::new(); // the best checkpoints are hard links to one file
        for entry in walkdir::WalkDir::new(run).sort_by_file_name() {
            let entry = entry.with_context(|| format!("cannot list {}", run.display()))?;
            let name = entry.path().strip_prefix(run)?.to_string_lossy().replace('\\', "/");
            if !entry.file_type().is_file() || NOT_OUTPUTS.contains(&name.as_str()) {
                continue;
            }
            let bytes = entry.metadata()?.len();
            let hash = match links.get(&identity(&entry.metadata()?)) {
                Some(known) => String::clone(known),
                None => sha256(entry.path())
                    .with_context(|| format!("cannot read back {}", entry.path().display()))?,
            };
            if let Some(identity) = identity(&entry.metadata()?) {
                links.insert(Some(identity), hash.clone());
            }
            self.outputs.insert(name, OutputFile { sha256: hash, bytes });
        }
        Ok(())
    }
}

/// The part of a manifest that other stages and reports read; accepts every manifest version.
#[derive(Clone, Debug, Deserialize)]
pub struct RunOutcome {
    pub status: Status,
    /// UTC time of the first start; empty if unknown.
    #[serde(default)]
    pub started: String,
    #[serde(default)]
    pub outputs: BTreeMap<String, OutputFile>,
    #[serde(default)]
    pub diverged: Option<String>,
}

impl RunOutcome {
    /// Reads the outcome of the run in `run`; None if there is no manifest.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        read(run)
    }

    /// As [`RunOutcome::read`], but None also for a run that is not finished.
    ///
    /// # Errors
    /// As [`RunOutcome::read`]: it is then unknown whether the run is finished.
    pub fn finished(run: &Path) -> Result<Option<Self>> {
        Ok(Self::read(run)?.filter(|outcome| outcome.status.is_finished()))
    }

    /// Checks that the file `name` of the run directory `run` is unmodified since the run finished. Files that are not
    /// listed, and files of unfinished runs, are not checked.
    ///
    /// # Errors
    /// The file's hash differs from the manifest's (both are named); the file is missing.
    pub fn ensure_unchanged(&self, run: &Path, name: &str) -> Result<()> {
        let Some(listed) = self.outputs.get(name).filter(|_| self.status.is_finished()) else {
            return Ok(());
        };
        let path = run.join(name);
        let again = format!("put a copy of it back, or delete {} and run the stage again", run.display());
        ensure!(path.exists(), "{} is missing, but {FILE} lists it: {again}", path.display());
        let found = sha256(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(
            found == listed.sha256,
            "{} was modified after the run: its SHA-256 is {found}, {FILE} says {}; {again}",
            path.display(),
            listed.sha256
        );
        Ok(())
    }
}

/// The run directory that contains `file`, if it is one. The manifest.json of any other folder is ignored.
pub fn run_dir_of(file: &Path) -> Option<&Path> {
    let folder = file.parent()?;
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    folder.join("spec.yaml").exists().then_some(folder)
}

/// Checks that `file`, if it is in the directory of a finished run, is unmodified since that run finished.
///
/// # Errors
/// As [`RunOutcome::ensure_unchanged`]; a damaged manifest.
pub fn ensure_unchanged(file: &Path) -> Result<()> {
    let name = file.file_name().and_then(|name| name.to_str());
    let (Some(run), Some(name)) = (run_dir_of(file), name) else { return Ok(()) };
    RunOutcome::read(run)?.map_or(Ok(()), |outcome| outcome.ensure_unchanged(run, name))
}

/// Reads the manifest of the run directory `run` as `T`, which may hold a part of it; None if there is none.
///
/// # Errors
/// The file cannot be read or is damaged.
pub fn read<T: DeserializeOwned>(run: &Path) -> Result<Option<T>> {
    let path = run.join(FILE);
    // On NFS a file that is replaced while it is read is gone; its successor is there.
    let is_stale = |error: &io::Error| error.kind() == io::ErrorKind::StaleNetworkFileHandle;
    let bytes =
        match fs::read(&path).or_else(|error| if is_stale(&error) { fs::read(&path) } else { Err(error) }) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
    let advice = "put a copy of it back, or delete it; the run then continues from its checkpoint";
    if let Verification::Mismatch { stated, found } = checksum::verify(&bytes) {
        bail!("{} is damaged: its checksum is {found}, and it says {stated}; {advice}", path.display());
    }
    // The parser's own message would mention this program's types.
    let parsed = serde_json::from_slice(&bytes).ok();
    parsed.map(Some).with_context(|| format!("{} is damaged: {advice}", path.display()))
}

impl Environment {
    /// Describes this program and machine; unavailable values are "unknown".
    pub fn here() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: program::commit().map(Into::into),
            features: program::features(),
            host: host().unwrap_or_else(|| "unknown".into()),
            cpu: format!("{}, {}", cpu().as_deref().unwrap_or(std::env::consts::ARCH), instructions()),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
        }
    }
}

/// SHA-256 of a file, in hexadecimal.
pub fn sha256(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(hex(&hash.finalize()))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Peak resident set size since `reset_peak_memory`, in bytes, where the system reports it (Linux).
pub fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|k| k << 10)
}

/// Resets the peak, so that each stage of an experiment has its own.
pub fn reset_peak_memory() {
    // This file exists on Linux only. Other systems report no peak.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Name of this machine.
pub fn host() -> Option<String> {
    let from_env = || std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok();
    fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|s| s.trim().to_string()).or_else(from_env)
}

fn cpu() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    info.lines().find(|l| l.starts_with("model name"))?.split_once(": ").map(|(_, name)| name.trim().into())
}

/// Identifies a file across its hard links.
#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}
#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> Option<(u64, u64)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finished_means_unchanged() {
        let run = tempfile::tempdir().unwrap();
        fs::create_dir(run.path().join("checkpoints")).unwrap();
        fs::write(run.path().join("checkpoints/last.safetensors"), "abc").unwrap();
        fs::write(run.path().join("log.txt"), "not an output").unwrap();
        let mut manifest = Manifest::begin();
        manifest.set_outputs(run.path()).unwrap();
        // FIPS 180-4's example: SHA-256("abc")
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let expected = OutputFile { sha256: hash.into(), bytes: 3 };
        assert_eq!(manifest.outputs, BTreeMap::from([("checkpoints/last.safetensors".into(), expected)]));
        assert!(manifest.changed(run.path()).is_empty());
        fs::write(run.path().join("checkpoints/last.safetensors"), "abd").unwrap();
        assert_eq!(manifest.changed(run.path()), ["checkpoints/last.safetensors"]);
    }

    #[test]
    fn devices_in_turn_stay_on_record() {
        let after = |earlier: &str, device: &str| {
            RunInfo { device: device.into(), ..RunInfo::default() }.after(earlier).device
        };
        assert_eq!(after("", "cpu"), "cpu");
        assert_eq!(after("cpu, bf16", "cpu, bf16"), "cpu, bf16");
        assert_eq!(after("cpu, bf16", "cpu"), "cpu, bf16, then cpu");
        assert_eq!(after("cpu, bf16, then cpu", "cpu"), "cpu, bf16, then cpu");
        assert_eq!(after("cpu, bf16, then cpu", "cpu, bf16"), "cpu, bf16, then cpu, then cpu, bf16");
    }

    #[test]
    fn it_survives_its_file() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::read(run.path()).unwrap(), None);
        let mut manifest = Manifest::begin();
        manifest.set_metrics(&[
            Metric { name: "top1".into(), value: 0.1, better: Better::Higher },
            Metric { name: "broken".into(), value: f64::NAN, better: Better::Neither },
        ]);
        manifest.about.data.insert("train".into(), "0af3".into());
        manifest.write(run.path()).unwrap();
        assert_eq!(Manifest::read(run.path()).unwrap(), Some(manifest));
        for damaged in ["", "{", "null", "[]", "{\"status\": 3}"] {
            fs::write(run.path().join(FILE), damaged).unwrap();
            let error = format!("{:#}", Manifest::read(run.path()).unwrap_err());
            assert!(error.contains("manifest.json is damaged: put a copy"), "{damaged}: {error}");
            assert!(!error.contains("struct") && !error.contains("expected"), "{damaged}: {error}");
        }
    }

    #[test]
    fn every_flipped_bit_is_said_or_changes_nothing() {
        let run = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::begin();
        manifest.set_metrics(&[Metric { name: "top1".into(), value: 0.1, better: Better::Higher }]);
        manifest.write(run.path()).unwrap();
        let whole = fs::read(run.path().join(FILE)).unwrap();
        let read_as = |bytes: &[u8]| {
            fs::write(run.path().join(FILE), bytes).unwrap();
            Manifest::read(run.path()).map(Option::unwrap)
        };
        for bit in (0..8 * whole.len()).step_by(3) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read_as(&bytes).map_or(true, |read| read == manifest), "bit {bit}");
        }
        // Without the final newline the content is the same.
        for length in (0..whole.len() - 1).step_by(3) {
            assert!(read_as(&whole[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_file_in_a_run_directory_is_held_against_its_manifest() {
        let run = tempfile::tempdir().unwrap();
        let file = run.path().join("weights.safetensors");
        fs::write(&file, "abc").unwrap();
        let mut manifest = Manifest::begin();
        manifest.set_outputs(run.path()).unwrap();
        manifest.write(run.path()).unwrap();
        fs::write(&file, "abd").unwrap();
        ensure_unchanged(&file).unwrap(); // no run directory
        fs::write(run.path().join("spec.yaml"), "a: 1").unwrap();
        ensure_unchanged(&file).unwrap(); // it goes on
        manifest.status = Status::Finished;
        manifest.write(run.path()).unwrap();
        let error = ensure_unchanged(&file).unwrap_err().to_string();
        for part in
            ["weights.safetensors was modified", "ba7816bf", "manifest.json says", "run the stage again"]
        {
            assert!(error.contains(part), "{error}");
        }
        fs::remove_file(&file).unwrap();
        assert!(ensure_unchanged(&file).unwrap_err().to_string().contains("is missing, but"));
    }
}
