//! Checkpoints: all state needed for 20 straight steps and 10 + 10 resumed steps to be bit-identical. Each is one
//! safetensors file: tensors `param.*` (parameters and running statistics), `optimizer.*`, and `ema.*` (averaged
//! weights, if the spec has `ema`), with [`State`] as JSON in the header.
//!
//! Random streams are not stored: each is a function of the seed and the step. The header stores a fingerprint of the
//! seed, so that a checkpoint cannot be resumed under a different one.

use super::{
    divergence::Levels,
    interval_means::IntervalMeans,
    learner::Learner,
    log_digest::{self, LogDigest},
    manifest::hex,
    monitor::MonitorState,
    retention::{self, LAST, RankedCheckpoint},
    run_dir::RunDir,
    spec_change::differences,
    task::Metric,
    tensors::{self, NamedTensors, ReadError},
    warning::Warning,
};
use crate::{
    atomic_write,
    data::loader::{Loader, Position},
    nn::weights::checkpoint::{AVERAGE, PARAM},
    rng::Rng,
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::{Device, Tensor};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    cmp::Reverse,
    io,
    path::{Path, PathBuf},
};

/// Format version written by this program. Older versions are read too.
const VERSION: u32 = 2;
/// First format version with a checksum.
const FIRST_WITH_CHECKSUM: u32 = 2;

/// Training state stored beside the tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// Completed updates.
    pub step: usize,
    /// Position at which the training loader resumes, in batches of one process.
    pub position: Position,
    /// Processes that shared a batch.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    ranks: usize,
    /// Running means not yet written to the log.
    pub window: IntervalMeans,
    /// Best validations so far, best first.
    pub best: Vec<RankedCheckpoint>,
    /// Step and metrics of the newest validation.
    pub validated: Option<(usize, Vec<Metric>)>,
    /// The run's resolved spec and its SHA-256.
    pub spec: String,
    pub spec_sha256: String,
    /// Fingerprint of the seed.
    rng: String,
    /// Digest of `metrics.jsonl` up to this step; absent in older versions.
    #[serde(default, rename = "told")]
    pub log_digest: Option<LogDigest>,
    /// First and newest training loss.
    #[serde(default)]
    pub levels: Levels,
    /// Times and newest results of the monitor, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<MonitorState>,
}

impl State {
    /// State before the first update.
    pub fn new(spec: &str, rng: &Rng) -> Self {
        Self {
            version: VERSION,
            step: 0,
            position: Position::default(),
            ranks: 1,
            window: IntervalMeans::default(),
            best: vec![],
            validated: None,
            spec: spec.into(),
            spec_sha256: hex(&Sha256::digest(spec)),
            rng: seed_fingerprint(rng),
            log_digest: Some(LogDigest::default()),
            levels: Levels::default(),
            monitor: None,
        }
    }

    /// Goes on with another number of processes: from the next whole batch of one of them.
    pub fn divide_among(&mut self, ranks: usize) {
        if ranks != self.ranks {
            let (now, before) = (ranks as u64, self.ranks.max(1) as u64);
            self.position.batch = (self.position.batch * now).div_ceil(before);
            self.ranks = ranks;
        }
    }
}

fn one() -> usize {
    1
}

fn is_one(ranks: &usize) -> bool {
    *ranks == 1
}

/// A checkpoint in memory.
pub struct Checkpoint {
    pub state: State,
    /// Keyed by the names of [`crate::nn::params::Params::state`].
    pub params: NamedTensors,
    /// Keyed by the names of [`crate::nn::optim::Optimizer::state`].
    pub optimizer: NamedTensors,
    /// Averaged weights, keyed by parameter names.
    pub average: NamedTensors,
}

impl Checkpoint {
    /// Reads the file at `path` onto `device`. Errors distinguish a damaged checkpoint from a file that is not one.
    pub fn read(path: &Path, device: &Device) -> Result<Self> {
        read_verified(path, device).map_err(|e| unreadable(path, e))
    }

    /// Reads only [`Checkpoint::params`].
    pub fn read_params(path: &Path, device: &Device) -> Result<NamedTensors> {
        let read = || {
            tensors::verify(path)?;
            tensors::load(path, device, |name| name.starts_with(PARAM))
        };
        let (_, tensors) = read().map_err(|e| unreadable(path, e))?;
        let bare = |(name, tensor): (String, Tensor)| Some((name.strip_prefix(PARAM)?.to_string(), tensor));
        Ok(tensors.into_iter().filter_map(bare).collect())
    }

    /// Verifies the checksum of the file at `path` if its header is a checkpoint's.
    ///
    /// # Errors
    /// A damaged checkpoint.
    pub fn verify_if_one(path: &Path) -> Result<()> {
        if tensors::read_text(path).is_err() {
            return Ok(());
        }
        tensors::verify(path).map(drop).map_err(|e| unreadable(path, e))
    }

    /// Reads only the header, without verifying the checksum: the cost does not depend on the file's size.
    pub fn read_state(path: &Path) -> Result<State> {
        tensors::read_text(path).and_then(|text| parse(&text)).map_err(|e| unreadable(path, e))
    }
}

/// Path of the newest checkpoint in the run directory `run`.
pub fn last(run: &Path) -> PathBuf {
    run.join("checkpoints").join(LAST)
}

/// Path of the best checkpoint in the run directory `run`. It exists once a validation could be ranked.
pub fn best(run: &Path) -> PathBuf {
    run.join("checkpoints").join(retention::BEST)
}

/// Writes the run's last checkpoint and retains it if `state` ranks it among the best. Returns the steps of retained
/// checkpoints whose files are missing.
pub fn save(run: &RunDir, state: &mut State, learner: &Learner) -> Result<Vec<usize>> {
    let path = last(run.path());
    let text = serde_json::to_string(state)?;
    let named = |prefix: &str, tensors: NamedTensors| -> Vec<(String, Tensor)> {
        tensors.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect()
    };
    let mut all = named(PARAM, learner.task.params().state());
    all.extend(named(OPTIMIZER, learner.optimizer.state()));
    all.extend(named(AVERAGE, learner.average.state()));
    let bytes: usize = all.iter().map(|(_, t)| t.elem_count() * t.dtype().size_in_bytes()).sum();
    tensors::write(&path, &text, &all).with_context(|| {
        let before = if path.exists() { "the checkpoint before it is untouched" } else { "there is none yet" };
        format!(
            "cannot write the checkpoint of step {} to {} ({} MB; {before}): free some space or choose another --out",
            state.step,
            path.display(),
            bytes.div_ceil(1_000_000)
        )
    })?;
    sync_retained(run, state)
}

/// Makes the retained files match `state`, whose checkpoint is the last. Returns the steps whose files are missing.
pub fn sync_retained(run: &RunDir, state: &mut State) -> Result<Vec<usize>> {
    retention::sync_files(&run.path().join("checkpoints"), &mut state.best, state.step)
}

/// State of a run that starts or resumes.
pub struct Resumed {
    pub state: State,
    /// Problems found with the files on disk.
    pub warnings: Vec<Warning>,
}

/// Resumes from the run's newest intact checkpoint, restoring parameters, optimizer, average and loader; without
/// any checkpoint, starts from step 0. Errors: no intact checkpoint, a different spec or seed, parameters of other shapes.
pub fn resume(run: &RunDir, learner: &mut Learner, train: &mut Loader, rng: &Rng) -> Result<Resumed> {
    let params = learner.task.params();
    let fresh = State::new(run.spec(), rng);
    let mut warnings = vec![];
    let Some((path, found)) = newest_intact(run.path(), params.device(), &mut warnings)? else {
        if warnings.is_empty() && has_trained(run) {
            warnings.push(Warning::NoCheckpoint { folder: run.path().join("checkpoints") });
        }
        return Ok(Resumed { state: fresh, warnings });
    };
    let Checkpoint { mut state, params: values, optimizer, average } = found;
    ensure_same_run(&path, &state, &fresh)?;
    let misfit = || {
        format!(
            "the checkpoint {} does not fit this run: choose another --out, or delete the checkpoint to start from \
             the beginning",
            path.display()
        )
    };
    params.restore(&values).with_context(misfit)?;
    learner.optimizer.restore(&optimizer).with_context(misfit)?;
    learner.average.restore(&average).with_context(misfit)?;
    train.seek(state.position);
    state.version = VERSION;
    let last = last(run.path());
    if path != last {
        atomic_write::link(&path, &last)
            .with_context(|| format!("cannot write {}: is the disk full or read-only?", last.display()))?;
    }
    warnings.extend(drop_damaged(run, &mut state));
    Ok(Resumed { state, warnings })
}

/// Whether anything other than a checkpoint shows that the run has taken steps.
fn has_trained(run: &RunDir) -> bool {
    run.steps() > 0 || run.path().join(log_digest::FILE).metadata().is_ok_and(|lines| lines.len() > 0)
}

/// The newest checkpoint of `run` that passes verification: the last one, or one of the best.
fn newest_intact(
    run: &Path,
    device: &Device,
    warnings: &mut Vec<Warning>,
) -> Result<Option<(PathBuf, Checkpoint)>> {
    let last = last(run);
    let trouble = match read_verified(&last, device) {
        Ok(found) => {
            warnings.extend(
                (found.state.version < FIRST_WITH_CHECKSUM)
                    .then(|| Warning::Unchecked { file: last.clone() }),
            );
            return Ok(Some((last, found)));
        }
        Err(error) if is_damage(&error) => error,
        Err(error) => return Err(unreadable(&last, error)),
    };
    let gone = matches!(&trouble, ReadError::Io(e) if e.kind() == io::ErrorKind::NotFound);
    let why = if gone { "missing".to_string() } else { trouble.to_string() };
    let others = others(run)?;
    for path in &others {
        if let Ok(found) = read_verified(path, device) {
            let (used, step) = (path.clone(), found.state.step);
            warnings.push(Warning::FellBack { damaged: last, why, used, step });
            return Ok(Some((path.clone(), found)));
        }
    }
    if !gone {
        let error = unreadable(&last, trouble);
        let none = if others.is_empty() { "" } else { "; no other checkpoint is intact" };
        bail!("{error}{none}; delete it to start from the beginning");
    }
    warnings.extend(others.first().map(|other| Warning::StartsOver { gone: last, damaged: other.clone() }));
    Ok(None)
}

/// All checkpoints except the last, newest first.
fn others(run: &Path) -> Result<Vec<PathBuf>> {
    let folder = run.join("checkpoints");
    let kept = retention::on_disk(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let best = Some(best(run)).filter(|path| path.exists());
    let step = |path: &Path| Checkpoint::read_state(path).map_or(0, |state| state.step);
    let mut others: Vec<_> = kept.into_iter().chain(best.map(|path| (step(&path), path))).collect();
    others.sort_by_key(|(step, _)| Reverse(*step));
    Ok(others.into_iter().map(|(_, path)| path).collect())
}

/// Removes damaged checkpoints from the list of the best.
fn drop_damaged(run: &RunDir, state: &mut State) -> Vec<Warning> {
    let folder = run.path().join("checkpoints");
    let damaged = |kept: &RankedCheckpoint| {
        let verified = tensors::verify(&retention::name(&folder, kept.step));
        verified.is_err_and(|e| matches!(e, ReadError::Damaged(_) | ReadError::Foreign))
    };
    let (lost, whole) = state.best.iter().copied().partition(|kept| kept.step != state.step && damaged(kept));
    state.best = whole;
    Vec::<RankedCheckpoint>::into_iter(lost)
        .map(|kept| Warning::BestCheckpointGone { step: kept.step })
        .collect()
}

const OPTIMIZER: &str = "optimizer.";

/// Equal for two random families with the same seed and name.
fn seed_fingerprint(rng: &Rng) -> String {
    format!("{:016x}", rng.split("mark").at(0, 0).random::<u64>())
}

/// Verifies and reads the file at `path`.
fn read_verified(path: &Path, device: &Device) -> Result<Checkpoint, ReadError> {
    let checked = tensors::verify(path)?;
    let (text, tensors) = tensors::load(path, device, |_| true)?;
    let state = parse(&text)?;
    if state.version >= FIRST_WITH_CHECKSUM && !checked {
        return Err(ReadError::Damaged("its header has lost its checksum".into()));
    }
    let [mut params, mut optimizer, mut average] = [vec![], vec![], vec![]];
    for (name, tensor) in tensors {
        let groups = [(PARAM, &mut params), (OPTIMIZER, &mut optimizer), (AVERAGE, &mut average)];
        let found = groups.into_iter().find_map(|(prefix, into)| Some((name.strip_prefix(prefix)?, into)));
        let Some((name, into)) = found else {
            return Err(ReadError::Damaged(format!("it holds a tensor {name}, which no checkpoint has")));
        };
        into.push((name.to_string(), tensor));
    }
    Ok(Checkpoint { state, params, optimizer, average })
}

fn parse(text: &str) -> Result<State, ReadError> {
    #[derive(Deserialize)]
    struct VersionHeader {
        version: u32,
    }
    if let Ok(VersionHeader { version }) = serde_json::from_str(text)
        && !(1..=VERSION).contains(&version)
    {
        return Err(ReadError::Layout { version, newest: VERSION });
    }
    serde_json::from_str(text).map_err(|e| ReadError::Damaged(format!("bad header: {e}")))
}

fn ensure_same_run(path: &Path, state: &State, fresh: &State) -> Result<()> {
    let changed = differences(&state.spec, &fresh.spec);
    ensure!(
        changed.is_empty(),
        "the checkpoint {} belongs to a different spec:\n{}\nchoose another --out, or delete the checkpoint to \
         start from the \
         beginning",
        path.display(),
        changed.join("\n")
    );
    ensure!(
        state.rng == fresh.rng,
        "the checkpoint {} was trained with a different seed: choose another --out, or delete the checkpoint to start \
         from the beginning",
        path.display()
    );
    Ok(())
}

/// Whether to fall back to another checkpoint after this error. A failing disk counts as damage.
fn is_damage(error: &ReadError) -> bool {
    match error {
        ReadError::Damaged(_) | ReadError::Foreign => true,
        ReadError::Io(error) => error.kind() != io::ErrorKind::PermissionDenied,
        ReadError::Layout { .. } | ReadError::Candle(_) => false,
    }
}

fn unreadable(path: &Path, error: ReadError) -> anyhow::Error {
    let at = path.display();
    match error {
        ReadError::Foreign => anyhow!("{at} is not a checkpoint: {error}"),
        ReadError::Damaged(_) => anyhow!("the checkpoint {at} is {error}"),
        ReadError::Layout { .. } => anyhow!("the checkpoint {at} {error}"),
        ReadError::Io(error) => anyhow!(error).context(format!("cannot read the checkpoint {at}")),
        ReadError::Candle(error) => anyhow!(error).context(format!("cannot load the checkpoint {at}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_on_from_the_next_whole_batch_of_other_ranks() {
        let mut state = State::new("", &Rng::new(0));
        state.position = Position { epoch: 3, batch: 5 };
        // A batch of all is divided into as many as there are ranks.
        for (ranks, batch) in [(1, 5), (5, 25), (3, 15), (4, 20), (1, 5)] {
            state.divide_among(ranks);
            assert_eq!((state.position, state.ranks), (Position { epoch: 3, batch }, ranks));
        }
        (state.position.batch, state.ranks) = (7, 4);
        state.divide_among(2);
        assert_eq!(state.position.batch, 4, "7 quarters are 4 halves when rounded up");
    }

    #[test]
    fn the_state_of_one_process_is_written_as_before() {
        let text = serde_json::to_string(&State::new("", &Rng::new(0))).unwrap();
        assert!(!text.contains("ranks"), "{text}");
        assert_eq!(parse(&text).unwrap().ranks, 1);
    }
}
