//! Retention of the best checkpoints: their ranking and file names. Each is a hard link to the file that was the last
//! checkpoint at its step, so that retaining one needs no second write.

use super::{
    exact,
    task::{Better, Metric},
};
use crate::atomic_write;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// File name of the newest checkpoint.
pub const LAST: &str = "last.safetensors";
/// File name of the best one.
pub const BEST: &str = "best.safetensors";

/// A retained checkpoint: its step and the validation metric it is ranked by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankedCheckpoint {
    pub step: usize,
    #[serde(with = "exact")]
    pub value: f64,
}

/// Inserts a validation's first metric into `best` (best first, at most `keep`) and returns whether it ranks among
/// them. Ties keep the earlier one; NaN and metrics without a direction are not inserted.
pub fn rank(best: &mut Vec<RankedCheckpoint>, step: usize, metrics: &[Metric], keep: usize) -> bool {
    let Some(Metric { value, better, .. }) = metrics.first() else { return false };
    let sign = match better {
        Better::Higher => 1.0,
        Better::Lower => -1.0,
        Better::Neither => return false,
    };
    if value.is_nan() {
        return false;
    }
    let place = best.iter().take_while(|k| sign * k.value >= sign * value).count();
    best.insert(place, RankedCheckpoint { step, value: *value });
    best.truncate(keep);
    place < keep
}

/// Makes the files in `folder` match `best`: links the last checkpoint (of step `last`) if it is listed, deletes files
/// no longer listed, and links `best.safetensors` to the first. Entries whose files are missing are removed; returns
/// their steps.
pub fn sync_files(folder: &Path, best: &mut Vec<RankedCheckpoint>, last: usize) -> Result<Vec<usize>> {
    let trouble = || format!("cannot keep the best checkpoint in {}: is the disk full?", folder.display());
    if best.iter().any(|k| k.step == last) {
        atomic_write::link(&folder.join(LAST), &name(folder, last)).with_context(trouble)?;
    }
    let gone: Vec<_> = best.iter().map(|k| k.step).filter(|step| !name(folder, *step).exists()).collect();
    best.retain(|k| !gone.contains(&k.step));
    for (step, path) in on_disk(folder).with_context(trouble)? {
        if best.iter().all(|k| k.step != step) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    if let Some(first) = best.first() {
        atomic_write::link(&name(folder, first.step), &folder.join(BEST)).with_context(trouble)?;
    }
    Ok(gone)
}

/// Retained checkpoints in `folder`, sorted by step.
pub fn on_disk(folder: &Path) -> std::io::Result<Vec<(usize, PathBuf)>> {
    let mut found = vec![];
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let step = path
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.strip_prefix("best-")?.strip_suffix(".safetensors")?.parse().ok());
        found.extend(step.map(|step| (step, path)));
    }
    found.sort();
    Ok(found)
}

/// Path of the retained checkpoint of `step`.
pub fn name(folder: &Path, step: usize) -> PathBuf {
    folder.join(format!("best-{step}.safetensors"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn metric(value: f64, better: Better) -> [Metric; 1] {
        [Metric { name: "m".into(), value, better }]
    }

    proptest! {
        #[test]
        fn ranking_is_a_stable_sort(values in prop::collection::vec(0_u8..6, 0..20), keep in 1_usize..5, higher: bool) {
            let better = if higher { Better::Higher } else { Better::Lower };
            let mut best = vec![];
            for (step, value) in values.iter().enumerate() {
                rank(&mut best, step, &metric(f64::from(*value), better), keep);
            }
            let mut expected: Vec<_> = values.iter().copied().enumerate().collect();
            expected.sort_by_key(|(_, v)| if higher { -i32::from(*v) } else { i32::from(*v) });
            expected.truncate(keep);
            let got: Vec<_> = best.iter().map(|k| (k.step, k.value as u8)).collect();
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn what_cannot_be_ranked_does_not_enter() {
        let mut best = vec![];
        assert!(!rank(&mut best, 1, &metric(f64::NAN, Better::Higher), 2));
        assert!(!rank(&mut best, 1, &metric(1.0, Better::Neither), 2));
        assert!(!rank(&mut best, 1, &[], 2));
        assert!(best.is_empty());
    }

    fn save(folder: &Path, best: &mut Vec<RankedCheckpoint>, step: usize) -> Vec<usize> {
        atomic_write::write(&folder.join(LAST), step.to_string().as_bytes()).unwrap();
        sync_files(folder, best, step).unwrap()
    }

    #[test]
    fn files_follow_the_list() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path();
        let mut best = vec![];
        for (step, value) in [(10, 0.5), (20, 0.7), (30, 0.6), (40, 0.1)] {
            rank(&mut best, step, &metric(value, Better::Higher), 2);
            assert!(save(folder, &mut best, step).is_empty());
        }
        let steps: Vec<_> = on_disk(folder).unwrap().into_iter().map(|(step, _)| step).collect();
        assert_eq!(steps, [20, 30]);
        assert_eq!(fs::read_to_string(folder.join(BEST)).unwrap(), "20");
        assert_eq!(fs::read_to_string(name(folder, 30)).unwrap(), "30");
    }

    #[test]
    fn a_lost_file_leaves_the_list() {
        let temp = tempfile::tempdir().unwrap();
        let mut best = vec![];
        for (step, value) in [(10, 0.5), (20, 0.4)] {
            rank(&mut best, step, &metric(value, Better::Higher), 3);
            save(temp.path(), &mut best, step);
        }
        fs::remove_file(name(temp.path(), 10)).unwrap();
        assert_eq!(save(temp.path(), &mut best, 30), [10]);
        assert_eq!(fs::read_to_string(temp.path().join(BEST)).unwrap(), "20");
    }
}
