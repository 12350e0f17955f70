//! Checkpoints: everything that makes 20 steps straight and 10 + 10 equal bit for bit. One safetensors file each:
//! tensors `param.*` (parameters and running statistics) and `optimizer.*`, and in the header the [`State`] as JSON.
//!
//! The random streams need no state: each is a function of the seed and the step. The header keeps a mark of the
//! seed, so that a checkpoint is not continued under another.

use super::{
    keep::{self, Kept, LAST},
    manifest::hex,
    run_dir::RunDir,
    spec_change::differences,
    task::Metric,
    tensors::{self, Named, ReadError},
    window::Window,
};
use crate::{
    data::loader::{Loader, Position},
    nn::{optim::Optimizer, params::Params},
    rng::Rng,
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::{Device, Tensor};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The layout that this program writes and reads.
const VERSION: u32 = 1;

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
        let (text, tensors) = tensors::read(path, device).map_err(|e| unreadable(path, e))?;
        let (mut params, mut optimizer) = (vec![], vec![]);
        for (name, tensor) in tensors {
            if let Some(name) = name.strip_prefix(PARAM) {
                params.push((name.to_string(), tensor));
            } else if let Some(name) = name.strip_prefix(OPTIMIZER) {
                optimizer.push((name.to_string(), tensor));
            } else {
                bail!("{} holds a tensor {name}, which no checkpoint has", path.display());
            }
        }
        Ok(Self { state: parse(path, &text)?, params, optimizer })
    }

    /// The header alone: cheap however large the file.
    pub fn read_state(path: &Path) -> Result<State> {
        parse(path, &tensors::read_text(path).map_err(|e| unreadable(path, e))?)
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

/// Continues from the run's last checkpoint, setting parameters, optimizer and loader; without one, the beginning.
/// Errors: a damaged file, another spec or seed, parameters that do not fit.
pub fn resume(
    run: &RunDir,
    params: &Params,
    optimizer: &mut Optimizer,
    train: &mut Loader,
    rng: &Rng,
) -> Result<State> {
    let fresh = State::new(run.spec(), rng);
    let path = last(run.path());
    if !path.exists() {
        return Ok(fresh);
    }
    let Checkpoint { state, params: values, optimizer: moments } = Checkpoint::read(&path, params.device())?;
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
    Ok(state)
}

const PARAM: &str = "param.";
const OPTIMIZER: &str = "optimizer.";

/// Two families of streams have the same mark when they have the same seed and name.
fn mark(rng: &Rng) -> String {
    format!("{:016x}", rng.split("mark").at(0, 0).random::<u64>())
}

fn parse(path: &Path, text: &str) -> Result<State> {
    #[derive(Deserialize)]
    struct Layout {
        version: u32,
    }
    let layout = serde_json::from_str(text).map(|Layout { version }| version);
    if let Ok(other) = layout
        && other != VERSION
    {
        bail!(
            "the checkpoint {} has layout {other} and this program reads layout {VERSION}: use the version of the \
             program that wrote it, or delete it to start from the beginning",
            path.display()
        );
    }
    serde_json::from_str(text).map_err(|e| unreadable(path, ReadError::Damaged(format!("bad header: {e}"))))
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

fn unreadable(path: &Path, error: ReadError) -> anyhow::Error {
    let at = path.display();
    match error {
        ReadError::Foreign => anyhow!("{at} is not a checkpoint: {error}; {}", ways_out(path)),
        ReadError::Damaged(_) => anyhow!("the checkpoint {at} is {error}; {}", ways_out(path)),
        ReadError::Io(error) => anyhow!(error).context(format!("cannot read the checkpoint {at}")),
        ReadError::Candle(error) => anyhow!(error).context(format!("cannot load the checkpoint {at}")),
    }
}

/// What to do about an unusable checkpoint, from what lies beside it.
fn ways_out(path: &Path) -> String {
    let folder = path.parent().unwrap_or(Path::new("."));
    let kept = keep::on_disk(folder).unwrap_or_default();
    let whole = |kept: &&PathBuf| *kept != path && tensors::read_text(kept).is_ok();
    let newest = kept.iter().rev().map(|(_, kept)| kept).find(whole);
    match newest.and_then(|kept| kept.file_name()) {
        Some(name) => format!(
            "copy {} over it to continue from there, or delete it to start from the beginning",
            name.to_string_lossy()
        ),
        None => "delete it to start from the beginning".into(),
    }
}
