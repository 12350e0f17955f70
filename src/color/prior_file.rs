//! The prior file format: `NAME.npy` (float64, shape `(Q)`), readable by numpy and the authors' code, and `NAME.json`
//! with its provenance. Both are written atomically, the record first; the record contains a hash of the values, so
//! that mismatched files are detected.

use super::bins::Bins;
use crate::{
    atomic_write,
    checksum::{self, Verification},
    npy,
};
use candle_core::DType;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// How far the sum of a prior may be from 1.
const SUM_TOLERANCE: f64 = 1e-3;

/// Provenance of a prior.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PriorRecord {
    /// Name of the data set.
    pub dataset: String,
    /// Fingerprint of the data set.
    pub fingerprint: String,
    /// Images counted.
    pub images: u64,
    /// Pixels counted.
    pub pixels: u64,
    /// Bin spacing, in ab units.
    pub grid: f32,
    /// Width of the Gaussian in the ab plane, in ab units.
    pub sigma: f32,
    /// Treatment of empty bins: [`super::prior::ZERO_RULE`].
    pub zero_rule: String,
    /// Version of this crate.
    pub crate_version: String,
    /// SHA-256 of the probabilities as little-endian float64; set by [`Prior::write`].
    #[serde(default)]
    pub sha256: String,
}

/// Errors of reading and writing a prior.
#[derive(Debug, thiserror::Error)]
pub enum PriorError {
    /// Not readable as an array of numbers.
    #[error("{}: cannot read the color prior: {reason}. Measure it again, or name another file", path.display())]
    Unreadable { path: PathBuf, reason: String },
    /// Not a distribution over these bins.
    #[error("{}: {problem}. Measure the prior again with the bins of this experiment, or name another file", path.display())]
    Invalid { path: PathBuf, problem: String },
    /// The record is damaged, or belongs to another prior.
    #[error("{}: {problem}. Measure the prior again, or remove this file to use the numbers without a record", path.display())]
    Record { path: PathBuf, problem: String },
    /// Not written.
    #[error("{}: cannot write the color prior: {reason}. Check that the folder exists, is writable and not full", path.display())]
    Unwritable { path: PathBuf, reason: String },
}

/// The probability of every bin, with its provenance.
#[derive(Clone, Debug, PartialEq)]
pub struct Prior {
    /// One per bin, in the order of the bins; sums to 1 within 1e-3.
    pub probabilities: Vec<f64>,
    /// None for a file without a record, such as the authors'.
    pub record: Option<PriorRecord>,
}

impl Prior {
    /// Reads `path` and its record, if present. Rejects a wrong length, negative or non-finite values, a sum off 1 by
    /// more than 1e-3, and a record that is damaged or for another grid or other values.
    pub fn read(path: &Path, bins: &Bins) -> Result<Self, PriorError> {
        let probabilities = read_numbers(path)?;
        if let Some(problem) = problem(&probabilities, bins) {
            return Err(PriorError::Invalid { path: path.to_owned(), problem });
        }
        let record = read_record(&record_path(path), &probabilities, bins)?;
        Ok(Self { probabilities, record })
    }

    /// Writes `path` and the record, if there is one. Does not create folders.
    pub fn write(&self, path: &Path) -> Result<(), PriorError> {
        let beside = record_path(path);
        match &self.record {
            Some(record) => {
                let record = PriorRecord { sha256: fingerprint(&self.probabilities), ..record.clone() };
                let text = checksum::to_json(&record).map_err(|e| unwritable(&beside, e))?;
                atomic_write::write(&beside, text.as_bytes()).map_err(|e| unwritable(&beside, e))?;
            }
            // a stale record would not match the new values
            None if beside.exists() => std::fs::remove_file(&beside).map_err(|e| unwritable(&beside, e))?,
            None => {}
        }
        atomic_write::write_with(path, |out| {
            npy::write(out, &[self.probabilities.len()], &self.probabilities)
        })
        .map_err(|e: std::io::Error| unwritable(path, e))
    }
}

/// `NAME.json` for `NAME.npy`.
fn record_path(path: &Path) -> PathBuf {
    path.with_extension("json")
}

fn unwritable(path: &Path, reason: impl ToString) -> PriorError {
    PriorError::Unwritable { path: path.to_owned(), reason: reason.to_string() }
}

fn read_numbers(path: &Path) -> Result<Vec<f64>, PriorError> {
    let unreadable = |reason: String| PriorError::Unreadable { path: path.to_owned(), reason };
    let array = npy::read(path).map_err(|e| unreadable(format!("{e:#}")))?;
    if !array.dtype().is_float() {
        return Err(unreadable(format!("expected floating-point numbers, got {}", array.dtype().as_str())));
    }
    let numbers = array.to_dtype(DType::F64).and_then(|a| a.flatten_all()?.to_vec1());
    numbers.map_err(|e| unreadable(e.to_string()))
}

/// Why `probabilities` is not a distribution over `bins`.
fn problem(probabilities: &[f64], bins: &Bins) -> Option<String> {
    let (found, expected) = (probabilities.len(), bins.len());
    if found != expected {
        return Some(format!("holds {found} numbers, but a grid of {} has {expected} bins", bins.grid()));
    }
    if let Some(bin) = probabilities.iter().position(|p| !(*p >= 0.0 && p.is_finite())) {
        return Some(format!("bin {bin} has the probability {}", probabilities[bin]));
    }
    let sum: f64 = probabilities.iter().sum();
    ((sum - 1.0).abs() > SUM_TOLERANCE).then(|| format!("the probabilities sum to {sum}, not 1"))
}

fn read_record(path: &Path, numbers: &[f64], bins: &Bins) -> Result<Option<PriorRecord>, PriorError> {
    let wrong = |problem: String| PriorError::Record { path: path.to_owned(), problem };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
    };
    if let Verification::Mismatch { stated, found } = checksum::verify(text.as_bytes()) {
        return Err(wrong(format!("is damaged: its checksum is {found}, and it says {stated}")));
    }
    let record: PriorRecord = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    if record.grid != bins.grid() {
        return Err(wrong(format!("is of a grid of {}, not {}", record.grid, bins.grid())));
    }
    if !record.sha256.is_empty() && record.sha256 != fingerprint(numbers) {
        return Err(wrong("describes other numbers than those in the .npy beside it".into()));
    }
    Ok(Some(record))
}

fn fingerprint(numbers: &[f64]) -> String {
    let bytes: Vec<u8> = numbers.iter().flat_map(|p| p.to_le_bytes()).collect();
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(bins: &Bins) -> Prior {
        let total = (bins.len() * (bins.len() + 1) / 2) as f64;
        Prior {
            probabilities: (1..=bins.len()).map(|i| i as f64 / total).collect(),
            record: Some(PriorRecord {
                dataset: "scenes".into(),
                fingerprint: "00ff".into(),
                images: 3,
                pixels: 48,
                grid: bins.grid(),
                sigma: 5.0,
                zero_rule: super::super::prior::ZERO_RULE.into(),
                crate_version: env!("CARGO_PKG_VERSION").into(),
                sha256: String::new(),
            }),
        }
    }

    fn message(path: &Path, bins: &Bins) -> String {
        Prior::read(path, bins).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read() {
        let (folder, bins) = (tempfile::tempdir().unwrap(), Bins::new(10.0));
        let path = folder.path().join("prior.npy");
        let prior = example(&bins);
        prior.write(&path).unwrap();
        let read = Prior::read(&path, &bins).unwrap();
        assert_eq!(read.probabilities, prior.probabilities);
        let record = read.record.unwrap();
        assert_eq!(record.sha256.len(), 64);
        assert_eq!(PriorRecord { sha256: String::new(), ..record }, prior.record.clone().unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file stays");
        // without a record, the former one goes
        Prior { record: None, ..prior }.write(&path).unwrap();
        assert_eq!(Prior::read(&path, &bins).unwrap().record, None);
    }

    #[test]
    fn no_flipped_bit_gives_other_numbers() {
        let (folder, bins) = (tempfile::tempdir().unwrap(), Bins::new(10.0));
        let (path, beside) = (folder.path().join("prior.npy"), folder.path().join("prior.json"));
        example(&bins).write(&path).unwrap();
        let whole = Prior::read(&path, &bins).unwrap();
        for (file, step) in [(&path, 11), (&beside, 1)] {
            let bytes = std::fs::read(file).unwrap();
            for bit in (0..8 * bytes.len()).step_by(step) {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                std::fs::write(file, &bytes).unwrap();
                if let Ok(read) = Prior::read(&path, &bins) {
                    assert_eq!(read, whole, "bit {bit} of {}", file.display());
                }
            }
            std::fs::write(file, &bytes).unwrap();
        }
    }

    #[test]
    fn what_is_no_prior_is_refused() {
        let (folder, bins) = (tempfile::tempdir().unwrap(), Bins::new(10.0));
        let path = folder.path().join("prior.npy");
        let good = example(&bins).probabilities;
        let mut cases = vec![(good[1..].to_vec(), "holds 312 numbers, but a grid of 10 has 313 bins")];
        for (value, part) in
            [(-0.1, "bin 4 has the probability -0.1"), (f64::NAN, "bin 4 has the probability NaN")]
        {
            let mut bad = good.clone();
            bad[4] = value;
            cases.push((bad, part));
        }
        cases.push((good.iter().map(|p| p * 1.002).collect(), "the probabilities sum to 1.00"));
        for (probabilities, part) in cases {
            Prior { probabilities, record: None }.write(&path).unwrap();
            let message = message(&path, &bins);
            assert!(message.contains(part) && message.contains("prior.npy: "), "{message}");
            assert!(message.contains("Measure the prior again"), "{message}");
        }
    }

    #[test]
    fn broken_and_foreign_files_are_refused() {
        let (folder, bins) = (tempfile::tempdir().unwrap(), Bins::new(10.0));
        let (path, beside) = (folder.path().join("p.npy"), folder.path().join("p.json"));
        assert!(message(&path, &bins).contains("cannot read the color prior"));
        example(&bins).write(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        assert!(message(&path, &bins).contains("cannot read the color prior"));
        let mut other = example(&bins);
        other.probabilities.reverse();
        other.record = None;
        let reversed = folder.path().join("other.npy");
        other.write(&reversed).unwrap();
        std::fs::copy(&reversed, &path).unwrap();
        assert!(message(&path, &bins).contains("describes other numbers"));
        example(&bins).write(&path).unwrap();
        let record = std::fs::read_to_string(&beside).unwrap();
        std::fs::write(&beside, record.replace("\"pixels\": 48", "\"pixels\": 49")).unwrap();
        assert!(message(&path, &bins).contains("is damaged: its checksum is"), "{}", message(&path, &bins));
        std::fs::write(&beside, "{").unwrap();
        assert!(message(&path, &bins).contains("p.json: EOF"), "{}", message(&path, &bins));
        let missing = folder.path().join("none").join("p.npy");
        let error = example(&bins).write(&missing).unwrap_err().to_string();
        assert!(error.contains("cannot write") && error.contains("folder exists"), "{error}");
    }
}
