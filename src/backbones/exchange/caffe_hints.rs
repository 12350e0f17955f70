//! The Caffe release of the colorizer with hints (Zhang et al. 2017). One convolution reads the lightness and another a, b
//! and the mask, in units of ab and with a mask of 110; their sum is the first layer. Its batch normalizations have neither
//! scale nor shift. It classifies colors by layers of its own, if at all.

use crate::{
    backbones::{
        input::{HINT_UNIT, HINTED_LIGHTNESS},
        siggraph17::CLASS_HEAD,
    },
    nn::weights::Named,
};
use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};

/// The convolution of the lightness.
pub(super) const OF_LIGHTNESS: &str = "bw_conv1_1";
/// The convolution of hints.
pub(super) const OF_HINTS: &str = "ab_conv1_1";
/// The first layer, and the layer that the class head reads.
const FIRST: &str = "conv1_1";
const CLASSIFIED: &str = "conv8_3";
/// Colors of the class head.
const COLORS: usize = 23 * 23;

/// Completes the tensors to those of the network; returns notes on what was changed.
pub(super) fn convert(tensors: &mut Named) -> Result<Vec<String>> {
    first_layer(tensors)?;
    for norm in plain_norms(tensors) {
        let channels = taken(tensors, &format!("{norm}.running_mean"))?.elem_count();
        for (part, value) in [("weight", 1f32), ("bias", 0.0)] {
            tensors.insert(format!("{norm}.{part}"), Tensor::full(value, channels, &Device::Cpu)?);
        }
    }
    let mut notes = vec![format!(
        "{FIRST} is the sum of {OF_LIGHTNESS}, multiplied by {HINTED_LIGHTNESS}, and {OF_HINTS}, by {HINT_UNIT}: the input \
         of the released network is L − 50, a, b, and {HINT_UNIT} where there is a hint"
    )];
    let head = format!("{CLASS_HEAD}.weight");
    if !tensors.contains_key(&head) {
        let inputs = taken(tensors, &format!("{CLASSIFIED}.weight"))?.dims4()?.0;
        tensors.insert(head, Tensor::zeros((COLORS, 1, 1, inputs), DType::F32, &Device::Cpu)?);
        tensors.insert(format!("{CLASS_HEAD}.bias"), Tensor::zeros(COLORS, DType::F32, &Device::Cpu)?);
        notes.push(format!("{CLASS_HEAD} is not in the file: zeros; the colors do not depend on it"));
    }
    Ok(notes)
}

fn taken<'a>(tensors: &'a Named, name: &str) -> Result<&'a Tensor> {
    tensors.get(name).with_context(|| format!("`{name}` is missing"))
}

/// One convolution of (L − 50) / 100, a / 110, b / 110 and the mask from the two of the release.
fn first_layer(tensors: &mut Named) -> Result<()> {
    let part = |layer: &str, part: &str| -> Result<Tensor> {
        Ok(taken(tensors, &format!("{layer}.{part}"))?.to_dtype(DType::F32)?)
    };
    let (light, hints) = (part(OF_LIGHTNESS, "weight")?, part(OF_HINTS, "weight")?);
    let weight = Tensor::cat(&[(light * HINTED_LIGHTNESS)?, (hints * HINT_UNIT)?], 3)?;
    let bias = (part(OF_LIGHTNESS, "bias")? + part(OF_HINTS, "bias")?)?;
    for layer in [OF_LIGHTNESS, OF_HINTS] {
        tensors.retain(|name, _| name.rsplit_once('.').is_none_or(|(of, _)| of != layer));
    }
    tensors.insert(format!("{FIRST}.weight"), weight);
    tensors.insert(format!("{FIRST}.bias"), bias);
    Ok(())
}

/// Batch normalizations without a scale.
fn plain_norms(tensors: &Named) -> Vec<String> {
    let norms = tensors.keys().filter_map(|name| name.strip_suffix(".running_mean"));
    norms.filter(|norm| !tensors.contains_key(&format!("{norm}.weight"))).map(String::from).collect()
}
