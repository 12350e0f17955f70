//! The weights in a checkpoint of a training: its parameters without the optimizer's state, or their averages if the
//! training keeps some, with the header that the run's weight file will have. Checkpoints store tensors in memory
//! layout. Their checksums are `train::checkpoint`'s.

use super::{found::RawWeights, key, layout::to_file_layout};
use crate::yaml;
use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Header key of the training state, which marks a checkpoint.
pub(crate) const STATE: &str = "hueristic.checkpoint";
/// Name prefixes of parameters and of their averages.
pub(crate) const PARAM: &str = "param.";
pub(crate) const AVERAGE: &str = "ema.";

/// The part of the training state that describes the network.
#[derive(Deserialize)]
struct State {
    step: usize,
    /// The run's resolved spec, YAML.
    spec: String,
}

/// Reduces a checkpoint to its weights; any other file is returned unchanged.
///
/// # Errors
/// A damaged state; a checkpoint of a stage that trains no backbone.
pub(super) fn weights(found: RawWeights) -> Result<RawWeights> {
    let Some(text) = found.metadata.get(STATE) else { return Ok(found) };
    let state: State =
        serde_json::from_str(text).ok().context("it is a checkpoint with a damaged training state")?;
    let average = key::below(found.tensors.clone(), AVERAGE);
    let kind = if average.is_empty() { "trained" } else { "averaged" };
    let mut tensors = key::below(found.tensors, PARAM);
    ensure!(!tensors.is_empty(), "it is a checkpoint without parameters");
    tensors.extend(average);
    let stored = |(name, tensor): (String, Tensor)| Ok((name, to_file_layout(&tensor)?));
    Ok(RawWeights {
        tensors: tensors.into_iter().map(stored).collect::<Result<_>>()?,
        metadata: header(&state.spec)?,
        notes: vec![format!("a checkpoint: the {kind} weights after step {}", state.step)],
        ..RawWeights::default()
    })
}

/// The header of the weight file that the run of this spec writes: its backbone, the section of its task, and the spec.
fn header(spec: &str) -> Result<BTreeMap<String, String>> {
    let resolved: Value = yaml::read(spec).context("the spec in its training state is damaged")?;
    let work = resolved.get("work").and_then(Value::as_object).and_then(|work| work.iter().next());
    let (kind, stage) = work.context("the spec in its training state names no stage")?;
    let backbone = stage.get("backbone").filter(|_| ["pretext", "supervised"].contains(&kind.as_str()));
    let Some(backbone) = backbone else {
        bail!(
            "it is a checkpoint of a stage `{kind}`, which trains no backbone of its own: give that of a pretext stage"
        )
    };
    let mut header = BTreeMap::from([
        ("backbone".to_string(), yaml::write(backbone)?),
        ("run".to_string(), spec.to_string()),
    ]);
    let task = stage.get("task").and_then(Value::as_object).and_then(|task| task.iter().next());
    if let Some((name, options)) = task {
        let options = if options.is_null() { &Value::Object(Map::new()) } else { options };
        header.insert(name.clone(), yaml::write(options)?);
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::weights::layout::to_memory_layout;
    use candle_core::Device;

    const SPEC: &str =
        "seed: 0\nwork:\n  pretext:\n    backbone: { alexnet: { width: 0.5 } }\n    task: { dahl: {} }\n";

    /// As a file of this format is read: what is stored in memory layout comes out permuted.
    fn read(names: &[(&str, f32)], spec: &str) -> RawWeights {
        let kernel = |first: f32| {
            let values = Tensor::arange(first, first + 24.0, &Device::Cpu).unwrap();
            to_memory_layout(&values.reshape((1, 2, 3, 4)).unwrap()).unwrap()
        };
        let state = serde_json::json!({ "step": 7, "spec": spec }).to_string();
        RawWeights {
            tensors: names.iter().map(|(name, first)| (name.to_string(), kernel(*first))).collect(),
            metadata: BTreeMap::from([(STATE.to_string(), state), ("crc32c".into(), "0".into())]),
            ..RawWeights::default()
        }
    }

    fn first(found: &RawWeights, name: &str) -> f32 {
        found.tensors[name].flatten_all().unwrap().to_vec1::<f32>().unwrap()[1]
    }

    #[test]
    fn parameters_come_as_they_were_in_memory() {
        let found = read(&[("param.conv1.weight", 0.0), ("optimizer.adam.m.conv1.weight", 5.0)], SPEC);
        let found = weights(found).unwrap();
        assert_eq!(found.tensors.keys().collect::<Vec<_>>(), ["conv1.weight"]);
        assert_eq!(
            (found.tensors["conv1.weight"].dims(), first(&found, "conv1.weight")),
            (&[1, 2, 3, 4][..], 1.0)
        );
        assert_eq!(found.metadata.keys().collect::<Vec<_>>(), ["backbone", "dahl", "run"]);
        assert_eq!(found.metadata["backbone"], "alexnet:\n  width: 0.5\n");
        assert_eq!(found.notes, ["a checkpoint: the trained weights after step 7"]);
    }

    #[test]
    fn averages_take_precedence() {
        let all = [("param.conv1.weight", 0.0), ("param.bn.weight", 50.0), ("ema.conv1.weight", 100.0)];
        let found = weights(read(&all, SPEC)).unwrap();
        assert_eq!((first(&found, "conv1.weight"), first(&found, "bn.weight")), (101.0, 51.0));
        assert!(found.notes[0].contains("averaged"), "{:?}", found.notes);
    }

    #[test]
    fn what_holds_no_backbone_is_refused() {
        for (spec, part) in [
            ("work: { knn: { neighbors: 3 } }", "a stage `knn`, which trains no backbone"),
            ("seed: 0", "names no stage"),
            ("work: [", "is damaged"),
        ] {
            let error = weights(read(&[("param.a.weight", 0.0)], spec)).err().unwrap();
            assert!(format!("{error:#}").contains(part), "{error:#}");
        }
        assert!(weights(read(&[("optimizer.a", 0.0)], SPEC)).is_err());
    }
}
