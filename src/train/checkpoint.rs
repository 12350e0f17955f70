//! Checkpoints: everything that makes 20 steps straight and 10 + 10 equal bit for bit. One safetensors file each:
//! tensors `param.*` (parameters and running statistics) and `optimizer.*`, and in the header the [`State`] as JSON.
//!
//! The random streams need no state: each is a function of the seed and the step. The header keeps a mark of the
//! seed, so that a checkpoint is not continued under another.

use super::{
    divergence::Levels,
    keep::{self, Kept, LAST},
    manifest::hex,
    run_dir::RunDir,
    spec_change::differences,
    task::Metric,
    tensors::{self, Named, ReadError},
    told::{self, Told},
    warning::Warning,
    window::Window,
};
use crate::{
    atomic_write,
    data::loader::{Loader, Position},
    nn::{optim::Optimizer, params::Params},
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

/// The layout that this program writes; it reads those before it too.
const VERSION: u32 = 2;
/// The first layout whose files have a checksum.
const CHECKED: u32 = 2;

/// What a checkpoint knows beside its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// Updates done.
    pub step: usize,
    /// Where the training loader goes on.
    pub position: Position,
    /// Means that the next line of the log still waits for.
    pub window: Window,
    /// The best validations so far, best first.
    pub best: Vec<Kept>,
    /// The newest validation: after which update, and what came out.
    pub validated: Option<(usize, Vec<Metric>)>,
    /// The resolved spec of the run, and its SHA-256.
    pub spec: String,
    pub spec_sha256: String,
    /// A mark of the seed.
    rng: String,
    /// What `metrics.jsonl` holds of the steps so far; unknown in earlier layouts.
    #[serde(default)]
    pub told: Option<Told>,
    /// Where the loss began and where it is.
    #[serde(default)]
    pub levels: Levels,
}

impl State {
    /// Before the first update.
    pub fn new(spec: &str, rng: &Rng) -> Self {
        Self {
            version: VERSION,
            step: 0,
            position: Position::default(),
            window: Window::default(),
            best: vec![],
            validated: None,
            spec: spec.into(),
            spec_sha256: hex(&Sha256::digest(spec)),
            rng: mark(rng),
            told: Some(Told::default()),
            levels: Levels::default(),
        }
    }
}

/// A checkpoint in memory.
pub struct Checkpoint {
    pub state: State,
    /// By the names of [`Params::state`].
    pub params: Named,
    /// By the names of [`Optimizer::state`].
    pub optimizer: Named,
}

impl Checkpoint {
    /// Reads the file at `path` onto `device`. Errors say whether it is damaged or not a checkpoint at all.
    pub fn read(path: &Path, device: &Device) -> Result<Self> {
        read_whole(path, device).map_err(|e| unreadable(path, e))
    }

    /// The header alone, unchecked: cheap however large the file.
    pub fn read_state(path: &Path) -> Result<State> {
        tensors::read_text(path).and_then(|text| parse(&text)).map_err(|e| unreadable(path, e))
    }
}

/// The newest checkpoint of the run directory `run`.
pub fn last(run: &Path) -> PathBuf {
    run.join("checkpoints").join(LAST)
}

/// The best checkpoint of the run directory `run`; it exists when a validation could be ranked.
pub fn best(run: &Path) -> PathBuf {
    run.join("checkpoints").join(keep::BEST)
}

/// Writes the run's last checkpoint, and keeps it where `state` has it among the best. Returns the steps whose kept
/// files were found gone.
pub fn save(run: &RunDir, state: &mut State, params: &Params, optimizer: &Optimizer) -> Result<Vec<usize>> {
    let path = last(run.path());
    let text = serde_json::to_string(state)?;
    let named = |prefix: &str, tensors: Named| -> Vec<(String, Tensor)> {
        tensors.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect()
    };
    let mut all = named(PARAM, params.state());
    all.extend(named(OPTIMIZER, optimizer.state()));
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
    settle(run, state)
}

/// Makes the kept files agree with `state`, whose checkpoint is the last. Returns the steps whose files are gone.
pub fn settle(run: &RunDir, state: &mut State) -> Result<Vec<usize>> {
    keep::settle(&run.path().join("checkpoints"), &mut state.best, state.step)
}

/// A run that goes on, or begins.
pub struct Resumed {
    pub state: State,
    /// What its owner should know of the files that were found.
    pub warnings: Vec<Warning>,
}

/// Continues from the run's newest whole checkpoint, setting parameters, optimizer and loader; without any, the
/// beginning. Errors: none of the checkpoints is whole, another spec or seed, parameters that do not fit.
pub fn resume(
    run: &RunDir,
    params: &Params,
    optimizer: &mut Optimizer,
    train: &mut Loader,
    rng: &Rng,
) -> Result<Resumed> {
    let fresh = State::new(run.spec(), rng);
    let mut warnings = vec![];
    let Some((path, found)) = newest_whole(run.path(), params.device(), &mut warnings)? else {
        if warnings.is_empty() && has_trained(run) {
            warnings.push(Warning::NoCheckpoint { folder: run.path().join("checkpoints") });
        }
        return Ok(Resumed { state: fresh, warnings });
    };
    let Checkpoint { mut state, params: values, optimizer: moments } = found;
    ensure_ours(&path, &state, &fresh)?;
    let misfit = || {
        format!(
            "the checkpoint {} does not fit this run: choose another --out, or delete the checkpoint to start from \
             the beginning",
            path.display()
        )
    };
    params.restore(&values).with_context(misfit)?;
    optimizer.restore(&moments).with_context(misfit)?;
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

/// Whether the run has taken steps before, as far as anything but a checkpoint tells.
fn has_trained(run: &RunDir) -> bool {
    run.steps() > 0 || run.path().join(told::FILE).metadata().is_ok_and(|lines| lines.len() > 0)
}

/// The newest checkpoint of the run directory `run` that is as it was written: the last one, or one of the best.
fn newest_whole(
    run: &Path,
    device: &Device,
    warnings: &mut Vec<Warning>,
) -> Result<Option<(PathBuf, Checkpoint)>> {
    let last = last(run);
    let trouble = match read_whole(&last, device) {
        Ok(found) => {
            warnings
                .extend((found.state.version < CHECKED).then(|| Warning::Unchecked { file: last.clone() }));
            return Ok(Some((last, found)));
        }
        Err(error) if is_damage(&error) => error,
        Err(error) => return Err(unreadable(&last, error)),
    };
    let gone = matches!(&trouble, ReadError::Io(e) if e.kind() == io::ErrorKind::NotFound);
    let why = if gone { "gone".to_string() } else { trouble.to_string() };
    let others = others(run)?;
    for path in &others {
        if let Ok(found) = read_whole(path, device) {
            let (used, step) = (path.clone(), found.state.step);
            warnings.push(Warning::FellBack { damaged: last, why, used, step });
            return Ok(Some((path.clone(), found)));
        }
    }
    if !gone {
        let error = unreadable(&last, trouble);
        let none = if others.is_empty() { "" } else { "; no other checkpoint beside it is whole" };
        bail!("{error}{none}; delete it to start from the beginning");
    }
    warnings.extend(others.first().map(|other| Warning::StartsOver { gone: last, damaged: other.clone() }));
    Ok(None)
}

/// The checkpoints beside the last one, newest first.
fn others(run: &Path) -> Result<Vec<PathBuf>> {
    let folder = run.join("checkpoints");
    let kept = keep::on_disk(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let best = Some(best(run)).filter(|path| path.exists());
    let step = |path: &Path| Checkpoint::read_state(path).map_or(0, |state| state.step);
    let mut others: Vec<_> = kept.into_iter().chain(best.map(|path| (step(&path), path))).collect();
    others.sort_by_key(|(step, _)| Reverse(*step));
    Ok(others.into_iter().map(|(_, path)| path).collect())
}

/// Takes those of the best checkpoints off the list whose files are damaged.
fn drop_damaged(run: &RunDir, state: &mut State) -> Vec<Warning> {
    let folder = run.path().join("checkpoints");
    let damaged = |kept: &Kept| {
        let verified = tensors::verify(&keep::name(&folder, kept.step));
        verified.is_err_and(|e| matches!(e, ReadError::Damaged(_) | ReadError::Foreign))
    };
    let (lost, whole) = state.best.iter().copied().partition(|kept| kept.step != state.step && damaged(kept));
    state.best = whole;
    Vec::<Kept>::into_iter(lost).map(|kept| Warning::BestCheckpointGone { step: kept.step }).collect()
}

const PARAM: &str = "param.";
const OPTIMIZER: &str = "optimizer.";

/// Two families of streams have the same mark when they have the same seed and name.
fn mark(rng: &Rng) -> String {
    format!("{:016x}", rng.split("mark").at(0, 0).random::<u64>())
}

/// What the file at `path` holds, if it is as it was written.
fn read_whole(path: &Path, device: &Device) -> Result<Checkpoint, ReadError> {
    let checked = tensors::verify(path)?;
    let (text, tensors) = tensors::load(path, device)?;
    let state = parse(&text)?;
    if state.version >= CHECKED && !checked {
        return Err(ReadError::Damaged("its header has lost its checksum".into()));
    }
    let (mut params, mut optimizer) = (vec![], vec![]);
    for (name, tensor) in tensors {
        if let Some(name) = name.strip_prefix(PARAM) {
            params.push((name.to_string(), tensor));
        } else if let Some(name) = name.strip_prefix(OPTIMIZER) {
            optimizer.push((name.to_string(), tensor));
        } else {
            return Err(ReadError::Damaged(format!("it holds a tensor {name}, which no checkpoint has")));
        }
    }
    Ok(Checkpoint { state, params, optimizer })
}

fn parse(text: &str) -> Result<State, ReadError> {
    #[derive(Deserialize)]
    struct Layout {
        version: u32,
    }
    if let Ok(Layout { version }) = serde_json::from_str(text)
        && !(1..=VERSION).contains(&version)
    {
        return Err(ReadError::Layout { version, newest: VERSION });
    }
    serde_json::from_str(text).map_err(|e| ReadError::Damaged(format!("bad header: {e}")))
}

fn ensure_ours(path: &Path, state: &State, fresh: &State) -> Result<()> {
    let changed = differences(&state.spec, &fresh.spec);
    ensure!(
        changed.is_empty(),
        "the checkpoint {} is of another spec:\n{}\nchoose another --out, or delete the checkpoint to start from the \
         beginning",
        path.display(),
        changed.join("\n")
    );
    ensure!(
        state.rng == fresh.rng,
        "the checkpoint {} was trained under another seed: choose another --out, or delete the checkpoint to start \
         from the beginning",
        path.display()
    );
    Ok(())
}

/// Whether another checkpoint may stand in for one that could not be read so. A disk that fails to read is damage too.
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
