//! What network a file without a header holds, as a spec would say it.

use super::{Architecture, Layout, RELEASED_SHARPNESS};
use crate::{
    backbones::{
        BackboneSpec, Build, Graph,
        alexnet::{AlexNetSpec, Stem},
        table::{Kind, Layer},
        vgg::VggSpec,
    },
    bounded::{Count, Positive},
    nn::weights::Named,
};
use anyhow::Result;
use std::collections::BTreeMap;

/// Colours of the paper's grid.
const COLOURS: usize = 313;

/// Adds `backbone` and, for colorizers of others, `colorization` to the metadata, and notes on the input that others'
/// networks were trained with.
pub(super) fn describe(
    layout: Layout,
    architecture: Architecture,
    tensors: &Named,
    temperature: Option<f64>,
    metadata: &mut BTreeMap<String, String>,
    notes: &mut Vec<String>,
) -> Result<()> {
    match backbone(architecture, tensors) {
        Some(spec) => drop(metadata.insert("backbone".into(), yaml(&spec)?)),
        None if architecture == Architecture::Vgg16 => {}
        None => notes.push(format!(
            "its channels are those of no {architecture} of one width here: it can be inspected and converted, not run"
        )),
    }
    let outputs = ["conv8_313", "fc8"].iter().find_map(|head| outputs(tensors, head));
    if inputs(tensors) == Some(1) && outputs == Some(COLOURS) && !metadata.contains_key("colorization") {
        let released = (layout == Layout::Caffe).then_some(1.0 / RELEASED_SHARPNESS);
        if let Some(temperature) = temperature.or(released) {
            metadata.insert("colorization".into(), format!("temperature: {temperature:?}\n"));
        }
    }
    if inputs(tensors) == Some(3) {
        notes.extend(classifier_notes(layout, architecture).map(String::from));
    }
    Ok(())
}

fn classifier_notes(layout: Layout, architecture: Architecture) -> Option<&'static str> {
    match (layout, architecture) {
        (Layout::Torchvision, _) => Some(
            "it expects RGB from 0 to 1, less the mean (0.485, 0.456, 0.406), over the deviation (0.229, 0.224, 0.225)",
        ),
        (Layout::Caffe, Architecture::Vgg16) => {
            Some("it expects BGR from 0 to 255, less the mean (103.939, 116.779, 123.68)")
        }
        (Layout::Caffe, Architecture::Alexnet) => Some(
            "CaffeNet expects BGR from 0 to 255, less its mean picture, and normalises responses after pool1 and pool2, \
             which the network here does not",
        ),
        _ => None,
    }
}

/// As specs are written, by way of JSON values, which keep enums as keys.
fn yaml(spec: &BackboneSpec) -> Result<String> {
    Ok(serde_yaml::to_string(&serde_json::to_value(spec)?)?)
}

/// The spec whose layer table has the shapes of these tensors.
fn backbone(architecture: Architecture, tensors: &Named) -> Option<BackboneSpec> {
    let spec = match architecture {
        Architecture::VggColorizer => BackboneSpec::Vgg(vgg(tensors)?),
        Architecture::Alexnet => BackboneSpec::Alexnet(alexnet(tensors)?),
        Architecture::Vgg16 => return None,
    };
    let head = ["conv8_313", "conv8_ab", "fc8"].iter().find_map(|head| outputs(tensors, head));
    let input_channels = inputs(tensors)?;
    let build = Build { graph: Graph::Pretext, batch_norm: true, input_channels, outputs: head };
    spec.table(&build).iter().all(|layer| fits(layer, tensors)).then_some(spec)
}

fn vgg(tensors: &Named) -> Option<VggSpec> {
    let last = outputs(tensors, "conv6_3")?;
    Some(VggSpec {
        width: width(last, 512)?,
        narrow: outputs(tensors, "conv7_3")? < last,
        deep_supervision: tensors.contains_key("conv7_313.weight"),
        affine: tensors.contains_key("conv1_2norm.weight"),
        ..VggSpec::default()
    })
}

fn alexnet(tensors: &Named) -> Option<AlexNetSpec> {
    let small = tensors.get("conv1.weight")?.dims().get(1) == Some(&5);
    let spec = AlexNetSpec {
        stem: if small { Stem::Small } else { Stem::Standard },
        width: width(outputs(tensors, "conv4")?, 384)?,
        ..AlexNetSpec::default()
    };
    let usual = crate::backbones::table::channels(4096, spec.width);
    let fc = outputs(tensors, "fc6").filter(|fc| *fc != usual);
    Some(AlexNetSpec { fc: fc.and_then(|fc| Count::try_from(fc as f64).ok()), ..spec })
}

fn width(channels: usize, full: usize) -> Option<Positive> {
    Positive::try_from(channels as f64 / full as f64).ok()
}

fn outputs(tensors: &Named, layer: &str) -> Option<usize> {
    tensors.get(&format!("{layer}.weight"))?.dims().first().copied()
}

fn inputs(tensors: &Named) -> Option<usize> {
    ["conv1_1.weight", "conv1.weight"].iter().find_map(|name| tensors.get(*name))?.dims().last().copied()
}

fn fits(layer: &Layer, tensors: &Named) -> bool {
    let wanted = match layer.kind {
        Kind::MaxPool | Kind::Lrn => return true,
        Kind::Conv => [layer.outputs, layer.kernel, layer.kernel, layer.inputs / layer.groups],
        Kind::ConvTranspose => [layer.inputs, layer.kernel, layer.kernel, layer.outputs],
    };
    tensors.get(&format!("{}.weight", layer.name)).is_some_and(|weight| weight.dims() == wanted)
}
