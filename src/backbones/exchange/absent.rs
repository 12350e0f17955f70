//! Parts of layers that a file lacks. Biases of layers trained without one become 0. Tensors that the layout always
//! contains indicate a damaged file when missing. Whole missing layers are checked by their users.

use super::{Architecture, Layout, Missing};
use crate::nn::weights::{Format, Named};
use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use std::collections::{BTreeMap, BTreeSet};

/// Parts of a batch normalization.
const NORMALIZED: [&str; 4] = ["running_mean", "running_var", "weight", "bias"];
/// Maximum number of missing tensors listed in a message.
const SHOWN: usize = 8;

/// Layers with the parts present in the file.
type LayerParts<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Adds zero biases where they are missing, and returns notes on them.
///
/// # Errors
/// Missing tensors that the layout always contains, unless allowed.
pub(super) fn completed(
    tensors: &mut Named,
    (format, layout, architecture): (Format, Layout, Architecture),
    missing: Missing,
) -> Result<Vec<String>> {
    if architecture == Architecture::Resnet {
        // Its convolutions have no biases; other missing parts are reported on loading.
        return Ok(vec![]);
    }
    let parts = parts(tensors);
    let bare = without_bias(&parts);
    let lost = lost(&parts, &bare, (format, layout));
    if !lost.is_empty() && missing == Missing::Refused {
        let more = lost.len().saturating_sub(SHOWN);
        let shown = lost.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        bail!(
            "it lacks {shown}{more}, which the layout `{layout}` has: it is damaged or truncated; download it again, \
             or set missing biases to 0 with `hueristic weights convert --allow-missing`"
        )
    }
    let biases: Vec<String> = bare.into_iter().map(|layer| format!("{layer}.bias")).collect();
    let mut notes: Vec<String> =
        biases.iter().map(|bias| format!("{bias} is not in the file: zeros")).collect();
    let others = lost.into_iter().filter(|name| !biases.contains(name));
    notes.extend(others.map(|name| format!("{name} is not in the file: still missing")));
    for bias in biases {
        fill(tensors, bias, architecture)?;
    }
    Ok(notes)
}

/// Parts of the convolutions and normalizations that have our names; heads of other tasks are ignored.
fn parts(tensors: &Named) -> LayerParts<'_> {
    let mut layers = LayerParts::new();
    for (layer, part) in tensors.keys().filter_map(|name| name.rsplit_once('.')) {
        if ["conv", "fc", "bn"].iter().any(|stem| {
            layer.strip_prefix(stem).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        }) {
            layers.entry(layer).or_default().insert(part);
        }
    }
    layers
}

fn is_norm(layer: &str, parts: &BTreeSet<&str>) -> bool {
    layer.starts_with("bn") || layer.ends_with("norm") || parts.contains("running_mean")
}

/// Convolutions with a weight and no bias.
fn without_bias(parts: &LayerParts) -> Vec<String> {
    let bare = parts.iter().filter(|(layer, parts)| {
        !is_norm(layer, parts) && parts.contains("weight") && !parts.contains("bias")
    });
    bare.map(|(layer, _)| layer.to_string()).collect()
}

/// Tensors missing because of damage, by our names.
fn lost(parts: &LayerParts, bare: &[String], (format, layout): (Format, Layout)) -> BTreeSet<String> {
    let always = matches!(layout, Layout::Eccv16 | Layout::Siggraph17 | Layout::Torchvision);
    let biased = |(layer, parts): (&&str, &BTreeSet<&str>)| !is_norm(layer, parts) && parts.contains("bias");
    // A Caffe layer is always stored complete: a single blob means that it was defined without a bias.
    let some = format != Format::Caffe && parts.iter().any(biased);
    let meant = |layer: &String| normalized(parts, layer);
    let mut lost: BTreeSet<String> = bare
        .iter()
        .filter(|layer| always || (some && !meant(layer)))
        .map(|layer| format!("{layer}.bias"))
        .collect();
    lost.extend(headless(parts));
    lost.extend(half_norms(parts));
    lost
}

/// Whether a batch normalization follows, whose shift replaces the bias.
fn normalized(parts: &LayerParts, layer: &str) -> bool {
    let number = layer.strip_prefix("conv").or_else(|| layer.strip_prefix("fc"));
    let names = [Some(format!("{layer}norm")), number.map(|number| format!("bn{number}"))];
    names.into_iter().flatten().any(|norm| parts.contains_key(norm.as_str()))
}

/// Layers with only a bias.
fn headless(parts: &LayerParts) -> Vec<String> {
    let bias_alone = parts.iter().filter(|(layer, parts)| {
        !is_norm(layer, parts) && parts.contains("bias") && !parts.contains("weight")
    });
    bias_alone.map(|(layer, _)| format!("{layer}.weight")).collect()
}

/// Parts that other normalizations of the file have and these lack.
fn half_norms(parts: &LayerParts) -> Vec<String> {
    let norms: Vec<_> = parts.iter().filter(|(layer, parts)| is_norm(layer, parts)).collect();
    let usual = NORMALIZED.iter().filter(|part| norms.iter().any(|(_, parts)| parts.contains(*part)));
    let lacking = |part: &&str| {
        let part = *part;
        let without = norms.iter().filter(move |(_, parts)| !parts.contains(part));
        without.map(move |(layer, _)| format!("{layer}.{part}")).collect::<Vec<_>>()
    };
    usual.flat_map(lacking).collect()
}

fn fill(tensors: &mut Named, bias: String, architecture: Architecture) -> Result<()> {
    let layer = bias.trim_end_matches(".bias");
    let dims =
        tensors.get(&format!("{layer}.weight")).map(|weight| weight.dims().to_vec()).unwrap_or_default();
    let transposed = architecture.transposed().iter().any(|transposed| transposed == layer);
    let outputs = if transposed { dims.last() } else { dims.first() };
    let zeros = Tensor::zeros(outputs.copied().unwrap_or(0), DType::F32, &Device::Cpu)?;
    tensors.insert(bias, zeros);
    Ok(())
}
