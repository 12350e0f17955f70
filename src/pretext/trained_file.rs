//! Backbones in the weight files and checkpoints of pretext tasks. A checkpoint holds the parameters of the task and the spec
//! of its run; it is completed to what the run's weight file would be.

use super::{PretextSpec, predicts::Predicts};
use crate::{
    backbones::{
        BackboneSpec,
        exchange::{self, Architecture, WeightFile},
        split::{HALVES, SplitNetwork},
    },
    bounded::Pixels,
    yaml,
};
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// The section of a pretext task in the spec of its run, as far as the weight file depends on it.
#[derive(Deserialize)]
struct TrainedTask {
    task: PretextSpec,
    data: TrainedCrop,
}

#[derive(Deserialize)]
struct TrainedCrop {
    crop: Pixels,
}

/// As [`exchange::open_finite`], with checkpoints of pretext tasks completed.
///
/// # Errors
/// As there, and as [`complete`].
pub fn open_finite(path: &Path) -> Result<WeightFile> {
    let mut file = exchange::open_finite(path)?;
    complete(&mut file).with_context(|| path.display().to_string())?;
    Ok(file)
}

/// Completes a checkpoint of a pretext task to the weight file of its run: what its network sees, the last trained layer, and
/// the backbone that the halves of a split network form. Other files are left as they are, and so are those of versions whose
/// specs cannot be read.
///
/// # Errors
/// A damaged header; halves that do not fit the backbone.
pub fn complete(file: &mut WeightFile) -> Result<()> {
    let run = file.metadata.get("run").and_then(|run| yaml::read::<Value>(run).ok());
    let section = run.and_then(|mut run| run.pointer_mut("/work/pretext").map(Value::take));
    let trained = section.and_then(|section| serde_json::from_value::<TrainedTask>(section).ok());
    let (Some(TrainedTask { task, data }), Some(backbone)) = (trained, file.backbone(None)?) else {
        return Ok(());
    };
    let predicts = Predicts::of(&task);
    for (key, value) in predicts.header(&backbone, data.crop.get())? {
        file.metadata.entry(key).or_insert(value);
    }
    match predicts {
        Predicts::Halves(_) if is_split(file) => merge(file, &backbone),
        _ => Ok(()),
    }
}

fn is_split(file: &WeightFile) -> bool {
    HALVES.into_iter().all(|half| file.tensors.keys().any(|name| half.holds(name)))
}

fn merge(file: &mut WeightFile, backbone: &BackboneSpec) -> Result<()> {
    // Their heads, which alone have these numbers of outputs, are not part of the backbone.
    let split = SplitNetwork::pretext(backbone, [1, 1])?;
    file.tensors = split.merged(&file.tensors).context("the halves do not fit the backbone")?;
    file.architecture = Architecture::of_ours(&file.tensors);
    file.notes.push("merged from the halves of a split network".into());
    Ok(())
}
