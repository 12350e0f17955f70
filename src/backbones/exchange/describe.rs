//! Derives the spec of the network in a file without a header.

use super::{Architecture, Layout, RELEASED_SHARPNESS};
use crate::{
    backbones::{
        BackboneSpec, Build, Variant,
        alexnet::{AlexNetSpec, CONVOLUTIONS, Stem},
        alexnet_conventions::Preset,
        input::Input,
        resnet::{self, Depth, ResNetSpec},
        siggraph17::{CLASS_HEAD, Siggraph17Spec},
        table::Layer,
        vgg::VggSpec,
        vgg16::Vgg16Spec,
    },
    bounded::{Channels, Count, Positive},
    nn::weights::Named,
};
use anyhow::Result;
use std::collections::BTreeMap;

/// Number of colors in the paper's grid.
const COLORS: usize = 313;

/// Adds `backbone` and, for third-party colorizers, `colorization` to the metadata, and notes on the input that
/// third-party networks were trained with.
pub(super) fn describe(
    layout: Layout,
    architecture: Architecture,
    tensors: &Named,
    temperature: Option<f64>,
    metadata: &mut BTreeMap<String, String>,
    notes: &mut Vec<String>,
) -> Result<()> {
    match backbone(layout, architecture, tensors) {
        Some(spec) => drop(metadata.insert("backbone".into(), yaml(&spec)?)),
        None if unsaid(layout, architecture, tensors) => {}
        None => notes.push(format!(
            "its channels match no {architecture} of a single width: it can be inspected and converted but not run"
        )),
    }
    let outputs = architecture.heads().iter().find_map(|head| outputs(tensors, head));
    if inputs(tensors) == Some(1) && outputs == Some(COLORS) && !metadata.contains_key("colorization") {
        let released = (layout == Layout::Caffe).then_some(1.0 / RELEASED_SHARPNESS);
        if let Some(temperature) = temperature.or(released) {
            metadata.insert("colorization".into(), format!("temperature: {temperature:?}\n"));
        }
        if layout != Layout::Ours {
            // The upsampling of the authors' release.
            metadata.insert(super::UPSAMPLING.into(), "two_step\n".into());
        }
    }
    if architecture == Architecture::Siggraph17 {
        // The releases in PyTorch put out 110 times the tanh, that in Caffe 100 times.
        let scale = if layout == Layout::Caffe { 100 } else { 110 };
        metadata.entry("siggraph17".into()).or_insert_with(|| format!("output_scale: {scale}\n"));
        notes.push(format!("it expects {}", Input::Hints.describe()));
    }
    if inputs(tensors) == Some(3) {
        notes.extend(input_note(layout, architecture));
    }
    Ok(())
}

/// Whether the tensors do not identify the network: AlexNets for color pictures differ in their input and in
/// normalizations without parameters, VGG-16 networks under our names in their input.
fn unsaid(layout: Layout, architecture: Architecture, tensors: &Named) -> bool {
    match (layout, architecture) {
        (Layout::Torchvision, _) => false,
        (_, Architecture::Alexnet) => inputs(tensors) == Some(3),
        (Layout::Ours, Architecture::Vgg16) => true,
        (Layout::Ours, Architecture::Resnet) => inputs(tensors) == Some(3),
        _ => false,
    }
}

fn input_note(layout: Layout, architecture: Architecture) -> Option<String> {
    match (layout, architecture) {
        (Layout::Torchvision, _) => Some(format!("it expects {}", Input::RgbUnit.describe())),
        (Layout::Caffe, Architecture::Vgg16) => Some(format!("it expects {}", Input::BgrMean.describe())),
        (Layout::Caffe, Architecture::Alexnet) => {
            let presets = Preset::ALL.map(Preset::name).join(", ");
            Some(format!(
                "the file does not specify its input or its response normalization: name its release, \
                 `backbone: {{ alexnet: {{ preset: caffenet }} }}` (presets: {presets})"
            ))
        }
        _ => None,
    }
}

/// Serializes as in a spec, through JSON values, which keep enums as keys; keys are sorted.
fn yaml(spec: &BackboneSpec) -> Result<String> {
    let mut spec = serde_json::to_value(spec)?;
    spec.sort_all_objects();
    Ok(crate::yaml::write(&spec)?)
}

/// The spec whose layer table has the shapes of these tensors, if they identify one.
fn backbone(layout: Layout, architecture: Architecture, tensors: &Named) -> Option<BackboneSpec> {
    if unsaid(layout, architecture, tensors) {
        return None;
    }
    let spec = match architecture {
        Architecture::VggColorizer => BackboneSpec::Vgg(vgg(tensors)?),
        Architecture::Alexnet if layout == Layout::Torchvision => BackboneSpec::Alexnet(one_tower(tensors)?),
        Architecture::Alexnet => BackboneSpec::Alexnet(alexnet(tensors)?),
        Architecture::Vgg16 => BackboneSpec::Vgg16(vgg16(layout, tensors)?),
        Architecture::Resnet => BackboneSpec::Resnet(resnet(tensors)?),
        Architecture::Siggraph17 => BackboneSpec::Siggraph17(siggraph17(tensors)?),
    };
    let head = architecture.heads().iter().find_map(|head| outputs(tensors, head));
    let head = if architecture == Architecture::Siggraph17 { outputs(tensors, CLASS_HEAD) } else { head };
    let input_channels = inputs(tensors)?;
    let matrix = tensors.get("fc.weight").is_some_and(|weight| weight.rank() == 2);
    let variant = if matrix { Variant::Transfer } else { Variant::Pretext };
    let build = Build { variant, batch_norm: true, input_channels, outputs: head };
    spec.table(&build).iter().all(|layer| fits(layer, tensors)).then_some(spec)
}

fn vgg16(layout: Layout, tensors: &Named) -> Option<Vgg16Spec> {
    let input = if layout == Layout::Torchvision { Input::RgbUnit } else { Input::BgrMean };
    let width = width(outputs(tensors, "conv5_3")?, 512)?;
    let map = tensors.get("fc6.weight")?.dims().get(1)?;
    let (fc, crop) = (fully(tensors, width), Count::try_from((32 * map) as f64).ok()?);
    Some(Vgg16Spec { width, fc, crop, input, ..Vgg16Spec::default() })
}

/// Derived from the blocks of its stages and the parts of the first block.
fn resnet(tensors: &Named) -> Option<ResNetSpec> {
    let has = |name: String| tensors.contains_key(&name);
    let count = |stage| (0..).take_while(|block| has(format!("layer{stage}.{block}.conv1.weight"))).count();
    let blocks = [1, 2, 3, 4].map(count);
    let bottleneck = has("layer1.0.conv3.weight".into());
    let depth =
        Depth::ALL.into_iter().find(|depth| depth.blocks() == blocks && depth.bottleneck() == bottleneck)?;
    let small = tensors.get("conv1.weight")?.dims().get(1) == Some(&3);
    Some(ResNetSpec {
        depth,
        stem: if small { resnet::ResNetStem::Small } else { resnet::ResNetStem::Standard },
        width: width(outputs(tensors, "layer4.0.conv1")?, 512)?,
        input: if inputs(tensors) == Some(3) { Input::RgbUnit } else { Input::Lightness },
        ..ResNetSpec::default()
    })
}

/// torchvision's AlexNet with any channel counts.
fn one_tower(tensors: &Named) -> Option<AlexNetSpec> {
    let counts = CONVOLUTIONS.map(|conv| outputs(tensors, conv));
    let mut channels = [Count::of(1); 5];
    for (channels, count) in channels.iter_mut().zip(counts) {
        *channels = Count::try_from(count? as f64).ok()?;
    }
    let fc = fully(tensors, Positive::of(1.0));
    Some(AlexNetSpec { channels, fc, ..Preset::Torchvision.spec() })
}

/// Channels of fc6 if they differ from the default.
fn fully(tensors: &Named, width: Positive) -> Option<Channels> {
    let usual = crate::backbones::table::channels(4096, width);
    let fc = outputs(tensors, "fc6").filter(|fc| *fc != usual)?;
    Count::try_from(fc as f64).ok()
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

/// Channels that match no single width are found by the shapes of all layers.
fn siggraph17(tensors: &Named) -> Option<Siggraph17Spec> {
    Some(Siggraph17Spec { width: width(outputs(tensors, "conv6_3")?, 512)?, ..Siggraph17Spec::default() })
}

fn alexnet(tensors: &Named) -> Option<AlexNetSpec> {
    let small = tensors.get("conv1.weight")?.dims().get(1) == Some(&5);
    let spec = AlexNetSpec {
        stem: if small { Stem::Small } else { Stem::Standard },
        width: width(outputs(tensors, "conv4")?, 384)?,
        ..AlexNetSpec::default()
    };
    Some(AlexNetSpec { fc: fully(tensors, spec.width), ..spec })
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
    let Some(wanted) = layer.kind.weight() else { return true };
    tensors.get(&format!("{}.weight", layer.name)).is_some_and(|weight| weight.dims() == wanted)
}
