//! `weights export`: a backbone as an ONNX model.

use super::{failure::Usage, output::CommandOutput};
use crate::{
    backbones::{
        BackboneSpec, Build, Variant,
        onnx::OnnxModel,
        table::{Layer, Role, heads, tap, taps},
    },
    experiment::{TrainedWeights, read_as_stored},
    nn::weights::Named,
    spec,
    train::manifest,
    weight_source,
};
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    /// Weights: a run directory, a weight file (.safetensors, .pth, .caffemodel), a released colorizer by name, or
    /// hf://OWNER/REPO/FILE[@REVISION]; FILE#KEY selects one of several networks
    weights: PathBuf,
    /// The ONNX file to write
    output: PathBuf,
    /// Backbone as in a spec: alexnet, or '{ resnet: { depth: 50, input: rgb_unit } }' [default: that of the weights]
    #[arg(long, value_name = "YAML")]
    backbone: Option<String>,
    /// Outputs, separated by commas: conv3,conv5 [default: the last layer before the head]
    #[arg(long, value_name = "LAYERS", value_delimiter = ',', conflicts_with = "head")]
    layers: Vec<String>,
    /// The output of the head instead: the logits of a classifier
    #[arg(long)]
    head: bool,
    /// Replace an existing output file
    #[arg(long)]
    overwrite: bool,
    /// The format, of which there is one
    #[arg(long, hide = true)]
    onnx: bool,
}

/// Exports the transfer variant, with batch normalization if the weights have it.
pub(super) fn export(args: &ExportArgs) -> Result<CommandOutput> {
    let ExportArgs { weights, output, backbone, layers, head, overwrite, onnx: _ } = args;
    if output.exists() && !overwrite {
        return Err(Usage(format!("{} exists: give --overwrite to replace it", output.display())).into());
    }
    let backbone = backbone.as_deref().map(|yaml| spec::option("backbone", yaml)).transpose()?;
    let path = weight_source::locate(weights)?;
    manifest::ensure_unchanged(&path)?;
    let TrainedWeights { spec, tensors, through } = read_as_stored(&path, backbone.as_ref())?;
    let mut rows = table(&spec, &tensors);
    if let Some(last) = through.and_then(|layer| tap(&rows, &layer)) {
        rows.truncate(last + 1);
    }
    let outputs = outputs(&spec, &rows, layers, *head).map_err(Usage)?;
    let model = OnnxModel::new(&spec, &rows, &tensors, &outputs)
        .with_context(|| format!("cannot export {}", weights.display()))?
        .with("backbone", &spec::resolved_yaml(&spec)?)
        .with("outputs", &outputs.join(","));
    model.write(output)?;
    let input = spec.input().describe();
    Ok(CommandOutput::ok(format!("{}: {}\n  {model}\n  input: {input}\n", output.display(), spec.name())))
}

/// The rows that the tensors are for: with batch normalization if they have some, with a head of as many outputs.
fn table(spec: &BackboneSpec, tensors: &Named) -> Vec<Layer> {
    let normalized = tensors.keys().any(|name| name.ends_with(".running_mean"));
    let build =
        |outputs| Build { variant: Variant::Transfer, batch_norm: normalized, outputs, ..spec.plain() };
    let with_head = |outputs: usize| {
        let rows = spec.table(&build(Some(outputs)));
        let weight = tensors.get(&format!("{}.weight", rows.last()?.name))?;
        Some(weight.dims()[0]).filter(|found| outputs == 1 || *found == outputs)
    };
    // A head of two outputs may have a name of its own.
    let found = with_head(2).or_else(|| with_head(1));
    spec.table(&build(found))
}

/// Names of the outputs.
fn outputs(
    spec: &BackboneSpec,
    rows: &[Layer],
    layers: &[String],
    head: bool,
) -> std::result::Result<Vec<String>, String> {
    let known = || taps(rows).collect::<Vec<_>>().join(", ");
    if let Some(layer) = layers.iter().find(|layer| tap(rows, layer).is_none()) {
        return Err(format!(
            "{} has no layer `{layer}` in these weights; its layers are {}",
            spec.name(),
            known()
        ));
    }
    let last = match head {
        true => heads(rows).last(),
        false => rows.iter().rfind(|row| row.role != Role::Head && row.tap.is_some()).map(Layer::label),
    };
    match last {
        _ if !layers.is_empty() => Ok(layers.to_vec()),
        Some(last) => Ok(vec![last.to_string()]),
        None => Err(format!(
            "the weights have no head {}: leave out --head, or give --layers of {}",
            spec.heads().join(" or "),
            known()
        )),
    }
}
