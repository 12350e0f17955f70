//! `manifest.json`: what ran where, from what to what, and what came out. The one file that says whether a run is
//! finished; everything that a report states about a run's circumstances is read from it.

use super::{
    clock, program,
    task::{Better, Metric},
};
use crate::{
    atomic_write,
    seal::{self, Seal},
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

impl Status {
    /// Whether the run's results count. Nothing else decides it, whatever has become of the run's files since.
    pub fn is_finished(self) -> bool {
        self == Self::Finished
    }
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
    /// Why its results are not those of a training that went well: its loss, or that of what it started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverged: Option<String>,
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
            diverged: None,
            peak_memory_bytes: None,
            outputs: BTreeMap::new(),
        }
    }

    /// The manifest of the run directory `run`; None where there is none yet.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        read(run)
    }

    /// Writes it into the run directory `run`, with a checksum of its own.
    pub fn write(&self, run: &Path) -> Result<()> {
        let path = run.join(FILE);
        atomic_write::write(&path, seal::json(self)?.as_bytes())
            .with_context(|| format!("cannot write {}: is the disk full or read-only?", path.display()))
    }

    /// The outputs that are not there as they were: by SHA-256 up to 64 MiB, by size above.
    pub fn changed(&self, run: &Path) -> Vec<&str> {
        let holds = |(name, output): &(&String, &Output)| {
            let path = run.join(name);
            let same_size = path.metadata().is_ok_and(|m| m.len() == output.bytes);
            same_size && (output.bytes > HASHED_AGAIN || sha256(&path).is_ok_and(|h| h == output.sha256))
        };
        self.outputs.iter().filter(|entry| !holds(entry)).map(|(name, _)| name.as_str()).collect()
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

/// How a run ended: what other stages and reports ask of it, whatever version wrote it.
#[derive(Clone, Debug, Deserialize)]
pub struct Ending {
    pub status: Status,
    #[serde(default)]
    pub outputs: BTreeMap<String, Output>,
    #[serde(default)]
    pub diverged: Option<String>,
}

impl Ending {
    /// The ending of the run in `run`; None where there is no manifest.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        read(run)
    }

    /// The same, None of a run that is not finished, too.
    ///
    /// # Errors
    /// As [`Ending::read`]: whether the run is finished is then not known.
    pub fn finished(run: &Path) -> Result<Option<Self>> {
        Ok(Self::read(run)?.filter(|ending| ending.status.is_finished()))
    }

    /// Makes sure that the file `name` of the run directory `run` is what the run has left there. A file that it does
    /// not list, or has not finished, is not looked at.
    ///
    /// # Errors
    /// Another file than the manifest lists, with both hashes; none.
    pub fn ensure_unchanged(&self, run: &Path, name: &str) -> Result<()> {
        let Some(listed) = self.outputs.get(name).filter(|_| self.status.is_finished()) else {
            return Ok(());
        };
        let path = run.join(name);
        let again = format!("put a copy of it back, or delete {} and run the stage again", run.display());
        ensure!(path.exists(), "{} is gone, but {FILE} beside it lists it: {again}", path.display());
        let found = sha256(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(
            found == listed.sha256,
            "{} is not what the run has left: its SHA-256 is {found}, {FILE} says {}; {again}",
            path.display(),
            listed.sha256
        );
        Ok(())
    }
}

/// The run directory that `file` lies in, if it is one: another folder's manifest.json is not ours to judge.
pub fn run_of(file: &Path) -> Option<&Path> {
    let folder = file.parent()?;
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    folder.join("spec.yaml").exists().then_some(folder)
}

/// Makes sure that `file`, if it lies in the directory of a finished run, is what that run has left.
///
/// # Errors
/// As [`Ending::ensure_unchanged`]; a manifest that is damaged.
pub fn ensure_unchanged(file: &Path) -> Result<()> {
    let name = file.file_name().and_then(|name| name.to_str());
    let (Some(run), Some(name)) = (run_of(file), name) else { return Ok(()) };
    Ending::read(run)?.map_or(Ok(()), |ending| ending.ensure_unchanged(run, name))
}

fn read<T: DeserializeOwned>(run: &Path) -> Result<Option<T>> {
    let path = run.join(FILE);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let advice = "put a copy of it back, or delete it; the run then continues from its checkpoint";
    if let Seal::Broken { stated, found } = seal::check(&bytes) {
        bail!("{} is damaged: its checksum is {found}, and it says {stated}; {advice}", path.display());
    }
    // what the parser would say of it speaks of this program's types
    let parsed = serde_json::from_slice(&bytes).ok();
    parsed.map(Some).with_context(|| format!("{} is damaged: {advice}", path.display()))
}

impl Machine {
    /// This program on this machine; what cannot be found out is "unknown".
    pub fn here() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: program::commit().map(Into::into),
            features: program::features(),
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
        assert!(manifest.changed(run.path()).is_empty());
        fs::write(run.path().join("checkpoints/last.safetensors"), "abd").unwrap();
        assert_eq!(manifest.changed(run.path()), ["checkpoints/last.safetensors"]);
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
        // without the last newline it says the same
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
        for part in ["weights.safetensors is not", "ba7816bf", "manifest.json says", "run the stage again"] {
            assert!(error.contains(part), "{error}");
        }
        fs::remove_file(&file).unwrap();
        assert!(ensure_unchanged(&file).unwrap_err().to_string().contains("is gone, but"));
    }
}
