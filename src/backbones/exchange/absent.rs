//! What a layer of a file lacks: biases of layers that were trained without one become 0; numbers that such a layer always
//! has in its layout are missing by damage. Layers that are missing as a whole are for those to judge who need them.

use super::{Architecture, Layout, Missing};
use crate::nn::weights::{Format, Named};
use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use std::collections::{BTreeMap, BTreeSet};

/// The layer whose weight has its outputs last.
const TRANSPOSED: &str = "conv8_1";
/// LayerParts of a batch normalization.
const NORMALIZED: [&str; 4] = ["running_mean", "running_var", "weight", "bias"];
/// Missing tensors that a message names.
const SHOWN: usize = 8;

/// Layers with the parts that are there.
type LayerParts<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Fills in biases of 0 and says so.
///
/// # Errors
/// Numbers that the layout always has, unless they may be missing.
pub(super) fn completed(
    tensors: &mut Named,
    (format, layout, architecture): (Format, Layout, Architecture),
    missing: Missing,
) -> Result<Vec<String>> {
    if architecture == Architecture::Resnet {
        // Its convolutions have no biases, and a lack of anything else shows when it is loaded.
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
            "it lacks {shown}{more}, which a file of this layout (`{layout}`) has: it is damaged or cut; get it again, \
             or let `hueristic weights convert --allow-missing` take 0 for missing biases"
        )
    }
    let biases: Vec<String> = bare.into_iter().map(|layer| format!("{layer}.bias")).collect();
    let mut notes: Vec<String> =
        biases.iter().map(|bias| format!("{bias} is not in the file: zeros")).collect();
    let others = lost.into_iter().filter(|name| !biases.contains(name));
    notes.extend(others.map(|name| format!("{name} is not in the file: it stays missing")));
    for bias in biases {
        fill(tensors, bias)?;
    }
    Ok(notes)
}

/// Of the convolutions and normalizations that are called as ours; heads of other tasks are their own business.
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

/// Convolutions that have a weight and no bias.
fn without_bias(parts: &LayerParts) -> Vec<String> {
    let bare = parts.iter().filter(|(layer, parts)| {
        !is_norm(layer, parts) && parts.contains("weight") && !parts.contains("bias")
    });
    bare.map(|(layer, _)| layer.to_string()).collect()
}

/// What is missing by damage, under our names.
fn lost(parts: &LayerParts, bare: &[String], (format, layout): (Format, Layout)) -> BTreeSet<String> {
    let always = matches!(layout, Layout::Eccv16 | Layout::Torchvision);
    let biased = |(layer, parts): (&&str, &BTreeSet<&str>)| !is_norm(layer, parts) && parts.contains("bias");
    // Caffe keeps a layer whole: one of a single blob was defined without a bias.
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

/// Whether a batch normalization follows, whose shift makes a bias needless.
fn normalized(parts: &LayerParts, layer: &str) -> bool {
    let number = layer.strip_prefix("conv").or_else(|| layer.strip_prefix("fc"));
    let names = [Some(format!("{layer}norm")), number.map(|number| format!("bn{number}"))];
    names.into_iter().flatten().any(|norm| parts.contains_key(norm.as_str()))
}

/// Layers of a bias alone.
fn headless(parts: &LayerParts) -> Vec<String> {
    let bias_alone = parts.iter().filter(|(layer, parts)| {
        !is_norm(layer, parts) && parts.contains("bias") && !parts.contains("weight")
    });
    bias_alone.map(|(layer, _)| format!("{layer}.weight")).collect()
}

/// LayerParts that other normalizations of the file have.
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

fn fill(tensors: &mut Named, bias: String) -> Result<()> {
    let layer = bias.trim_end_matches(".bias");
    let dims =
        tensors.get(&format!("{layer}.weight")).map(|weight| weight.dims().to_vec()).unwrap_or_default();
    let outputs = if layer == TRANSPOSED { dims.last() } else { dims.first() };
    let zeros = Tensor::zeros(outputs.copied().unwrap_or(0), DType::F32, &Device::Cpu)?;
    tensors.insert(bias, zeros);
    Ok(())
}
