//! `manifest.json`: what ran where, from what to what, and what came out. The one file that says whether a run is
//! finished; everything that a report states about a run's circumstances is read from it.

use super::{
    atomic, clock,
    task::{Better, Metric},
};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io,
    path::Path,
    time::SystemTime,
};

/// Its name in the run directory.
pub const FILE: &str = "manifest.json";
/// Files that are not outputs: they change after the outputs have been hashed.
const NOT_OUTPUTS: [&str; 3] = [FILE, "lock", "log.txt"];
/// Larger outputs are compared by size alone when a finished run is looked at again.
const HASHED_AGAIN: u64 = 64 << 20;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Also what a killed run's manifest goes on saying.
    Running,
    Interrupted,
    Failed,
    Finished,
}

/// What the caller knows of a run and the machine does not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The compute device, in words.
    pub device: String,
    pub seed: u64,
    /// Fingerprints of the data sets, by name (`train`, `val`).
    pub data: BTreeMap<String, String>,
}

/// What made the run: program and machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub version: String,
    /// The git commit that the program was built from, when known.
    pub commit: Option<String>,
    pub features: Vec<String>,
    pub host: String,
    pub cpu: String,
    pub cores: usize,
}

/// A result; not a number where validation gave none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub name: String,
    pub value: Option<f64>,
    pub better: Better,
}

/// One file of a finished run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    pub sha256: String,
    pub bytes: u64,
}

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub status: Status,
    /// Why a failed run failed.
    pub error: Option<String>,
    #[serde(flatten)]
    pub about: About,
    #[serde(flatten)]
    pub machine: Machine,
    /// First start and last end, UTC.
    pub started: String,
    pub ended: Option<String>,
    /// Time spent, all starts together.
    pub wall_seconds: f64,
    /// Times that the run was continued from a checkpoint.
    pub resumed: usize,
    /// Updates done.
    pub steps: usize,
    pub metrics: Vec<Outcome>,
    pub warnings: Vec<String>,
    /// Largest resident set of the process while it held this run.
    pub peak_memory_bytes: Option<u64>,
    /// Every file of a finished run, by its path in the run directory (with `/`).
    pub outputs: BTreeMap<String, Output>,
}

impl Manifest {
    /// A run that begins now.
    pub fn begin() -> Self {
        Self {
            status: Status::Running,
            error: None,
            about: About::default(),
            machine: Machine::here(),
            started: clock::utc(SystemTime::now()),
            ended: None,
            wall_seconds: 0.0,
            resumed: 0,
            steps: 0,
            metrics: vec![],
            warnings: vec![],
            peak_memory_bytes: None,
            outputs: BTreeMap::new(),
        }
    }

    /// The manifest of the run directory `run`; None where there is none yet.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let path = run.join(FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let parsed = serde_json::from_str(&text);
        parsed.map(Some).with_context(|| {
            format!("{} is damaged: delete it; the run then continues from its checkpoint", path.display())
        })
    }

    /// Writes it into the run directory `run`.
    pub fn write(&self, run: &Path) -> Result<()> {
        let path = run.join(FILE);
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        atomic::write_bytes(&path, text.as_bytes())
            .with_context(|| format!("cannot write {}: is the disk full or read-only?", path.display()))
    }

    /// Whether every output is still there as it was: by SHA-256 up to 64 MiB, by size above.
    pub fn outputs_hold(&self, run: &Path) -> bool {
        self.outputs.iter().all(|(name, output)| {
            let path = run.join(name);
            let same_size = path.metadata().is_ok_and(|m| m.len() == output.bytes);
            same_size && (output.bytes > HASHED_AGAIN || sha256(&path).is_ok_and(|h| h == output.sha256))
        })
    }

    /// Sets the results.
    pub fn set_metrics(&mut self, metrics: &[Metric]) {
        let outcome = |m: &Metric| Outcome {
            name: m.name.clone(),
            value: m.value.is_finite().then_some(m.value),
            better: m.better,
        };
        self.metrics = metrics.iter().map(outcome).collect();
    }

    /// Hashes every file of the run directory `run`.
    pub fn set_outputs(&mut self, run: &Path) -> Result<()> {
        self.outputs.clear();
        let mut links = HashMap::new(); // the best checkpoints are further names of one file
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
            self.outputs.insert(name, Output { sha256: hash, bytes });
        }
        Ok(())
    }
}

impl Machine {
    /// This program on this machine; what cannot be found out is "unknown".
    pub fn here() -> Self {
        let features = [("hub", cfg!(feature = "hub"))];
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: option_env!("HUERISTIC_COMMIT").map(Into::into),
            features: features.iter().filter(|f| f.1).map(|f| f.0.into()).collect(),
            host: host().unwrap_or_else(|| "unknown".into()),
            cpu: cpu().unwrap_or_else(|| std::env::consts::ARCH.into()),
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

/// Largest resident set since `forget_peak_memory`, in bytes, where the system says (Linux).
pub fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|k| k << 10)
}

/// Lets the peak be counted from now on, so that each stage of an experiment has its own.
pub fn forget_peak_memory() {
    // Linux alone knows this file; elsewhere there is no peak to forget.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn host() -> Option<String> {
    let from_env = || std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok();
    fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|s| s.trim().to_string()).or_else(from_env)
}

fn cpu() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    info.lines().find(|l| l.starts_with("model name"))?.split_once(": ").map(|(_, name)| name.trim().into())
}

/// What two names of one file share.
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
        let expected = Output { sha256: hash.into(), bytes: 3 };
        assert_eq!(manifest.outputs, BTreeMap::from([("checkpoints/last.safetensors".into(), expected)]));
        assert!(manifest.outputs_hold(run.path()));
        fs::write(run.path().join("checkpoints/last.safetensors"), "abd").unwrap();
        assert!(!manifest.outputs_hold(run.path()));
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
        fs::write(run.path().join(FILE), "{").unwrap();
        let error = Manifest::read(run.path()).unwrap_err().to_string();
        assert!(error.contains("manifest.json is damaged: delete it"), "{error}");
    }
}
